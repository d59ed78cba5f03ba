//! Slows down guessing: whoever fails again and again at one door waits longer each time.
//!
//! The key names the door *and* who stands before it (user and address, device and user), so nobody can lock
//! somebody else out. An attempt counts as failed from the moment it is admitted, so that many at once do not all slip
//! through; a success takes the count away. Pure: the caller gives the time.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use irsp_protocol::Timestamp;

/// Failures that cost nothing: people mistype.
const FREE: u32 = 5;
/// The wait after the first failure that is not free; it doubles with each further one.
const DELAY: Duration = Duration::from_secs(1);
/// The longest wait.
const DELAY_MAX: Duration = Duration::from_secs(300);
/// Failures are forgotten after this time without an attempt.
const FORGET: Duration = Duration::from_secs(900);
/// Doors remembered at once; beyond it the one longest untouched is forgotten.
const DOORS_MAX: usize = 100_000;

#[derive(Debug)]
pub(crate) struct Throttle<K> {
    doors: HashMap<K, Failures>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Timestamp,
}

impl Failures {
    /// From when on the next attempt is admitted.
    fn next(self) -> Timestamp {
        let Some(doublings) = self.count.checked_sub(FREE) else {
            return self.last;
        };
        let delay = DELAY.saturating_mul(1u32.checked_shl(doublings).unwrap_or(u32::MAX));
        self.last.plus(delay.min(DELAY_MAX))
    }

    fn is_forgotten(self, now: Timestamp) -> bool {
        now.since(self.last) >= FORGET
    }
}

impl<K: Clone + Eq + Hash> Throttle<K> {
    pub(crate) fn new() -> Throttle<K> {
        Throttle {
            doors: HashMap::new(),
        }
    }

    /// Admits one attempt, or says how long to wait.
    pub(crate) fn admit(&mut self, key: &K, now: Timestamp) -> Result<(), Duration> {
        let failures = self
            .doors
            .get(key)
            .copied()
            .filter(|failures| !failures.is_forgotten(now));
        // A clock set back must not shut a door for longer than the longest delay.
        if let Some(failures) = failures
            && failures.next() > now
            && failures.last <= now
        {
            return Err(failures.next().since(now));
        }
        if failures.is_none() {
            self.make_room(now);
        }
        let count = failures.map_or(0, |failures| failures.count).saturating_add(1);
        self.doors.insert(key.clone(), Failures { count, last: now });
        Ok(())
    }

    /// The admitted attempt was not made after all.
    pub(crate) fn take_back(&mut self, key: &K) {
        if let Some(failures) = self.doors.get_mut(key) {
            failures.count = failures.count.saturating_sub(1);
        }
    }

    /// The admitted attempt was right.
    pub(crate) fn succeeded(&mut self, key: &K) {
        self.doors.remove(key);
    }

    fn make_room(&mut self, now: Timestamp) {
        if self.doors.len() < DOORS_MAX {
            return;
        }
        self.doors.retain(|_, failures| !failures.is_forgotten(now));
        if self.doors.len() >= DOORS_MAX {
            let oldest = self
                .doors
                .iter()
                .min_by_key(|(_, failures)| failures.last)
                .map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                self.doors.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn the_wait_grows_with_each_failure_and_has_an_end() {
        let mut throttle = Throttle::new();
        let mut now = at(0);
        for _ in 0..FREE {
            assert_eq!(throttle.admit(&"ann", now), Ok(()));
        }
        let mut waits = Vec::new();
        for _ in 0..12 {
            let wait = throttle.admit(&"ann", now).unwrap_err();
            waits.push(wait.as_secs());
            now = now.plus(wait);
            assert_eq!(throttle.admit(&"ann", now), Ok(()));
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    }

    #[test]
    fn one_who_fails_does_not_lock_out_another() {
        let mut throttle = Throttle::new();
        for _ in 0..=FREE {
            let _ = throttle.admit(&("ann", "10.0.0.66"), at(0));
        }
        assert!(throttle.admit(&("ann", "10.0.0.66"), at(0)).is_err());
        assert_eq!(throttle.admit(&("ann", "10.0.0.1"), at(0)), Ok(()));
    }

    #[test]
    fn success_and_time_take_the_count_away() {
        let mut throttle = Throttle::new();
        for _ in 0..FREE {
            let _ = throttle.admit(&"ann", at(0));
        }
        assert!(throttle.admit(&"ann", at(1)).is_err());
        assert_eq!(throttle.admit(&"ann", at(0).plus(FORGET)), Ok(()));
        for _ in 1..FREE {
            let _ = throttle.admit(&"ann", at(0).plus(FORGET));
        }
        throttle.succeeded(&"ann");
        assert_eq!(throttle.admit(&"ann", at(0).plus(FORGET)), Ok(()));
    }

    #[test]
    fn a_clock_set_back_shuts_nobody_out() {
        let mut throttle = Throttle::new();
        for _ in 0..=FREE {
            let _ = throttle.admit(&"ann", at(1_000_000_000));
        }
        assert_eq!(throttle.admit(&"ann", at(0)), Ok(()));
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut throttle = Throttle::new();
        for n in 0..DOORS_MAX + 10 {
            let _ = throttle.admit(&n, at(n as i64));
        }
        assert_eq!(throttle.doors.len(), DOORS_MAX);
        assert!(!throttle.doors.contains_key(&0));
    }
}
