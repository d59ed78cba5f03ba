//! The client contract's topics, parsed once.
//!
//! ```text
//! v1/{kind}/{id}/up/{app}/{channel...}        upload
//! v1/{kind}/{id}/ce/{app}                     upload as a structured CloudEvent
//! v1/{kind}/{id}/status                       status of what the principal sent
//! v1/{kind}/{id}/down/{app}/{mid}/{channel..} push
//! v1/{kind}/{id}/ack/{mid}                    answer to a push
//! v1/{kind}/{id}/presence                     retained presence
//! v1/{kind}/{id}/live/{name...}               plain publish/subscribe
//! v1/{kind}/{id}/to/{kind}/{id}/{channel...}  push or message
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::address::{Address, AddressError, Domain, Id, Kind, Principal};
use crate::message_id::MessageId;
use crate::message_kind::MessageKind;

/// Longest channel, in bytes.
pub const CHANNEL_LEN_MAX: usize = 512;
/// Longest topic the contract accepts, in bytes.
pub const TOPIC_LEN_MAX: usize = 1024;
/// Most levels in a topic: bounds the depth of the topic index.
pub const TOPIC_LEVELS_MAX: usize = 24;

/// Most levels in a channel: with them every topic that a message passes has no more than [`TOPIC_LEVELS_MAX`].
pub const CHANNEL_LEVELS_MAX: usize = 16;

/// Why a topic is not one of the contract's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TopicError {
    #[error("topics of this platform start with v1/")]
    Version,
    #[error("no such topic; see the client contract in docs/profile.md")]
    Unknown,
    #[error("the topic is longer than {TOPIC_LEN_MAX} bytes or has more than {TOPIC_LEVELS_MAX} levels")]
    TooLong,
    #[error(
        "a channel has 1 to {CHANNEL_LEN_MAX} bytes, 1 to {CHANNEL_LEVELS_MAX} levels, none of them empty, and no +, # or control character"
    )]
    Channel,
    #[error("{0}")]
    Address(#[from] AddressError),
    #[error("a message id is a UUID")]
    MessageId,
}

/// The part of an upload or push topic that is the sender's own: one or more levels, none empty.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Channel(String);

