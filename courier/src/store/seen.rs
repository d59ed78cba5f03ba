//! Envelopes that came over the bus before: their repeats are answered, not done again (design 3.1).

use irsp_protocol::{MessageId, Status, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::error::StoreError;
use super::text;
use crate::hop::Origin;

/// What was answered to this envelope, if its effect is stored.
pub(super) fn find(sql: &Connection, from: &Origin, id: MessageId) -> Result<Option<Status>, StoreError> {
    sql.prepare_cached("SELECT status FROM seen WHERE id = ?1 AND origin = ?2")?
        .query_row(params![id.as_bytes(), from.to_string()], |row| {
            row.get::<_, u16>(0)
        })
        .optional()?
        .map(text::read_status)
        .transpose()
}

/// Remembers an envelope as done before its effect is tried: nearly all are new and end so, and one statement both looks and
/// writes. `None` if it was seen before; else the number by which that can be [corrected](correct) or
/// [taken back](forget).
pub(super) fn remember(
    sql: &Connection,
    from: &Origin,
    id: MessageId,
    now: Timestamp,
) -> Result<Option<i64>, StoreError> {
    let put = sql
        .prepare_cached(
            "INSERT INTO seen (id, origin, at, status) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            id.as_bytes(),
            from.to_string(),
            now.as_millis(),
            Status::DONE.code()
        ])?;
    Ok((put == 1).then(|| sql.last_insert_rowid()))
}

/// It was answered otherwise.
pub(super) fn correct(sql: &Connection, number: i64, status: Status) -> Result<(), StoreError> {
    if status != Status::DONE {
        sql.prepare_cached("UPDATE seen SET status = ?2 WHERE seq = ?1")?
            .execute(params![number, status.code()])?;
    }
    Ok(())
}

/// It was not taken: its repeat is a first try.
pub(super) fn forget(sql: &Connection, number: i64) -> Result<(), StoreError> {
    sql.prepare_cached("DELETE FROM seen WHERE seq = ?1")?
        .execute([number])?;
    Ok(())
}
