//! The audit log: who did what to whom, from where. Rows are only ever added; triggers refuse everything else.

use irsp_courier::store::StoreError;
use irsp_protocol::Timestamp;
use irsp_protocol::api::account::AuditEntry;
use rusqlite::Connection;

use super::{Author, number, stored, time};

pub(crate) fn append(
    sql: &Connection,
    now: Timestamp,
    author: &Author,
    action: &str,
    what: &str,
) -> Result<(), StoreError> {
    let origin = author
        .from
        .map_or_else(|| "local".to_owned(), |ip| ip.to_string());
    sql.prepare_cached("INSERT INTO audit (time, who, action, what, origin) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute((now.as_millis(), author.who.to_string(), action, what, origin))?;
    Ok(())
}

/// Entries after `after`, oldest first.
pub(crate) fn list(sql: &Connection, after: u64, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
    let Ok(after) = stored(after) else {
        return Ok(Vec::new());
    };
    Ok(sql
        .prepare_cached(
            "SELECT n, time, who, action, what, origin FROM audit WHERE n > ?1 ORDER BY n LIMIT ?2",
        )?
        .query_map((after, limit), |row| {
            Ok(AuditEntry {
                n: number(row, 0)?,
                time: time(row, 1)?,
                who: row.get(2)?,
                action: row.get(3)?,
                what: row.get(4)?,
                from: row.get(5)?,
            })
        })?
        .collect::<Result<_, _>>()?)
}
