//! Links that others dial: a handshake may take its time, but never another one's.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use irsp_protocol::Domain;
use rustls_pki_types::UnixTime;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsStream};
use tokio_util::sync::CancellationToken;

use super::Federation;
use super::link::{self, Greeted, NoLink};
use super::links::Dialled;
use super::metrics::Refusal;
use super::tls::IdentityError;
use super::{trust, words};
use crate::edge::ListenError;

/// From an accepted socket to the peer's greeting.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Handshakes at once; each costs a signature and some buffers.
const HANDSHAKES_MAX: usize = 64;
/// Pause after the system refused to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound listener for links.
pub(crate) struct Bound {
    address: SocketAddr,
    listener: TcpListener,
}

impl Bound {
    /// The setting that names it.
    const SETTING: &'static str = "federation.listen";

    pub(crate) fn named(&self) -> (&'static str, SocketAddr) {
        (Bound::SETTING, self.address)
    }
}

#[derive(Debug, Error)]
enum NotAccepted {
    #[error("{}", words::of_handshake(.0))]
    Tls(#[from] std::io::Error),
    #[error("our own certificate does not serve: {0}")]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Untrusted(#[from] trust::Refused),
    #[error(transparent)]
    NoLink(#[from] NoLink),
    #[error("the handshake took too long")]
    Late,
    #[error("its handshake was the oldest of too many")]
    GaveWay,
}

/// The handshakes under way. When there is no place for another, the oldest gives way: an honest one takes moments, so
/// strangers who connect and say nothing keep nobody out.
#[derive(Debug, Default)]
struct Handshakes {
    state: Mutex<UnderWay>,
}

#[derive(Debug, Default)]
struct UnderWay {
    last: u64,
    places: BTreeMap<u64, CancellationToken>,
}

/// A handshake's place; dropped, it is free.
struct Place {
    handshakes: Arc<Handshakes>,
    number: u64,
    /// Cancelled when it has to give way.
    gives_way: CancellationToken,
}

impl Handshakes {
    fn begin(self: &Arc<Handshakes>) -> Place {
        let mut state = self.state();
        while state.places.len() >= HANDSHAKES_MAX
            && let Some((_, oldest)) = state.places.pop_first()
        {
            oldest.cancel();
        }
        state.last += 1;
        let (number, gives_way) = (state.last, CancellationToken::new());
        state.places.insert(number, gives_way.clone());
        Place {
            handshakes: Arc::clone(self),
            number,
            gives_way,
        }
    }

    fn state(&self) -> MutexGuard<'_, UnderWay> {
        // Each change leaves the map whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.handshakes.state().places.remove(&self.number);
    }
}

pub(crate) async fn bind(address: Option<SocketAddr>) -> Result<Option<Bound>, ListenError> {
    let Some(address) = address else { return Ok(None) };
    let fail = |reason| ListenError::Bind {
        setting: Bound::SETTING,
        address,
        reason,
    };
    let listener = TcpListener::bind(address).await.map_err(fail)?;
    Ok(Some(Bound {
        address: listener.local_addr().map_err(fail)?,
        listener,
    }))
}

/// Accepts until the server stops, then waits for its links to end.
pub(super) async fn run(bound: Bound, federation: Arc<Federation>, stop: CancellationToken) {
    let handshakes = Arc::new(Handshakes::default());
    let mut links = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = bound.listener.accept() => accepted,
            Some(_) = links.join_next() => continue,
        };
        let (socket, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept links");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let place = handshakes.begin();
        let (federation, stop) = (Arc::clone(&federation), stop.clone());
        links.spawn(async move {
            if let Err(error) = serve(socket, place, &federation, &stop).await {
                tracing::info!(%from, %error, "a connection came to no link");
            }
        });
    }
    while links.join_next().await.is_some() {}
}

async fn serve(
    socket: TcpStream,
    place: Place,
    federation: &Federation,
    stop: &CancellationToken,
) -> Result<(), NotAccepted> {
    let shaking = timeout(HANDSHAKE_TIMEOUT, shake_hands(socket, federation));
    let Some(shaken) = place.gives_way.run_until_cancelled(shaking).await else {
        federation.metrics.refused.of(Refusal::Handshakes).inc();
        return Err(NotAccepted::GaveWay);
    };
    let greeted = match shaken {
        Ok(greeted) => greeted?,
        Err(_) => {
            federation.metrics.refused.of(Refusal::Incomplete).inc();
            return Err(NotAccepted::Late);
        }
    };
    drop(place);
    Ok(link::live(greeted, Dialled::ByPeer, federation, stop).await?)
}

async fn shake_hands(socket: TcpStream, federation: &Federation) -> Result<Greeted, NotAccepted> {
    socket.set_nodelay(true)?;
    let config = federation
        .identity
        .server(&federation.directory, &federation.metrics, &federation.links)?;
    let stream = match TlsAcceptor::from(config).accept(socket).await {
        Ok(stream) => stream,
        Err(error) => {
            federation.metrics.refused.of(Refusal::Incomplete).inc();
            return Err(error.into());
        }
    };
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let find = |domain: &Domain| federation.directory.peer(domain).map(|peer| (*peer).clone());
    let peer = trust::identify(chain, UnixTime::now(), find)?;
    let greeted = link::greet(TlsStream::Server(stream), peer.clone(), federation).await;
    Ok(greeted.inspect_err(|why| {
        federation.links.called_in_vain(&peer, words::of_no_link(why));
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_gives_way_and_what_is_done_makes_room() {
        let handshakes = Arc::new(Handshakes::default());
        let mut places: Vec<Place> = (0..HANDSHAKES_MAX).map(|_| handshakes.begin()).collect();
        drop(places.remove(1));
        let next = handshakes.begin();
        assert!(!places[0].gives_way.is_cancelled(), "there was room");
        let newest = handshakes.begin();
        let gave_way = places.iter().position(|place| place.gives_way.is_cancelled());
        assert_eq!(gave_way, Some(0));
        assert!(!next.gives_way.is_cancelled() && !newest.gives_way.is_cancelled());
        drop(places.remove(0));
        assert_eq!(handshakes.state().places.len(), HANDSHAKES_MAX);
    }
}
