//! The one name of a message, in topics, URLs, receipts and logs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::time::Timestamp;

/// A message's id, made by the server that accepts it: UUID version 7, so that ids sort by time of acceptance.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(Uuid);

impl MessageId {
    pub const fn from_uuid(uuid: Uuid) -> MessageId {
        MessageId(uuid)
    }
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
    pub const fn from_bytes(bytes: [u8; 16]) -> MessageId {
        MessageId(Uuid::from_bytes(bytes))
    }
}

impl MessageId {
    /// When the message was accepted, by the clock of whoever made the id.
    pub fn made_at(&self) -> Timestamp {
        let [a, b, c, d, e, f, ..] = *self.as_bytes();
        Timestamp::from_millis(i64::from_be_bytes([0, 0, a, b, c, d, e, f]))
    }
}

impl FromStr for MessageId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<MessageId, uuid::Error> {
        // Only the hyphenated form: one message has one spelling of its id in topics and URLs.
        let uuid = Uuid::try_parse(text)?;
        if text.len() == 36 && !text.bytes().any(|b| b.is_ascii_uppercase()) {
            Ok(MessageId(uuid))
        } else {
            Uuid::try_parse("").map(MessageId)
        }
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_id_tells_when_it_was_made() {
        let id: MessageId = "0190163d-8694-739b-aea5-966c26f8ad91".parse().unwrap();
        assert_eq!(id.made_at(), Timestamp::from_millis(0x0190_163d_8694));
    }

    #[test]
    fn a_message_id_has_one_spelling() {
        let text = "0190163d-8694-739b-aea5-966c26f8ad91";
        assert_eq!(text.parse::<MessageId>().unwrap().to_string(), text);
        for other in [
            "",
            "17",
            "0190163D-8694-739B-AEA5-966C26F8AD91",
            "0190163d8694739baea5966c26f8ad91",
        ] {
            assert!(other.parse::<MessageId>().is_err(), "{other:?}");
        }
    }
}
