//! What a connection asks of its caller.

use std::time::Duration;

use bytestring::ByteString;

use crate::error::ProtocolError;
use crate::packet::{Publish, SubscribeFilter};

/// Names an incoming PUBLISH until it is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PublishToken(pub u32);

/// Names a SUBSCRIBE until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubscribeToken {
    pub(crate) packet_id: u16,
    pub(crate) filters: u32,
}

/// Names an UNSUBSCRIBE until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UnsubscribeToken {
    pub(crate) packet_id: u16,
    pub(crate) filters: u32,
}

/// What [`Connection::poll`](crate::Connection::poll) yields, in the order the client caused it.
#[derive(Debug)]
pub enum Action {
    /// A message arrived. QoS 1 and 2 wait for `settle`; at QoS 0 `settle` does nothing.
    Publish { token: PublishToken, publish: Publish },
    /// Answer with `subscribed`.
    Subscribe {
        token: SubscribeToken,
        filters: Vec<SubscribeFilter>,
        subscription_id: Option<u32>,
    },
    /// Answer with `unsubscribed`.
    Unsubscribe {
        token: UnsubscribeToken,
        filters: Vec<ByteString>,
    },
    /// The client acknowledged a tagged delivery (PUBACK, PUBCOMP), or refused it (`reason` from 0x80).
    Delivered { tag: u64, reason: u8 },
    /// The client has taken a tagged QoS 2 delivery of a durable session (PUBREC). Answer with `release` once that
    /// is stored: after PUBREL the client takes the same identifier for a new message [MQTT-4.3.3-4].
    Received { packet_id: u16, tag: u64 },
    /// The client has ended a QoS 2 publish of a durable session (PUBREL). Answer with `complete` once that is
    /// stored: after PUBCOMP the client may use the identifier for a new message [MQTT-4.3.3-11].
    Released { packet_id: u16 },
    /// A delivery was not sent and will not be.
    Dropped { tag: Option<u64>, cause: DropCause },
    /// Write what `output` still holds, then close the network connection. Only `Dropped` may follow it.
    Close { cause: CloseCause },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DropCause {
    #[error("larger than the client's Maximum Packet Size")]
    TooLarge,
    #[error("expired before it was sent")]
    Expired,
    #[error("the session's queue is full")]
    QueueFull,
    #[error("QoS 0 and nobody is connected")]
    NotConnected,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseCause {
    /// The client said DISCONNECT. `will`: it asked for its will to be published all the same (0x04).
    Disconnect {
        will: bool,
        session_expiry: Option<Duration>,
    },
    /// Nothing came within one and a half keep-alive times [MQTT-3.1.2-22].
    KeepAlive,
    ProtocolError(ProtocolError),
    /// An MQTT 3 client published what was refused, and cannot be told in another way [MQTT-3.3.5-2].
    PublishRefused {
        reason: u8,
    },
    /// `Connection::disconnect` was called.
    Server {
        reason: u8,
    },
}

impl CloseCause {
    /// Whether the will is to be published: every end but a normal DISCONNECT [MQTT-3.1.2-8, 3.1.2-10].
    pub fn publishes_will(&self) -> bool {
        !matches!(self, CloseCause::Disconnect { will: false, .. })
    }
}
