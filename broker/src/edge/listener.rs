//! Accepting connections: take a permit, spawn, and never wait for one client before the next.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::transport::Transport;
use super::{Edge, TlsError, connection, tls};
use crate::settings::{Limits, Listeners};

/// Pause after the system refused to accept, for example because it has no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections at once of one listener that are told why they are turned away; more are closed without a word.
const REFUSALS_MAX: usize = 256;

/// Why a listener cannot start.
#[derive(Debug, Error)]
pub enum ListenError {
    /// The setting's name, its value, and what the system said.
    #[error("{setting} = {address}: {reason}")]
    Bind {
        setting: &'static str,
        address: SocketAddr,
        reason: io::Error,
    },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A bound listener, not yet accepting.
pub(crate) struct Bound {
    pub(crate) address: SocketAddr,
    listener: TcpListener,
    transport: Transport,
}

impl Bound {
    /// The setting that named this listener.
    pub(crate) fn setting(&self) -> &'static str {
        self.transport.name()
    }
}

/// Binds all configured listeners before anything else is done, so that a busy port is found out first.
pub(crate) async fn bind(settings: &Listeners, limits: &Limits) -> Result<Vec<Bound>, ListenError> {
    let path: Arc<str> = settings.ws_path.as_str().into();
    let mut bound = Vec::new();
    for (address, secure, ws) in [
        (settings.tcp, false, false),
        (settings.tls, true, false),
        (settings.ws, false, true),
        (settings.wss, true, true),
    ] {
        let Some(address) = address else { continue };
        let alpn: &[u8] = if ws { b"http/1.1" } else { b"mqtt" };
        let transport = Transport {
            tls: if secure {
                Some(tls::server_config(settings, alpn)?)
            } else {
                None
            },
            ws_path: ws.then(|| Arc::clone(&path)),
            packet_size_max: limits.packet_size_max,
        };
        let setting = transport.name();
        let fail = |reason| ListenError::Bind {
            setting,
            address,
            reason,
        };
        let listener = TcpListener::bind(address).await.map_err(fail)?;
        bound.push(Bound {
            address: listener.local_addr().map_err(fail)?,
            listener,
            transport,
        });
    }
    Ok(bound)
}

/// Accepts until the server stops.
pub(crate) async fn accept(bound: Bound, edge: Arc<Edge>) {
    let transport = Arc::new(bound.transport);
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    while let Some(accepted) = edge.stop.run_until_cancelled(bound.listener.accept()).await {
        match accepted {
            Ok((socket, peer)) => admit(socket, peer, &transport, &edge, &refusals),
            Err(error) => {
                tracing::warn!(%error, listener = transport.name(), "cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn admit(
    socket: TcpStream,
    peer: SocketAddr,
    transport: &Arc<Transport>,
    edge: &Arc<Edge>,
    refusals: &Arc<Semaphore>,
) {
    let open = edge.metrics.opened(transport.listener());
    let (transport, edge_of_task) = (Arc::clone(transport), Arc::clone(edge));
    match edge.admission.admit(peer, Instant::now()) {
        Ok(place) => drop(edge.tasks.spawn(async move {
            connection::serve(socket, peer, &transport, &edge_of_task).await;
            drop((place, open));
        })),
        Err(turned_away) => {
            tracing::debug!(%peer, listener = transport.name(), %turned_away, "turned away");
            let Ok(permit) = Arc::clone(refusals).try_acquire_owned() else {
                return edge.metrics.turned_away(turned_away.limit());
            };
            edge.tasks.spawn(async move {
                connection::turn_away(socket, peer, &transport, &edge_of_task, turned_away).await;
                drop((permit, open));
            });
        }
    }
}
