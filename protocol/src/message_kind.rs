//! The kinds of messages, each with its words on the wire and in the database.

use serde::{Deserialize, Serialize};

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
