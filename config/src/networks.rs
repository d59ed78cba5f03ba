//! Networks as a person lists them: `"10.0.0.7, 192.168.0.0/16, fd00::/8"`; `""` is none.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use thiserror::Error;

/// Addresses, single ones or whole networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

/// The text does not list networks.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not an address or a network: write them as \"10.0.0.7, 192.168.0.0/16\"")]
pub struct NotANetwork(String);

impl Networks {
    /// Each of them; a single address is a network of one.
    pub fn iter(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.0.iter().copied()
    }

    /// Whether the address is one of them. An IPv4 address in IPv6's clothes is that IPv4 address.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl FromStr for Networks {
    type Err = NotANetwork;
    fn from_str(text: &str) -> Result<Networks, NotANetwork> {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        let network = |word: &str| {
            let single = || word.parse::<IpAddr>().ok().map(IpNet::from);
            word.parse::<IpNet>()
                .ok()
                .or_else(single)
                .ok_or_else(|| NotANetwork(word.to_owned()))
        };
        words.map(network).collect::<Result<_, _>>().map(Networks)
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&words.join(", "))
    }
}

impl Serialize for Networks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Networks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Networks, D::Error> {
        let text = String::deserialize(deserializer).map_err(|_| {
            D::Error::custom("not a list of networks: write it as \"10.0.0.7, 192.168.0.0/16\"")
        })?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_listed_and_contain_their_addresses() {
        let networks: Networks = "10.0.0.7, 192.168.0.0/16 ,fd00::/8,".parse().unwrap();
        for (address, within) in [
            ("10.0.0.7", true),
            ("10.0.0.8", false),
            ("192.168.4.5", true),
            ("::ffff:192.168.4.5", true),
            ("fd12::1", true),
            ("fe80::1", false),
        ] {
            assert_eq!(networks.contain(address.parse().unwrap()), within, "{address}");
        }
        assert_eq!(networks.to_string().parse(), Ok(networks));
        assert_eq!("".parse(), Ok(Networks::default()));
        for wrong in ["proxy.example", "10.0.0.0/33", "10.0.0"] {
            assert_eq!(wrong.parse::<Networks>(), Err(NotANetwork(wrong.to_owned())));
        }
    }
}
