//! Requests under an Idempotency-Key that were carried out, and their sealed answers.

use std::time::Duration;

use irsp_courier::store::StoreError;
use irsp_protocol::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::{number, stored, time};
use crate::repeat::Repeat;

/// How long a repeat is recognised.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
/// How long an answer that holds a secret is given again: who has not asked by then has it, or needs a new one.
pub(crate) const SECRET_KEPT: Duration = Duration::from_secs(3600);

/// A request that was carried out before.
pub(crate) struct Kept {
    /// The same caller asked something else under this key.
    pub(crate) differs: bool,
    pub(crate) operation: Option<u64>,
    /// Sealed; `None` when its time is over.
    pub(crate) answer: Option<Vec<u8>>,
}

pub(crate) fn find(sql: &Connection, repeat: &Repeat, now: Timestamp) -> Result<Option<Kept>, StoreError> {
    let found = sql
        .prepare_cached("SELECT request, operation, secret, answer, time FROM repeat WHERE key = ?1")?
        .query_row([repeat.place.0], |row| {
            let request: [u8; 32] = row.get(0)?;
            let operation: Option<i64> = row.get(1)?;
            let operation = operation.map(|_| number(row, 1)).transpose()?;
            let (secret, answer): (bool, Option<Vec<u8>>) = (row.get(2)?, row.get(3)?);
            let age = now.since(time(row, 4)?);
            let kept = Kept {
                differs: request != repeat.request.0,
                operation,
                answer: answer.filter(|_| !secret || age < SECRET_KEPT),
            };
            Ok((age < REMEMBERED).then_some(kept))
        })
        .optional()?;
    Ok(found.flatten())
}

/// Keeps a sealed answer, in the transaction of the change.
pub(crate) fn keep(
    sql: &Connection,
    repeat: &Repeat,
    now: Timestamp,
    operation: Option<u64>,
    secret: bool,
    answer: &[u8],
) -> Result<(), StoreError> {
    sql.prepare_cached(
        "INSERT OR REPLACE INTO repeat (key, request, operation, secret, answer, time) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute((
        repeat.place.0,
        repeat.request.0,
        operation.map(stored).transpose()?,
        secret,
        answer,
        now.as_millis(),
    ))?;
    Ok(())
}

/// Forgets what is older than it is remembered, and answers with secrets before that.
pub(crate) fn forget(sql: &Connection, now: Timestamp) -> Result<(), StoreError> {
    sql.prepare_cached("DELETE FROM repeat WHERE time < ?1")?
        .execute([now.minus(REMEMBERED).as_millis()])?;
    sql.prepare_cached("UPDATE repeat SET answer = NULL WHERE secret AND answer IS NOT NULL AND time < ?1")?
        .execute([now.minus(SECRET_KEPT).as_millis()])?;
    Ok(())
}
