//! Each server's clocks: one that only drifts, and one that people read, which also jumps.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use irsp_courier::{Clock, Now};
use irsp_protocol::{MessageId, Timestamp};

/// The wall time at which every story begins.
const EPOCH_MS: i64 = 1_700_000_000_000;

/// The time that is true for all, and the ids given out so far.
#[derive(Debug)]
pub(crate) struct Time {
    origin: Instant,
    micros: AtomicU64,
    ids: AtomicU64,
}

impl Time {
    pub(crate) fn new() -> Arc<Time> {
        Arc::new(Time {
            origin: Instant::now(),
            micros: AtomicU64::new(0),
            ids: AtomicU64::new(0),
        })
    }

    pub(crate) fn passed(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }

    pub(crate) fn advance(&self, by: Duration) {
        let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }
}

#[derive(Debug)]
pub(crate) struct SimClock {
    time: Arc<Time>,
    /// How much faster than the true time, in millionths.
    drift: i64,
    offset_ms: AtomicI64,
}

impl SimClock {
    pub(crate) fn new(time: Arc<Time>, drift: i64, offset_ms: i64) -> SimClock {
        SimClock {
            time,
            drift,
            offset_ms: AtomicI64::new(offset_ms),
        }
    }

    /// Sets the clock that people read this much off the true time.
    pub(crate) fn jump(&self, offset_ms: i64) {
        self.offset_ms.store(offset_ms, Ordering::Relaxed);
    }

    fn since_start(&self) -> Duration {
        let true_micros = i128::try_from(self.time.passed().as_micros()).unwrap_or(i128::MAX);
        let micros = true_micros + true_micros * i128::from(self.drift) / 1_000_000;
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }
}

impl Clock for SimClock {
    fn now(&self) -> Now {
        let since = self.since_start();
        let wall_ms = EPOCH_MS + self.offset_ms.load(Ordering::Relaxed);
        Now {
            instant: self.time.origin + since,
            wall: Timestamp::from_millis(wall_ms).plus(since),
        }
    }

    fn new_id(&self) -> MessageId {
        let number = self.time.ids.fetch_add(1, Ordering::Relaxed) + 1;
        let spread = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let id = (u128::from(number) << 64) | u128::from(spread);
        MessageId::from_bytes(id.to_be_bytes())
    }
}
