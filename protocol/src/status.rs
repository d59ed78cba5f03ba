//! The status registry: every request ends with one of these codes (clauses 8.3.4 and 8.4.2).
//!
//! Codes a device answers a push with are the device's own and never stand in this type: see
//! [`crate::receipt::Answer`]. The numbers are HTTP's where HTTP has the meaning, so that the HTTP status is the
//! code itself; MQTT reason codes are derived here and nowhere else.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A code of the registry. Only registered codes can be made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Status(u16);

/// Where in a message's life a code is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Before anything is on disk: the sender still holds the message.
    Accept,
    /// After acceptance, before the end.
    Underway,
    /// The one code a message ends with.
    End,
}

/// One line of the registry.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub status: Status,
    /// The word used beside the number in JSON, logs and metrics.
    pub name: &'static str,
    /// The stages at which the code is given.
    pub stages: &'static [Stage],
    /// Which server reports it.
    pub reporter: &'static str,
    /// Whether the same request can succeed later without a change.
    pub retryable: bool,
}

macro_rules! registry {
    ($($constant:ident = $code:literal, $name:literal, [$($stage:ident),+], $reporter:literal, $retryable:literal, $doc:literal;)*) => {
        impl Status {
            $(#[doc = $doc] pub const $constant: Status = Status($code);)*
        }
        /// The whole registry, in order of the numbers.
        pub const REGISTRY: &[Entry] = &[$(Entry {
            status: Status::$constant, name: $name, stages: &[$(Stage::$stage),+], reporter: $reporter, retryable: $retryable,
        },)*];
    };
}

registry! {
    DONE = 200, "done", [End], "receiver", false, "The receiver has done what was asked.";
    QUEUED = 202, "queued", [Accept, Underway], "message or app server", false, "On disk, on its way; the end follows.";
    DUPLICATE = 208, "duplicate", [Accept, End], "any server", false, "Accepted before under the same id; nothing was done again.";
    MALFORMED = 400, "malformed", [Accept, End], "any server", false, "The request cannot be understood.";
    UNAUTHENTICATED = 401, "not-authenticated", [Accept], "message server, HTTP API", false, "No or wrong credentials.";
    FORBIDDEN = 403, "not-granted", [Accept, End], "message server", false, "Not granted, not bound, or not one's own.";
    NOT_FOUND = 404, "no-such-principal", [Accept, End], "message server", false, "There is no such principal.";
    EXPIRED = 408, "expired", [End], "the server that held it", false, "Its expiry passed before an answer came.";
    CONFLICT = 409, "conflict", [Accept, End], "any server", false, "Contradicts what exists, or was superseded.";
    DELETED = 410, "deleted", [Accept, End], "message server", false, "The principal was deleted.";
    STALE = 412, "changed-meanwhile", [Accept], "HTTP API", false, "Not in the version that was asked for (If-Match).";
    TOO_LARGE = 413, "too-large", [Accept, End], "any server", false, "Above a size limit.";
    WRONG_DOMAIN = 421, "wrong-domain", [Accept, End], "message server", false, "Belongs to another domain.";
    OVER_QUOTA = 429, "over-quota", [Accept, End], "any server", true, "Above a rate, or a quota of the sender or the receiver.";
    FAILED = 500, "failed", [Accept, End], "any server", true, "An error of the platform itself.";
    PEER_REFUSED = 502, "peer-refused", [End], "message or app server", false, "The other domain, or a third party's service, refused it.";
    UNAVAILABLE = 503, "unavailable", [Accept, End], "any server", true, "Cannot be done just now.";
    PEER_TIMED_OUT = 504, "peer-timed-out", [End], "message or app server", true, "The other domain, or a third party's service, did not answer in time.";
    QUEUE_FULL = 507, "queue-full", [Accept, End], "any server", true, "No room on disk or in the queue.";
}

impl Status {
    /// The registered code with this number.
    pub fn from_code(code: u16) -> Option<Status> {
        REGISTRY
            .iter()
            .map(|entry| entry.status)
            .find(|status| status.0 == code)
    }

    /// The number, which is also the HTTP status.
    pub const fn code(self) -> u16 {
        self.0
    }

    pub fn entry(self) -> &'static Entry {
        REGISTRY
            .iter()
            .find(|entry| entry.status == self)
            .unwrap_or(&REGISTRY[0])
    }

    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// Whether this is a refusal or a failure.
    pub const fn is_error(self) -> bool {
        self.0 >= 400
    }

    /// The MQTT 5 reason code of a PUBACK or PUBREC that carries this status.
    pub const fn puback_reason(self) -> u8 {
        match self {
            Status::DONE | Status::QUEUED | Status::DUPLICATE => 0x00,
            Status::MALFORMED => 0x99,
            Status::UNAUTHENTICATED | Status::FORBIDDEN | Status::DELETED | Status::WRONG_DOMAIN => 0x87,
            Status::NOT_FOUND => 0x90,
            Status::TOO_LARGE | Status::OVER_QUOTA | Status::QUEUE_FULL => 0x97,
            Status::FAILED => 0x80,
            _ => 0x83,
        }
    }

    /// The MQTT 5 reason code of a SUBACK that refuses a filter.
    pub const fn suback_reason(self) -> u8 {
        match self {
            Status::MALFORMED | Status::NOT_FOUND => 0x8F,
            Status::UNAUTHENTICATED | Status::FORBIDDEN | Status::DELETED | Status::WRONG_DOMAIN => 0x87,
            Status::TOO_LARGE | Status::OVER_QUOTA | Status::QUEUE_FULL => 0x97,
            Status::FAILED => 0x80,
            _ => 0x83,
        }
    }

    /// The MQTT 5 reason code of a CONNACK that refuses a client.
    pub const fn connack_reason(self) -> u8 {
        match self {
            Status::MALFORMED => 0x85,
            Status::UNAUTHENTICATED | Status::NOT_FOUND | Status::DELETED => 0x86,
            Status::FORBIDDEN | Status::WRONG_DOMAIN => 0x87,
            Status::OVER_QUOTA => 0x97,
            Status::UNAVAILABLE | Status::QUEUE_FULL => 0x88,
            _ => 0x80,
        }
    }

    /// The MQTT 3.1.1 return code of a CONNACK that refuses a client.
    pub const fn connack_return_code(self) -> u8 {
        match self {
            Status::MALFORMED => 2,
            Status::UNAUTHENTICATED | Status::NOT_FOUND | Status::DELETED => 4,
            Status::FORBIDDEN | Status::WRONG_DOMAIN => 5,
            _ => 3,
        }
    }

    /// The MQTT 5 reason code of a DISCONNECT the server sends for this status.
    pub const fn disconnect_reason(self) -> u8 {
        match self {
            Status::MALFORMED => 0x82,
            Status::UNAUTHENTICATED | Status::FORBIDDEN | Status::NOT_FOUND | Status::DELETED => 0x87,
            Status::TOO_LARGE => 0x95,
            Status::OVER_QUOTA | Status::QUEUE_FULL => 0x97,
            Status::UNAVAILABLE => 0x8B,
            _ => 0x80,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, self.name())
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(self.0)
    }
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Status, D::Error> {
        let code = u16::deserialize(deserializer)?;
        Status::from_code(code)
            .ok_or_else(|| D::Error::custom(format_args!("{code} is not a registered status")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_is_in_order_and_every_code_finds_itself() {
        assert!(REGISTRY.windows(2).all(|pair| pair[0].status < pair[1].status));
        for entry in REGISTRY {
            assert_eq!(Status::from_code(entry.status.code()), Some(entry.status));
            assert_eq!(entry.status.entry().name, entry.name);
        }
        assert_eq!(Status::from_code(299), None);
    }

    #[test]
    fn only_refusals_have_refusing_reason_codes() {
        for entry in REGISTRY {
            assert_eq!(
                entry.status.is_error(),
                entry.status.puback_reason() >= 0x80,
                "{}",
                entry.name
            );
        }
    }
}
