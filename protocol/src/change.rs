//! 8.2 messages: what the account server tells the other servers about principals, and what they keep of it.
//!
//! Changes are numbered without gaps. Each carries the whole new state of one entity, so applying it twice, or after
//! a snapshot that already held it, changes nothing: of two states of one entity the greater number is the newer.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::address::{Address, AddressError, Domain, Id, Kind, Principal};
use crate::api::app::Period;
use crate::credential::{Certificate, Code, EndedLogin};
use crate::peer::{Grant, Peer};
use crate::secret::SecretHash;
use crate::time::Timestamp;

/// The clause of a change: what was done to the entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// Clause 8.2.1.
    Register,
    /// Clause 8.2.2.
    Modify,
    /// Clause 8.2.3.
    Delete,
    /// Clause 8.2.4: the verification code was reset.
    Reset,
}

/// One numbered change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Position in the account server's log, from 1, without gaps.
    pub n: u64,
    pub cause: Cause,
    pub key: EntityKey,
    /// The new state; `None` means the entity is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity: Option<Entity>,
}

/// Body of a `Directory` envelope: consecutive changes, oldest first, never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeBatch {
    pub changes: Vec<Change>,
}

/// Names one entity: `dev/lamp-1`, `bind/lamp-1/ann`, `key/token`, `as/other.example`,
/// `grant/dev/lamp-1/app/climate@other.example`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntityKey {
    Principal(Principal),
    Binding {
        device: Id,
        user: Id,
    },
    /// A key that verifies user tokens, by its key id.
    TokenKey(String),
    /// Another domain.
    Peer(Domain),
    /// What an application of another domain may do with a principal of this one.
    Grant {
        principal: Principal,
        to: Address,
    },
}

impl fmt::Display for EntityKey {
    /// As it stands in databases and the audit log. No kind of principal is called `bind`, `key` or `grant`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EntityKey::Principal(principal) => principal.fmt(f),
            EntityKey::Binding { device, user } => write!(f, "bind/{device}/{user}"),
            EntityKey::TokenKey(id) => write!(f, "key/{id}"),
            EntityKey::Peer(domain) => write!(f, "{}/{domain}", Kind::Peer),
            EntityKey::Grant { principal, to } => write!(f, "grant/{principal}/{to}"),
        }
    }
}

impl FromStr for EntityKey {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<EntityKey, AddressError> {
        match text.split_once('/') {
            Some(("key", id)) => Ok(EntityKey::TokenKey(id.to_owned())),
            Some(("as", domain)) => Ok(EntityKey::Peer(Domain::new(domain)?)),
            Some(("bind", pair)) => {
                let (device, user) = pair.split_once('/').unwrap_or((pair, ""));
                Ok(EntityKey::Binding {
                    device: Id::new(device)?,
                    user: Id::new(user)?,
                })
            }
            Some(("grant", pair)) => {
                let middle = pair.match_indices('/').nth(1).map_or(pair.len(), |(at, _)| at);
                let (principal, to) = pair.split_at(middle);
                Ok(EntityKey::Grant {
                    principal: principal.parse()?,
                    to: to.trim_start_matches('/').parse()?,
                })
            }
            _ => Ok(EntityKey::Principal(text.parse()?)),
        }
    }
}

/// The state of one entity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Entity {
    User(User),
    Device(Device),
    Application(Application),
    Binding(Binding),
    TokenKey(TokenKey),
    Peer(Peer),
    Grant(Grant),
}

/// A person, or the operator whose admin token made the domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub id: Id,
    pub role: Role,
    pub disabled: bool,
    /// Tokens issued before this are refused.
    pub tokens_from: Timestamp,
    /// Machine-made tokens, checked by their hash; the admin token is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<SecretHash>,
    /// Logins that were ended while tokens of theirs were still good.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended_logins: Vec<EndedLogin>,
}

/// What a user may do through the HTTP API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    User,
    /// Reads everything, no secrets.
    Operator,
    Admin,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    pub id: Id,
    /// Its codes, oldest first.
    pub codes: Vec<Code>,
    /// The certificates it may log in with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<Certificate>,
    pub answers: Answers,
    pub disabled: bool,
    /// Rises with every reset; sessions begun under a smaller one are ended.
    pub generation: u64,
}

impl Device {
    /// Whether this is the hash of a code that is valid now.
    pub fn opens(&self, hash: &SecretHash, now: Timestamp) -> bool {
        self.codes
            .iter()
            .any(|code| code.hash == *hash && code.is_valid(now))
    }
}

/// How a device answers a push, and an attached application what it receives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answers {
    /// By publishing on its `ack` topic.
    #[default]
    Ack,
    /// By PUBACK (or PUBCOMP) alone.
    Mqtt,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Application {
    pub id: Id,
    /// Hashes of the keys that are valid now.
    pub keys: Vec<SecretHash>,
    /// Whose uploads, live topics and presence it may hear.
    pub hears: Scope,
    /// To whom it may push.
    pub pushes: Scope,
    /// To which applications it may send messages (clause 8.4).
    #[serde(default = "everyone")]
    pub messages: Scope,
    #[serde(default)]
    pub delivery: Delivery,
    /// How it answers what it is given while it is attached.
    #[serde(default)]
    pub answers: Answers,
    #[serde(default, skip_serializing_if = "Retention::keeps_all")]
    pub retention: Retention,
    pub disabled: bool,
    pub generation: u64,
}

