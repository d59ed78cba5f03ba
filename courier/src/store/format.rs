//! The format of a database file: which migrations it has been through, per set, and the refusal of newer ones that an older program
//! cannot work with.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::error::StoreError;

/// How a migration begins that an older program cannot work with. All others only add: tables, columns with defaults,
/// indexes, triggers that an older program's writes satisfy. So one can step back to the program before.
const BREAKS: &str = "-- Breaks older programs.";

/// One step of a database's format. `version` counts from 1 without gaps within its set.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    pub version: u32,
    pub sql: &'static str,
}

const COURIER: &[Migration] = &[
    Migration {
        version: 1,
        sql: include_str!("schema.sql"),
    },
    Migration {
        version: 2,
        sql: include_str!("dead_letters.sql"),
    },
    Migration {
        version: 3,
        sql: include_str!("order.sql"),
    },
    Migration {
        version: 4,
        sql: include_str!("options.sql"),
    },
    Migration {
        version: 5,
        sql: include_str!("held.sql"),
    },
    Migration {
        version: 6,
        sql: include_str!("receipts.sql"),
    },
    Migration {
        version: 7,
        sql: include_str!("services.sql"),
    },
    Migration {
        version: 8,
        sql: include_str!("young.sql"),
    },
];

/// Brings the database to the newest format this program knows: the courier's own tables first, then the role's.
/// A newer format is refused before anything is changed.
pub(crate) fn migrate(
    sql: &mut Connection,
    path: &Path,
    role: &'static [Migration],
) -> Result<(), StoreError> {
    refuse_newer(sql, path, role)?;
    let sets = sets(role);
    // A start that changes nothing writes nothing: it must work on a full disk too. What a newer program has left is
    // left to it.
    let is_newest = |(part, migrations)| Ok::<_, StoreError>(found(sql, part)? >= known(migrations));
    if sql.table_exists(None, "format")? && is_newest(sets[0])? && is_newest(sets[1])? {
        return Ok(());
    }
    let tx = sql.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    tx.execute_batch(
        "CREATE TABLE IF NOT EXISTS format (part TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    )?;
    for (part, migrations) in sets {
        let found = found(&tx, part)?;
        for migration in migrations.iter().filter(|migration| migration.version > found) {
            tx.execute_batch(migration.sql)?;
        }
        if found >= known(migrations) {
            continue;
        }
        for (part, version) in [
            (part.to_owned(), known(migrations)),
            (oldest_reader_of(part), oldest_reader(migrations)),
        ] {
            tx.execute(
                "INSERT INTO format (part, version) VALUES (?1, ?2)
                 ON CONFLICT (part) DO UPDATE SET version = excluded.version",
                params![part, version],
            )?;
        }
    }
    tx.commit()?;
    Ok(())
}

/// Refuses a database whose oldest reader is newer than this program.
pub(crate) fn refuse_newer(
    sql: &Connection,
    path: &Path,
    role: &'static [Migration],
) -> Result<(), StoreError> {
    for (part, migrations) in sets(role) {
        let (found, known) = (found(sql, part)?, known(migrations));
        let oldest_reader = stored(sql, &oldest_reader_of(part))?.unwrap_or(found);
        if found > known && oldest_reader > known {
            return Err(StoreError::NewerFormat {
                path: path.to_owned(),
                part,
                found,
                known,
            });
        }
    }
    Ok(())
}

fn sets(role: &'static [Migration]) -> [(&'static str, &'static [Migration]); 2] {
    [("courier", COURIER), ("role", role)]
}

/// Under which name the oldest format is noted whose program can work with this database.
fn oldest_reader_of(part: &str) -> String {
    format!("{part}: oldest reader")
}

/// The newest migration that an older program cannot work with; 1 if all since the first only add.
fn oldest_reader(migrations: &[Migration]) -> u32 {
    migrations
        .iter()
        .filter(|migration| migration.version == 1 || migration.sql.starts_with(BREAKS))
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0)
}

fn known(migrations: &[Migration]) -> u32 {
    migrations
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0)
}

fn found(sql: &Connection, part: &str) -> Result<u32, StoreError> {
    Ok(stored(sql, part)?.unwrap_or(0))
}

fn stored(sql: &Connection, part: &str) -> Result<Option<u32>, StoreError> {
    if !sql.table_exists(None, "format")? {
        return Ok(None);
    }
    Ok(sql
        .query_row("SELECT version FROM format WHERE part = ?1", [part], |row| {
            row.get(0)
        })
        .optional()?)
}
