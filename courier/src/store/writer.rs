//! The writer: one thread, one connection, and all that was asked for meanwhile in one commit.
//!
//! ```text
//! take everything queued -> BEGIN IMMEDIATE -> run each within a savepoint -> COMMIT (fsync) -> tell each
//! ```
//!
//! A job that says no is undone alone. When the disk says no, or the commit fails, everything is rolled back and the
//! jobs run again one by one, each with a transaction of its own, so that only the culprit fails. A job may therefore
//! run more than once before it is told once.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::SystemTime;

use irsp_protocol::Timestamp;
use rusqlite::Connection;

use super::error::StoreError;
use super::ledger;
use super::lock;
use super::tx::{Context, Effects, Tx};

/// Jobs that may wait for the writer: more than a second of work at the rate of a fast disk.
const JOBS_MAX: usize = 65_536;

/// Something to be written.
pub(crate) trait Job: Send {
    /// Makes the changes; may be called again if the transaction did not last.
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError>;

    /// The changes are on disk, or will not be. Called once, on the writer's thread: it must not block.
    fn done(self: Box<Self>, result: Result<(), StoreError>);
}

/// Which jobs are refused when too many wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// What others ask for.
    Bounded,
    /// The courier's own work, bounded by its windows.
    Own,
}

/// The handle of the writer's thread; without one the thread ends.
pub(crate) struct Writer {
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    jobs: Vec<Box<dyn Job>>,
    /// The thread waits to be woken.
    asleep: bool,
    closing: bool,
}

impl Writer {
    pub(super) fn start(sql: Connection, context: Context) -> Result<Writer, StoreError> {
        let queue = Arc::new(Queue::default());
        let theirs = Arc::clone(&queue);
        let thread = std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || run(&sql, &context, &theirs))
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(Writer {
            queue,
            thread: Mutex::new(Some(thread)),
        })
    }

    pub(crate) fn submit(&self, job: Box<dyn Job>, admission: Admission) {
        let refusal = {
            let mut state = lock(&self.queue.state);
            if state.closing {
                StoreError::Unavailable("the server is stopping".to_owned())
            } else if admission == Admission::Bounded && state.jobs.len() >= JOBS_MAX {
                StoreError::QueueFull
            } else {
                state.jobs.push(job);
                if std::mem::take(&mut state.asleep) {
                    self.queue.wake.notify_one();
                }
                return;
            }
        };
        job.done(Err(refusal));
    }

    /// Refuses new jobs, finishes those that wait, and gives the thread to be joined; `None` the second time.
    pub(crate) fn close(&self) -> Option<JoinHandle<()>> {
        lock(&self.queue.state).closing = true;
        self.queue.wake.notify_one();
        lock(&self.thread).take()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Not joined: the last handle may be dropped by a job, on the thread itself.
        drop(self.close());
    }
}

impl Queue {
    /// All that waits; `None` once closing and empty.
    fn take(&self) -> Option<Vec<Box<dyn Job>>> {
        let mut state = lock(&self.state);
        while state.jobs.is_empty() {
            if state.closing {
                return None;
            }
            state.asleep = true;
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.asleep = false;
        Some(std::mem::take(&mut state.jobs))
    }
}

fn run(sql: &Connection, context: &Context, queue: &Queue) {
    while let Some(jobs) = queue.take() {
        write(sql, context, jobs);
    }
    // What a killed process leaves in the log is recovered too; this only makes the next start quick.
    if let Err(error) = sql.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
        tracing::warn!(%error, "the write-ahead log could not be emptied");
    }
}

fn write(sql: &Connection, context: &Context, mut jobs: Vec<Box<dyn Job>>) {
    match commit(sql, context, &mut jobs) {
        Ok((results, effects)) => {
            for (job, result) in jobs.into_iter().zip(results) {
                job.done(result);
            }
            publish(context, effects);
        }
        Err(Failure::Begin(error)) => {
            tracing::error!(%error, jobs = jobs.len(), "the database does not let us write");
            for job in jobs {
                job.done(Err(again(&error)));
            }
        }
        Err(Failure::Work(error)) if jobs.len() == 1 => {
            tracing::error!(%error, "a write failed");
            for job in jobs {
                job.done(Err(again(&error)));
            }
        }
        Err(Failure::Work(error)) => {
            tracing::error!(%error, jobs = jobs.len(), "a commit failed; its parts are tried one by one");
            for job in jobs {
                write(sql, context, vec![job]);
            }
        }
    }
}

/// Why a transaction as a whole came to nothing.
enum Failure {
    Begin(StoreError),
    Work(StoreError),
}

type Outcome = (Vec<Result<(), StoreError>>, Effects);

fn commit(sql: &Connection, context: &Context, jobs: &mut [Box<dyn Job>]) -> Result<Outcome, Failure> {
    execute(sql, "BEGIN IMMEDIATE").map_err(Failure::Begin)?;
    let mut effects = Effects::default();
    let worked = work(sql, context, jobs, &mut effects);
    if worked.is_err()
        && !sql.is_autocommit()
        && let Err(error) = execute(sql, "ROLLBACK")
    {
        tracing::error!(%error, "a transaction could not be rolled back");
    }
    worked.map(|results| (results, effects)).map_err(Failure::Work)
}

fn work(
    sql: &Connection,
    context: &Context,
    jobs: &mut [Box<dyn Job>],
    effects: &mut Effects,
) -> Result<Vec<Result<(), StoreError>>, StoreError> {
    let now = Timestamp::from(SystemTime::now());
    let mut results = Vec::with_capacity(jobs.len());
    for job in jobs {
        let result = Tx::new(sql, now, context, effects).guarded(|tx| job.run(tx));
        match result {
            Err(error) if error.is_disk() || sql.is_autocommit() => return Err(error),
            Ok(()) | Err(_) => results.push(result),
        }
    }
    ledger::add(sql, effects)?;
    execute(sql, "COMMIT")?;
    Ok(results)
}

fn publish(context: &Context, effects: Effects) {
    if !effects.is_empty() {
        (context.committed)(effects);
    }
}

fn execute(sql: &Connection, statement: &str) -> Result<(), StoreError> {
    sql.prepare_cached(statement)?.execute([])?;
    Ok(())
}

/// The same error for another job.
fn again(error: &StoreError) -> StoreError {
    match error {
        StoreError::Full => StoreError::Full,
        StoreError::QueueFull => StoreError::QueueFull,
        StoreError::Refused { status, detail } => StoreError::refused(*status, detail.clone()),
        StoreError::Panicked(text) => StoreError::Panicked(text.clone()),
        StoreError::Corrupt(text) => StoreError::Corrupt(text.clone()),
        StoreError::Unavailable(_)
        | StoreError::NewerFormat { .. }
        | StoreError::Open { .. }
        | StoreError::Sql(_) => StoreError::Unavailable(error.to_string()),
    }
}
