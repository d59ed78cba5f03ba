//! The last word below MQTT: a WebSocket's close frame says why its connection ends (RFC 6455, 7.4.1).

use std::sync::{Arc, OnceLock};

use irsp_session::ProtocolError;

use crate::sessions::orders::End;

/// Why a connection ends, by the code of the close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The client said DISCONNECT.
    Done = 1000,
    /// The server stops.
    Stopping = 1001,
    /// It broke the protocol, MQTT's or the WebSocket's.
    Broken = 1002,
    /// It sent text [MQTT-6.0.0-1].
    NotBinary = 1003,
    /// It is refused, or has lost its place.
    Refused = 1008,
    /// It sent more than any packet may have.
    TooLarge = 1009,
}

impl Why {
    pub(super) fn of_order(end: End) -> Why {
        match end {
            End::Stopping => Why::Stopping,
            End::TakenOver | End::Revoked | End::Overrun => Why::Refused,
        }
    }

    pub(super) fn of_error(error: ProtocolError) -> Why {
        match matches!(error, ProtocolError::PacketTooLarge { .. }) {
            true => Why::TooLarge,
            false => Why::Broken,
        }
    }
}

/// Where the reason is left for the layer that tells it.
#[derive(Clone, Debug, Default)]
pub(super) struct Farewell(Arc<OnceLock<Why>>);

impl Farewell {
    /// The first reason counts.
    pub(super) fn say(&self, why: Why) {
        let _first = self.0.get_or_init(|| why);
    }

    pub(super) fn why(&self) -> Why {
        self.0.get().copied().unwrap_or(Why::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_counts() {
        let farewell = Farewell::default();
        assert_eq!(farewell.why(), Why::Done);
        farewell.say(Why::NotBinary);
        farewell.say(Why::Refused);
        assert_eq!(farewell.why(), Why::NotBinary);
    }
}
