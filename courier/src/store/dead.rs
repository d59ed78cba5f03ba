//! Dead letters: messages that ended undeliverable, kept with their data until an operator sends them again or discards
//! them, or until their time is over.
//!
//! Only what this server accepted itself becomes one: the end of what another server handed over is that server's to
//! know, and it is told at once. What was for a third party's service (`ext/...`) is kept here all the same, because its
//! data is nowhere else by then, and what expired there, too. The receipt of a dead letter is kept as long as the letter.

use bytes::Bytes;
use irsp_protocol::inquiry::{DeadLetter, Order, Page, PageRequest};
use irsp_protocol::{Address, Envelope, MessageId, State, Status, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::error::StoreError;
use super::receipt;
use super::text;
use crate::hop::Hop;

/// Dead letters looked through for one page.
const SCANNED_MAX: usize = 5_000;

/// Keeps the data of a message that waits for `hop` (any, if `None`) and is about to end, if that end makes it a dead
/// letter.
pub(super) fn keep(
    sql: &Connection,
    id: MessageId,
    hop: Option<&Hop>,
    status: Status,
    now: Timestamp,
) -> Result<(), StoreError> {
    let state = State::of(status);
    if !matches!(state, State::Undeliverable | State::Expired) {
        return Ok(());
    }
    // What another server has custody of has no data here any more.
    sql.prepare_cached(
        "INSERT OR REPLACE INTO dead_letter (id, since, data) SELECT id, ?2, coalesce(data, x'') FROM message
         WHERE id = ?1 AND (?3 IS NULL OR hop = ?3) AND ended_at IS NULL AND answered_at IS NULL
         AND ((origin IS NULL AND ?4) OR (hop >= 'ext/' AND hop < 'ext0'))",
    )?
    .execute(params![
        id.as_bytes(),
        now.as_millis(),
        hop.map(text::hop),
        state == State::Undeliverable
    ])?;
    Ok(())
}

/// How many dead letters there are.
pub(crate) fn count(sql: &Connection) -> Result<u64, StoreError> {
    let count: i64 = sql
        .prepare_cached("SELECT count(*) FROM dead_letter")?
        .query_row([], |row| row.get(0))?;
    Ok(count.cast_unsigned())
}

/// A page of them, without their data.
pub(crate) fn page(
    sql: &Connection,
    request: &PageRequest,
    reporter: &Address,
) -> Result<Page<DeadLetter>, StoreError> {
    let (mut select, first) = match request.order {
        Order::Oldest => (
            sql.prepare_cached("SELECT id FROM dead_letter WHERE id > ?1 ORDER BY id LIMIT ?2")?,
            [0; 16],
        ),
        Order::Newest => (
            sql.prepare_cached("SELECT id FROM dead_letter WHERE id < ?1 ORDER BY id DESC LIMIT ?2")?,
            [0xFF; 16],
        ),
    };
    let after = request.after.map_or(first, |id| *id.as_bytes());
    let mut rows = select.query(params![after, i64::try_from(SCANNED_MAX).unwrap_or(i64::MAX)])?;
    let (mut entries, mut scanned, mut last) = (Vec::new(), 0, None);
    while let Some(row) = rows.next()? {
        if entries.len() >= usize::from(request.limit) {
            return Ok(Page { entries, next: last });
        }
        let id = text::read_id(row.get(0)?);
        (last, scanned) = (Some(id), scanned + 1);
        let letter = without_data(sql, id, reporter)?;
        entries.extend(letter.filter(|letter| request.filter.wants(&letter.receipt)));
    }
    let next = last.filter(|_| scanned >= SCANNED_MAX);
    Ok(Page { entries, next })
}

/// One dead letter with its data.
pub(crate) fn one(
    sql: &Connection,
    id: MessageId,
    reporter: &Address,
) -> Result<Option<DeadLetter>, StoreError> {
    let Some(letter) = without_data(sql, id, reporter)? else {
        return Ok(None);
    };
    let data: Option<Vec<u8>> = sql
        .prepare_cached("SELECT data FROM dead_letter WHERE id = ?1")?
        .query_row([id.as_bytes()], |row| row.get(0))
        .optional()?;
    Ok(data.map(|data| DeadLetter {
        data: data.into(),
        ..letter
    }))
}

fn without_data(
    sql: &Connection,
    id: MessageId,
    reporter: &Address,
) -> Result<Option<DeadLetter>, StoreError> {
    let found = sql
        .prepare_cached(
            "SELECT d.since, length(d.data), m.failures, m.head FROM dead_letter d JOIN message m ON m.id = d.id
             WHERE d.id = ?1",
        )?
        .query_row([id.as_bytes()], |row| {
            let columns: (i64, i64, u32, String) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            Ok(columns)
        })
        .optional()?;
    let (Some((since, size, failures, head)), Some((receipt, _))) =
        (found, receipt::read(sql, id, reporter)?)
    else {
        return Ok(None);
    };
    let envelope: Envelope = serde_json::from_str(&head)?;
    Ok(Some(DeadLetter {
        receipt,
        since: Timestamp::from_millis(since),
        failures,
        size: size.cast_unsigned(),
        content_type: envelope.content_type,
        data: Bytes::new(),
    }))
}

/// Discards what has been dead since `before`, at most `limit` of them; says how many.
pub(super) fn prune(sql: &Connection, before: i64, limit: i64) -> Result<usize, StoreError> {
    let discarded = sql
        .prepare_cached(
            "DELETE FROM dead_letter WHERE id IN
                 (SELECT id FROM dead_letter WHERE since <= ?1 ORDER BY since LIMIT ?2)",
        )?
        .execute(params![before, limit])?;
    if discarded > 0 {
        tracing::warn!(discarded, "dead letters that nobody took up are discarded");
    }
    Ok(discarded)
}
