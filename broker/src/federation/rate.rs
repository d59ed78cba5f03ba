//! How fast a peer's messages are taken: what comes faster waits in its own connection, so it costs nobody else anything
//! and nothing is lost. No clock: the time is given.

use std::time::{Duration, Instant};

/// A bucket that holds a second's worth.
#[derive(Debug)]
pub(crate) struct Rate {
    /// Messages that may be taken now; below 0 while what was taken is paid off.
    level: f64,
    at: Instant,
}

impl Rate {
    pub(crate) fn new(per_second: u32, now: Instant) -> Rate {
        Rate {
            level: f64::from(per_second),
            at: now,
        }
    }

    /// Takes so many, and says how long to wait before more is read.
    pub(crate) fn take(&mut self, messages: usize, per_second: u32, now: Instant) -> Duration {
        let rate = f64::from(per_second.max(1));
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * rate;
        // A frame never holds more messages than 2^52, so the number is exact.
        self.level = (self.level + gained).min(rate) - messages as f64;
        self.at = now;
        if self.level >= 0.0 {
            Duration::ZERO
        } else {
            Duration::from_secs_f64((-self.level / rate).min(3600.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_taken_at_once_and_the_rest_at_the_rate() {
        let start = Instant::now();
        let mut rate = Rate::new(100, start);
        assert_eq!(rate.take(100, 100, start), Duration::ZERO);
        assert_eq!(rate.take(50, 100, start), Duration::from_millis(500));
        let later = start + Duration::from_millis(500);
        assert_eq!(rate.take(0, 100, later), Duration::ZERO);
        assert_eq!(rate.take(1, 100, later), Duration::from_millis(10));
        let long_after = start + Duration::from_secs(60);
        assert_eq!(
            rate.take(100, 100, long_after),
            Duration::ZERO,
            "no more than a second is saved up"
        );
        assert!(rate.take(1, 100, long_after) > Duration::ZERO);
    }
}
