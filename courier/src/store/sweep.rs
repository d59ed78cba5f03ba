//! What time does to the tables: messages expire, receipts and the memory of envelopes seen are forgotten, dead letters
//! that nobody took up are discarded.

use std::time::Duration;

use irsp_protocol::{MessageId, Status, Timestamp};
use rusqlite::{Connection, params};

use super::dead;
use super::error::StoreError;
use super::message::{self, End};
use super::order;
use super::text;
use super::tx::Tx;
use super::young;
use crate::hop::Hop;

/// Rows of each kind one transaction touches, so that a sweep never holds up the writer for long.
const ROWS_MAX: usize = 500;

/// How long what is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    pub(crate) receipts: Duration,
    pub(crate) receipts_max: u64,
    pub(crate) seen: Duration,
    pub(crate) seen_max: u64,
    pub(crate) dead_letters: Duration,
}

/// What a sweep has left to do, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    /// More is due now than one transaction may touch.
    pub(crate) more: bool,
    /// When the next message expires.
    pub(crate) due: Option<Timestamp>,
    /// When the next receipt or memory may be forgotten.
    pub(crate) prune: Option<Timestamp>,
}

pub(crate) fn sweep(tx: &mut Tx<'_>, retention: &Retention) -> Result<Swept, StoreError> {
    let now = tx.now();
    // What is due is looked up in an index.
    young::settle_all(tx.sql())?;
    let expired = expired(tx.sql(), now)?;
    for id in &expired {
        tx.end_with(*id, None, &End::by_us(Status::EXPIRED, None))?;
    }
    let receipts = prune_receipts(tx.sql(), before(now, retention.receipts), retention.receipts_max)?;
    let dead = dead::prune(tx.sql(), before(now, retention.dead_letters), limit())?;
    let seen = prune_seen(tx.sql(), before(now, retention.seen), retention.seen_max)?;
    order::prune(tx.sql(), before(now, retention.seen))?;
    let more = expired.len() >= ROWS_MAX || receipts >= ROWS_MAX || seen >= ROWS_MAX || dead >= ROWS_MAX;
    next(tx.sql(), retention, more)
}

/// Ends what has expired and waits for one hop, so that what is behind it need not wait for a whole sweep.
pub(crate) fn sweep_hop(tx: &mut Tx<'_>, hop: &Hop) -> Result<(), StoreError> {
    for id in message::expired(tx.sql(), hop, tx.now(), limit())? {
        tx.end_with(id, Some(hop), &End::by_us(Status::EXPIRED, None))?;
    }
    Ok(())
}

/// When there will be something to sweep.
fn next(sql: &Connection, retention: &Retention, more: bool) -> Result<Swept, StoreError> {
    let first = |query: &str| -> Result<Option<Timestamp>, StoreError> {
        let ms: Option<i64> = sql.prepare_cached(query)?.query_row([], |row| row.get(0))?;
        Ok(ms.map(Timestamp::from_millis))
    };
    let due = first("SELECT min(due_at) FROM message WHERE ended_at IS NULL AND young IS NULL")?;
    let ended = first(
        "SELECT (SELECT ended_at FROM message WHERE ended_at IS NOT NULL
         AND id NOT IN (SELECT id FROM dead_letter) ORDER BY ended_at LIMIT 1)",
    )?;
    let dead = first("SELECT min(since) FROM dead_letter")?;
    let seen = first("SELECT (SELECT at FROM seen ORDER BY seq LIMIT 1)")?;
    let prune = [
        ended.map(|at| at.plus(retention.receipts)),
        seen.map(|at| at.plus(retention.seen)),
        dead.map(|at| at.plus(retention.dead_letters)),
    ];
    Ok(Swept {
        more,
        due,
        prune: prune.into_iter().flatten().min(),
    })
}

fn expired(sql: &Connection, now: Timestamp) -> Result<Vec<MessageId>, StoreError> {
    let mut rows = sql.prepare_cached(
        "SELECT id FROM message WHERE ended_at IS NULL AND young IS NULL AND due_at <= ?1 ORDER BY due_at LIMIT ?2",
    )?;
    let ids = rows.query_map(params![now.as_millis(), limit()], |row| {
        Ok(text::read_id(row.get(0)?))
    })?;
    Ok(ids.collect::<Result<_, _>>()?)
}

/// Forgets the receipts of what ended first: those that are old, and those that are too many.
fn prune_receipts(sql: &Connection, before: i64, count_max: u64) -> Result<usize, StoreError> {
    let mut forget = sql.prepare_cached(
        "DELETE FROM message WHERE seq IN
             (SELECT seq FROM message WHERE ended_at IS NOT NULL AND ended_at <= ?1
              AND id NOT IN (SELECT id FROM dead_letter) ORDER BY ended_at LIMIT ?2)",
    )?;
    let mut forgotten = forget.execute(params![before, limit()])?;
    let too_many = receipts(sql)?.saturating_sub_unsigned(count_max) - text::count(forgotten);
    let room = limit() - text::count(forgotten);
    if too_many > 0 && room > 0 {
        forgotten += forget.execute(params![i64::MAX, too_many.min(room)])?;
    }
    if forgotten > 0 {
        sql.prepare_cached("UPDATE forgotten SET receipts = receipts + ?1")?
            .execute([text::count(forgotten)])?;
    }
    Ok(forgotten)
}

/// How many messages have ended and are not forgotten: of the ledger's few rows, not of the messages'.
fn receipts(sql: &Connection) -> Result<i64, StoreError> {
    let count = sql
        .prepare_cached(
            "SELECT ifnull((SELECT sum(count) FROM ledger WHERE status > 0), 0) - (SELECT receipts FROM forgotten)",
        )?
        .query_row([], |row| row.get(0))?;
    Ok(count)
}

/// Looks at the oldest only: `seen` is in order of time as far as the clock is.
fn prune_seen(sql: &Connection, before: i64, count_max: u64) -> Result<usize, StoreError> {
    let deleted = sql
        .prepare_cached(
            "DELETE FROM seen WHERE seq IN (SELECT seq FROM seen ORDER BY seq LIMIT ?2)
                 AND (at <= ?1 OR seq <= (SELECT max(seq) FROM seen) - ?3)",
        )?
        .execute(params![
            before,
            limit(),
            i64::try_from(count_max).unwrap_or(i64::MAX)
        ])?;
    Ok(deleted)
}

fn before(now: Timestamp, age: Duration) -> i64 {
    let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    now.as_millis().saturating_sub(age_ms)
}

fn limit() -> i64 {
    text::count(ROWS_MAX)
}
