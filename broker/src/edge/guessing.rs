//! Slows down guessing at the MQTT door: who fails again and again hears so later each time.
//!
//! Only the answer to a wrong secret is late; a right one is let in at once, whoever else fails beside it. So nobody
//! can lock a device out, not even from its own address. Waiting holds the guesser's own connection and its place
//! among those of its address. Pure: the caller gives the time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use irsp_protocol::Principal;

/// Failures are forgotten after this time without another.
const FORGET: Duration = Duration::from_secs(900);
/// Guessers remembered at once. Beyond it the others are all forgotten: a table is no reason to refuse anybody.
const GUESSERS_MAX: usize = 100_000;

/// Who guesses: from where, and whom it claims to be, if that is a name at all.
pub(super) type Guesser = (IpAddr, Option<Principal>);

/// How failed logins are slowed down.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Failures that are answered at once.
    pub(super) free: u32,
    /// How late the first further answer is; it doubles with each failure.
    pub(super) delay: Duration,
    /// The latest answer.
    pub(super) delay_max: Duration,
}

/// Failed logins of late.
#[derive(Debug)]
pub(super) struct Guessing {
    patience: Patience,
    failures: HashMap<Guesser, Failures>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Guessing {
    pub(super) fn new(patience: Patience) -> Guessing {
        Guessing {
            patience,
            failures: HashMap::new(),
        }
    }

    /// Counts a failure; returns how long to wait with the answer.
    pub(super) fn failed(&mut self, guesser: Guesser, now: Instant) -> Duration {
        if self.failures.len() >= GUESSERS_MAX {
            self.failures.retain(|_, failures| now < failures.last + FORGET);
            if self.failures.len() >= GUESSERS_MAX {
                self.failures.clear();
            }
        }
        let failures = self
            .failures
            .entry(guesser)
            .or_insert(Failures { count: 0, last: now });
        if now >= failures.last + FORGET {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
        let Some(late) = failures
            .count
            .checked_sub(self.patience.free)
            .filter(|late| *late > 0)
        else {
            return Duration::ZERO;
        };
        let times = 1_u32.checked_shl(late - 1).unwrap_or(u32::MAX);
        self.patience
            .delay
            .saturating_mul(times)
            .min(self.patience.delay_max)
    }

    /// The right secret was shown.
    pub(super) fn succeeded(&mut self, guesser: &Guesser) {
        self.failures.remove(guesser);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: u32 = 5;

    fn guessing() -> Guessing {
        Guessing::new(Patience {
            free: FREE,
            delay: Duration::from_millis(100),
            delay_max: Duration::from_secs(2),
        })
    }

    fn guesser(address: &str, name: &str) -> Guesser {
        (address.parse().unwrap(), name.parse().ok())
    }

    #[test]
    fn the_answer_comes_later_each_time_and_not_later_than_the_latest() {
        let (mut guessing, now) = (guessing(), Instant::now());
        let mut delays = Vec::new();
        for _ in 0..FREE + 8 {
            let delay = guessing.failed(guesser("10.0.0.1", "dev/lamp-1"), now);
            delays.push(delay.as_millis());
        }
        assert_eq!(
            delays,
            [0, 0, 0, 0, 0, 100, 200, 400, 800, 1_600, 2_000, 2_000, 2_000]
        );
    }

    #[test]
    fn others_success_and_time_are_answered_at_once() {
        let (mut guessing, now) = (guessing(), Instant::now());
        let lamp = guesser("10.0.0.1", "dev/lamp-1");
        for _ in 0..=FREE {
            guessing.failed(lamp.clone(), now);
        }
        for other in [
            guesser("10.0.0.2", "dev/lamp-1"),
            guesser("10.0.0.1", "dev/lamp-2"),
            guesser("10.0.0.1", "no name"),
        ] {
            assert_eq!(guessing.failed(other, now), Duration::ZERO);
        }
        assert_eq!(guessing.failed(lamp.clone(), now + FORGET), Duration::ZERO);
        for _ in 0..=FREE {
            guessing.failed(lamp.clone(), now + FORGET);
        }
        guessing.succeeded(&lamp);
        assert_eq!(guessing.failed(lamp, now + FORGET), Duration::ZERO);
    }

    #[test]
    fn nothing_is_delayed_if_there_is_no_delay() {
        let mut guessing = Guessing::new(Patience {
            free: 0,
            delay: Duration::ZERO,
            delay_max: Duration::from_secs(2),
        });
        for _ in 0..40 {
            let delay = guessing.failed(guesser("10.0.0.1", "dev/lamp-1"), Instant::now());
            assert_eq!(delay, Duration::ZERO);
        }
    }

    #[test]
    fn the_memory_is_bounded() {
        let (mut guessing, now) = (guessing(), Instant::now());
        for n in 0..GUESSERS_MAX + 10 {
            let name = format!("dev/d{n}");
            guessing.failed(guesser("10.0.0.1", &name), now);
        }
        assert!(guessing.failures.len() <= GUESSERS_MAX);
    }
}