impl Channel {
    pub fn new(text: &str) -> Result<Channel, TopicError> {
        let ok = text.len() <= CHANNEL_LEN_MAX
            && levels(text).count() <= CHANNEL_LEVELS_MAX
            && !levels(text).any(<[u8]>::is_empty)
            && !text.chars().any(|c| matches!(c, '+' | '#') || is_unwelcome(c));
        if ok {
            Ok(Channel(text.to_owned()))
        } else {
            Err(TopicError::Channel)
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a client may end its connection for when it stands in a topic (MQTT 5.0, 1.5.4): control characters and
/// non-characters. Some do, and would never hear what comes behind it.
fn is_unwelcome(c: char) -> bool {
    let code = u32::from(c);
    c.is_control() || (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
}

impl TryFrom<String> for Channel {
    type Error = TopicError;
    fn try_from(text: String) -> Result<Channel, TopicError> {
        Channel::new(&text)
    }
}

impl From<Channel> for String {
    fn from(channel: Channel) -> String {
        channel.0
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A topic of the client contract. `owner` is the principal in whose tree the topic stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub owner: Address,
    pub branch: Branch,
}

/// What the topic is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Branch {
    /// The owner uploads to an application (clause 8.3.1).
    Up { app: Address, channel: Channel },
    /// The owner uploads a structured CloudEvent to an application (clause 8.3.1).
    CloudEvent { app: Address },
    /// The owner hears the status of what it sent (clause 8.3.4).
    Status,
    /// The owner receives a push (clause 8.3.3).
    Down {
        from: Address,
        id: MessageId,
        channel: Channel,
    },
    /// The owner answers a push, or an attached application what it was given (clause 8.3.4).
    Ack { id: MessageId },
    /// The same; the body names the message.
    Answers,
    /// An attached application receives (clauses 8.3.1, 8.3.2, 8.4).
    In(Incoming),
    /// Others learn whether the owner is online (clause 8.3.2).
    Presence,
    /// Plain publish/subscribe in the owner's tree.
    Live { name: Channel },
    /// The owner pushes to a device or user, or sends a message to an application (clauses 8.3.3, 8.4).
    To { destination: Address, channel: Channel },
}

/// What an attached application receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// An upload or a message, which it answers.
    Envelope {
        kind: MessageKind,
        source: Address,
        id: MessageId,
        channel: Option<Channel>,
    },
    /// Presence of somebody it hears, which it does not answer.
    Presence { of: Address },
}

impl Topic {
    /// Reads a topic name. Wildcards are not topic names and are refused as ids or channels.
    pub fn parse(text: &str) -> Result<Topic, TopicError> {
        if text.len() > TOPIC_LEN_MAX || levels(text).count() > TOPIC_LEVELS_MAX {
            return Err(TopicError::TooLong);
        }
        let rest = text.strip_prefix("v1/").ok_or(TopicError::Version)?;
        let (kind, rest) = split(rest)?;
        let (id, rest) = split(rest)?;
        let owner = address(kind, id)?;
        let (branch, rest) = match rest.split_once('/') {
            Some((branch, rest)) => (branch, Some(rest)),
            None => (rest, None),
        };
        let branch = match (branch, rest) {
            ("up", Some(rest)) => {
                let (app, channel) = split(rest)?;
                Branch::Up {
                    app: address("app", app)?,
                    channel: Channel::new(channel)?,
                }
            }
            ("ce", Some(app)) if !app.contains('/') => Branch::CloudEvent {
                app: address("app", app)?,
            },
            ("status", None) => Branch::Status,
            ("down", Some(rest)) => {
                let (from, rest) = split(rest)?;
                let (id, channel) = split(rest)?;
                Branch::Down {
                    from: down_source(from)?,
                    id: message_id(id)?,
                    channel: Channel::new(channel)?,
                }
            }
            ("ack", Some(id)) => Branch::Ack { id: message_id(id)? },
            ("ack", None) => Branch::Answers,
            ("in", Some(rest)) => Branch::In(incoming(rest)?),
            ("presence", None) => Branch::Presence,
            ("live", Some(name)) => Branch::Live {
                name: Channel::new(name)?,
            },
            ("to", Some(rest)) => {
                let (kind, rest) = split(rest)?;
                let (id, channel) = split(rest)?;
                Branch::To {
                    destination: address(kind, id)?,
                    channel: Channel::new(channel)?,
                }
            }
            _ => return Err(TopicError::Unknown),
        };
        Ok(Topic { owner, branch })
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v1/{}", self.owner)?;
        match &self.branch {
            Branch::Up { app, channel } => write!(f, "/up/{}/{channel}", Level(app)),
            Branch::CloudEvent { app } => write!(f, "/ce/{}", Level(app)),
            Branch::Status => f.write_str("/status"),
            Branch::Down { from, id, channel } => write!(f, "/down/{}/{id}/{channel}", DownSource(from)),
            Branch::Ack { id } => write!(f, "/ack/{id}"),
            Branch::Answers => f.write_str("/ack"),
            Branch::In(Incoming::Presence { of }) => write!(f, "/in/presence/{of}"),
            Branch::In(Incoming::Envelope {
                kind,
                source,
                id,
                channel,
            }) => {
                write!(f, "/in/{}/{source}/{id}", kind.as_str())?;
                match channel {
                    Some(channel) => write!(f, "/{channel}"),
                    None => Ok(()),
                }
            }
            Branch::Presence => f.write_str("/presence"),
            Branch::Live { name } => write!(f, "/live/{name}"),
            Branch::To { destination, channel } => write!(f, "/to/{destination}/{channel}"),
        }
    }
}

/// An address without its kind, where the topic already says which kind it is.
struct Level<'a>(&'a Address);

impl fmt::Display for Level<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.principal.id.fmt(f)?;
        match &self.0.domain {
            Some(domain) => write!(f, "@{domain}"),
            None => Ok(()),
        }
    }
}

/// Who a push is from: an application by its plain id, a user as `usr:{id}`, so that the level stays one level.
struct DownSource<'a>(&'a Address);

impl fmt::Display for DownSource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.principal.kind != Kind::Application {
            write!(f, "{}:", self.0.principal.kind)?;
        }
        Level(self.0).fmt(f)
    }
}

/// The levels of a topic or channel, as bytes: for levels as short as these much faster than `str::split`.
fn levels(text: &str) -> impl Iterator<Item = &[u8]> {
    text.as_bytes().split(|byte| *byte == b'/')
}

fn down_source(level: &str) -> Result<Address, TopicError> {
    match level.split_once(':') {
        Some((kind, id)) => address(kind, id),
        None => address("app", level),
    }
}

