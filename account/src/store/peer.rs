//! Other domains. A peer's record is its entity alone: what the followers are told is all there is.

use irsp_courier::store::StoreError;
use irsp_protocol::Domain;
use irsp_protocol::api::peer::PeerView;
use irsp_protocol::change::{Cause, Entity, EntityKey};
use irsp_protocol::peer::Peer;
use rusqlite::Connection;

use super::entity::{self, Found};
use super::{Draft, foreign};
use crate::refusal::Refusal;

/// Peers at most: each may have a link.
const PEERS_MAX: usize = 10_000;

pub(crate) fn find(sql: &Connection, domain: &Domain) -> Result<PeerView, StoreError> {
    match entity::find(sql, &EntityKey::Peer(domain.clone()))? {
        Found::Live {
            n,
            state: Entity::Peer(peer),
        } => Ok(view(n, peer)),
        Found::Live { .. } => Err(foreign("peer")),
        Found::Deleted { .. } => Err(Refusal::PeerDeleted(domain.clone()).into()),
        Found::Never => Err(Refusal::NoPeer(domain.clone()).into()),
    }
}

/// The peers beyond a domain, in order.
pub(crate) fn list(sql: &Connection, after: &str, limit: u32) -> Result<Vec<PeerView>, StoreError> {
    let found = entity::list(sql, "as/", &format!("as/{after}"), limit)?;
    let peers = found.into_iter().map(|(n, state)| match state {
        Entity::Peer(peer) => Ok(view(n, peer)),
        Entity::User(_)
        | Entity::Device(_)
        | Entity::Application(_)
        | Entity::Binding(_)
        | Entity::TokenKey(_)
        | Entity::Grant(_) => Err(foreign("peer")),
    });
    peers.collect()
}

/// Registers a peer; 409 if there is one. One that was removed may come again.
pub(crate) fn register(draft: &mut Draft<'_, '_>, peer: Peer) -> Result<PeerView, StoreError> {
    let domain = peer.domain.clone();
    if let Found::Live { .. } = entity::find(draft.sql(), &EntityKey::Peer(domain.clone()))? {
        return Err(Refusal::PeerExists(domain).into());
    }
    if entity::count(draft.sql(), "as/")? >= PEERS_MAX {
        return Err(Refusal::TooMany {
            what: "peers",
            max: PEERS_MAX,
        }
        .into());
    }
    draft.put(Cause::Register, Entity::Peer(peer))?;
    find(draft.sql(), &domain)
}

/// Changes a peer; 404 if there is none, 410 if it was removed.
pub(crate) fn modify(
    draft: &mut Draft<'_, '_>,
    domain: &Domain,
    edit: impl Fn(&mut Peer) -> Result<(), Refusal>,
) -> Result<PeerView, StoreError> {
    let before = record(find(draft.sql(), domain)?);
    let mut peer = before.clone();
    edit(&mut peer)?;
    if peer != before {
        draft.put(Cause::Modify, Entity::Peer(peer))?;
    }
    find(draft.sql(), domain)
}

/// Removes a peer and gives what it was. Grants to its applications stay, for its return.
pub(crate) fn remove(draft: &mut Draft<'_, '_>, domain: &Domain) -> Result<PeerView, StoreError> {
    let gone = find(draft.sql(), domain)?;
    draft.remove(EntityKey::Peer(domain.clone()))?;
    Ok(gone)
}

fn view(n: u64, peer: Peer) -> PeerView {
    PeerView {
        domain: peer.domain,
        trust: peer.trust,
        urls: peer.urls,
        inward: peer.inward,
        outward: peer.outward,
        rate_max: peer.rate_max,
        out_rate_max: peer.out_rate_max,
        state: peer.state,
        link: None,
        version: n,
    }
}

fn record(view: PeerView) -> Peer {
    Peer {
        domain: view.domain,
        trust: view.trust,
        urls: view.urls,
        inward: view.inward,
        outward: view.outward,
        rate_max: view.rate_max,
        out_rate_max: view.out_rate_max,
        state: view.state,
    }
}
