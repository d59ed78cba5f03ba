//! How fast a lane may send: so many messages a second, as many at once. No clock: whoever moves the lane tells the time first.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// One message, in the bucket's measure.
const ONE: u64 = 1_000_000;

/// A bucket that holds a second's worth, full at first.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: NonZeroU32,
    level: u64,
    at: Option<Instant>,
}

impl Pace {
    pub(super) fn new(per_second: NonZeroU32) -> Pace {
        Pace {
            per_second,
            level: u64::from(per_second.get()) * ONE,
            at: None,
        }
    }

    /// It is `now`. What is gained for less than a microsecond is gained the next time.
    pub(super) fn refresh(&mut self, now: Instant) {
        let rate = u64::from(self.per_second.get());
        let Some(at) = self.at else {
            self.at = Some(now);
            return;
        };
        let passed = now.saturating_duration_since(at).as_micros();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        if passed > 0 {
            self.level = self
                .level
                .saturating_add(passed.saturating_mul(rate))
                .min(rate * ONE);
            self.at = Some(now);
        }
    }

    /// How many messages may be sent now.
    pub(super) fn messages(&self) -> usize {
        usize::try_from(self.level / ONE).unwrap_or(usize::MAX)
    }

    pub(super) fn sent(&mut self) {
        self.level = self.level.saturating_sub(ONE);
    }

    /// When the next may be sent.
    pub(super) fn next(&self) -> Option<Instant> {
        let missing = ONE.saturating_sub(self.level);
        let wait = missing.div_ceil(u64::from(self.per_second.get()));
        self.at.map(|at| at + Duration::from_micros(wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_goes_at_once_and_the_rest_at_the_rate() {
        let start = Instant::now();
        let mut pace = Pace::new(NonZeroU32::new(4).unwrap());
        pace.refresh(start);
        assert_eq!(pace.messages(), 4);
        (0..4).for_each(|_| pace.sent());
        assert_eq!(
            (pace.messages(), pace.next()),
            (0, Some(start + Duration::from_millis(250)))
        );
        pace.refresh(start + Duration::from_millis(249));
        assert_eq!(pace.messages(), 0);
        pace.refresh(start + Duration::from_millis(250));
        assert_eq!(pace.messages(), 1);
        pace.refresh(start + Duration::from_secs(60));
        assert_eq!(pace.messages(), 4, "no more than a second is saved up");
    }
}
