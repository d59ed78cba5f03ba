//! Who takes part: principals (`dev/lamp-1`) and their addresses (`dev/lamp-1@home.example`).
//!
//! Text becomes one of these types at the border and stays one.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest identifier, in bytes. Keeps topics short and every index entry bounded.
pub const ID_LEN_MAX: usize = 64;
/// Longest domain name, in bytes (RFC 1035).
pub const DOMAIN_LEN_MAX: usize = 253;

/// Why a text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    #[error(
        "an id has 1 to {ID_LEN_MAX} characters of a-z A-Z 0-9 . _ - and starts with a letter or digit: {0:?}"
    )]
    Id(String),
    #[error("a domain is a host name in lower case, such as home.example: {0:?}")]
    Domain(String),
    #[error("an address starts with dev/, usr/, app/, ext/, as/ or srv/: {0:?}")]
    Kind(String),
}

/// The kind of a principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A device.
    Device,
    /// A user: a person.
    User,
    /// An application of this domain.
    Application,
    /// An application outside the platform, reached over HTTP (clauses 7.4, 8.8).
    External,
    /// Another domain (clause 8.5).
    Peer,
    /// A server of this domain: a privileged bridge client of the message server.
    Server,
}

impl Kind {
    pub const ALL: [Kind; 6] = [
        Kind::Device,
        Kind::User,
        Kind::Application,
        Kind::External,
        Kind::Peer,
        Kind::Server,
    ];

    /// The word that stands for the kind in addresses and topics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Device => "dev",
            Kind::User => "usr",
            Kind::Application => "app",
            Kind::External => "ext",
            Kind::Peer => "as",
            Kind::Server => "srv",
        }
    }

    pub fn parse(word: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// An identifier within its kind: 1 to 64 of `a-z A-Z 0-9 . _ -`, first a letter or digit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(Arc<str>);

impl Id {
    pub fn new(text: &str) -> Result<Id, AddressError> {
        let ok = !text.is_empty()
            && text.len() <= ID_LEN_MAX
            && text.as_bytes()[0].is_ascii_alphanumeric()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if ok {
            Ok(Id(text.into()))
        } else {
            Err(AddressError::Id(clip(text)))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A domain: one administrative unit with its own account, message and application servers, named like a host.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Domain(Arc<str>);

impl Domain {
    pub fn new(text: &str) -> Result<Domain, AddressError> {
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if text.len() <= DOMAIN_LEN_MAX && text.split('.').all(label) {
            Ok(Domain(text.into()))
        } else {
            Err(AddressError::Domain(clip(text)))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A participant within a domain, written `dev/lamp-1`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Principal {
    pub kind: Kind,
    pub id: Id,
}

impl Principal {
    pub const fn new(kind: Kind, id: Id) -> Principal {
        Principal { kind, id }
    }
    pub fn device(id: Id) -> Principal {
        Principal::new(Kind::Device, id)
    }
    pub fn user(id: Id) -> Principal {
        Principal::new(Kind::User, id)
    }
    pub fn application(id: Id) -> Principal {
        Principal::new(Kind::Application, id)
    }
    pub fn server(server: Server) -> Principal {
        Principal::new(Kind::Server, Id(server.as_str().into()))
    }

    /// The server this principal is, if it is one.
    pub fn as_server(&self) -> Option<Server> {
        (self.kind == Kind::Server)
            .then(|| Server::parse(self.id.as_str()))
            .flatten()
    }
}

/// The servers of one domain, as the bus and the receipts name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Server {
    /// The account server (clause 7.1).
    Account,
    /// The message server (clause 7.2).
    Message,
    /// The application server (clause 7.3).
    App,
}

impl Server {
    pub const ALL: [Server; 3] = [Server::Account, Server::Message, Server::App];

    pub const fn as_str(self) -> &'static str {
        match self {
            Server::Account => "account",
            Server::Message => "message",
            Server::App => "app",
        }
    }

    pub fn parse(word: &str) -> Option<Server> {
        Server::ALL.into_iter().find(|server| server.as_str() == word)
    }
}

/// A principal and, when it is not our own, its domain: `dev/lamp-1@home.example`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    pub principal: Principal,
    /// `None` means the domain of whoever reads it.
    pub domain: Option<Domain>,
}

impl Address {
    /// An address within one's own domain.
    pub const fn local(principal: Principal) -> Address {
        Address {
            principal,
            domain: None,
        }
    }

    /// The address as others read it: in `own` domain, unless it names another.
    pub fn or_in(self, own: &Domain) -> Address {
        Address {
            domain: self.domain.or_else(|| Some(own.clone())),
            ..self
        }
    }
}

impl From<Principal> for Address {
    fn from(principal: Principal) -> Address {
        Address::local(principal)
    }
}

impl FromStr for Domain {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Domain, AddressError> {
        Domain::new(text)
    }
}

impl FromStr for Principal {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Principal, AddressError> {
        let (kind, id) = text
            .split_once('/')
            .ok_or_else(|| AddressError::Kind(clip(text)))?;
        let kind = Kind::parse(kind).ok_or_else(|| AddressError::Kind(clip(text)))?;
        Ok(Principal {
            kind,
            id: Id::new(id)?,
        })
    }
}

impl FromStr for Address {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Address, AddressError> {
        let (principal, domain) = match text.split_once('@') {
            Some((principal, domain)) => (principal, Some(Domain::new(domain)?)),
            None => (text, None),
        };
        Ok(Address {
            principal: principal.parse()?,
            domain,
        })
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.id)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.domain {
            Some(domain) => write!(f, "{}@{domain}", self.principal),
            None => self.principal.fmt(f),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Text newtypes: the same conversions for each, so that serde and `Display` agree on one spelling.
macro_rules! text {
    ($($type:ident from $parse:expr;)*) => {$(
        impl TryFrom<String> for $type {
            type Error = AddressError;
            fn try_from(text: String) -> Result<$type, AddressError> {
                $parse(&text)
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.to_string()
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}

text! {
    Id from Id::new;
    Domain from Domain::new;
    Principal from Principal::from_str;
    Address from Address::from_str;
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Id {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Id, AddressError> {
        Id::new(text)
    }
}

/// The start of a refused text, short enough for a log line or a problem document.
fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_read_as_they_are_written() {
        for text in [
            "dev/lamp-1",
            "usr/ann@home.example",
            "app/climate",
            "as/home.example",
            "srv/message",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn foreign_text_is_refused_by_the_rule_it_breaks() {
        let long = "a".repeat(ID_LEN_MAX + 1);
        for id in ["", "-x", ".x", "a b", "a/b", "a+", "a#", "ä", "a\0b", &long] {
            assert!(matches!(Id::new(id), Err(AddressError::Id(_))), "{id:?}");
        }
        for domain in ["", ".", "a..b", "-a.b", "Home.example", "a_b", "a."] {
            assert!(
                matches!(Domain::new(domain), Err(AddressError::Domain(_))),
                "{domain:?}"
            );
        }
        for address in ["lamp-1", "foo/lamp-1", "dev", "/lamp"] {
            assert!(
                matches!(address.parse::<Address>(), Err(AddressError::Kind(_))),
                "{address:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics_and_round_trips(text in ".{0,80}") {
            if let Ok(address) = text.parse::<Address>() {
                prop_assert_eq!(address.to_string(), text);
            }
        }
    }
}
