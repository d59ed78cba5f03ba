//! How fast one principal publishes, over all its connections: a second's worth at once, then at its rate. Who is faster is
//! not refused: nothing more is read from its connection until it is within its rate again, and its own TCP holds it back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const SECOND: u64 = 1_000_000_000;

/// The allowance of one principal.
#[derive(Debug)]
pub(crate) struct PublishRate {
    began: Instant,
    /// What one message takes of it, nanoseconds.
    each: u64,
    /// When it would be whole again, nanoseconds since `began`: the rate as one point in time.
    whole_at: AtomicU64,
}

impl PublishRate {
    /// `rate_max` messages a second, at least one.
    pub(super) fn new(rate_max: u32, now: Instant) -> PublishRate {
        PublishRate {
            began: now,
            each: SECOND / u64::from(rate_max.max(1)),
            whole_at: AtomicU64::new(0),
        }
    }

    /// Counts a message that has come. When it is one too many: until when to read nothing further.
    pub(super) fn take(&self, now: Instant) -> Option<Instant> {
        let now = self.since_began(now);
        let after = |whole_at: u64| whole_at.max(now).saturating_add(self.each);
        let before = self
            .whole_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |whole_at| {
                Some(after(whole_at))
            });
        let (Ok(before) | Err(before)) = before;
        let whole_at = after(before);
        (whole_at > now + SECOND).then(|| self.began + Duration::from_nanos(whole_at - SECOND))
    }

    /// Whether nothing of it is taken.
    pub(super) fn is_whole(&self, now: Instant) -> bool {
        self.whole_at.load(Ordering::Relaxed) <= self.since_began(now)
    }

    fn since_began(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.began);
        u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seconds_worth_at_once_and_then_at_its_rate() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let rate = PublishRate::new(4, start);
        assert!((0..4).all(|_| rate.take(start).is_none()));
        // the fifth may come a quarter of a second later, the sixth after that
        assert_eq!(rate.take(start), Some(at(250)));
        assert_eq!(rate.take(at(250)), Some(at(500)));
        assert!(!rate.is_whole(at(1_000)));
        assert!(rate.is_whole(at(1_500)));
        assert!((0..4).all(|_| rate.take(at(2_000)).is_none()));
    }

    #[test]
    fn who_keeps_to_the_rate_is_never_held() {
        let start = Instant::now();
        let rate = PublishRate::new(10, start);
        for n in 0..100 {
            assert_eq!(rate.take(start + Duration::from_millis(100 * n)), None);
        }
    }

    #[test]
    fn a_rate_of_zero_is_one() {
        let start = Instant::now();
        let rate = PublishRate::new(0, start);
        assert_eq!(rate.take(start), None);
        assert_eq!(rate.take(start), Some(start + Duration::from_secs(1)));
    }
}
