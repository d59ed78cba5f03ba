//! Other domains (clauses 8.5 to 8.7): what an operator settles about each, who of one's own may be reached from there,
//! and how the link stands.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

use crate::address::{Address, Domain, Id, Principal};
use crate::message_kind::MessageKind;
use crate::time::Timestamp;

/// Messages a second taken from a peer whose operator has settled nothing else.
pub const RATE_MAX: u32 = 10_000;

/// Another domain, as this one's operator knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    pub domain: Domain,
    pub trust: Trust,
    /// Where its message server listens for links, in the order in which they are tried; none if only it dials, or if it is
    /// to be looked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<PeerUrl>,
    /// What is taken from it.
    #[serde(rename = "in", default)]
    pub inward: Policy,
    /// What is sent to it.
    #[serde(rename = "out", default)]
    pub outward: Policy,
    /// Messages a second taken from it; what is more waits on its side.
    #[serde(default = "rate_max")]
    pub rate_max: u32,
    /// Messages a second sent to it, ends of its own among them; what is more waits here. As fast as it takes them unless
    /// given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_rate_max: Option<NonZeroU32>,
    #[serde(default)]
    pub state: PeerState,
}

const fn rate_max() -> u32 {
    RATE_MAX
}

/// By what a peer's certificate is known. It also has to name the peer's domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Trust {
    /// It is signed by one of these authorities, PEM.
    #[schema(value_type = String)]
    Authority(String),
    /// It is the one with this SHA-256.
    #[schema(value_type = String, example = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9")]
    Fingerprint(Fingerprint),
}

/// The SHA-256 of a certificate in DER: 64 hexadecimal digits, with or without colons.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; 32]);

/// Which messages may pass in one direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// All kinds unless given.
    #[serde(default = "every_kind")]
    pub kinds: BTreeSet<Carried>,
    /// The applications of this domain that may take part; all unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub applications: Option<BTreeSet<Id>>,
}

/// The kinds of message that pass between domains. News of an end passes with what it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Carried {
    Upload,
    Push,
    Message,
    Presence,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PeerState {
    #[default]
    Active,
    /// No link; what is for it waits.
    Paused,
    /// Nothing new is accepted for it; what waits is still sent.
    Draining,
}

/// An application of another domain may hear a device or user of this one, or push to it; or a device is shared with a user
/// of another domain (clause 8.7). Given by the device's owner, the user itself or an administrator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub principal: Principal,
    /// The application or user, with its domain.
    pub to: Address,
    /// May have its presence, an application its uploads, too.
    pub hears: bool,
    /// May push to it.
    pub pushes: bool,
}

/// How the link to a peer stands just now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PeerLink {
    #[schema(value_type = String, example = "other.example")]
    pub domain: Domain,
    /// Since when there is a link; absent while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub linked: Option<Timestamp>,
    /// Messages that wait for the peer.
    pub waiting: u64,
    /// When the oldest of them was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub oldest: Option<Timestamp>,
    /// Why there is no link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// Where a message server listens for links: `irsp://host:port`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PeerUrl(String);

/// Why a text is not what a peer is known by.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PeerError {
    #[error("a link's address is irsp://host:port: {0:?}")]
    Url(String),
    #[error("a fingerprint is the SHA-256 of a certificate, 64 hexadecimal digits")]
    Fingerprint,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            kinds: every_kind(),
            applications: None,
        }
    }
}

fn every_kind() -> BTreeSet<Carried> {
    Carried::ALL.into()
}

impl Policy {
    /// Whether a message of this kind to or from this application of ours may pass; `None`: no application of ours
    /// takes part.
    pub fn allows(&self, kind: MessageKind, application: Option<&Id>) -> bool {
        let Some(carried) = Carried::of(kind) else {
            return kind == MessageKind::Status;
        };
        let welcome = |id: &Id| self.applications.as_ref().is_none_or(|list| list.contains(id));
        self.kinds.contains(&carried) && application.is_none_or(welcome)
    }
}

impl Carried {
    pub const ALL: [Carried; 4] = [
        Carried::Upload,
        Carried::Push,
        Carried::Message,
        Carried::Presence,
    ];

    fn of(kind: MessageKind) -> Option<Carried> {
        match kind {
            MessageKind::Upload => Some(Carried::Upload),
            MessageKind::Push => Some(Carried::Push),
            MessageKind::Message => Some(Carried::Message),
            MessageKind::Presence => Some(Carried::Presence),
            MessageKind::Status | MessageKind::Directory => None,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Carried::Upload => "upload",
            Carried::Push => "push",
            Carried::Message => "message",
            Carried::Presence => "presence",
        }
    }
}

