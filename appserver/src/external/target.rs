//! Where an endpoint may be: which URL is taken, and which addresses a request may go to.
//!
//! A name is resolved for each connection, every address is checked, and the connection is made to one that was
//! checked: a name that changes its mind in between (DNS rebinding) gains nothing. Private, loopback, link-local and
//! otherwise special addresses are refused unless `external.addresses_allowed` has them, and without TLS only those.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::http::Uri;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use thiserror::Error;

/// Longest URL, in bytes.
const URL_LEN_MAX: usize = 2048;

/// Why a URL or an address is no place for an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum TargetError {
    #[error(
        "an endpoint is https://host/path of at most {URL_LEN_MAX} bytes, without user, password and fragment"
    )]
    Url,
    #[error("{0} is not reachable from the public internet and not in external.addresses_allowed")]
    Forbidden(IpAddr),
    #[error("http:// is for external.addresses_allowed only; {0} needs https://")]
    Plain(IpAddr),
    #[error("{0} has no address")]
    NoAddress(String),
}

/// An endpoint's URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target(Uri);

impl Target {
    pub(crate) fn parse(text: &str) -> Result<Target, TargetError> {
        let visible = text.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
        if text.len() > URL_LEN_MAX || !visible {
            return Err(TargetError::Url);
        }
        let uri: Uri = text.parse().map_err(|_| TargetError::Url)?;
        let scheme_fits = matches!(uri.scheme_str(), Some("https" | "http"));
        let authority = uri.authority().ok_or(TargetError::Url)?;
        // A host and, behind it, nothing or a port: no user, no password, no number that is no port.
        let port_fits = match authority.port_u16() {
            Some(port) => port != 0,
            None => authority.as_str() == authority.host(),
        };
        if !scheme_fits || !port_fits || authority.host().is_empty() || authority.as_str().contains('@') {
            return Err(TargetError::Url);
        }
        Ok(Target(uri))
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.0
    }

    /// The address, when the URL names one instead of a host.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.host().parse().ok()
    }

    /// The host without the brackets of IPv6.
    pub(crate) fn host(&self) -> &str {
        let host = self.0.host().unwrap_or_default();
        host.strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host)
    }

    pub(crate) fn port(&self) -> u16 {
        self.0
            .port_u16()
            .unwrap_or(if self.is_plain() { 80 } else { 443 })
    }

    /// Whether it is spoken to without TLS.
    pub(crate) fn is_plain(&self) -> bool {
        self.0.scheme_str() == Some("http")
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which addresses requests may go to.
#[derive(Clone, Debug, Default)]
pub(crate) struct AddressRules {
    pub(crate) allowed: Vec<IpNet>,
}

impl AddressRules {
    pub(crate) fn check(&self, address: IpAddr, plain: bool) -> Result<(), TargetError> {
        let address = address.to_canonical();
        if self.allowed.iter().any(|net| net.contains(&address)) {
            return Ok(());
        }
        let special = match address {
            IpAddr::V4(v4) => SPECIAL_V4.iter().any(|net| net.contains(&v4)),
            IpAddr::V6(v6) => SPECIAL_V6.iter().any(|net| net.contains(&v6)),
        };
        if special {
            Err(TargetError::Forbidden(address))
        } else if plain {
            Err(TargetError::Plain(address))
        } else {
            Ok(())
        }
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, len: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), len)
}

const fn v6(a: u16, b: u16, c: u16, len: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), len)
}

/// IANA's special-purpose registry, with what is not unicast.
const SPECIAL_V4: &[Ipv4Net] = &[
    v4(0, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(127, 0, 0, 0, 8),
    // The metadata services of clouds among them.
    v4(169, 254, 0, 0, 16),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 88, 99, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(224, 0, 0, 0, 4),
    v4(240, 0, 0, 0, 4),
];

/// Only 2000::/3 is global unicast; within it, what leads somewhere else.
const SPECIAL_V6: &[Ipv6Net] = &[
    // ::, ::1, ::ffff:0:0/96 and the compatible ones, 64:ff9b::/96 (addresses of IPv4 behind a translator), 100::/64.
    v6(0, 0, 0, 3),
    // Teredo and other protocol assignments.
    v6(0x2001, 0, 0, 23),
    v6(0x2001, 0x0DB8, 0, 32),
    // 6to4: an address of IPv4 within.
    v6(0x2002, 0, 0, 16),
    v6(0x3FFF, 0, 0, 20),
    v6(0x4000, 0, 0, 2),
    // Unique local, link-local, site-local and multicast among them.
    v6(0x8000, 0, 0, 1),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str) -> Result<(), TargetError> {
        AddressRules::default().check(address.parse().unwrap(), false)
    }

    #[test]
    fn only_public_addresses_are_reached() {
        for address in [
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.32.0.1",
            "2606:4700::1111",
            "2a00::1",
        ] {
            assert_eq!(check(address), Ok(()), "{address}");
        }
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "192.0.0.192",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "100::1",
            "4000::1",
        ] {
            assert!(
                matches!(check(address), Err(TargetError::Forbidden(_))),
                "{address}"
            );
        }
    }

    #[test]
    fn what_is_allowed_may_do_without_tls() {
        let rules = AddressRules {
            allowed: vec!["127.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
        };
        for address in ["127.0.0.1", "::ffff:127.0.0.1", "fd00::1"] {
            assert_eq!(rules.check(address.parse().unwrap(), true), Ok(()), "{address}");
        }
        assert!(matches!(
            rules.check("10.0.0.1".parse().unwrap(), false),
            Err(TargetError::Forbidden(_))
        ));
        let public: IpAddr = "8.8.8.8".parse().unwrap();
        assert_eq!(rules.check(public, true), Err(TargetError::Plain(public)));
    }

    #[test]
    fn a_url_says_where_and_nothing_else() {
        let target = Target::parse("https://hooks.example/irsp?tenant=7").unwrap();
        assert_eq!(
            (target.host(), target.port(), target.is_plain()),
            ("hooks.example", 443, false)
        );
        let target = Target::parse("http://[::1]:9000/").unwrap();
        assert_eq!((target.host(), target.port()), ("::1", 9000));
        assert_eq!(target.address(), Some(IpAddr::V6(Ipv6Addr::LOCALHOST)));
        let long = format!("https://hooks.example/{}", "x".repeat(URL_LEN_MAX));
        for text in [
            "",
            "hooks.example",
            "/path",
            "ftp://hooks.example/",
            "https://",
            "https:///x",
            "https://ann:pw@hooks.example/",
            "https://hooks.example/#part",
            "https://hooks.example/a b",
            "https://hooks.example:0/",
            "https://hooks.example:/",
            "https://hooks.example:99999/",
            "javascript:alert(1)",
            long.as_str(),
        ] {
            assert_eq!(Target::parse(text), Err(TargetError::Url), "{text}");
        }
    }
}
