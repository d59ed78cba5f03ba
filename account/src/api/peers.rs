//! Other domains (clause 8.5): whom this one is linked with, and on which terms.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use irsp_protocol::api::account::{Changed, Page};
use irsp_protocol::api::peer::{NewPeer, PeerPatch, PeerView};
use irsp_protocol::change::EntityKey;
use irsp_protocol::frame::{Question, Reply};
use irsp_protocol::peer::{Fingerprint, Peer, PeerLink, PeerState, RATE_MAX, Trust};
use irsp_protocol::{Domain, Server};
use serde::Deserialize;

use super::answer::{Answer, Shown};
use super::body::{Asked, Body, DomainPath};
use super::caller::{Admin, Caller, Reader};
use super::doc::Problems;
use super::page::{limit, page};
use crate::account::Account;
use crate::certificate;
use crate::refusal::Refusal;
use crate::store::peer;

/// How long the message server may take to say how the links stand.
const LINKS_WITHIN: Duration = Duration::from_secs(2);
/// Addresses of one peer at most.
const URLS_MAX: usize = 16;
/// Longest `ca`, in bytes: a few dozen certificates, and it fits into one envelope on the bus.
const CA_LEN_MAX: usize = 128 << 10;

/// Which peers are asked for.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PeerQuery {
    /// Only what comes after this; `next` of the page before.
    after: Option<String>,
    /// Items on a page, 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// The peers, in order of their domains, each with how its link stands.
#[utoipa::path(get, path = "/v1/peers", tag = "peers", params(PeerQuery),
    responses((status = 200, body = Page<PeerView>), Problems))]
pub(super) async fn list(
    State(account): State<Arc<Account>>,
    _: Reader,
    Asked(asked): Asked<PeerQuery>,
) -> Result<Json<Page<PeerView>>, Refusal> {
    let limit = limit(asked.limit)?;
    let after = asked.after.unwrap_or_default();
    let mut peers = account
        .courier
        .store()
        .read(move |sql| peer::list(sql, &after, limit + 1))
        .await?;
    let links = links(&account).await;
    for peer in &mut peers {
        peer.link = links.iter().find(|link| link.domain == peer.domain).cloned();
    }
    Ok(page(peers, limit, |peer| peer.domain.to_string()))
}

/// Registers a peer: from now on a link with it may be made.
#[utoipa::path(post, path = "/v1/peers", tag = "peers", request_body = NewPeer,
    responses((status = 201, body = Changed<PeerView>), (status = 202, body = Changed<PeerView>), Problems))]
pub(super) async fn create(
    State(account): State<Arc<Account>>,
    Admin(caller): Admin,
    Body(new): Body<NewPeer>,
) -> Answer<PeerView> {
    let trust = trust(new.ca, new.fingerprint)?.ok_or_else(|| {
        Refusal::Malformed("ca or fingerprint: by what is its certificate known?".to_owned())
    })?;
    let peer = Peer {
        domain: new.domain,
        trust,
        urls: new.urls,
        inward: new.inward.unwrap_or_default(),
        outward: new.outward.unwrap_or_default(),
        rate_max: new.rate_max.unwrap_or(RATE_MAX),
        out_rate_max: new.out_rate_max,
        state: PeerState::Active,
    };
    check(&peer, &account.domain)?;
    let order = caller.orders("peer.register", EntityKey::Peer(peer.domain.clone()));
    account
        .carry_out(order, move |draft| peer::register(draft, peer.clone()))
        .await?
        .answer(StatusCode::CREATED)
}

/// One peer, and how its link stands.
#[utoipa::path(get, path = "/v1/peers/{domain}", tag = "peers", params(("domain" = String, Path)),
    responses((status = 200, body = PeerView), Problems))]
pub(super) async fn show(
    State(account): State<Arc<Account>>,
    _: Reader,
    DomainPath(domain): DomainPath,
) -> Result<Shown<PeerView>, Refusal> {
    let wanted = domain.clone();
    let mut peer = account
        .courier
        .store()
        .read(move |sql| peer::find(sql, &wanted))
        .await?;
    peer.link = links(&account)
        .await
        .into_iter()
        .find(|link| link.domain == domain);
    // How the link stands is not in its version.
    Ok(Caller::shown_now(peer))
}

