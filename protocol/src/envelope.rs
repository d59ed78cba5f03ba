//! The envelope: one message with its attributes, as it travels between servers and to third parties.
//!
//! Attributes carry CloudEvents 1.0 names. Where the transport has room for headers (the bus, the database, HTTP
//! binary mode), the head is this JSON object and the data stands beside it untouched.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::message_id::MessageId;
use crate::options::PushOptions;
use crate::time::Timestamp;
use crate::topic::Channel;

/// What an envelope is for; CloudEvents `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MessageKind {
    /// Device or user to application (clause 8.3.1).
    #[serde(rename = "irsp.upload")]
    Upload,
    /// Application or user to device or user (clause 8.3.3).
    #[serde(rename = "irsp.push")]
    Push,
    /// Application to application (clause 8.4).
    #[serde(rename = "irsp.message")]
    Message,
    /// How a message whose custody was taken over has ended (clauses 8.3.4, 8.4.2).
    #[serde(rename = "irsp.status")]
    Status,
    /// Online and offline (clause 8.3.2).
    #[serde(rename = "irsp.presence")]
    Presence,
    /// Account changes (clause 8.2); to the account server, notes for its audit log.
    #[serde(rename = "irsp.directory")]
    Directory,
}

impl MessageKind {
    pub const ALL: [MessageKind; 6] = [
        MessageKind::Upload,
        MessageKind::Push,
        MessageKind::Message,
        MessageKind::Status,
        MessageKind::Presence,
        MessageKind::Directory,
    ];

    /// The word used in the ledger, metrics and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            MessageKind::Upload => "upload",
            MessageKind::Push => "push",
            MessageKind::Message => "message",
            MessageKind::Status => "status",
            MessageKind::Presence => "presence",
            MessageKind::Directory => "directory",
        }
    }

    pub fn parse(word: &str) -> Option<MessageKind> {
        MessageKind::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

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
