//! The database: one file per server, one writer, and the only place of this crate that knows SQL.
//!
//! WAL with `synchronous = FULL`: when a commit returns, it is on disk. Writes go through the writer's thread
//! (`writer`), many to a commit; reads have connections of their own and see committed states only.

mod answer;
mod commit;
mod copy;
mod dead;
mod effects;
mod error;
mod format;
mod keeper;
mod ledger;
mod message;
mod operate;
mod order;
mod probe;
mod receipt;
mod receive;
mod repeat;
mod seen;
mod service;
mod supersede;
mod sweep;
mod text;
mod tx;
mod usage;
mod writer;
mod young;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use irsp_protocol::Timestamp;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use crate::hop::Hop;
use crate::lock::lock;
use keeper::Keeper;

pub use copy::{copy, forget_restored, inspect, mark_restored};
pub use error::StoreError;
pub use format::Migration;
pub use service::{ServiceAnswer, ServiceHead, service_head, service_senders};
pub use tx::Tx;

pub(crate) use answer::Told;
pub(crate) use commit::{Job, write};
pub(crate) use dead::{count as count_dead_letters, one as dead_letter, page as dead_letters};
pub(crate) use effects::{Effects, EndedRow, Left};
pub(crate) use format::migrate;
pub(crate) use ledger::{oldest, read as read_ledger, with_in_flight};
pub(crate) use message::{End, Page, Progress, cause as read_cause, load, progress};
pub(crate) use operate::Failed;
pub(crate) use order::Order;
pub(crate) use probe::probe;
pub(crate) use receipt::{page as read_receipts, read as read_receipt, received as read_received};
pub(crate) use receive::Verdict;
pub(crate) use sweep::{Retention, Swept, sweep, sweep_hop};
pub(crate) use tx::Context;
pub(crate) use usage::Usage;
pub(crate) use writer::{Admission, Writer};

/// How long a connection waits for another one's lock. Only a foreign process can hold one for longer than a commit.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// Reads at the same time; more wait. Each has a connection with its page cache.
const READS_MAX: usize = 8;
/// Statements a connection keeps prepared: all of ours and a role's.
const STATEMENTS_MAX: usize = 128;
/// Pages the writer keeps in memory, KiB: the ends of all its indexes, so that it seldom reads what it writes to.
const WRITER_CACHE_KIB: i64 = 16 << 10;
/// Pages in the write-ahead log at which they are written to their places: pages that change with every commit, as the
/// ends of indexes do, are so written once for many commits.
const CHECKPOINT_PAGES: u32 = 4000;
/// Above this the write-ahead log's file is cut after a checkpoint.
const LOG_BYTES_MAX: u32 = 64 << 20;

/// A server's database.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    /// Until the courier that starts the writer takes it.
    writable: Mutex<Option<Connection>>,
    idle: Mutex<Vec<Connection>>,
    reads: Arc<Semaphore>,
}

impl Store {
    /// How many messages wait for a hop, and when the oldest of them was accepted.
    pub async fn queue(&self, hop: Hop) -> Result<(u64, Option<Timestamp>), StoreError> {
        self.read(move |sql| message::queue(sql, &hop)).await
    }

    /// Opens or makes the database at `path`, brings it to the newest format and refuses one that is newer.
    pub fn open(path: &Path, migrations: &'static [Migration]) -> Result<Store, StoreError> {
        let cannot = |reason: String| StoreError::Open {
            path: path.to_owned(),
            reason,
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| cannot(error.to_string()))?;
        }
        let mut sql = connect_writable(path).map_err(|error| cannot(error.to_string()))?;
        if let Err(error) = migrate(&mut sql, path, migrations) {
            return Err(if matches!(error, StoreError::NewerFormat { .. }) {
                error
            } else {
                cannot(error.to_string())
            });
        }
        Ok(Store {
            inner: Arc::new(Inner {
                path: path.to_owned(),
                writable: Mutex::new(Some(sql)),
                idle: Mutex::new(Vec::new()),
                reads: Arc::new(Semaphore::new(READS_MAX)),
            }),
        })
    }

    /// Reads on a connection of its own, on a blocking thread.
    pub async fn read<R: Send + 'static>(
        &self,
        f: impl FnOnce(&Connection) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        let permit = Arc::clone(&self.inner.reads)
            .acquire_owned()
            .await
            .map_err(|_| StoreError::Unavailable("closed".to_owned()))?;
        let store = self.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let result = store.read_now(f);
            drop(permit);
            result
        });
        reading
            .await
            .unwrap_or_else(|error| Err(StoreError::Panicked(error.to_string())))
    }

    /// The same on the calling thread, for start-up.
    pub fn read_now<R>(&self, f: impl FnOnce(&Connection) -> Result<R, StoreError>) -> Result<R, StoreError> {
        let kept = lock(&self.inner.idle).pop();
        let sql = match kept {
            Some(sql) => sql,
            None => {
                let sql = connect(&self.inner.path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
                sql.pragma_update(None, "query_only", true)?;
                sql
            }
        };
        let result = f(&sql);
        // A connection left inside a transaction would read the past for ever.
        if sql.is_autocommit() {
            let mut idle = lock(&self.inner.idle);
            if idle.len() < READS_MAX {
                idle.push(sql);
            }
        }
        result
    }

    /// Starts the writer. A database has one; a second courier on it is refused.
    pub(crate) fn start_writer(&self, context: Context) -> Result<Writer, StoreError> {
        let sql = lock(&self.inner.writable)
            .take()
            .ok_or_else(|| StoreError::Unavailable("another courier writes to it".to_owned()))?;
        Writer::start(Keeper::new(self.inner.path.clone(), sql), context)
    }
}

/// A connection whose commits are on disk when they return. Of these there is one at a time.
fn connect_writable(path: &Path) -> Result<Connection, rusqlite::Error> {
    let sql = connect(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
    )?;
    sql.pragma_update(None, "journal_mode", "WAL")?;
    sql.pragma_update(None, "synchronous", "FULL")?;
    sql.pragma_update(None, "journal_size_limit", LOG_BYTES_MAX)?;
    sql.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    sql.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    // What a savepoint would undo is kept in memory, not written to a file for every page touched.
    sql.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(sql)
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, rusqlite::Error> {
    let sql = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    sql.busy_timeout(LOCK_WAIT)?;
    sql.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(sql)
}
