//! Many jobs in one commit.
//!
//! ```text
//! BEGIN IMMEDIATE -> run each job -> COMMIT (fsync) -> tell each
//! ```
//!
//! Jobs seldom say no. When one does, everything is rolled back and all run again, each within a savepoint, so that
//! this one is undone alone. When the disk says no, or the commit fails, everything is rolled back and the jobs run
//! again one by one, each with a transaction of its own, so that only the culprit fails; on a disk that fails all are
//! refused (`keeper`). A job may therefore run more than once before it is told once.

use rusqlite::Connection;

use super::effects::Effects;
use super::error::StoreError;
use super::ledger;
use super::tx::{Care, Context, Tx};
use super::young;
use crate::lock::lock;

/// Something to be written.
pub(crate) trait Job: Send {
    /// Makes the changes; may be called again if the transaction did not last.
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError>;

    /// The changes are on disk, or will not be. Called once, on the writer's thread: it must not block.
    fn done(self: Box<Self>, result: Result<(), StoreError>);
}

/// What a commit has shown of the disk, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Disk {
    Well,
    /// No room.
    Full,
    /// Nothing it says can be believed any more.
    Failing,
}

pub(crate) fn write(sql: &Connection, context: &Context, mut jobs: Vec<Box<dyn Job>>) -> Disk {
    match commit(sql, context, &mut jobs) {
        Ok((results, effects)) => {
            for (job, result) in jobs.into_iter().zip(results) {
                job.done(result);
            }
            publish(context, effects);
            Disk::Well
        }
        Err(Failure::Begin(error)) => {
            tracing::warn!(%error, jobs = jobs.len(), "the database does not let us write");
            refuse(jobs, &error)
        }
        Err(Failure::Work(error)) if jobs.len() == 1 || disk(&error) == Disk::Failing => {
            tracing::warn!(%error, jobs = jobs.len(), "a write failed");
            refuse(jobs, &error)
        }
        Err(Failure::Work(error)) => {
            tracing::warn!(%error, jobs = jobs.len(), "a commit failed; its parts are tried one by one");
            let mut worst = disk(&error);
            for job in jobs {
                worst = worst.max(match worst {
                    Disk::Failing => refuse(vec![job], &error),
                    Disk::Well | Disk::Full => write(sql, context, vec![job]),
                });
            }
            worst
        }
    }
}

/// Tells each job that it is not stored, and says what that shows of the disk.
pub(crate) fn refuse(jobs: Vec<Box<dyn Job>>, error: &StoreError) -> Disk {
    for job in jobs {
        job.done(Err(again(error)));
    }
    disk(error)
}

fn disk(error: &StoreError) -> Disk {
    match error {
        StoreError::Full => Disk::Full,
        StoreError::Io(_) => Disk::Failing,
        StoreError::QueueFull
        | StoreError::Unavailable(_)
        | StoreError::NewerFormat { .. }
        | StoreError::Open { .. }
        | StoreError::Sql(_)
        | StoreError::Corrupt(_)
        | StoreError::Panicked(_)
        | StoreError::Refused { .. } => Disk::Well,
    }
}

/// Why a transaction as a whole came to nothing.
enum Failure {
    Begin(StoreError),
    Work(StoreError),
}

type Outcome = (Vec<Result<(), StoreError>>, Effects);

/// Why an attempt was rolled back.
enum Undone {
    /// A job said no; with savepoints the others can be kept.
    Spoiled,
    Failed(Failure),
}

fn commit(sql: &Connection, context: &Context, jobs: &mut [Box<dyn Job>]) -> Result<Outcome, Failure> {
    let trusted = attempt(sql, context, jobs, Care::Trusting);
    let done = match trusted {
        Err(Undone::Spoiled) => attempt(sql, context, jobs, Care::Guarding),
        Ok(_) | Err(Undone::Failed(_)) => trusted,
    };
    let done = done.map_err(|undone| match undone {
        Undone::Failed(failure) => failure,
        Undone::Spoiled => Failure::Work(StoreError::Unavailable("a job could not be undone".to_owned())),
    });
    done.inspect_err(|failure| {
        let (Failure::Begin(error) | Failure::Work(error)) = failure;
        context.metrics.store_error(error.status());
    })
}

fn attempt(
    sql: &Connection,
    context: &Context,
    jobs: &mut [Box<dyn Job>],
    care: Care,
) -> Result<Outcome, Undone> {
    execute(sql, "BEGIN IMMEDIATE").map_err(|error| Undone::Failed(Failure::Begin(error)))?;
    let mut effects = Effects::default();
    let worked = learn(sql, context)
        .map_err(|error| Undone::Failed(Failure::Work(error)))
        .and_then(|()| work(sql, context, jobs, &mut effects, care));
    match &worked {
        Ok(_) => lock(&context.usage).keep(),
        Err(_) => lock(&context.usage).abandon(),
    }
    if worked.is_err()
        && !sql.is_autocommit()
        && let Err(error) = execute(sql, "ROLLBACK")
    {
        tracing::error!(%error, "a transaction could not be rolled back");
    }
    worked.map(|results| (results, effects))
}

/// Counts what the disk holds, the first time.
fn learn(sql: &Connection, context: &Context) -> Result<(), StoreError> {
    lock(&context.usage).learn(sql)
}

fn work(
    sql: &Connection,
    context: &Context,
    jobs: &mut [Box<dyn Job>],
    effects: &mut Effects,
    mut care: Care,
) -> Result<Vec<Result<(), StoreError>>, Undone> {
    let failed = |error| Undone::Failed(Failure::Work(error));
    let now = context.clock.now().wall;
    let mut results = Vec::with_capacity(jobs.len());
    for job in jobs {
        let result = Tx::new(sql, now, context, effects, &mut care).guarded(|tx| job.run(tx));
        match result {
            Err(error) if error.is_disk() || sql.is_autocommit() => return Err(failed(error)),
            // A part of the job may have failed and been taken for a verdict.
            Ok(()) | Err(_) if care == Care::Spoiled => return Err(Undone::Spoiled),
            Ok(()) | Err(_) => results.push(result),
        }
    }
    ledger::add(sql, effects).map_err(failed)?;
    if let (Some(first), Some(last)) = (effects.stored.first(), effects.stored.last()) {
        young::grow(sql, first.seq, last.seq).map_err(failed)?;
    }
    let began = context.clock.now().instant;
    execute(sql, "COMMIT").map_err(failed)?;
    let took = context.clock.now().instant.saturating_duration_since(began);
    context.metrics.committed(results.len(), took);
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        context.metrics.refused(error.status());
    }
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
        StoreError::Io(text) => StoreError::Io(text.clone()),
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
