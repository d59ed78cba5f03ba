//! What a sender may ask of a push beside its delivery (clause 8.3.3): parsed here, so that HTTP and MQTT 5 mean the
//! same. In MQTT they are user properties, in HTTP fields of the body:
//!
//! | HTTP | MQTT 5 | |
//! |---|---|---|
//! | `id` | `id` | idempotency key: the same key and content again is the same push |
//! | `expiry` or `expires` | Message Expiry Interval or `expirytime` | 408 after it |
//! | `supersede_key` | `supersedekey` | takes the place of the sender's older one with this key that was not delivered |
//! | `only_if_epoch` | `onlyifepoch` | 409 unless the receiver's presence has this epoch at delivery |

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::message_kind::MessageKind;

/// Longest id or key a sender may give, in bytes.
pub const KEY_LEN_MAX: usize = 128;

/// The user property that is an MQTT 5 push's supersede key.
pub const SUPERSEDE_KEY: &str = "supersedekey";
/// The user property that is an MQTT 5 push's wanted epoch.
pub const ONLY_IF_EPOCH: &str = "onlyifepoch";

/// Why an option is not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OptionError {
    #[error("an id has 1 to {KEY_LEN_MAX} bytes and no control characters")]
    SenderId,
    #[error("a supersede key has 1 to {KEY_LEN_MAX} bytes and no control characters")]
    SupersedeKey,
    #[error("a presence epoch is a whole number from 1")]
    Epoch,
}

/// Options of a push; none for everything else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushOptions {
    #[serde(rename = "supersedekey", default, skip_serializing_if = "Option::is_none")]
    pub supersede_key: Option<SupersedeKey>,
    /// The push is for this session of its receiver and no later one.
    #[serde(rename = "onlyifepoch", default, skip_serializing_if = "Option::is_none")]
    pub only_if_epoch: Option<Epoch>,
}

impl PushOptions {
    /// Nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == PushOptions::default()
    }
}

/// Names what a push is about: of the undelivered ones with one key only the newest is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SupersedeKey(String);

impl SupersedeKey {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SupersedeKey {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<SupersedeKey, OptionError> {
        SupersedeKey::try_from(text.to_owned())
    }
}

impl TryFrom<String> for SupersedeKey {
    type Error = OptionError;

    fn try_from(text: String) -> Result<SupersedeKey, OptionError> {
        if is_key(&text) {
            Ok(SupersedeKey(text))
        } else {
            Err(OptionError::SupersedeKey)
        }
    }
}

/// The key under which of all messages of this kind from one sender to one receiver only the newest waits.
impl From<MessageKind> for SupersedeKey {
    fn from(kind: MessageKind) -> SupersedeKey {
        SupersedeKey(kind.as_str().to_owned())
    }
}

impl From<SupersedeKey> for String {
    fn from(key: SupersedeKey) -> String {
        key.0
    }
}

impl fmt::Display for SupersedeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An epoch of a presence, as a sender names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Epoch(NonZeroU64);

impl Epoch {
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl FromStr for Epoch {
    type Err = OptionError;

    /// Digits only: no sign and no space.
    fn from_str(text: &str) -> Result<Epoch, OptionError> {
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(OptionError::Epoch);
        }
        text.parse().map(Epoch).map_err(|_| OptionError::Epoch)
    }
}

impl TryFrom<u64> for Epoch {
    type Error = OptionError;

    fn try_from(number: u64) -> Result<Epoch, OptionError> {
        NonZeroU64::new(number).map(Epoch).ok_or(OptionError::Epoch)
    }
}

impl From<Epoch> for u64 {
    fn from(epoch: Epoch) -> u64 {
        epoch.get()
    }
}

/// A sender's own id of its message.
pub fn sender_id(text: &str) -> Result<String, OptionError> {
    if is_key(text) {
        Ok(text.to_owned())
    } else {
        Err(OptionError::SenderId)
    }
}

fn is_key(text: &str) -> bool {
    (1..=KEY_LEN_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_a_length_and_no_control_characters() {
        let longest = "x".repeat(KEY_LEN_MAX);
        for text in ["17", "a b", "größe", longest.as_str()] {
            assert_eq!(text.parse::<SupersedeKey>().unwrap().as_str(), text);
            assert_eq!(sender_id(text).as_deref(), Ok(text));
        }
        for text in ["", "a\nb", "\u{7f}", &format!("{longest}x")] {
            assert_eq!(
                text.parse::<SupersedeKey>(),
                Err(OptionError::SupersedeKey),
                "{text}"
            );
            assert_eq!(sender_id(text), Err(OptionError::SenderId), "{text}");
        }
    }

    #[test]
    fn epochs_are_whole_numbers_from_one() {
        assert_eq!("7".parse().map(Epoch::get), Ok(7));
        assert_eq!(Epoch::try_from(u64::MAX).map(Epoch::get), Ok(u64::MAX));
        for text in ["", "0", "-1", "+1", "1.0", " 1", "x", "18446744073709551616"] {
            assert_eq!(text.parse::<Epoch>(), Err(OptionError::Epoch), "{text}");
        }
        assert_eq!(Epoch::try_from(0), Err(OptionError::Epoch));
    }

    #[test]
    fn options_read_as_they_are_written_and_nothing_is_written_for_none() {
        let options = PushOptions {
            supersede_key: Some("power".parse().unwrap()),
            only_if_epoch: Some("3".parse().unwrap()),
        };
        let text = serde_json::to_string(&options).unwrap();
        assert_eq!(text, r#"{"supersedekey":"power","onlyifepoch":3}"#);
        assert_eq!(serde_json::from_str::<PushOptions>(&text).unwrap(), options);
        assert_eq!(serde_json::to_string(&PushOptions::default()).unwrap(), "{}");
        for wrong in [r#"{"supersedekey":""}"#, r#"{"onlyifepoch":0}"#] {
            assert!(serde_json::from_str::<PushOptions>(wrong).is_err(), "{wrong}");
        }
    }
}
