//! When to sweep: at the next expiry, and now and then for what is old. Nothing to sweep, no timer.

use std::time::{Duration, Instant};

use irsp_protocol::Timestamp;

use crate::clock::Now;
use crate::store::{Retention, StoreError, Swept};

/// A clock that jumps is noticed after this at the latest, while something is due.
const CLOCK_TRUST: Duration = Duration::from_secs(600);
/// Between two sweeps, so that many expiries share one.
const PAUSE: Duration = Duration::from_millis(50);
/// Between two sweeps for what is old alone.
const PRUNE_PAUSE: Duration = Duration::from_secs(60);
/// After one that failed.
const FAILURE_PAUSE: Duration = Duration::from_secs(5);
/// Rows written after which old ones are counted again.
const ROWS_WRITTEN_MAX: u32 = 100_000;

pub(super) struct Upkeep {
    retention: Retention,
    running: bool,
    /// When the next message expires.
    due: Option<Timestamp>,
    /// When the oldest receipt or memory may go.
    prune: Option<Timestamp>,
    written: u32,
    not_before: Option<Instant>,
    prune_not_before: Option<Instant>,
}

impl Upkeep {
    pub(super) fn new(retention: Retention) -> Upkeep {
        Upkeep {
            retention,
            running: false,
            due: None,
            prune: None,
            written: 0,
            not_before: None,
            prune_not_before: None,
        }
    }

    /// A message was stored that expires then.
    pub(super) fn expires(&mut self, at: Timestamp) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Something was stored that will be old one day.
    pub(super) fn wrote(&mut self, now: Now) {
        self.written += 1;
        let old = now.wall.plus(self.retention.receipts.min(self.retention.seen));
        self.prune.get_or_insert(old);
        if self.written >= ROWS_WRITTEN_MAX {
            self.written = 0;
            self.prune = Some(now.wall);
        }
    }

    pub(super) fn begin(&mut self, now: Now) {
        self.running = true;
        self.written = 0;
        // Taken by the sweep; what is stored from here on may come too late for it.
        self.due = None;
        self.prune = None;
        self.not_before = Some(now.instant + PAUSE);
        self.prune_not_before = Some(now.instant + PRUNE_PAUSE);
    }

    pub(super) fn end(&mut self, result: Result<Swept, StoreError>, now: Now) {
        self.running = false;
        match result {
            Ok(swept) => {
                self.due = [self.due, swept.due].into_iter().flatten().min();
                self.prune = [self.prune, swept.prune].into_iter().flatten().min();
                if swept.more {
                    self.due = Some(now.wall);
                    self.not_before = None;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "expired and old messages could not be swept; tried again");
                self.due = Some(now.wall);
                self.not_before = Some(now.instant + FAILURE_PAUSE);
            }
        }
    }

    pub(super) fn next(&self, now: Now) -> Option<Instant> {
        if self.running {
            return None;
        }
        let at = |due: Timestamp, not_before: Option<Instant>| {
            let at = now.instant + due.since(now.wall).min(CLOCK_TRUST);
            not_before.map_or(at, |not_before| at.max(not_before))
        };
        let due = self.due.map(|due| at(due, self.not_before));
        let prune = self.prune.map(|due| at(due, self.prune_not_before));
        [due, prune].into_iter().flatten().min()
    }

    pub(super) fn is_due(&self, now: Now) -> bool {
        self.next(now).is_some_and(|at| at <= now.instant)
    }
}
