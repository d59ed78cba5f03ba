//! The directory on disk: the only SQL of this crate. Every call works on a connection whose transaction the caller
//! holds, so a change, the answer to it and the ended queues commit together.
//!
//! Gone entities stay as rows without an entity: a repeated old change cannot bring them back, and whoever asks for
//! them hears 410 instead of 404.

use std::error::Error;

use irsp_protocol::change::{Change, ChangeBatch, Entity, EntityKey};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Result, params};

use crate::directory::Directory;
use crate::follow::{Follower, Sweep, Verdict};

/// The tables, for the migrations of the server that keeps the copy.
pub const MIGRATION: &str = "
    CREATE TABLE directory (
        key    TEXT PRIMARY KEY,     -- dev/lamp-1, bind/lamp-1/ann, key/<kid>, ...
        n      INTEGER NOT NULL,     -- the change that last touched it
        entity TEXT                  -- JSON; NULL when it is gone
    ) WITHOUT ROWID;
    CREATE TABLE directory_position (
        one     INTEGER PRIMARY KEY CHECK (one = 1),
        applied INTEGER NOT NULL     -- the last change up to which nothing is missing
    );
    INSERT INTO directory_position (one, applied) VALUES (1, 0);
";

/// Judges a batch against the position on disk and stores what is new of it. The caller answers, and after the
/// commit applies the same changes to the [`Directory`].
pub fn take(sql: &Connection, batch: &ChangeBatch) -> Result<Verdict> {
    let verdict = Follower::new(applied(sql)?).offer(batch);
    if let Verdict::Apply { skip } = verdict {
        for change in &batch.changes[skip..] {
            put(sql, change)?;
        }
    }
    Ok(verdict)
}

/// Stores the next change.
pub fn put(sql: &Connection, change: &Change) -> Result<()> {
    set(sql, change.n, &change.key, change.entity.as_ref())?;
    sql.prepare_cached("UPDATE directory_position SET applied = ?1 WHERE applied = ?1 - 1")?
        .execute([number(change.n)?])?;
    Ok(())
}

/// Stores entries of a snapshot that are newer than what is held.
pub fn merge(sql: &Connection, entities: &[(u64, Entity)]) -> Result<()> {
    entities
        .iter()
        .try_for_each(|(n, entity)| set(sql, *n, &entity.key(), Some(entity)))
}

/// Ends a snapshot. Returns what is gone, so that its queues can be ended in the same transaction.
pub fn sweep(sql: &Connection, sweep: &Sweep) -> Result<Vec<EntityKey>> {
    let at = number(sweep.at())?;
    let mut gone = Vec::new();
    let mut rows = sql.prepare_cached("SELECT key, n FROM directory WHERE n < ?1 AND entity IS NOT NULL")?;
    let mut rows = rows.query([at])?;
    while let Some(row) = rows.next()? {
        let key = parse_key(&row.get::<_, String>(0)?)?;
        if sweep.removes(row.get(1).and_then(position)?, &key) {
            gone.push(key);
        }
    }
    for key in &gone {
        sql.prepare_cached("UPDATE directory SET entity = NULL, n = ?2 WHERE key = ?1")?
            .execute(params![key.to_string(), at])?;
    }
    sql.prepare_cached("UPDATE directory_position SET applied = max(applied, ?1)")?
        .execute([at])?;
    Ok(gone)
}

/// The last change up to which nothing is missing on disk.
pub fn applied(sql: &Connection) -> Result<u64> {
    sql.prepare_cached("SELECT applied FROM directory_position")?
        .query_row([], |row| row.get(0))
        .optional()?
        .map_or(Ok(0), position)
}

/// Whether there is an entity, as far as changes are stored: the [`Directory`] in memory follows after the commit.
pub fn has(sql: &Connection, key: &EntityKey) -> Result<bool> {
    sql.prepare_cached("SELECT 1 FROM directory WHERE key = ?1 AND entity IS NOT NULL")?
        .exists([key.to_string()])
}

/// Fills an empty directory from disk, at start-up.
pub fn load(sql: &Connection, directory: &Directory) -> Result<()> {
    let mut rows = sql.prepare("SELECT key, n, entity FROM directory")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let key = parse_key(&row.get::<_, String>(0)?)?;
        let n = position(row.get(1)?)?;
        let entity = match row.get_ref(2)?.as_str_or_null()? {
            Some(json) => Some(serde_json::from_str::<Entity>(json).map_err(|error| damaged(2, error))?),
            None => None,
        };
        directory.restore(n, &key, entity.as_ref());
    }
    directory.restore_applied(applied(sql)?);
    Ok(())
}

fn set(sql: &Connection, n: u64, key: &EntityKey, entity: Option<&Entity>) -> Result<()> {
    let json = entity
        .map(serde_json::to_string)
        .transpose()
        .map_err(unwritable)?;
    sql.prepare_cached(
        "INSERT INTO directory (key, n, entity) VALUES (?1, ?2, ?3)
         ON CONFLICT (key) DO UPDATE SET n = excluded.n, entity = excluded.entity WHERE excluded.n > n",
    )?
    .execute(params![key.to_string(), number(n)?, json])?;
    Ok(())
}

fn parse_key(text: &str) -> Result<EntityKey> {
    text.parse().map_err(|error| damaged(0, error))
}

/// SQLite's integers are signed.
fn number(n: u64) -> Result<i64> {
    i64::try_from(n).map_err(unwritable)
}

fn position(n: i64) -> Result<u64> {
    u64::try_from(n).map_err(|error| damaged(1, error))
}

fn unwritable(error: impl Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(error))
}

fn damaged(column: usize, error: impl Error + Send + Sync + 'static) -> rusqlite::Error {
    let found = if column == 1 { Type::Integer } else { Type::Text };
    rusqlite::Error::FromSqlConversionFailure(column, found, Box::new(error))
}

#[cfg(test)]
mod tests;
