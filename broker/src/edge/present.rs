//! A client between its CONNACK and its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use irsp_protocol::{Kind, Principal};
use irsp_session::Connection;

use super::Edge;
use super::admission::PrincipalPlace;
use super::client::Client;
use super::tls::Revocation;
use super::will::LastWill;
use super::wire::Wire;
use crate::presence::Event;
use crate::sessions::Held;
use crate::sessions::mailbox::Mailbox;

/// A client that has its CONNACK.
pub(super) struct Present<'e> {
    pub(super) wire: Wire,
    pub(super) connection: Connection,
    pub(super) client: Client<'e>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) held: Held,
    pub(super) place: PrincipalPlace,
    pub(super) peer: SocketAddr,
    /// Of the certificate it has logged in with.
    pub(super) revocation: Option<Revocation>,
    pub(super) will: Option<Box<LastWill>>,
    /// As CONNECT said.
    pub(super) session_expiry: Duration,
}

/// Whether a principal is announced as online and offline.
pub(super) fn has_presence(principal: &Principal) -> bool {
    matches!(principal.kind, Kind::Device | Kind::User)
}

/// Tells whoever announces presence.
pub(super) async fn report(edge: &Edge, event: Event) {
    if !edge.presences.send(event).await {
        tracing::warn!("presence is no longer announced: the server stops");
    }
}
