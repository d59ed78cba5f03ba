//! How long a message may wait for its end: the same rule for whoever sends it, by HTTP or by MQTT.

use std::time::Duration;

use thiserror::Error;

use crate::status::Status;
use crate::time::Timestamp;

/// How long what the servers tell each other (account changes, presence) may wait: as long as any message by default.
/// A server that was away for longer asks for a snapshot.
pub const BETWEEN_SERVERS: Duration = Duration::from_secs(30 * 24 * 3600);

/// The expiry of messages that clients send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// For a message whose sender says nothing.
    pub default: Duration,
    /// The longest a sender may ask for: the message holds a place in a queue all that time.
    pub max: Duration,
}

/// Why an expiry is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ExpiryError {
    #[error("an expiry is given once: as a period or as a time, not both")]
    Twice,
    #[error("its expiry has already passed")]
    Passed,
    #[error("the longest expiry is {} seconds", .max.as_secs())]
    TooLong { max: Duration },
}

impl ExpiryError {
    pub const fn status(self) -> Status {
        match self {
            ExpiryError::Passed => Status::EXPIRED,
            ExpiryError::Twice | ExpiryError::TooLong { .. } => Status::MALFORMED,
        }
    }
}

impl Default for Expiry {
    fn default() -> Expiry {
        Expiry {
            default: Duration::from_secs(24 * 3600),
            max: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

impl Expiry {
    /// When a message that is accepted `now` expires, if its sender asks for a period or for a time.
    pub fn until(
        &self,
        now: Timestamp,
        period: Option<Duration>,
        time: Option<Timestamp>,
    ) -> Result<Timestamp, ExpiryError> {
        let expires = match (period, time) {
            (Some(_), Some(_)) => return Err(ExpiryError::Twice),
            (Some(period), None) => now.plus(period),
            (None, Some(time)) => time,
            (None, None) => now.plus(self.default),
        };
        if expires <= now {
            return Err(ExpiryError::Passed);
        }
        if expires.since(now) > self.max {
            return Err(ExpiryError::TooLong { max: self.max });
        }
        Ok(expires)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_392_000_000);
    const SECOND: Duration = Duration::from_secs(1);
    const EXPIRY: Expiry = Expiry {
        default: Duration::from_secs(10),
        max: Duration::from_secs(60),
    };

    #[test]
    fn a_period_a_time_or_the_default() {
        assert_eq!(EXPIRY.until(NOW, None, None), Ok(NOW.plus(EXPIRY.default)));
        assert_eq!(
            EXPIRY.until(NOW, Some(EXPIRY.max), None),
            Ok(NOW.plus(EXPIRY.max))
        );
        assert_eq!(
            EXPIRY.until(NOW, None, Some(NOW.plus(SECOND))),
            Ok(NOW.plus(SECOND))
        );
    }

    #[test]
    fn every_refusal_has_its_code() {
        let long = Some(EXPIRY.max + Duration::from_millis(1));
        let late = Some(NOW.plus(EXPIRY.max + SECOND));
        for (period, time, code) in [
            (Some(SECOND), Some(NOW.plus(SECOND)), 400),
            (Some(Duration::ZERO), None, 408),
            (None, Some(NOW), 408),
            (long, None, 400),
            (None, late, 400),
        ] {
            let refused = EXPIRY
                .until(NOW, period, time)
                .map_err(|error| error.status().code());
            assert_eq!(refused, Err(code), "{period:?} {time:?}");
        }
    }
}
