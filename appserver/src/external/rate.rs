//! How fast an application may call in: a bucket of tokens for each, refilled all the time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use irsp_protocol::Id;

/// The buckets. An application whose bucket is full again has none.
#[derive(Debug)]
pub(crate) struct Rates {
    /// Items a second, and as many at once.
    per_second: u32,
    buckets: HashMap<Id, Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

/// Buckets above which full ones are thrown away.
const BUCKETS_MAX: usize = 1024;

impl Rates {
    pub(crate) fn new(per_second: u32) -> Rates {
        Rates {
            per_second: per_second.max(1),
            buckets: HashMap::new(),
        }
    }

    /// Takes `items` tokens, or says after how long there will be so many. More than a bucket holds are taken when it
    /// is full, and leave it in debt.
    pub(crate) fn take(&mut self, app: &Id, items: usize, now: Instant) -> Result<(), Duration> {
        let full = f64::from(self.per_second);
        let level = |bucket: &Bucket| {
            let since = now.saturating_duration_since(bucket.filled).as_secs_f64();
            (bucket.tokens + since * full).min(full)
        };
        if self.buckets.len() > BUCKETS_MAX {
            self.buckets.retain(|_, bucket| level(bucket) < full);
        }
        let bucket = self.buckets.entry(app.clone()).or_insert(Bucket {
            tokens: full,
            filled: now,
        });
        let tokens = level(bucket);
        let items = f64::from(u32::try_from(items).unwrap_or(u32::MAX));
        let needed = items.min(full);
        if tokens < needed {
            return Err(Duration::from_secs_f64((needed - tokens) / full));
        }
        *bucket = Bucket {
            tokens: tokens - items,
            filled: now,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_application_has_its_own_bucket_and_waits_for_it_alone() {
        let (mut rates, now) = (Rates::new(10), Instant::now());
        let (fast, slow) = (Id::new("fast").unwrap(), Id::new("slow").unwrap());
        for _ in 0..10 {
            assert_eq!(rates.take(&fast, 1, now), Ok(()));
        }
        let wait = rates.take(&fast, 1, now).unwrap_err();
        assert!(
            wait > Duration::from_millis(90) && wait < Duration::from_millis(110),
            "{wait:?}"
        );
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
