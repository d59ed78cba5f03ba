//! Why the database said no, and the status each reason is refused with.

use std::path::PathBuf;

use irsp_protocol::Status;
use rusqlite::ErrorCode;
use thiserror::Error;

/// An error of the store or of what was asked of it.
#[derive(Debug, Error)]
pub enum StoreError {
    #[error("the disk or the database is full")]
    Full,
    #[error("too much waits to be written")]
    QueueFull,
    #[error("the database cannot be used just now: {0}")]
    Unavailable(String),
    #[error("the disk fails: {0}")]
    Io(String),
    #[error("{}: the {part} data have format {found}, this program knows {known}: start the newer program, or name another data directory", path.display())]
    NewerFormat {
        path: PathBuf,
        /// Whose migrations: the courier's own or the role's.
        part: &'static str,
        found: u32,
        known: u32,
    },
    #[error("{} cannot be opened: {reason}", path.display())]
    Open { path: PathBuf, reason: String },
    #[error("database error: {0}")]
    Sql(#[source] rusqlite::Error),
    #[error("a stored value is not understood: {0}")]
    Corrupt(String),
    #[error("the transaction panicked: {0}")]
    Panicked(String),
    /// Whoever runs the transaction says no; nothing of it is stored.
    #[error("{status}: {detail}")]
    Refused { status: Status, detail: String },
}

impl StoreError {
    pub fn refused(status: Status, detail: impl Into<String>) -> StoreError {
        StoreError::Refused {
            status,
            detail: detail.into(),
        }
    }

    /// The status a request is refused with because of this.
    pub fn status(&self) -> Status {
        match self {
            StoreError::Full | StoreError::QueueFull => Status::QUEUE_FULL,
            StoreError::Unavailable(_) | StoreError::Io(_) => Status::UNAVAILABLE,
            StoreError::Refused { status, .. } => *status,
            StoreError::NewerFormat { .. }
            | StoreError::Open { .. }
            | StoreError::Sql(_)
            | StoreError::Corrupt(_)
            | StoreError::Panicked(_) => Status::FAILED,
        }
    }

    /// Whether the disk is the reason, so that the rest of the same transaction cannot be trusted either.
    pub(crate) fn is_disk(&self) -> bool {
        match self {
            StoreError::Full | StoreError::Unavailable(_) | StoreError::Io(_) => true,
            StoreError::QueueFull
            | StoreError::NewerFormat { .. }
            | StoreError::Open { .. }
            | StoreError::Sql(_)
            | StoreError::Corrupt(_)
            | StoreError::Panicked(_)
            | StoreError::Refused { .. } => false,
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> StoreError {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreError::Full,
            Some(
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::OutOfMemory
                | ErrorCode::PermissionDenied,
            ) => StoreError::Unavailable(error.to_string()),
            Some(ErrorCode::SystemIoFailure | ErrorCode::ReadOnly | ErrorCode::CannotOpen) => {
                StoreError::Io(error.to_string())
            }
            Some(_) | None => StoreError::Sql(error),
        }
    }
}

impl From<serde_json::Error> for StoreError {
    fn from(error: serde_json::Error) -> StoreError {
        StoreError::Corrupt(error.to_string())
    }
}
