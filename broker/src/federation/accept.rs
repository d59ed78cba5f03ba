//! Links that others dial: a handshake may take its time, but never another one's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use irsp_protocol::Domain;
use rustls_pki_types::UnixTime;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsStream};
use tokio_util::sync::CancellationToken;

use super::Federation;
use super::link::{self, Greeted, NoLink};
use super::links::Dialled;
use super::metrics::Refusal;
use super::tls::IdentityError;
use super::trust::{self, Untrusted};
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
    #[error("TLS: {0}")]
    Tls(#[from] std::io::Error),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    #[error(transparent)]
    NoLink(#[from] NoLink),
    #[error("the handshake took too long")]
    Late,
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
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
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
        let Ok(place) = Arc::clone(&handshakes).try_acquire_owned() else {
            federation.metrics.refused.of(Refusal::Handshakes).inc();
            continue;
        };
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
    place: OwnedSemaphorePermit,
    federation: &Federation,
    stop: &CancellationToken,
) -> Result<(), NotAccepted> {
    let greeted = match timeout(HANDSHAKE_TIMEOUT, shake_hands(socket, federation)).await {
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
        .server(&federation.directory, &federation.metrics)?;
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
    Ok(link::greet(TlsStream::Server(stream), peer, federation).await?)
}
