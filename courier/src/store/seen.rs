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

pub(super) fn remember(
    sql: &Connection,
    from: &Origin,
    id: MessageId,
    status: Status,
    now: Timestamp,
) -> Result<(), StoreError> {
    sql.prepare_cached("INSERT INTO seen (id, origin, at, status) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            id.as_bytes(),
            from.to_string(),
            now.as_millis(),
            status.code()
        ])?;
    Ok(())
}
