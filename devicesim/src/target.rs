//! Where a message server is reached: `mqtt://`, `mqtts://`, `ws://` or `wss://`, host, port, and a path for WebSocket.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;

/// How bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Tcp,
    Tls,
    Ws,
    Wss,
}

impl Way {
    const ALL: [(&str, Way, u16); 4] = [
        ("mqtt", Way::Tcp, 1883),
        ("mqtts", Way::Tls, 8883),
        ("ws", Way::Ws, 80),
        ("wss", Way::Wss, 443),
    ];

    pub fn is_tls(self) -> bool {
        matches!(self, Way::Tls | Way::Wss)
    }
}

/// A message server's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub way: Way,
    pub host: String,
    pub port: u16,
    /// Of WebSocket; empty otherwise.
    pub path: String,
}

/// The text is no address of a message server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected mqtt://host:port, mqtts://host:port, ws://host:port/path or wss://host:port/path")]
pub struct TargetError;

impl Target {
    /// Whether the server is on this machine, so that 127.0.0.0/8 gives many source addresses.
    pub fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => address.is_loopback(),
            Ok(IpAddr::V6(_)) => false,
            Err(_) => self.host == "localhost",
        }
    }
}

impl FromStr for Target {
    type Err = TargetError;
    fn from_str(text: &str) -> Result<Target, TargetError> {
        let (scheme, rest) = text.split_once("://").ok_or(TargetError)?;
        let known = Way::ALL.iter().find(|(name, ..)| *name == scheme);
        let &(_, way, default) = known.ok_or(TargetError)?;
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let plain = matches!(way, Way::Tcp | Way::Tls);
        if plain && path.len() > 1 {
            return Err(TargetError);
        }
        // [::1]:1883 keeps its colons within the brackets.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().map_err(|_| TargetError)?),
            Some(_) | None => (authority, default),
        };
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        if host.is_empty() || host.contains(['@', ' ', '[', ']']) || port == 0 {
            return Err(TargetError);
        }
        let path = match (plain, path) {
            (true, _) => "",
            (false, "") => "/mqtt",
            (false, path) => path,
        };
        Ok(Target {
            way,
            host: host.to_owned(),
            port,
            path: path.to_owned(),
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = Way::ALL.iter().find(|(_, way, _)| *way == self.way);
        let scheme = scheme.map_or("mqtt", |(name, ..)| name);
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}{}", self.host, self.port, self.path)
        } else {
            write!(f, "{scheme}://{}:{}{}", self.host, self.port, self.path)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_they_are_written() {
        for (text, shown) in [
            ("mqtt://127.0.0.1:1884", "mqtt://127.0.0.1:1884"),
            ("mqtts://broker.example/", "mqtts://broker.example:8883"),
            ("ws://h:80", "ws://h:80/mqtt"),
            ("wss://h/x/y", "wss://h:443/x/y"),
            ("mqtt://[::1]", "mqtt://[::1]:1883"),
        ] {
            assert_eq!(
                text.parse::<Target>().map(|t| t.to_string()).as_deref(),
                Ok(shown)
            );
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "127.0.0.1",
            "http://h",
            "mqtt://",
            "mqtt://:1",
            "mqtt://h:0",
            "mqtt://h:x",
            "mqtt://a@h",
            "mqtt://h/x",
        ] {
            assert_eq!(text.parse::<Target>(), Err(TargetError), "{text}");
        }
    }
}
