//! Time, and the ids that are made of it. Nothing else in the courier reads a clock, so that a simulation can give it
//! clocks that jump and drift.

use std::fmt;
use std::time::{Instant, SystemTime};

use irsp_protocol::{MessageId, Timestamp};
use uuid::Uuid;

/// Now, by the clock that never jumps and by the one people read.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub instant: Instant,
    pub wall: Timestamp,
}

/// Where a courier's time comes from.
pub trait Clock: Send + Sync {
    fn now(&self) -> Now;

    /// An id for a message accepted now. No two are the same, on whatever server.
    fn new_id(&self) -> MessageId;
}

/// The machine's clocks; the runtime may pause the one that never jumps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Now {
        Now {
            instant: tokio::time::Instant::now().into_std(),
            wall: Timestamp::from(SystemTime::now()),
        }
    }

    fn new_id(&self) -> MessageId {
        MessageId::from_uuid(Uuid::now_v7())
    }
}

impl fmt::Debug for dyn Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
