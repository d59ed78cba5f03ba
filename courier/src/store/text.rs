//! How our words stand in columns.

use irsp_protocol::receipt::{Answer, Cause};
use irsp_protocol::{Domain, Kind, MessageId, MessageKind, Principal, Server, Status};

use super::error::StoreError;
use crate::hop::{Hop, Origin};

/// A hop is written as the principal it is: `srv/app`, `as/other.example`, `dev/lamp-1`.
pub(super) fn hop(hop: &Hop) -> String {
    hop.to_string()
}

pub(super) fn read_hop(text: &str) -> Result<Hop, StoreError> {
    if let Some(peer) = read_peer(text) {
        return peer.map(Hop::Peer);
    }
    let principal: Principal = text.parse().map_err(|_| corrupt("hop", text))?;
    Ok(match principal.as_server() {
        Some(server) => Hop::Server(server),
        None => Hop::Principal(principal),
    })
}

pub(super) fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(super) fn read_id(bytes: [u8; 16]) -> MessageId {
    MessageId::from_bytes(bytes)
}

pub(super) fn read_kind(word: &str) -> Result<MessageKind, StoreError> {
    MessageKind::parse(word).ok_or_else(|| corrupt("kind", word))
}

/// An origin is written as the server's word alone, or as the peer it is: `app`, `as/other.example`.
pub(super) fn read_origin(text: &str) -> Result<Origin, StoreError> {
    match read_peer(text) {
        Some(peer) => peer.map(Origin::Peer),
        None => Server::parse(text)
            .map(Origin::Server)
            .ok_or_else(|| corrupt("origin", text)),
    }
}

/// A domain's name may be longer than an id, so a peer is not read as a principal.
fn read_peer(text: &str) -> Option<Result<Domain, StoreError>> {
    let domain = text.strip_prefix(Kind::Peer.as_str())?.strip_prefix('/')?;
    Some(Domain::new(domain).map_err(|_| corrupt("peer", text)))
}

pub(super) fn read_status(code: u16) -> Result<Status, StoreError> {
    Status::from_code(code).ok_or_else(|| corrupt("status", &code.to_string()))
}

pub(super) fn answer(answer: Option<&Answer>) -> Result<Option<String>, StoreError> {
    Ok(answer.map(serde_json::to_string).transpose()?)
}

pub(super) fn read_answer(text: Option<&str>) -> Result<Option<Answer>, StoreError> {
    Ok(text.map(serde_json::from_str).transpose()?)
}

pub(super) fn cause(cause: Option<Cause>) -> Result<Option<String>, StoreError> {
    Ok(cause.as_ref().map(serde_json::to_string).transpose()?)
}

pub(super) fn read_cause(text: Option<&str>) -> Result<Option<Cause>, StoreError> {
    Ok(text.map(serde_json::from_str).transpose()?)
}

fn corrupt(what: &str, found: &str) -> StoreError {
    StoreError::Corrupt(format!("{what} {found:?}"))
}
