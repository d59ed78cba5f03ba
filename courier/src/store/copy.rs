//! Copies of a database: taken while it is written to, checked, and known as copies when a server starts on one.
//!
//! A server that starts on a copy goes on where the copy was taken; what happened since is known to others and not to
//! it. So the copy carries a mark, and each role does at its start what it takes to agree with the others again.

use std::fs::File;
use std::path::Path;
use std::time::Instant;

use irsp_protocol::Timestamp;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use super::error::StoreError;
use super::format::{self, Migration};
use super::{LOCK_WAIT, Store, connect};

/// Copies the database at `from` into a new file, as it stands at one moment. Others may read and write it meanwhile,
/// in this process or another.
pub fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
    let source = connect(from, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(unopened(from))?;
    let create = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let mut target = connect(to, create).map_err(unopened(to))?;
    let deadline = Instant::now() + LOCK_WAIT;
    {
        let backup = Backup::new(&source, &mut target)?;
        // All pages in one step: one read transaction, so nothing that is written meanwhile makes it begin anew.
        while backup.step(-1)? != StepResult::Done {
            if Instant::now() >= deadline {
                return Err(StoreError::Unavailable(
                    "another process holds the database".to_owned(),
                ));
            }
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
    }
    // One file, without a log beside it.
    target.pragma_update(None, "journal_mode", "DELETE")?;
    check(&target, to)?;
    drop(target);
    let synced = File::open(to).and_then(|file| file.sync_all());
    synced.map_err(|error| StoreError::Io(format!("{}: {error}", to.display())))
}

/// Refuses a database that is damaged, or of a format this program does not read.
pub fn inspect(path: &Path, role: &'static [Migration]) -> Result<(), StoreError> {
    let sql = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(unopened(path))?;
    format::refuse_newer(&sql, path, role)?;
    check(&sql, path)
}

/// Marks a copy, which no server uses yet, as restored at this time.
pub fn mark_restored(path: &Path, at: Timestamp) -> Result<(), StoreError> {
    let sql = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(unopened(path))?;
    sql.execute_batch(
        "CREATE TABLE IF NOT EXISTS restored (one INTEGER PRIMARY KEY CHECK (one = 1), at INTEGER NOT NULL) STRICT",
    )?;
    sql.execute(
        "INSERT OR REPLACE INTO restored (one, at) VALUES (1, ?1)",
        [at.as_millis()],
    )?;
    Ok(())
}

/// Takes the mark away, in the transaction that has done what follows from it.
pub fn forget_restored(sql: &Connection) -> Result<(), StoreError> {
    Ok(sql.execute_batch("DROP TABLE IF EXISTS restored")?)
}

impl Store {
    /// When this database was restored, if no server has run on it since.
    pub fn restored(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read_now(|sql| {
            // Asked of the file: what a connection remembers of the schema may be older.
            let marked = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'restored')";
            if !sql.query_row(marked, [], |row| row.get(0))? {
                return Ok(None);
            }
            let at = sql
                .query_row("SELECT at FROM restored", [], |row| row.get(0))
                .optional()?;
            Ok(at.map(Timestamp::from_millis))
        })
    }
}

fn check(sql: &Connection, path: &Path) -> Result<(), StoreError> {
    let found: String = sql.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    match found.as_str() {
        "ok" => Ok(()),
        damage => Err(StoreError::Corrupt(format!("{}: {damage}", path.display()))),
    }
}

fn unopened(path: &Path) -> impl FnOnce(rusqlite::Error) -> StoreError {
    move |error| StoreError::Open {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static TABLES: &[Migration] = &[Migration {
        version: 1,
        sql: "CREATE TABLE t (n INTEGER PRIMARY KEY)",
    }];

    #[test]
    fn a_copy_is_one_moment_of_a_database_that_is_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let (path, to) = (folder.path().join("app.db"), folder.path().join("copy.db"));
        let store = Store::open(&path, TABLES).unwrap();
        let writer = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
        writer.execute_batch("INSERT INTO t VALUES (1), (2)").unwrap();
        writer
            .execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (3)")
            .unwrap();
        copy(&path, &to).unwrap();
        writer.execute_batch("COMMIT").unwrap();
        let count = |path: &Path| -> i64 {
            let sql = Connection::open(path).unwrap();
            sql.query_row("SELECT count(*) FROM t", [], |row| row.get(0))
                .unwrap()
        };
        assert_eq!((count(&path), count(&to)), (3, 2));
        assert!(!to.with_extension("db-wal").exists());
        inspect(&to, TABLES).unwrap();
        assert_eq!(store.restored().unwrap(), None);
    }

    #[test]
    fn the_mark_of_a_restored_copy_stays_until_it_is_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        drop(Store::open(&path, TABLES).unwrap());
        let at = Timestamp::from_millis(7);
        mark_restored(&path, Timestamp::from_millis(1)).unwrap();
        mark_restored(&path, at).unwrap();
        let store = Store::open(&path, TABLES).unwrap();
        assert_eq!(store.restored().unwrap(), Some(at));
        forget_restored(&Connection::open(&path).unwrap()).unwrap();
        assert_eq!(store.restored().unwrap(), None);
    }

    #[test]
    fn what_is_no_database_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        std::fs::write(
            &path,
            "this is no database, however long the text may be ".repeat(100),
        )
        .unwrap();
        let to = folder.path().join("copy.db");
        assert!(copy(&path, &to).is_err());
        assert!(inspect(&path, TABLES).is_err());
        let missing = folder.path().join("missing.db");
        assert!(matches!(copy(&missing, &to), Err(StoreError::Open { .. })));
        assert!(!missing.exists());
    }
}
