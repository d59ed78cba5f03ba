//! Operations: which envelopes carry a change to which follower, and what each answered (clause 8.2).

use irsp_courier::store::StoreError;
use irsp_protocol::{MessageId, Server, Status, Timestamp, expiry};
use rusqlite::{Connection, OptionalExtension, Row};

use super::{corrupt, number, stored, time};

/// Operations forgotten in one transaction, so that changes do not wait for a long one.
const FORGOTTEN_AT_ONCE: u32 = 2_000;

/// One envelope of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dispatch {
    pub(crate) message: MessageId,
    pub(crate) follower: Server,
    /// What it ended with and when; `None` while nothing is known.
    pub(crate) ended: Option<(Status, Timestamp)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) n: u64,
    pub(crate) time: Timestamp,
    pub(crate) dispatches: Vec<Dispatch>,
}

/// How an envelope has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) message: MessageId,
    pub(crate) status: Status,
    pub(crate) at: Timestamp,
}

pub(super) fn append(sql: &Connection, n: u64, now: Timestamp) -> Result<(), StoreError> {
    sql.prepare_cached("INSERT INTO operation (n, time) VALUES (?1, ?2)")?
        .execute((stored(n)?, now.as_millis()))?;
    Ok(())
}

pub(super) fn dispatch(
    sql: &Connection,
    n: u64,
    follower: Server,
    message: MessageId,
) -> Result<(), StoreError> {
    sql.prepare_cached("INSERT INTO dispatch (message, operation, follower) VALUES (?1, ?2, ?3)")?
        .execute((message.as_bytes(), stored(n)?, follower.as_str()))?;
    Ok(())
}

/// Stores how envelopes have ended.
pub(crate) fn end(sql: &Connection, ends: &[End]) -> Result<(), StoreError> {
    let mut statement =
        sql.prepare_cached("UPDATE dispatch SET status = ?2, ended = ?3 WHERE message = ?1")?;
    for end in ends {
        statement.execute((end.message.as_bytes(), end.status.code(), end.at.as_millis()))?;
    }
    Ok(())
}

pub(crate) fn find(sql: &Connection, n: u64) -> Result<Option<Operation>, StoreError> {
    // A number too large for the table was never given out.
    let Ok(n) = stored(n) else {
        return Ok(None);
    };
    let found = sql
        .prepare_cached("SELECT n, time FROM operation WHERE n = ?1")?
        .query_row([n], |row| Ok((number(row, 0)?, time(row, 1)?)))
        .optional()?;
    let Some((n, time)) = found else {
        return Ok(None);
    };
    let dispatches = sql
        .prepare_cached(
            "SELECT message, follower, status, ended FROM dispatch WHERE operation = ?1 ORDER BY message",
        )?
        .query_map([stored(n)?], read)?
        .collect::<Result<_, _>>()?;
    Ok(Some(Operation { n, time, dispatches }))
}

/// The operation that change `n` belongs to; `None` for one that is forgotten.
pub(crate) fn of_change(sql: &Connection, n: u64) -> Result<Option<u64>, StoreError> {
    if is_forgotten(sql, n)? {
        return Ok(None);
    }
    Ok(sql
        .prepare_cached("SELECT n FROM operation WHERE n >= ?1 ORDER BY n LIMIT 1")?
        .query_row([stored(n)?], |row| number(row, 0))
        .optional()?)
}

/// Whether the operations up to `n` are forgotten.
pub(crate) fn is_forgotten(sql: &Connection, n: u64) -> Result<bool, StoreError> {
    // A number too large for the table was never given out.
    let Ok(n) = stored(n) else {
        return Ok(false);
    };
    Ok(sql
        .prepare_cached("SELECT ?1 BETWEEN 1 AND n FROM operation_forgotten")?
        .query_row([n], |row| row.get(0))?)
}

/// Forgets operations from before `before`, oldest first, up to one that a follower may still answer, a part at a time;
/// returns how many. Whether an envelope has ended may never be noted here, if this server was killed just then; but by
/// its expiry it has.
pub(crate) fn forget(sql: &Connection, now: Timestamp, before: Timestamp) -> Result<u64, StoreError> {
    let last: Option<i64> = sql
        .prepare_cached(
            "SELECT max(n) FROM (SELECT n FROM operation WHERE n < min(
                 coalesce((SELECT min(n) FROM operation WHERE time >= ?1), 9223372036854775807),
                 coalesce((SELECT min(o.n) FROM dispatch d JOIN operation o ON o.n = d.operation
                           WHERE d.status IS NULL AND o.time >= ?3), 9223372036854775807))
             ORDER BY n LIMIT ?2)",
        )?
        .query_row(
            (
                before.as_millis(),
                FORGOTTEN_AT_ONCE,
                now.minus(expiry::BETWEEN_SERVERS).as_millis(),
            ),
            |row| row.get(0),
        )?;
    let Some(last) = last else {
        return Ok(0);
    };
    sql.prepare_cached("DELETE FROM dispatch WHERE operation <= ?1")?
        .execute([last])?;
    let gone = sql
        .prepare_cached("DELETE FROM operation WHERE n <= ?1")?
        .execute([last])?;
    sql.prepare_cached("UPDATE operation_forgotten SET n = max(n, ?1)")?
        .execute([last])?;
    Ok(gone as u64)
}

fn read(row: &Row<'_>) -> Result<Dispatch, rusqlite::Error> {
    let follower: String = row.get(1)?;
    let status: Option<u16> = row.get(2)?;
    let ended = match status {
        Some(code) => Some((
            Status::from_code(code).ok_or_else(|| unknown(2, &code))?,
            time(row, 3)?,
        )),
        None => None,
    };
    Ok(Dispatch {
        message: MessageId::from_bytes(row.get(0)?),
        follower: Server::parse(&follower).ok_or_else(|| unknown(1, &follower))?,
        ended,
    })
}

fn unknown(column: usize, found: &dyn std::fmt::Display) -> rusqlite::Error {
    corrupt(column, std::io::Error::other(format!("not understood: {found}")))
}
