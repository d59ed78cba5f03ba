//! Addresses to listen on: `"127.0.0.1:1883"`, `"[::1]:1883"`; port 0 lets the system choose. A listener that may
//! be left out is written `""`.

use std::net::SocketAddr;

use serde::{Deserialize, Deserializer, Serializer, de::Error as _};
use thiserror::Error;

/// The text is not an address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not an address to listen on: write an IP address and a port, such as \"127.0.0.1:1883\"")]
pub(crate) struct NotAnAddress;

pub(crate) fn serialize<S: Serializer>(address: &SocketAddr, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(address)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer).map_err(|_| D::Error::custom(NotAnAddress))?;
    text.trim().parse().map_err(|_| D::Error::custom(NotAnAddress))
}

/// A listener that is off when its address is empty.
pub(crate) mod or_off {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        address: &Option<SocketAddr>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match address {
            Some(address) => serializer.collect_str(address),
            None => serializer.serialize_str(""),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SocketAddr>, D::Error> {
        let text = String::deserialize(deserializer).map_err(|_| D::Error::custom(NotAnAddress))?;
        match text.trim() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| D::Error::custom(NotAnAddress)),
        }
    }
}
