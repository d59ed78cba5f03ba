//! The writer: one thread, one connection, and all that was asked for meanwhile in one commit (`commit`).

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::commit::{self, Job};
use super::error::StoreError;
use super::keeper::Keeper;
use super::tx::Context;
use crate::lock::lock;

/// Jobs that may wait for the writer: more than a second of work at the rate of a fast disk.
const JOBS_MAX: usize = 65_536;

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
    /// Jobs refused because too many waited.
    overflows: u64,
}

impl Writer {
    pub(super) fn start(keeper: Keeper, context: Context) -> Result<Writer, StoreError> {
        let queue = Arc::new(Queue::default());
        let theirs = Arc::clone(&queue);
        let thread = std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || run(keeper, &context, &theirs))
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
                state.overflows += 1;
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

    /// How many jobs wait, and how many were refused because too many waited.
    pub(crate) fn waiting(&self) -> (usize, u64) {
        let state = lock(&self.queue.state);
        (state.jobs.len(), state.overflows)
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

fn run(mut keeper: Keeper, context: &Context, queue: &Queue) {
    while let Some(jobs) = queue.take() {
        let disk = match keeper.ready() {
            Ok(sql) => commit::write(sql, context, jobs),
            Err(error) => {
                tracing::debug!(%error, jobs = jobs.len(), "refused: the disk is not well");
                commit::refuse(jobs, &error);
                continue;
            }
        };
        keeper.saw(disk);
    }
    keeper.close();
}
