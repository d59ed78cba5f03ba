//! The envelope: one message with its attributes, as it travels between servers and to third parties.
//!
//! Attributes carry CloudEvents 1.0 names. Where the transport has room for headers (the bus, the database, HTTP
//! binary mode), the head is this JSON object and the data stands beside it untouched.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::address::{Address, Principal, Server};
use crate::expiry;
use crate::message_id::MessageId;
use crate::options::PushOptions;
use crate::time::Timestamp;
use crate::topic::Channel;

pub use crate::message_kind::MessageKind;

/// One message: attributes and data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    pub id: MessageId,
    #[serde(rename = "type")]
    pub kind: MessageKind,
    /// Who sent it. A server replaces whatever a client claims.
    pub source: Address,
    pub destination: Address,
    #[serde(rename = "subject", default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// When it happened: the sender's own time if it gave one, else the time of acceptance.
    pub time: Timestamp,
    /// After this the message ends with 408 wherever it is.
    #[serde(rename = "expirytime")]
    pub expires: Timestamp,
    /// The id the sender gave it; repeats of (source, sender id) are accepted once.
    #[serde(rename = "senderid", default, skip_serializing_if = "Option::is_none")]
    pub sender_id: Option<String>,
    #[serde(rename = "datacontenttype", default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// What the sender of a push asks beside its delivery.
    #[serde(default, skip_serializing_if = "PushOptions::is_empty")]
    pub options: PushOptions,
    /// Further attributes given by the sender (MQTT user properties), in order.
    #[serde(rename = "attributes", default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<(String, String)>,
    #[serde(skip)]
    pub data: Bytes,
}

impl Envelope {
    /// What one server of a domain tells another, as JSON. It may wait for [`expiry::BETWEEN_SERVERS`].
    pub fn between_servers(
        id: MessageId,
        kind: MessageKind,
        (from, to): (Server, Server),
        now: Timestamp,
        data: Bytes,
    ) -> Envelope {
        Envelope {
            id,
            kind,
            source: Address::local(Principal::server(from)),
            destination: Address::local(Principal::server(to)),
            channel: None,
            time: now,
            expires: now.plus(expiry::BETWEEN_SERVERS),
            sender_id: None,
            content_type: Some("application/json".to_owned()),
            options: PushOptions::default(),
            attributes: Vec::new(),
            data,
        }
    }
}
