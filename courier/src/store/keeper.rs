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
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::commit::Disk;
use super::error::StoreError;
use super::{LOCK_WAIT, connect_writable};

/// Between two attempts to empty the log while somebody else does.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

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

/// Copies what the log holds into the database, syncs it and begins the log anew. SQLite itself waits for readers and
/// writers, but not for somebody else who empties the log.
fn empty_log(sql: &Connection) -> Result<(), StoreError> {
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        let busy: i64 = sql.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if busy == 0 {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(StoreError::Unavailable(
                "another process holds the database".to_owned(),
            ));
        }
        std::thread::park_timeout(LOOK_AGAIN);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn log_bytes(path: &Path) -> u64 {
        let log = path.with_extension("db-wal");
        log.metadata().map_or(0, |log| log.len())
    }

    fn count(sql: &Connection) -> i64 {
        sql.query_row("SELECT count(*) FROM t", [], |row| row.get(0))
            .unwrap()
    }

    #[test]
    fn nothing_is_committed_to_a_log_that_has_failed_or_that_another_process_has_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("message.db");
        let sql = connect_writable(&path).unwrap();
        sql.execute_batch("CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (1)")
            .unwrap();
        assert_ne!(log_bytes(&path), 0);
        let mut keeper = Keeper::new(path.clone(), sql);
        for (n, then) in [(2, Disk::Failing), (3, Disk::Full), (4, Disk::Failing)] {
            let sql = keeper.ready().unwrap();
            assert_eq!((count(sql), log_bytes(&path)), (n - 1, 0), "before {n}");
            sql.execute("INSERT INTO t VALUES (?1)", [n]).unwrap();
            assert_ne!(log_bytes(&path), 0);
            keeper.saw(Disk::Well);
            keeper.ready().unwrap();
            assert_ne!(log_bytes(&path), 0, "a disk that is well costs nothing");
            keeper.saw(then);
        }
        assert_eq!((count(keeper.ready().unwrap()), log_bytes(&path)), (4, 0));
    }

    #[test]
    fn a_disk_that_goes_on_failing_is_asked_again_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("message.db");
        let mut keeper = Keeper::new(path.clone(), connect_writable(&path).unwrap());
        keeper.ready().unwrap();
        keeper.saw(Disk::Failing);
        let away = folder.path().with_extension("away");
        std::fs::rename(folder.path(), &away).unwrap();
        assert!(matches!(keeper.ready(), Err(StoreError::Io(_))));
        assert!(matches!(keeper.ready(), Err(StoreError::Io(_))));
        std::fs::rename(&away, folder.path()).unwrap();
        keeper.ready().unwrap();
    }
}
