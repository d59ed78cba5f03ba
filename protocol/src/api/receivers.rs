//! Whom a push is for: one receiver, a list of them, or all devices of a user.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;
use utoipa::ToSchema;

use crate::address::{Address, AddressError, Kind};

/// What ends the address of a user to mean all devices bound to them.
const DEVICES: &str = "/devices";
/// Most receivers of one request.
pub const RECEIVERS_MAX: usize = 1_000;

/// Whom a push is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receivers {
    One(Address),
    /// Each once, 1 to [`RECEIVERS_MAX`].
    Many(Vec<Address>),
    /// The devices bound to this user when it is sent.
    DevicesOf(Address),
}

/// Why a text or a list is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReceiversError {
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("only a user has devices: usr/ann/devices, not {0}/devices")]
    NotAUser(Address),
    #[error("a list of receivers has 1 to {RECEIVERS_MAX}")]
    Length,
    #[error("{0} stands in the list twice")]
    Twice(Address),
}

/// How [`Receivers`] are written: `"dev/lamp-1"`, `["dev/lamp-1", "dev/lamp-2"]`, or `"usr/ann/devices"`.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(example = "dev/lamp-1")]
pub enum PushTo {
    One(String),
    Many(Vec<String>),
}

impl Receivers {
    fn one(text: &str) -> Result<Receivers, ReceiversError> {
        let Some(user) = text.strip_suffix(DEVICES) else {
            return Ok(Receivers::One(text.parse()?));
        };
        let user: Address = user.parse()?;
        match user.principal.kind {
            Kind::User => Ok(Receivers::DevicesOf(user)),
            Kind::Device | Kind::Application | Kind::External | Kind::Peer | Kind::Server => {
                Err(ReceiversError::NotAUser(user))
            }
        }
    }

    fn many(list: Vec<Address>) -> Result<Receivers, ReceiversError> {
        if list.is_empty() || list.len() > RECEIVERS_MAX {
            return Err(ReceiversError::Length);
        }
        let mut sorted: Vec<&Address> = list.iter().collect();
        sorted.sort();
        match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(ReceiversError::Twice(pair[0].clone())),
            None => Ok(Receivers::Many(list)),
        }
    }
}

impl Serialize for Receivers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Receivers::One(address) => address.serialize(serializer),
            Receivers::Many(list) => list.serialize(serializer),
            Receivers::DevicesOf(user) => serializer.collect_str(&format_args!("{user}{DEVICES}")),
        }
    }
}

impl<'de> Deserialize<'de> for Receivers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Receivers, D::Error> {
        struct Written;
        impl<'de> de::Visitor<'de> for Written {
            type Value = Receivers;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an address, a list of addresses, or usr/.../devices")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Receivers, E> {
                Receivers::one(text).map_err(E::custom)
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<Receivers, A::Error> {
                let list = Vec::deserialize(de::value::SeqAccessDeserializer::new(list))?;
                Receivers::many(list).map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_any(Written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receivers_read_as_they_are_written() {
        for text in [
            r#""dev/lamp-1""#,
            r#""usr/ann@far.example""#,
            r#"["dev/lamp-1","usr/ann"]"#,
            r#""usr/ann/devices""#,
            r#""usr/ann@far.example/devices""#,
        ] {
            let receivers: Receivers = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&receivers).unwrap(), text);
        }
    }

    #[test]
    fn what_is_no_receiver_is_refused() {
        let many = serde_json::to_string(&vec!["dev/a"; RECEIVERS_MAX + 1]).unwrap();
        for text in [
            "1",
            "{}",
            "[]",
            r#""lamp-1""#,
            r#"["dev/a","dev/a"]"#,
            r#"["usr/ann/devices"]"#,
            r#""dev/lamp-1/devices""#,
            &many,
        ] {
            assert!(serde_json::from_str::<Receivers>(text).is_err(), "{text}");
        }
    }
}