impl FromStr for Carried {
    type Err = String;
    fn from_str(word: &str) -> Result<Carried, String> {
        let found = Carried::ALL.into_iter().find(|kind| kind.as_str() == word);
        found.ok_or_else(|| format!("{word:?} is none of upload, push, message, presence"))
    }
}

impl PeerState {
    pub const fn as_str(self) -> &'static str {
        match self {
            PeerState::Active => "active",
            PeerState::Paused => "paused",
            PeerState::Draining => "draining",
        }
    }
}

impl PeerUrl {
    /// The host and the port, as a socket wants them.
    pub fn authority(&self) -> &str {
        self.0.strip_prefix("irsp://").unwrap_or(&self.0)
    }
}

impl FromStr for PeerUrl {
    type Err = PeerError;
    fn from_str(text: &str) -> Result<PeerUrl, PeerError> {
        let authority = text
            .strip_prefix("irsp://")
            .and_then(|rest| rest.rsplit_once(':'));
        let good = authority.is_some_and(|(host, port)| {
            let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            let plain = host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
            let host = bare.map_or(plain && !host.is_empty(), |v6| {
                v6.parse::<std::net::Ipv6Addr>().is_ok()
            });
            host && port.parse::<u16>().is_ok_and(|port| port != 0)
        });
        if good {
            Ok(PeerUrl(text.to_owned()))
        } else {
            Err(PeerError::Url(text.chars().take(100).collect()))
        }
    }
}

impl TryFrom<String> for PeerUrl {
    type Error = PeerError;
    fn try_from(text: String) -> Result<PeerUrl, PeerError> {
        text.parse()
    }
}

impl From<PeerUrl> for String {
    fn from(url: PeerUrl) -> String {
        url.0
    }
}

impl fmt::Display for PeerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PeerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Fingerprint {
    pub const fn from_bytes(bytes: [u8; 32]) -> Fingerprint {
        Fingerprint(bytes)
    }
}

impl FromStr for Fingerprint {
    type Err = PeerError;
    fn from_str(text: &str) -> Result<Fingerprint, PeerError> {
        let digits: Option<Vec<u8>> = text
            .chars()
            .filter(|c| *c != ':')
            .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect();
        let digits = digits.ok_or(PeerError::Fingerprint)?;
        let bytes: Vec<u8> = digits
            .chunks(2)
            .filter_map(|pair| Some(pair[0] << 4 | pair.get(1)?))
            .collect();
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| PeerError::Fingerprint)?;
        if digits.len() == 64 {
            Ok(Fingerprint(bytes))
        } else {
            Err(PeerError::Fingerprint)
        }
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = PeerError;
    fn try_from(text: String) -> Result<Fingerprint, PeerError> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> String {
        fingerprint.to_string()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_links_address_has_host_and_port() {
        for good in ["irsp://b.example:7443", "irsp://127.0.0.1:1", "irsp://[::1]:7443"] {
            let url: PeerUrl = good.parse().unwrap();
            assert_eq!((url.to_string().as_str(), url.authority()), (good, &good[7..]));
        }
        for wrong in [
            "",
            "b.example:7443",
            "https://b.example:7443",
            "irsp://b.example",
            "irsp://b.example:0",
            "irsp://b.example:65536",
            "irsp://:7443",
            "irsp://b.example:7443/x",
            "irsp://a b:7443",
            "irsp://[b]:7443",
        ] {
            assert!(wrong.parse::<PeerUrl>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_fingerprint_is_read_with_colons_or_without() {
        let plain = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9";
        let colons: Vec<String> = plain
            .as_bytes()
            .chunks(2)
            .map(|pair| String::from_utf8_lossy(pair).to_uppercase())
            .collect();
        let read: Fingerprint = colons.join(":").parse().unwrap();
        assert_eq!(read.to_string(), plain);
        for wrong in [
            "",
            "b9",
            &plain[1..],
            &format!("{plain}00"),
            &plain.replace('b', "g"),
        ] {
            assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_policy_names_kinds_and_applications() {
        let (climate, other) = (Id::new("climate").unwrap(), Id::new("other").unwrap());
        let all = Policy::default();
        assert!(all.allows(MessageKind::Upload, Some(&other)) && all.allows(MessageKind::Status, None));
        assert!(
            !all.allows(MessageKind::Directory, None),
            "account changes stay in their domain"
        );
        let some: Policy =
            serde_json::from_str(r#"{"kinds":["upload"],"applications":["climate"]}"#).unwrap();
        assert!(some.allows(MessageKind::Upload, Some(&climate)));
        assert!(!some.allows(MessageKind::Upload, Some(&other)));
        assert!(!some.allows(MessageKind::Push, Some(&climate)));
        assert!(some.allows(MessageKind::Status, None), "what has passed may end");
    }
}
