//! When each upload is due, and whose it is. Pure: the same seed makes the same schedule.
//!
//! The load is open-loop: an upload is due at its time whether or not earlier ones were answered, and every latency
//! counts from that time. A slow platform therefore shows its slowness instead of slowing the question
//! (no coordinated omission).
//!
//! ```text
//! round 0              round 1              last, shorter
//! |--d2--d0-----d1-----|-d0----d1-----d2---|--d1-d0-|
//! ```
//! In every round each device uploads once, at a seeded instant of the round; a round lasts devices / rate.

use std::time::Duration;

/// Uploads of one run: numbered from 0, upload `n` belongs to the device at position `n % devices`.
#[derive(Clone, Debug)]
pub struct Schedule {
    seed: u64,
    rate: f64,
    total: u64,
    devices: u64,
}

impl Schedule {
    /// `rate` uploads a second from all devices together, for `duration`. No device means no upload.
    pub fn new(seed: u64, rate: f64, duration: Duration, devices: usize) -> Schedule {
        let devices = devices as u64;
        let total = if devices == 0 {
            0
        } else {
            (rate * duration.as_secs_f64()).round() as u64
        };
        Schedule {
            seed,
            rate,
            total,
            devices,
        }
    }

    /// How many uploads the run has.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// How many devices share them.
    pub fn devices(&self) -> u64 {
        self.devices
    }

    /// How many uploads the device at `position` has.
    pub fn count(&self, position: u64) -> u64 {
        if position < self.devices {
            (self.total + self.devices - 1 - position) / self.devices
        } else {
            0
        }
    }

    /// The number of the `index`-th upload of the device at `position`.
    pub fn number(&self, position: u64, index: u64) -> Option<u64> {
        (index < self.count(position)).then(|| position + index * self.devices)
    }

    /// When upload `n` is due, counted from the start of the run.
    pub fn due(&self, n: u64) -> Duration {
        if self.devices == 0 {
            return Duration::ZERO;
        }
        let round_start = n - n % self.devices;
        let round_len = self.devices.min(self.total.saturating_sub(round_start)).max(1);
        let slots = round_start as f64 + unit(self.seed, n) * round_len as f64;
        Duration::from_secs_f64(slots / self.rate)
    }

    /// The value upload `n` reports: a room temperature between 15.0 and 29.9.
    pub fn value(&self, n: u64) -> f64 {
        (150.0 + (unit(self.seed ^ VALUES, n) * 150.0).floor()) / 10.0
    }
}

/// Separates the values' random numbers from the instants'.
const VALUES: u64 = 0x5eed_0f7e_a5ed_0001;

/// A number in `0.0..1.0` that depends on nothing but the seed and `n` (SplitMix64).
fn unit(seed: u64, n: u64) -> f64 {
    let mut z = seed.wrapping_add(n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    (z >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_same_seed_makes_the_same_run_and_another_seed_another() {
        let due = |seed| {
            let schedule = Schedule::new(seed, 1000.0, Duration::from_secs(2), 70);
            (0..2000).map(|n| schedule.due(n)).collect::<Vec<_>>()
        };
        assert_eq!(due(1), due(1));
        assert_ne!(due(1), due(2));
    }

    #[test]
    fn the_rate_holds_in_every_second() {
        let schedule = Schedule::new(7, 1000.0, Duration::from_secs(10), 100);
        let mut per_second = [0u64; 10];
        for n in 0..schedule.total() {
            per_second[schedule.due(n).as_secs() as usize] += 1;
        }
        assert!(
            per_second.iter().all(|count| (950..=1050).contains(count)),
            "{per_second:?}"
        );
    }

    #[test]
    fn without_devices_nothing_is_due() {
        let schedule = Schedule::new(1, 10.0, Duration::from_secs(1), 0);
        assert_eq!((schedule.total(), schedule.count(0)), (0, 0));
    }

    proptest! {
        #[test]
        fn every_upload_has_one_owner_and_falls_within_the_run(
            seed: u64, rate in 1u32..5_000, ms in 1u64..5_000, devices in 1usize..300,
        ) {
            let duration = Duration::from_millis(ms);
            let schedule = Schedule::new(seed, f64::from(rate), duration, devices);
            let mut seen = vec![0u8; schedule.total() as usize];
            for position in 0..devices as u64 {
                let mut last = Duration::ZERO;
                for index in 0..schedule.count(position) {
                    let n = schedule.number(position, index).unwrap();
                    seen[n as usize] += 1;
                    let due = schedule.due(n);
                    prop_assert!(due >= last, "a device's uploads are due in their order");
                    // Half an upload may be rounded up into the total.
                    prop_assert!(due.as_secs_f64() <= duration.as_secs_f64() + 1.0 / f64::from(rate));
                    last = due;
                }
                prop_assert_eq!(schedule.number(position, schedule.count(position)), None);
            }
            prop_assert!(seen.iter().all(|count| *count == 1));
        }
    }
}
