//! When to send again: after a wait that doubles with every round without an answer, with jitter.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use irsp_protocol::MessageId;

pub(super) struct Retry {
    min: Duration,
    max: Duration,
    /// Before jitter.
    wait: Duration,
    jittered: Duration,
    random: u64,
    /// Sends in order of time. What has been answered since is passed over when its turn comes.
    sends: VecDeque<(Instant, MessageId)>,
}

impl Retry {
    pub(super) fn new(min: Duration, max: Duration, seed: u64) -> Retry {
        let mut retry = Retry {
            min,
            max: max.max(min),
            wait: min,
            jittered: min,
            random: seed | 1,
            sends: VecDeque::new(),
        };
        retry.restart();
        retry
    }

    pub(super) fn sent(&mut self, id: MessageId, now: Instant) {
        self.sends.push_back((now, id));
    }

    /// The other side lives: the next wait is the shortest again.
    pub(super) fn answered(&mut self) {
        if self.wait != self.min {
            self.set(self.min);
        }
    }

    /// All sends so far count no more; the wait is the shortest again.
    pub(super) fn restart(&mut self) {
        self.sends.clear();
        self.set(self.min);
    }

    /// All sends so far count no more. Whether the other side lives is as open as before.
    pub(super) fn nothing_waits(&mut self) {
        self.sends.clear();
    }

    pub(super) fn back_off(&mut self) {
        self.set((self.wait * 2).min(self.max));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.sends.front().map(|(at, _)| *at + self.jittered)
    }

    /// Takes off everything sent so long ago that it is due again, with the time of that sending.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(Instant, MessageId)> {
        let mut due = Vec::new();
        while let Some((at, id)) = self.sends.front() {
            if *at + self.jittered > now {
                break;
            }
            due.push((*at, *id));
            self.sends.pop_front();
        }
        due
    }

    /// Three quarters to all of the wait, so that many couriers do not knock in step.
    fn set(&mut self, wait: Duration) {
        self.wait = wait;
        // xorshift64: any even spread will do.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let quarter_ms = u64::try_from(wait.as_millis() / 4).unwrap_or(u64::MAX - 1);
        self.jittered = wait - Duration::from_millis(self.random % (quarter_ms + 1));
    }
}
