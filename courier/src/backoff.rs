//! How long to wait before the next try: doubling, bounded, and with jitter, so that what failed together does not come
//! back together.

use std::time::Duration;

/// The first and the longest wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub min: Duration,
    pub max: Duration,
}

impl Backoff {
    /// The wait after `failures` failures in a row (1: the first): half of it fixed, half of it by `dice`, any random
    /// number.
    pub fn after(&self, failures: u32, dice: u32) -> Duration {
        let doubled = self
            .min
            .saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
        let whole = doubled.min(self.max);
        whole / 2 + (whole / 2).mul_f64(f64::from(dice) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_one_is_reached_late() {
        let backoff = Backoff {
            min: Duration::from_secs(1),
            max: Duration::from_secs(300),
        };
        for (failures, whole) in [(1, 1), (2, 2), (3, 4), (9, 256), (10, 300), (u32::MAX, 300)] {
            let whole = Duration::from_secs(whole);
            for dice in [0, 1, 499, 500, 77_777, u32::MAX] {
                let wait = backoff.after(failures, dice);
                assert!(wait <= whole && wait >= whole / 2, "{failures} {dice}: {wait:?}");
            }
            assert_eq!(backoff.after(failures, u32::MAX), whole);
        }
    }

    #[test]
    fn it_doubles_up_to_its_bound_and_never_falls_below_half() {
        let backoff = Backoff {
            min: Duration::from_secs(1),
            max: Duration::from_secs(60),
        };
        for (failures, whole) in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (40, 60), (u32::MAX, 60)] {
            let whole = Duration::from_secs(whole);
            assert_eq!(backoff.after(failures, 0), whole / 2);
            assert_eq!(backoff.after(failures, u32::MAX), whole);
            let some = backoff.after(failures, u32::MAX / 3);
            assert!(whole / 2 < some && some < whole, "{some:?}");
        }
    }
}
