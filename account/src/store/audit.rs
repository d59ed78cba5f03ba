//! The audit log: who did what to whom, from where, and what was refused at the doors. Rows are only ever added;
//! triggers refuse everything else until a row is older than its retention.

use std::collections::BTreeSet;
use std::net::IpAddr;

use irsp_courier::store::StoreError;
use irsp_protocol::api::account::AuditEntry;
use irsp_protocol::{Principal, Status, Timestamp};
use rusqlite::{Connection, Row};

use super::list::Query;
use super::{Author, corrupt, number, stored, time};

/// Rows deleted in one transaction, so that changes do not wait for a long one.
const FORGOTTEN_AT_ONCE: u32 = 2_000;

/// One line to be written.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// `None` is somebody who has not shown who they are.
    pub(crate) who: Option<Principal>,
    pub(crate) from: Option<IpAddr>,
    pub(crate) action: &'static str,
    pub(crate) what: String,
    pub(crate) status: Status,
    /// By which the line is found.
    pub(crate) targets: BTreeSet<Principal>,
}

/// Which lines are asked for; all that is given must be so.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) who: Option<String>,
    /// An action, or the part of one before its dot.
    pub(crate) action: Option<String>,
    pub(crate) target: Option<String>,
    pub(crate) status: Option<u16>,
    pub(crate) from: Option<Timestamp>,
    pub(crate) to: Option<Timestamp>,
    pub(crate) newest_first: bool,
}

impl Line {
    /// Of something done.
    pub(crate) fn done(author: &Author, action: &'static str, what: String) -> Line {
        Line {
            who: Some(author.who.clone()),
            from: author.from,
            action,
            what,
            status: Status::DONE,
            targets: BTreeSet::new(),
        }
    }
}

pub(crate) fn append(sql: &Connection, now: Timestamp, line: &Line) -> Result<(), StoreError> {
    let origin = match (&line.who, line.from) {
        (_, Some(ip)) => ip.to_canonical().to_string(),
        (Some(_), None) => "local".to_owned(),
        (None, None) => "unknown".to_owned(),
    };
    let who = line
        .who
        .as_ref()
        .map_or_else(|| "nobody".to_owned(), Principal::to_string);
    sql.prepare_cached(
        "INSERT INTO audit (time, who, action, what, origin, status) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute((
        now.as_millis(),
        who,
        line.action,
        &line.what,
        origin,
        line.status.code(),
    ))?;
    let n = sql.last_insert_rowid();
    let mut target = sql.prepare_cached("INSERT INTO audit_target (target, n) VALUES (?1, ?2)")?;
    for principal in &line.targets {
        target.execute((principal.to_string(), n))?;
    }
    Ok(())
}

/// Lines after `after` in the order asked for: oldest first, or newest first.
pub(crate) fn list(
    sql: &Connection,
    filter: &Filter,
    after: Option<u64>,
    limit: u32,
) -> Result<Vec<AuditEntry>, StoreError> {
    let after = match after.map(stored).transpose() {
        Ok(after) => after,
        // No line has such a number: all are before it, none after.
        Err(_) if filter.newest_first => None,
        Err(_) => return Ok(Vec::new()),
    };
    let mut query = Query::new("SELECT n, time, who, action, what, origin, status FROM audit");
    match filter.newest_first {
        true => query.and_some("n < ?", after),
        false => query.and_some("n > ?", after),
    }
    query.and_some("who = ?", filter.who.clone());
    query.and_some("status = ?", filter.status.map(i64::from));
    query.and_some("time >= ?", filter.from.map(Timestamp::as_millis));
    query.and_some("time < ?", filter.to.map(Timestamp::as_millis));
    query.and_some(
        "n IN (SELECT n FROM audit_target WHERE target = ?)",
        filter.target.clone(),
    );
    if let Some(action) = &filter.action {
        query.and(
            "substr(action || '.', 1, length(?)) = ?",
            [format!("{action}."), format!("{action}.")],
        );
    }
    query.rows(sql, if filter.newest_first { "n DESC" } else { "n" }, limit, read)
}

/// Deletes lines from before `before`, a part at a time; `true` when more are left.
pub(crate) fn forget(sql: &Connection, before: Timestamp) -> Result<bool, StoreError> {
    sql.prepare_cached("UPDATE audit_retention SET before = ?1 WHERE before < ?1")?
        .execute([before.as_millis()])?;
    let gone = sql
        .prepare_cached(
            "DELETE FROM audit WHERE n IN (SELECT n FROM audit WHERE time < ?1 ORDER BY time LIMIT ?2)",
        )?
        .execute((before.as_millis(), FORGOTTEN_AT_ONCE))?;
    Ok(gone == FORGOTTEN_AT_ONCE as usize)
}

fn read(row: &Row<'_>) -> Result<AuditEntry, rusqlite::Error> {
    let status: u16 = row.get(6)?;
    let unknown = || {
        corrupt(
            6,
            std::io::Error::other(format!("{status} is not a registered status")),
        )
    };
    Ok(AuditEntry {
        n: number(row, 0)?,
        time: time(row, 1)?,
        who: row.get(2)?,
        action: row.get(3)?,
        what: row.get(4)?,
        from: row.get(5)?,
        status: Status::from_code(status).ok_or_else(unknown)?,
    })
}
