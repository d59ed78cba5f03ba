//! The packets in our own words, the same for all versions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use bytestring::ByteString;

/// The protocol version, recognised from CONNECT (3.1.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    V31,
    V311,
    V5,
}

impl Version {
    pub fn is_v5(self) -> bool {
        self == Version::V5
    }
}

/// Quality of service; of two, the lower is what a delivery gets [MQTT-3.8.4-8].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    AtMostOnce = 0,
    AtLeastOnce = 1,
    ExactlyOnce = 2,
}

impl QoS {
    pub fn from_u8(value: u8) -> Option<QoS> {
        match value {
            0 => Some(QoS::AtMostOnce),
            1 => Some(QoS::AtLeastOnce),
            2 => Some(QoS::ExactlyOnce),
            _ => None,
        }
    }
}

pub type UserProperties = Vec<(ByteString, ByteString)>;

/// An application message as it was published; what a subscriber adds to it stands in [`Delivery`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    pub topic: ByteString,
    pub payload: Bytes,
    pub qos: QoS,
    pub retain: bool,
    /// When it ceases to be of interest: its arrival and the Message Expiry Interval (3.3.2.3.3).
    pub expires: Option<Instant>,
    /// Absent for most messages, and for all of MQTT 3.
    pub properties: Option<Box<PublishProperties>>,
}

impl Publish {
    /// A message without properties.
    pub fn new(topic: impl Into<ByteString>, payload: impl Into<Bytes>, qos: QoS) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            qos,
            retain: false,
            expires: None,
            properties: None,
        }
    }

    pub fn is_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }

    /// The user property's first value.
    pub fn user_property(&self, name: &str) -> Option<&ByteString> {
        let properties = self.properties.as_ref()?;
        properties
            .user_properties
            .iter()
            .find(|(key, _)| &**key == name)
            .map(|(_, value)| value)
    }
}

/// What MQTT 5 passes on unaltered with a message (3.3.2.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishProperties {
    /// `Some(true)`: the payload is UTF-8. `Some(false)` is kept apart from absent [MQTT-3.3.2-4].
    pub payload_utf8: Option<bool>,
    pub content_type: Option<ByteString>,
    pub response_topic: Option<ByteString>,
    pub correlation_data: Option<Bytes>,
    /// In the order of the publisher [MQTT-3.3.2-18].
    pub user_properties: UserProperties,
}

impl PublishProperties {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One message on its way to one client.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub publish: Arc<Publish>,
    /// The lower of the publish's and the granted QoS.
    pub qos: QoS,
    /// The RETAIN flag as this subscriber sees it [MQTT-3.3.1-8..13].
    pub retain: bool,
    pub subscription_ids: SubscriptionIds,
    /// The caller's own name for it; comes back in `Action::Delivered` or `Action::Dropped`.
    pub tag: Option<u64>,
    /// Whether the client may have had it already, although its session knows nothing of it [MQTT-3.3.1-1].
    pub dup: bool,
}

/// The Subscription Identifiers of the matching subscriptions: seldom any, mostly one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SubscriptionIds {
    #[default]
    None,
    One(u32),
    Many(Box<[u32]>),
}

impl SubscriptionIds {
    pub fn as_slice(&self) -> &[u32] {
        match self {
            SubscriptionIds::None => &[],
            SubscriptionIds::One(id) => std::slice::from_ref(id),
            SubscriptionIds::Many(ids) => ids,
        }
    }

    pub fn push(&mut self, id: u32) {
        *self = match std::mem::take(self) {
            SubscriptionIds::None => SubscriptionIds::One(id),
            SubscriptionIds::One(first) => SubscriptionIds::Many(Box::new([first, id])),
            SubscriptionIds::Many(ids) => {
                let mut ids = ids.into_vec();
                ids.push(id);
                SubscriptionIds::Many(ids.into_boxed_slice())
            }
        };
    }
}

impl From<Option<u32>> for SubscriptionIds {
    fn from(id: Option<u32>) -> Self {
        id.map_or(SubscriptionIds::None, SubscriptionIds::One)
    }
}

/// When a subscription gets the retained messages (3.8.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetainHandling {
    #[default]
    Send,
    SendIfNew,
    DoNotSend,
}

/// One Topic Filter of a SUBSCRIBE with its options; well formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeFilter {
    pub filter: ByteString,
    pub qos: QoS,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub retain_handling: RetainHandling,
}

/// A packet from a client after its CONNECT, in the form and order it arrived.
#[derive(Debug)]
pub(crate) enum Incoming {
    Publish(IncomingPublish),
    PubAck {
        packet_id: u16,
        reason: u8,
    },
    PubRec {
        packet_id: u16,
        reason: u8,
    },
    PubRel {
        packet_id: u16,
    },
    PubComp {
        packet_id: u16,
        reason: u8,
    },
    Subscribe {
        packet_id: u16,
        filters: Vec<SubscribeFilter>,
        subscription_id: Option<u32>,
    },
    Unsubscribe {
        packet_id: u16,
        filters: Vec<ByteString>,
    },
    PingReq,
    Disconnect {
        reason: u8,
        session_expiry: Option<Duration>,
    },
}

/// A PUBLISH whose topic alias is not yet resolved.
#[derive(Debug)]
pub(crate) struct IncomingPublish {
    pub(crate) publish: Publish,
    /// 0 at QoS 0.
    pub(crate) packet_id: u16,
    pub(crate) alias: Option<u16>,
}