/// Changes the terms with a peer, pauses it, drains it or makes it active again.
#[utoipa::path(patch, path = "/v1/peers/{domain}", tag = "peers", params(("domain" = String, Path)),
    request_body = PeerPatch,
    responses((status = 200, body = Changed<PeerView>), (status = 202, body = Changed<PeerView>), Problems))]
pub(super) async fn modify(
    State(account): State<Arc<Account>>,
    Admin(caller): Admin,
    DomainPath(domain): DomainPath,
    Body(patch): Body<PeerPatch>,
) -> Answer<PeerView> {
    let own = account.domain.clone();
    let trust = trust(patch.ca, patch.fingerprint)?;
    let order = caller.orders("peer.modify", EntityKey::Peer(domain.clone()));
    let (urls, inward, outward) = (patch.urls, patch.inward, patch.outward);
    let (rate_max, out_rate_max, state) = (patch.rate_max, patch.out_rate_max, patch.state);
    let edit = move |peer: &mut Peer| {
        peer.trust = trust.clone().unwrap_or_else(|| peer.trust.clone());
        peer.urls = urls.clone().unwrap_or_else(|| peer.urls.clone());
        peer.inward = inward.clone().unwrap_or_else(|| peer.inward.clone());
        peer.outward = outward.clone().unwrap_or_else(|| peer.outward.clone());
        peer.rate_max = rate_max.unwrap_or(peer.rate_max);
        peer.out_rate_max = out_rate_max.unwrap_or(peer.out_rate_max);
        peer.state = state.unwrap_or(peer.state);
        check(peer, &own)
    };
    account
        .carry_out(order, move |draft| peer::modify(draft, &domain, &edit))
        .await?
        .answer(StatusCode::OK)
}

/// Removes a peer: the link ends, and what waits for it ends with 421.
#[utoipa::path(delete, path = "/v1/peers/{domain}", tag = "peers", params(("domain" = String, Path)),
    responses((status = 200, body = Changed<PeerView>), (status = 202, body = Changed<PeerView>), Problems))]
pub(super) async fn delete(
    State(account): State<Arc<Account>>,
    Admin(caller): Admin,
    DomainPath(domain): DomainPath,
) -> Answer<PeerView> {
    let order = caller.orders("peer.delete", EntityKey::Peer(domain.clone()));
    account
        .carry_out(order, move |draft| peer::remove(draft, &domain))
        .await?
        .answer(StatusCode::OK)
}

/// How the links stand; of none if the message server does not say.
async fn links(account: &Account) -> Vec<PeerLink> {
    match account
        .courier
        .ask(Server::Message, Question::Peers, LINKS_WITHIN)
        .await
    {
        Some(Reply::Peers(links)) => links,
        Some(Reply::Courier(_) | Reply::Directory(_) | Reply::Presence { .. } | Reply::Unanswered(_))
        | None => Vec::new(),
    }
}

/// What of a peer needs no database to be refused.
pub(super) fn check(peer: &Peer, own: &Domain) -> Result<(), Refusal> {
    let malformed = |detail: &str| Err(Refusal::Malformed(detail.to_owned()));
    if peer.domain == *own {
        return malformed("this is our own domain");
    }
    if peer.urls.len() > URLS_MAX {
        return Err(Refusal::TooMany {
            what: "addresses of a peer",
            max: URLS_MAX,
        });
    }
    if peer.rate_max == 0 {
        return malformed("rate_max: at least 1; pause the peer to take nothing");
    }
    let Trust::Authority(ca) = &peer.trust else {
        return Ok(());
    };
    if ca.len() > CA_LEN_MAX {
        return Err(Refusal::TooLong(CA_LEN_MAX));
    }
    certificate::authorities(ca)
}

fn trust(ca: Option<String>, fingerprint: Option<Fingerprint>) -> Result<Option<Trust>, Refusal> {
    match (ca, fingerprint) {
        (Some(_), Some(_)) => Err(Refusal::Malformed("either ca or fingerprint".to_owned())),
        (None, Some(fingerprint)) => Ok(Some(Trust::Fingerprint(fingerprint))),
        (Some(ca), None) => Ok(Some(Trust::Authority(ca))),
        (None, None) => Ok(None),
    }
}
