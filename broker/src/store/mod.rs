//! The message server's own tables, beside the courier's: presence, the directory's copy, and what outlives a restart
//! of sessions, their subscriptions and queues, and of what is retained.

mod id;
pub(crate) mod publish;
pub(crate) mod queue;
pub(crate) mod retained;
pub(crate) mod session;
pub(crate) mod will;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::time::Duration;

use irsp_courier::store::{Migration, StoreError, Tx};
use irsp_protocol::Principal;
use irsp_protocol::presence::Presence;
use rusqlite::{Connection, OptionalExtension as _};

/// The message server's format of `message.db`.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        sql: irsp_directory::store::MIGRATION,
    },
    Migration {
        version: 2,
        sql: "CREATE TABLE presence (
                principal TEXT PRIMARY KEY,
                presence  TEXT NOT NULL -- JSON of protocol::presence::Presence
              ) WITHOUT ROWID;",
    },
    Migration {
        version: 3,
        sql: include_str!("sessions.sql"),
    },
    Migration {
        version: 4,
        sql: include_str!("retained.sql"),
    },
    Migration {
        version: 5,
        sql: include_str!("wills.sql"),
    },
    Migration {
        version: 6,
        sql: include_str!("counted.sql"),
    },
    Migration {
        version: 7,
        sql: "-- Whose last change the sessions may not have been told of.
              CREATE TABLE presence_untold (principal TEXT PRIMARY KEY) WITHOUT ROWID;",
    },
    Migration {
        version: 8,
        sql: "-- sessions::publisher::Publisher; NULL where an older program has stored it.
              ALTER TABLE retained ADD COLUMN publisher INTEGER;",
    },
];

/// Stores a presence in place of the principal's older one. It is untold until [`presences_told`].
pub(crate) fn put_presence(tx: &Tx<'_>, presence: &Presence) -> Result<(), StoreError> {
    let (principal, text) = (presence.principal.to_string(), serde_json::to_string(presence)?);
    tx.sql()
        .prepare_cached("INSERT OR REPLACE INTO presence (principal, presence) VALUES (?1, ?2)")?
        .execute((&principal, text))?;
    tx.sql()
        .prepare_cached("INSERT OR IGNORE INTO presence_untold (principal) VALUES (?1)")?
        .execute([principal])?;
    Ok(())
}

/// All that were stored until now have been told.
pub(crate) fn presences_told(tx: &Tx<'_>) -> Result<(), StoreError> {
    tx.sql()
        .prepare_cached("DELETE FROM presence_untold")?
        .execute([])?;
    Ok(())
}

/// The epoch of a principal's presence as it was last stored.
pub(crate) fn epoch(tx: &Tx<'_>, principal: &Principal) -> Result<Option<u64>, StoreError> {
    let text: Option<String> = tx
        .sql()
        .prepare_cached("SELECT presence FROM presence WHERE principal = ?1")?
        .query_row([principal.to_string()], |row| row.get(0))
        .optional()?;
    text.map(|text| read(&text).map(|presence| presence.epoch))
        .transpose()
}

fn read(text: &str) -> Result<Presence, StoreError> {
    Ok(serde_json::from_str(text)?)
}

/// Whose presence the sessions may not have been told of before this start.
pub(crate) fn load_untold(sql: &Connection) -> Result<HashSet<String>, StoreError> {
    let mut statement = sql.prepare("SELECT principal FROM presence_untold")?;
    let rows = statement.query_map((), |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// All presences as they were last stored.
pub(crate) fn load_presences(sql: &Connection) -> Result<Vec<Presence>, StoreError> {
    let mut statement = sql.prepare("SELECT presence FROM presence")?;
    let rows = statement.query_map((), |row| row.get::<_, String>(0))?;
    rows.map(|text| read(&text?)).collect()
}

/// SQLite's numbers are signed; ours never come near the end of theirs.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
