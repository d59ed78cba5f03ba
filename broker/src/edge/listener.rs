//! Accepting connections: take a permit, spawn, and never wait for one client before the next.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::transport::Transport;
use super::{Edge, TlsError, connection, tls};
use crate::metrics::Limit;
use crate::settings::{Limits, Listeners};

/// Pause after the system refused to accept, for example because it has no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

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
pub(crate) async fn accept(bound: Bound, edge: Arc<Edge>, permits: Arc<Semaphore>) {
    let transport = Arc::new(bound.transport);
    while let Some(accepted) = edge.stop.run_until_cancelled(bound.listener.accept()).await {
        match accepted {
            Ok((socket, peer)) => admit(socket, peer, &transport, &edge, &permits),
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
    permits: &Arc<Semaphore>,
) {
    let Ok(permit) = Arc::clone(permits).try_acquire_owned() else {
        edge.metrics.turned_away(Limit::ConnectionsMax);
        tracing::warn!(%peer, limit = edge.limits.connections_max, "mqtt.connections_max reached; refused");
        return;
    };
    let open = edge.metrics.opened(transport.listener());
    let (transport, edge_of_task) = (Arc::clone(transport), Arc::clone(edge));
    edge.tasks.spawn(async move {
        connection::serve(socket, peer, &transport, &edge_of_task).await;
        drop((permit, open));
    });
}
