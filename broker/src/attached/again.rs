//! When an application that has failed at a message gets it again: after a pause that doubles with every failure, half of
//! it by chance.

use std::time::Duration;

/// After the first failure.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// `failures` counts from 1; `dice` is any number.
pub(super) fn pause(failures: u32, dice: u64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let full = PAUSE_MIN.saturating_mul(1 << doublings).min(PAUSE_MAX);
    let half_ms = u64::try_from(full.as_millis() / 2).unwrap_or(u64::MAX - 1);
    full - Duration::from_millis(dice % (half_ms + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_half_of_each_is_chance() {
        for (failures, full_s) in [(1, 1), (2, 2), (3, 4), (9, 256), (10, 300), (u32::MAX, 300)] {
            let full = Duration::from_secs(full_s);
            for dice in [0, 1, 499, 500, 77_777, u64::MAX] {
                let pause = pause(failures, dice);
                assert!(pause <= full && pause >= full / 2, "{failures} {dice}: {pause:?}");
            }
            assert_eq!(pause(failures, 0), full);
        }
    }
}