fn split(text: &str) -> Result<(&str, &str), TopicError> {
    text.split_once('/').ok_or(TopicError::Unknown)
}

fn address(kind: &str, id: &str) -> Result<Address, TopicError> {
    let kind = Kind::parse(kind).ok_or(TopicError::Unknown)?;
    let (id, domain) = match id.split_once('@') {
        Some((id, domain)) => (id, Some(Domain::new(domain)?)),
        None => (id, None),
    };
    Ok(Address {
        principal: Principal::new(kind, Id::new(id)?),
        domain,
    })
}

/// `{kind}/{source}/{mid}/{channel...}`, or `presence/{principal}`.
fn incoming(rest: &str) -> Result<Incoming, TopicError> {
    let (kind, rest) = split(rest)?;
    let (of, rest) = split(rest)?;
    if kind == "presence" {
        return Ok(Incoming::Presence {
            of: address(of, rest)?,
        });
    }
    let kind = match MessageKind::parse(kind) {
        Some(kind @ (MessageKind::Upload | MessageKind::Message)) => kind,
        Some(_) | None => return Err(TopicError::Unknown),
    };
    let (id, rest) = split(rest)?;
    let (mid, channel) = match rest.split_once('/') {
        Some((mid, channel)) => (mid, Some(Channel::new(channel)?)),
        None => (rest, None),
    };
    Ok(Incoming::Envelope {
        kind,
        source: address(of, id)?,
        id: message_id(mid)?,
        channel,
    })
}

fn message_id(text: &str) -> Result<MessageId, TopicError> {
    text.parse().map_err(|_| TopicError::MessageId)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MID: &str = "0190163d-8694-739b-aea5-966c26f8ad91";

    #[test]
    fn every_topic_of_the_contract_reads_as_it_is_written() {
        for text in [
            "v1/dev/lamp-1/up/climate/temp",
            "v1/dev/lamp-1/up/climate@other.example/a/b/c",
            "v1/usr/ann/up/climate/note",
            "v1/dev/lamp-1/ce/climate",
            "v1/dev/lamp-1/status",
            &format!("v1/dev/lamp-1/down/climate/{MID}/set/power"),
            &format!("v1/dev/lamp-1/down/usr:ann/{MID}/set"),
            &format!("v1/dev/lamp-1@other.example/ack/{MID}"),
            "v1/dev/lamp-1/presence",
            "v1/dev/lamp-1/live/color",
            "v1/app/climate/live/a/b",
            "v1/app/climate/to/dev/lamp-1/set",
            "v1/usr/ann/to/dev/lamp-1@other.example/set",
            "v1/app/climate/to/app/billing/invoice",
            "v1/app/climate/ack",
            &format!("v1/app/climate/in/upload/dev/lamp-1/{MID}/room/temp"),
            &format!("v1/app/climate/in/message/app/billing@other.example/{MID}"),
            "v1/app/climate/in/presence/dev/lamp-1",
        ] {
            assert_eq!(Topic::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_the_contract_does_not_name_is_refused() {
        for text in [
            "",
            "v1",
            "v1/",
            "v2/dev/a/status",
            "v1/dev/a",
            "v1/dev/a/",
            "v1/dev/a/other",
            "v1/foo/a/status",
            "v1/dev//status",
            "v1/dev/a/status/",
            "v1/dev/a/status/x",
            "v1/dev/a/up/climate",
            "v1/dev/a/up/climate/",
            "v1/dev/a/up/climate//x",
            "v1/dev/a/up/climate/+",
            "v1/dev/+/up/climate/x",
            "v1/dev/a/ce/climate/x",
            "v1/dev/a/ack/17",
            "v1/app/a/in",
            "v1/app/a/in/presence/dev",
            "v1/app/a/in/presence/dev/b/c",
            "v1/app/a/in/upload/dev/b/17/temp",
            "v1/app/a/in/push/dev/b/0190163d-8694-739b-aea5-966c26f8ad91/temp",
            "v1/dev/a/live",
            "v1/dev/a/to/dev/b",
            "$SYS/broker",
            "/v1/dev/a/status",
        ] {
            assert!(Topic::parse(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics_and_round_trips(text in "v1/(dev|usr|app)/[a-z+#/]{0,6}/(up|down|ack|live|to|ce|in)/[a-z@:/.+-]{0,40}") {
            if let Ok(topic) = Topic::parse(&text) {
                prop_assert_eq!(topic.to_string(), text);
            }
        }
    }
}
