//! How fast an application may call in.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use irsp_courier::Allowance;
use irsp_protocol::Id;

/// The allowances. An application that has taken nothing of its own has no entry.
#[derive(Debug)]
pub(crate) struct Rates {
    /// Items a second, and as many at once.
    per_second: NonZeroU32,
    allowances: HashMap<Id, Allowance>,
}

/// Entries above which whole ones are thrown away.
const ENTRIES_MAX: usize = 1024;

impl Rates {
    /// `per_second` items, at least one.
    pub(crate) fn new(per_second: u32) -> Rates {
        Rates {
            per_second: NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN),
            allowances: HashMap::new(),
        }
    }

    /// Takes `items`, or says after how long there will be so many. More than a second has are taken when it is whole,
    /// and paid off afterwards.
    pub(crate) fn take(&mut self, app: &Id, items: usize, now: Instant) -> Result<(), Duration> {
        if self.allowances.len() > ENTRIES_MAX {
            self.allowances.retain(|_, allowance| !allowance.is_whole(now));
        }
        let allowance = self.allowances.entry(app.clone()).or_default();
        let wait = allowance.wait(items, self.per_second, now);
        if !wait.is_zero() {
            return Err(wait);
        }
        allowance.take(items, self.per_second, now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_application_has_its_own_and_waits_for_it_alone() {
        let (mut rates, now) = (Rates::new(10), Instant::now());
        let (fast, slow) = (Id::new("fast").unwrap(), Id::new("slow").unwrap());
        for _ in 0..10 {
            assert_eq!(rates.take(&fast, 1, now), Ok(()));
        }
        assert_eq!(rates.take(&fast, 1, now), Err(Duration::from_millis(100)));
        assert_eq!(rates.take(&slow, 10, now), Ok(()));
        assert_eq!(rates.take(&fast, 1, now + Duration::from_millis(150)), Ok(()));
        assert!(rates.take(&fast, 9, now + Duration::from_millis(200)).is_err());
    }

    #[test]
    fn a_large_batch_is_paid_for_afterwards() {
        let (mut rates, now) = (Rates::new(10), Instant::now());
        let app = Id::new("fast").unwrap();
        assert_eq!(rates.take(&app, 25, now), Ok(()));
        assert!(rates.take(&app, 1, now + Duration::from_secs(1)).is_err());
        assert_eq!(rates.take(&app, 1, now + Duration::from_secs(2)), Ok(()));
    }
}
