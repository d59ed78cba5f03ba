//! Answers the disk has refused and whose givers cannot be told: the principal has forgotten them, so they are kept
//! here and tried again until they are stored. As many as its window, for each principal.

use std::time::{Duration, Instant};

use super::answer::PrincipalAnswer;
use crate::clock::Now;

/// Between two attempts.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Unstored {
    answers: Vec<PrincipalAnswer>,
    retry_at: Option<Instant>,
}

impl Unstored {
    pub(super) fn keep(&mut self, answers: Vec<PrincipalAnswer>, now: Now) {
        if !answers.is_empty() {
            self.answers.extend(answers);
            self.retry_at.get_or_insert(now.instant + RETRY);
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.retry_at
    }

    /// What is due; empty before its time.
    pub(super) fn take(&mut self, now: Now) -> Vec<PrincipalAnswer> {
        if self.retry_at.is_some_and(|at| at <= now.instant) {
            self.retry_at = None;
            return std::mem::take(&mut self.answers);
        }
        Vec::new()
    }
}