/// How an application receives uploads and messages (clauses 7.3, 7.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    /// The application server stores and serves them.
    #[default]
    Hosted,
    /// Its developer's own server receives them over MQTT and answers each.
    Attached,
    /// A third party's HTTP service receives them.
    External,
}

/// How long what is stored for an application is kept; the default keeps it for as long as the server does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// What was stored longer ago than this is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<Period>,
    /// Of more payload than this, in bytes, the oldest is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

impl Retention {
    pub fn keeps_all(&self) -> bool {
        *self == Retention::default()
    }
}

fn everyone() -> Scope {
    Scope::Everyone
}

/// A set of principals: everyone, or those that are named, of other domains by their address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    Everyone,
    Only(Vec<Address>),
}

impl Scope {
    pub fn includes(&self, principal: &Principal) -> bool {
        match self {
            Scope::Everyone => true,
            Scope::Only(list) => list
                .iter()
                .any(|named| named.domain.is_none() && named.principal == *principal),
        }
    }

    /// The same for a principal of any domain; our own has none.
    pub fn includes_address(&self, address: &Address) -> bool {
        match self {
            Scope::Everyone => true,
            Scope::Only(list) => list.contains(address),
        }
    }

    /// Who of another domain is included; `None`: everyone.
    pub fn of_domain(&self, domain: &Domain) -> Option<BTreeSet<&Address>> {
        match self {
            Scope::Everyone => None,
            Scope::Only(list) => {
                let theirs = list.iter().filter(|named| named.domain.as_ref() == Some(domain));
                Some(theirs.collect())
            }
        }
    }
}

/// A user owns a device, or it was shared with them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    pub device: Id,
    pub user: Id,
    pub owner: bool,
    /// What the user may do with the device; an owner may do everything.
    #[serde(default)]
    pub rights: Rights,
}

/// One thing a user may do with a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    /// See whether it is online.
    Presence,
    /// Receive what it uploads and publishes live.
    Receive,
    /// Push to it, and publish on its live topics.
    Push,
}

impl Right {
    pub const ALL: [Right; 3] = [Right::Presence, Right::Receive, Right::Push];
}

/// A set of rights, written as a list: `["presence","receive"]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Vec<Right>", into = "Vec<Right>")]
pub struct Rights(u8);

impl Rights {
    pub const NONE: Rights = Rights(0);

    pub fn includes(self, right: Right) -> bool {
        self.0 & Rights::bit(right) != 0
    }

    /// Whether a right is in this set and not in the other.
    pub fn exceeds(self, other: Rights) -> bool {
        self.0 & !other.0 != 0
    }

    const fn bit(right: Right) -> u8 {
        1 << right as u8
    }
}

/// Everything: what an owner has.
impl Default for Rights {
    fn default() -> Rights {
        Right::ALL.into_iter().collect()
    }
}

impl FromIterator<Right> for Rights {
    fn from_iter<I: IntoIterator<Item = Right>>(rights: I) -> Rights {
        Rights(rights.into_iter().fold(0, |set, right| set | Rights::bit(right)))
    }
}

impl From<Vec<Right>> for Rights {
    fn from(rights: Vec<Right>) -> Rights {
        rights.into_iter().collect()
    }
}

impl From<Rights> for Vec<Right> {
    fn from(rights: Rights) -> Vec<Right> {
        Right::ALL
            .into_iter()
            .filter(|right| rights.includes(*right))
            .collect()
    }
}

/// The public half of a key that signs user tokens (Ed25519).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenKey {
    pub id: String,
    /// 32 bytes, base64url without padding.
    pub public: String,
}

impl Entity {
    pub fn key(&self) -> EntityKey {
        match self {
            Entity::User(user) => EntityKey::Principal(Principal::user(user.id.clone())),
            Entity::Device(device) => EntityKey::Principal(Principal::device(device.id.clone())),
            Entity::Application(app) => EntityKey::Principal(Principal::application(app.id.clone())),
            Entity::Binding(b) => EntityKey::Binding {
                device: b.device.clone(),
                user: b.user.clone(),
            },
            Entity::TokenKey(key) => EntityKey::TokenKey(key.id.clone()),
            Entity::Peer(peer) => EntityKey::Peer(peer.domain.clone()),
            Entity::Grant(grant) => EntityKey::Grant {
                principal: grant.principal.clone(),
                to: grant.to.clone(),
            },
        }
    }
}

/// A page of the account server's present state, for a server that comes late or was restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryPage {
    /// The number of the last change when this page was read.
    pub at: u64,
    /// Entities with the number of the change that last touched them.
    pub entities: Vec<(u64, Entity)>,
    /// Where the next page starts; `None` after the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_as_it_is_written() {
        for text in [
            "dev/lamp-1",
            "bind/lamp-1/ann",
            "key/k-1",
            "as/other.example",
            "grant/dev/lamp-1/app/climate@other.example",
        ] {
            assert_eq!(text.parse::<EntityKey>().unwrap().to_string(), text);
        }
        for wrong in [
            "",
            "lamp-1",
            "bind/lamp-1",
            "planet/mars",
            "dev/",
            "as/",
            "grant/dev/lamp-1",
        ] {
            assert!(wrong.parse::<EntityKey>().is_err(), "{wrong}");
        }
    }
}
