//! PROXY protocol, version 2: what a load balancer in `mqtt.proxies` says first about whom it passes on.
//!
//! ```text
//! 12 bytes of signature | version, command | family, protocol | length, 2 bytes | addresses, then extensions we pass over
//! ```
//!
//! A listed proxy has to send it, on every listener and below TLS: without it its client is not let in. Nobody else may:
//! to the rest of the world the header is no CONNECT and no TLS. So nobody chooses the address it is counted under.

use std::io;
use std::net::SocketAddr;

use ppp::v2::{Addresses, Command, Header, PROTOCOL_PREFIX, ParseError};
use thiserror::Error;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// Bytes of the fixed part.
const FIXED_LENGTH: usize = 16;
/// Bytes of the longest header that is read. Addresses take at most 216, a load balancer's extensions some hundred.
const HEADER_MAX: usize = 4_096;

/// Why a proxy's connection is closed.
#[derive(Debug, Error)]
pub(super) enum ProxyError {
    #[error("the PROXY header did not come: {0}")]
    Missing(#[from] io::Error),
    #[error("not a PROXY header of version 2")]
    NotAHeader,
    #[error("a PROXY header of {0} bytes; {HEADER_MAX} are read at most")]
    TooLong(usize),
    #[error("PROXY header: {0}")]
    Malformed(#[from] ParseError),
}

/// Takes the header off a socket that a proxy has opened; returns whose connection it is. The proxy's own one (a health
/// check), and one that came to it by no internet address, is the proxy's.
pub(super) async fn client(socket: &mut TcpStream, proxy: SocketAddr) -> Result<SocketAddr, ProxyError> {
    let mut header = vec![0; FIXED_LENGTH];
    socket.read_exact(&mut header).await?;
    header.resize(length(&header)?, 0);
    socket.read_exact(&mut header[FIXED_LENGTH..]).await?;
    named(&header, proxy)
}

/// How long the whole header is, by its fixed part.
fn length(fixed: &[u8]) -> Result<usize, ProxyError> {
    let (Some(signature), Some(&[high, low])) = (fixed.get(..PROTOCOL_PREFIX.len()), fixed.get(14..16))
    else {
        return Err(ProxyError::NotAHeader);
    };
    if signature != PROTOCOL_PREFIX {
        return Err(ProxyError::NotAHeader);
    }
    match FIXED_LENGTH + usize::from(u16::from_be_bytes([high, low])) {
        length if length > HEADER_MAX => Err(ProxyError::TooLong(length)),
        length => Ok(length),
    }
}

/// Whom a whole header names.
fn named(header: &[u8], proxy: SocketAddr) -> Result<SocketAddr, ProxyError> {
    let header = Header::try_from(header)?;
    Ok(match (header.command, header.addresses) {
        (Command::Local, _) | (Command::Proxy, Addresses::Unspecified | Addresses::Unix(_)) => proxy,
        (Command::Proxy, Addresses::IPv4(found)) => (found.source_address, found.source_port).into(),
        (Command::Proxy, Addresses::IPv6(found)) => (found.source_address, found.source_port).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    fn proxy() -> SocketAddr {
        "192.0.2.9:4000".parse().unwrap()
    }

    fn client_of(bytes: &[u8]) -> Result<SocketAddr, ProxyError> {
        assert_eq!(length(&bytes[..16])?, bytes.len());
        named(bytes, proxy())
    }

    #[test]
    fn the_client_is_who_the_proxy_says() {
        let v4 = [203, 0, 113, 7, 192, 0, 2, 9, 0x30, 0x39, 0x07, 0x5B];
        let client = client_of(&header(0x21, 0x11, &v4)).unwrap();
        assert_eq!(client.to_string(), "203.0.113.7:12345");
        // extensions behind the addresses are passed over
        let more = [&v4[..], &[0x04, 0, 2, 0, 0]].concat();
        assert_eq!(client_of(&header(0x21, 0x11, &more)).unwrap(), client);
        let mut v6 = [0; 36];
        v6[..4].copy_from_slice(&[0x20, 0x01, 0x0D, 0xB8]);
        v6[15] = 1;
        v6[33] = 9;
        let client = client_of(&header(0x21, 0x21, &v6)).unwrap();
        assert_eq!(client.to_string(), "[2001:db8::1]:9");
    }

    #[test]
    fn what_names_no_client_is_the_proxys_own() {
        assert_eq!(client_of(&header(0x20, 0x00, &[])).unwrap(), proxy());
        assert_eq!(client_of(&header(0x20, 0x11, &[7; 12])).unwrap(), proxy());
        assert_eq!(client_of(&header(0x21, 0x00, &[])).unwrap(), proxy());
        assert_eq!(client_of(&header(0x21, 0x31, &[b'/'; 216])).unwrap(), proxy());
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let first = b"PROXY TCP4 203.0.113.7 192.0.2.9 12345 1883\r\n";
        assert!(matches!(length(&first[..16]), Err(ProxyError::NotAHeader)));
        assert!(matches!(
            length(b"\x10\x0D\0\x04MQTT"),
            Err(ProxyError::NotAHeader)
        ));
        let long = header(0x21, 0x11, &[0; 5_000]);
        assert!(matches!(length(&long), Err(ProxyError::TooLong(5_016))));
        for wrong in [
            header(0x11, 0x11, &[0; 12]),
            header(0x22, 0x11, &[0; 12]),
            header(0x21, 0x51, &[0; 12]),
            header(0x21, 0x14, &[0; 12]),
            header(0x21, 0x11, &[0; 11]),
        ] {
            assert!(
                matches!(client_of(&wrong), Err(ProxyError::Malformed(_))),
                "{wrong:02x?}"
            );
        }
    }
}
