//! Links that we dial: one task for each peer that has addresses or may be looked for, which tries them in turn and backs
//! off while none answers. A peer whose terms change is parted from, and called anew on the new terms: so both sides lose sight
//! of each other, and presence is told anew to whom it may be told now.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use irsp_protocol::peer::{Peer, PeerState, PeerUrl};
use rustls_pki_types::ServerName;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, TlsStream};
use tokio_util::sync::CancellationToken;

use super::accept::HANDSHAKE_TIMEOUT;
use super::discovery::{Known, NotFound, Way};
use super::end::Cut;
use super::link::{self, Greeted, NoLink};
use super::links::Dialled;
use super::tls::IdentityError;
use super::{Federation, words};

/// The waits between calls: short at first, because a server restarts in moments; half of each is by chance, so that
/// many peers of one server that is back do not call in step.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// A link that lived so long was a good one: the next wait is the shortest again.
const STEADY: Duration = Duration::from_secs(10);

/// Said of a peer that cannot be called.
const UNCALLED: &str = "it has no address here: its call is waited for";

#[derive(Debug, Error)]
enum CallError {
    #[error("{url}: {}", words::of(reason))]
    Connect { url: PeerUrl, reason: std::io::Error },
    #[error("{url}: {}", words::of_handshake(reason))]
    Tls { url: PeerUrl, reason: std::io::Error },
    #[error("{0}: no answer in time")]
    Late(PeerUrl),
    #[error("our own certificate does not serve: {0}")]
    Identity(#[from] IdentityError),
    #[error("{url}: {}", words::of_no_link(reason))]
    NoLink { url: PeerUrl, reason: NoLink },
    #[error("the peer's domain is no name for TLS")]
    Name,
    #[error(transparent)]
    NotFound(#[from] NotFound),
}

/// What a call rests on: with other terms it is made anew.
struct Caller {
    terms: Arc<Peer>,
    end: CancellationToken,
}

impl Caller {
    fn serves(&self, peer: &Peer) -> bool {
        let Peer {
            trust,
            urls,
            inward,
            outward,
            out_rate_max,
            domain: _,
            rate_max: _,
            state: _,
        } = &*self.terms;
        *trust == peer.trust
            && *urls == peer.urls
            && *inward == peer.inward
            && *outward == peer.outward
            && *out_rate_max == peer.out_rate_max
    }
}

/// Keeps one caller for each peer that is not paused, until the server stops.
pub(super) async fn run(federation: Arc<Federation>, stop: CancellationToken) {
    let mut changes = federation.links.changes();
    let mut callers: BTreeMap<_, Caller> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    loop {
        let peers = federation.directory.peers();
        let wanted = |peer: &&Arc<Peer>| peer.state != PeerState::Paused;
        callers.retain(|domain, caller| {
            let peer = peers.iter().filter(wanted).find(|peer| peer.domain == *domain);
            let stays = peer.is_some_and(|peer| caller.serves(peer));
            if !stays {
                let known = peers.iter().any(|peer| peer.domain == *domain);
                federation.links.cut(domain, why_cut(peer.is_some(), known));
                caller.end.cancel();
                federation.links.forget(domain);
            }
            stays
        });
        for peer in peers.iter().filter(wanted) {
            if callers.contains_key(&peer.domain) {
                continue;
            }
            let end = stop.child_token();
            if !peer.urls.is_empty() || federation.discovery.is_on() {
                tasks.spawn(keep_up(Arc::clone(&federation), Arc::clone(peer), end.clone()));
            } else {
                federation.links.trouble(&peer.domain, UNCALLED.to_owned());
            }
            let caller = Caller {
                terms: Arc::clone(peer),
                end,
            };
            callers.insert(peer.domain.clone(), caller);
        }
        tokio::select! {
            () = stop.cancelled() => break,
            changed = changes.changed() => if changed.is_err() { break },
            Some(_) = tasks.join_next() => {}
        }
    }
    while tasks.join_next().await.is_some() {}
}

/// Of a caller that does not stay: whether its peer may still be called, and whether it is one at all.
fn why_cut(wanted: bool, known: bool) -> Cut {
    match (wanted, known) {
        (true, _) => Cut::Terms,
        (false, true) => Cut::Paused,
        (false, false) => Cut::Removed,
    }
}

/// Calls a peer whenever it is not linked.
async fn keep_up(federation: Arc<Federation>, peer: Arc<Peer>, end: CancellationToken) {
    let mut changes = federation.links.changes();
    let (mut wait, mut known) = (RETRY_MIN, Known::default());
    loop {
        while federation.links.is_linked(&peer.domain) {
            tokio::select! {
                () = end.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
        let began = Instant::now();
        let called = tokio::select! {
            () = end.cancelled() => return,
            called = call(&federation, &peer, &mut known) => called,
        };
        let lived = match called {
            Ok((greeted, url)) => link::live(greeted, Dialled::ByUs, &federation, &end)
                .await
                .map_err(|reason| CallError::NoLink { url, reason }.to_string()),
            Err(troubles) => Err(words::all(&troubles)),
        };
        if let Err(error) = lived {
            federation.metrics.dials_failed.inc();
            tracing::debug!(peer = %peer.domain, %error, retry = ?wait, "no link");
            federation.links.trouble(&peer.domain, error);
        } else if began.elapsed() >= STEADY {
            wait = RETRY_MIN;
        }
        if end
            .run_until_cancelled(tokio::time::sleep(by_chance(wait, &federation)))
            .await
            .is_none()
        {
            return;
        }
        wait = (wait * 2).min(RETRY_MAX);
    }
}

/// Half of the wait to all of it.
fn by_chance(wait: Duration, federation: &Federation) -> Duration {
    let [.., a, b] = *federation.courier.new_id().as_bytes();
    let part = u32::from(u16::from_be_bytes([a, b]));
    wait / 2 + wait / 2 * part / u32::from(u16::MAX)
}

/// Tries the addresses that are configured, then those that are found, in the order of trust. What went wrong is told of each.
async fn call(
    federation: &Federation,
    peer: &Arc<Peer>,
    known: &mut Known,
) -> Result<(Greeted, PeerUrl), Vec<String>> {
    let mut troubles = Vec::from_iter(federation.identity.trouble());
    if let Some(reached) = reach(federation, peer, &peer.urls, &mut troubles).await {
        return Ok(reached);
    }
    for way in Way::ALL {
        match known.find(way, &peer.domain, &federation.discovery).await {
            Ok(urls) if urls.is_empty() => {}
            Ok(urls) => match reach(federation, peer, &urls, &mut troubles).await {
                Some(reached) => return Ok(reached),
                None => known.forget(way),
            },
            Err(error) => troubles.push(CallError::from(error).to_string()),
        }
    }
    Err(troubles)
}

/// Tries addresses in turn.
async fn reach(
    federation: &Federation,
    peer: &Arc<Peer>,
    urls: &[PeerUrl],
    troubles: &mut Vec<String>,
) -> Option<(Greeted, PeerUrl)> {
    for url in urls {
        let calling = timeout(HANDSHAKE_TIMEOUT, shake_hands(federation, peer, url));
        match calling
            .await
            .unwrap_or_else(|_| Err(CallError::Late(url.clone())))
        {
            Ok(greeted) => return Some((greeted, url.clone())),
            Err(error) => troubles.push(error.to_string()),
        }
    }
    None
}

async fn shake_hands(federation: &Federation, peer: &Arc<Peer>, url: &PeerUrl) -> Result<Greeted, CallError> {
    let fail = |reason| CallError::Connect {
        url: url.clone(),
        reason,
    };
    let name = ServerName::try_from(peer.domain.as_str().to_owned()).map_err(|_| CallError::Name)?;
    let config = federation.identity.client(Arc::clone(peer))?;
    let socket = TcpStream::connect(url.authority()).await.map_err(fail)?;
    socket.set_nodelay(true).map_err(fail)?;
    let stream = TlsConnector::from(config).connect(name, socket).await;
    let stream = stream.map_err(|reason| CallError::Tls {
        url: url.clone(),
        reason,
    })?;
    let greeted = link::greet(TlsStream::Client(stream), peer.domain.clone(), federation);
    greeted.await.map_err(|reason| CallError::NoLink {
        url: url.clone(),
        reason,
    })
}
