//! Ports are taken before anything is written, so that a busy one costs nothing and is told by its key.

use std::io;
use std::net::{SocketAddr, TcpListener};

use thiserror::Error;

#[derive(Debug, Error)]
pub(crate) enum PortError {
    #[error("{key} = {address} is in use: stop the other program or set {key}")]
    InUse { key: &'static str, address: SocketAddr },
    #[error("{key} = {address} needs rights this user does not have: set {key} to a port from 1024 on")]
    Rights { key: &'static str, address: SocketAddr },
    #[error("{key} = {address}: this machine has no such address: set {key}")]
    NotOurs { key: &'static str, address: SocketAddr },
    #[error("{key} = {address} cannot be listened on ({source}): set {key}")]
    Other {
        key: &'static str,
        address: SocketAddr,
        source: io::Error,
    },
}

/// A port that is taken, and the key that named it.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) key: &'static str,
    pub(crate) address: SocketAddr,
    listener: TcpListener,
}

/// Takes the port a key names.
pub(crate) fn take(key: &'static str, address: SocketAddr) -> Result<Port, PortError> {
    let other = |source| PortError::Other { key, address, source };
    let listener = TcpListener::bind(address).map_err(|source| explain(key, address, source))?;
    listener.set_nonblocking(true).map_err(other)?;
    Ok(Port {
        key,
        address: listener.local_addr().map_err(other)?,
        listener,
    })
}

/// Takes every port of a list, or none.
pub(crate) fn take_all(wanted: Vec<(&'static str, SocketAddr)>) -> Result<Vec<Port>, PortError> {
    wanted
        .into_iter()
        .map(|(key, address)| take(key, address))
        .collect()
}

impl Port {
    /// For serving; within a runtime.
    pub(crate) fn into_listener(self) -> io::Result<tokio::net::TcpListener> {
        tokio::net::TcpListener::from_std(self.listener)
    }
}

fn explain(key: &'static str, address: SocketAddr, source: io::Error) -> PortError {
    let kind = source.kind();
    if kind == io::ErrorKind::AddrInUse {
        PortError::InUse { key, address }
    } else if kind == io::ErrorKind::PermissionDenied {
        PortError::Rights { key, address }
    } else if kind == io::ErrorKind::AddrNotAvailable {
        PortError::NotOurs { key, address }
    } else {
        PortError::Other { key, address, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_port_is_told_by_its_key_and_what_to_do() {
        let held = take("mqtt.tcp", "127.0.0.1:0".parse().unwrap()).unwrap();
        assert_ne!(held.address.port(), 0);
        let message = take("mqtt.tcp", held.address).unwrap_err().to_string();
        let address = held.address;
        assert_eq!(
            message,
            format!("mqtt.tcp = {address} is in use: stop the other program or set mqtt.tcp")
        );
    }

    #[test]
    fn an_address_of_another_machine_is_told_by_its_key() {
        let message = take("http.listen", "192.0.2.1:8080".parse().unwrap())
            .unwrap_err()
            .to_string();
        assert_eq!(
            message,
            "http.listen = 192.0.2.1:8080: this machine has no such address: set http.listen"
        );
    }
}
