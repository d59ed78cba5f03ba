//! How fast a lane may send. No clock: whoever moves the lane tells the time first.

use std::num::NonZeroU32;
use std::time::Instant;

use crate::Allowance;

/// So many messages a second, as many at once.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: NonZeroU32,
    allowance: Allowance,
    /// The time that was told last.
    now: Option<Instant>,
}

impl Pace {
    pub(super) fn new(per_second: NonZeroU32) -> Pace {
        Pace {
            per_second,
            allowance: Allowance::default(),
            now: None,
        }
    }

    pub(super) fn refresh(&mut self, now: Instant) {
        self.now = Some(now);
    }

    /// How many messages may be sent now.
    pub(super) fn messages(&self) -> usize {
        let left = |now| self.allowance.left(self.per_second, now);
        self.now.map_or(self.per_second.get(), left) as usize
    }

    pub(super) fn sent(&mut self, now: Instant) {
        self.refresh(now);
        self.allowance.take(1, self.per_second, now);
    }

    /// When the next may be sent.
    pub(super) fn next(&self) -> Option<Instant> {
        self.now
            .map(|now| now + self.allowance.wait(1, self.per_second, now))
    }
}
