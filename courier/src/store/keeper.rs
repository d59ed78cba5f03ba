//! The writer's connection, and what it does when the disk fails it.
//!
//! After a failed fsync the kernel may take for clean what never reached the disk, and the next fsync says nothing of
//! it. So nothing more is committed to a log that has failed: the connection is opened anew, what the log holds is
//! copied into the database and the log begun anew, each with an fsync of its own; until that works, everything is
//! refused. A process that starts does not know how the one before it ended, so it begins like this.
//!
//! ```text
//! start --> Unproven --log emptied--> Well --I/O error--> Failing --opened anew, log emptied--> Well
//!                                       `--no room--> Full --log emptied, or not--> Well
//! ```

use std::path::PathBuf;

use rusqlite::Connection;

use super::commit::Disk;
use super::connect_writable;
use super::error::StoreError;

pub(super) struct Keeper {
    path: PathBuf,
    /// `None` after it could not be opened anew.
    sql: Option<Connection>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Unproven,
    Well,
    Full,
    Failing,
}

impl Keeper {
    pub(super) fn new(path: PathBuf, sql: Connection) -> Keeper {
        Keeper {
            path,
            sql: Some(sql),
            state: State::Unproven,
        }
    }

    /// The connection, if what is committed on it now will last.
    pub(super) fn ready(&mut self) -> Result<&Connection, StoreError> {
        match self.state {
            State::Well => {}
            State::Unproven => empty_log(self.open()?)?,
            State::Full => {
                // The room the log gives back may be all there is; without it, what fits still goes.
                if let Err(error) = empty_log(self.open()?) {
                    tracing::debug!(%error, "the log cannot be emptied");
                }
            }
            State::Failing => {
                self.sql = None;
                empty_log(self.open()?)?;
                tracing::warn!(path = %self.path.display(), "the disk takes writes again");
            }
        }
        self.state = State::Well;
        self.open()
    }

    /// What the last commit has shown of the disk.
    pub(super) fn saw(&mut self, disk: Disk) {
        self.state = match disk {
            Disk::Well => return,
            Disk::Full => State::Full,
            Disk::Failing => {
                tracing::error!(path = %self.path.display(), "the disk fails; all is refused until it takes writes again");
                State::Failing
            }
        };
    }

    /// What a killed process leaves in the log is recovered too; this only makes the next start quick.
    pub(super) fn close(self) {
        let emptied = self.sql.as_ref().map(empty_log);
        if let Some(Err(error)) = emptied {
            tracing::warn!(%error, "the write-ahead log could not be emptied");
        }
    }

    fn open(&mut self) -> Result<&Connection, StoreError> {
        let sql = match self.sql.take() {
            Some(sql) => sql,
            None => connect_writable(&self.path)?,
        };
        Ok(self.sql.insert(sql))
    }
}

/// Copies what the log holds into the database, syncs it and begins the log anew.
fn empty_log(sql: &Connection) -> Result<(), StoreError> {
    let busy: i64 = sql.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy == 0 {
        return Ok(());
    }
    Err(StoreError::Unavailable(
        "another process holds the database".to_owned(),
    ))
}
