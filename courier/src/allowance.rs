//! How much of something may be taken: so much a second, and a second's worth at once. No clock: the time is given.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// What is left of a rate, as one point in time: when all of it would be there again. Whole at first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowance {
    whole_at: Option<Instant>,
}

impl Allowance {
    /// How many may be taken now.
    pub fn left(&self, per_second: NonZeroU32, now: Instant) -> u32 {
        let left = SECOND.saturating_sub(self.debt(now)).as_nanos() * u128::from(per_second.get());
        u32::try_from(left / SECOND.as_nanos()).unwrap_or(u32::MAX)
    }

    /// Takes so many, even if fewer are left: the rest is paid off before there are any again.
    pub fn take(&mut self, count: usize, per_second: NonZeroU32, now: Instant) {
        let whole_at = self.whole_at.map_or(now, |whole_at| whole_at.max(now));
        self.whole_at = whole_at.checked_add(worth(count, per_second));
    }

    /// How long until so many may be taken, or all that a second has.
    pub fn wait(&self, count: usize, per_second: NonZeroU32, now: Instant) -> Duration {
        let needed = worth(count, per_second).min(SECOND);
        (self.debt(now) + needed).saturating_sub(SECOND)
    }

    /// Whether nothing of it is taken.
    pub fn is_whole(&self, now: Instant) -> bool {
        self.debt(now).is_zero()
    }

    fn debt(&self, now: Instant) -> Duration {
        self.whole_at
            .map_or(Duration::ZERO, |whole_at| whole_at.saturating_duration_since(now))
    }
}

/// The time in which so many come; never too short for them.
fn worth(count: usize, per_second: NonZeroU32) -> Duration {
    let nanos = (count as u128 * SECOND.as_nanos()).div_ceil(u128::from(per_second.get()));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(per_second: u32) -> NonZeroU32 {
        NonZeroU32::new(per_second).expect("not 0")
    }

    #[test]
    fn a_second_goes_at_once_and_the_rest_at_the_rate() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut allowance = Allowance::default();
        assert_eq!(allowance.left(rate(4), start), 4);
        for left in [3, 2, 1, 0] {
            allowance.take(1, rate(4), start);
            assert_eq!(allowance.left(rate(4), start), left);
        }
        assert_eq!(allowance.wait(1, rate(4), start), Duration::from_millis(250));
        assert_eq!(allowance.left(rate(4), at(249)), 0);
        assert_eq!(allowance.left(rate(4), at(250)), 1);
        assert!(!allowance.is_whole(at(999)) && allowance.is_whole(at(1_000)));
        assert_eq!(
            allowance.left(rate(4), at(60_000)),
            4,
            "no more than a second is saved up"
        );
    }

    #[test]
    fn what_is_taken_beyond_it_is_paid_off() {
        let start = Instant::now();
        let mut allowance = Allowance::default();
        assert_eq!(allowance.wait(25, rate(10), start), Duration::ZERO);
        allowance.take(25, rate(10), start);
        assert_eq!(allowance.wait(0, rate(10), start), Duration::from_millis(1_500));
        assert_eq!(allowance.wait(1, rate(10), start), Duration::from_millis(1_600));
        let later = start + Duration::from_millis(1_600);
        assert_eq!(allowance.left(rate(10), later), 1);
    }

    /// Whoever waits as long as told finds it, whatever does not divide evenly.
    #[test]
    fn what_was_waited_for_is_there() {
        let start = Instant::now();
        for per_second in [1, 3, 7, 999_999, u32::MAX] {
            let mut allowance = Allowance::default();
            allowance.take(per_second as usize, rate(per_second), start);
            let wait = allowance.wait(1, rate(per_second), start);
            assert!(
                allowance.left(rate(per_second), start + wait) >= 1,
                "{per_second}"
            );
        }
    }
}
