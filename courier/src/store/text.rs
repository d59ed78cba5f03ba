//! How our words stand in columns.

use irsp_protocol::receipt::{Answer, Cause};
use irsp_protocol::{MessageId, MessageKind, Principal, Server, Status};

use super::error::StoreError;
use crate::hop::Hop;

/// A hop is written as the principal it is: `srv/app`, `dev/lamp-1`.
pub(super) fn hop(hop: &Hop) -> String {
    hop.to_string()
}

pub(super) fn read_hop(text: &str) -> Result<Hop, StoreError> {
    let principal: Principal = text.parse().map_err(|_| corrupt("hop", text))?;
    Ok(match principal.as_server() {
        Some(server) => Hop::Server(server),
        None => Hop::Principal(principal),
    })
}

pub(super) fn read_id(bytes: [u8; 16]) -> MessageId {
    MessageId::from_bytes(bytes)
}

pub(super) fn read_kind(word: &str) -> Result<MessageKind, StoreError> {
    MessageKind::parse(word).ok_or_else(|| corrupt("kind", word))
}

pub(super) fn read_server(word: &str) -> Result<Server, StoreError> {
    Server::parse(word).ok_or_else(|| corrupt("server", word))
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
