//! The account server's tables, and the only SQL of this crate.
//!
//! Reads take a connection. Changes take a [`Draft`]: it numbers them, and its end writes the audit line and hands
//! the envelopes to the courier, so no change can be stored that the followers do not hear of.

use irsp_courier::store::{Migration, StoreError};
use irsp_protocol::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Error as SqlError, Row};

pub(crate) mod application;
pub(crate) mod audit;
pub(crate) mod binding;
mod certificate;
pub(crate) mod deletion;
pub(crate) mod device;
mod draft;
pub(crate) mod entity;
pub(crate) mod grant;
pub(crate) mod granted;
mod list;
pub(crate) mod login;
pub(crate) mod operation;
pub(crate) mod password;
pub(crate) mod peer;
pub(crate) mod repeat;
pub(crate) mod user;
pub(crate) mod version;

pub(crate) use draft::{Author, Committed, Draft};

pub(crate) static MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        sql: include_str!("schema.sql"),
    },
    Migration {
        version: 2,
        sql: include_str!("versions.sql"),
    },
    Migration {
        version: 3,
        sql: include_str!("audit.sql"),
    },
    Migration {
        version: 4,
        sql: include_str!("certificate.sql"),
    },
    Migration {
        version: 5,
        sql: include_str!("login.sql"),
    },
    Migration {
        version: 6,
        sql: include_str!("operation.sql"),
    },
    Migration {
        version: 7,
        sql: include_str!("deletion.sql"),
    },
    Migration {
        version: 8,
        sql: include_str!("granted.sql"),
    },
];

/// Reads a time that stands in column `column`.
fn time(row: &Row<'_>, column: usize) -> Result<Timestamp, SqlError> {
    row.get(column).map(Timestamp::from_millis)
}

/// Reads a number of a change, an operation or an audit line.
fn number(row: &Row<'_>, column: usize) -> Result<u64, SqlError> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|error| corrupt(column, error))
}

/// A number as SQLite keeps it. Beyond 2^63 changes nothing can be stored.
fn stored(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| StoreError::Full)
}

/// A row holds the state of another kind than its key says.
fn foreign(kind: &str) -> StoreError {
    StoreError::Corrupt(format!("the state stored for a {kind} is of another kind"))
}

fn corrupt(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> SqlError {
    SqlError::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}
