//! Accepting connections: take a permit, spawn, and never wait for one client before the next.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;

use super::arrive::Caller;
use super::connection;
use super::transport::{IN_MEMORY, Opened, Transport};
use super::{Edge, TlsError, TlsSource, proxy};
use crate::metrics::{Limit, Open, Refusal};
use crate::settings::{Limits, Listeners};

/// Pause after the system refused to accept, for example because it has no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections at once of one listener that are told why they are turned away; more are closed without a word.
const REFUSALS_MAX: usize = 256;

/// Connections at once of one listener whose PROXY header has not come yet; more are closed without a word. It comes with
/// the connection, so this is for proxies that fail.
const UNNAMED_MAX: usize = 4_096;

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

/// Reads certificates and authorities, if a listener needs them.
pub(crate) fn tls_source(settings: &Listeners) -> Result<Option<Arc<TlsSource>>, ListenError> {
    match settings.tls.is_some() || settings.wss.is_some() {
        true => Ok(Some(Arc::new(TlsSource::open(settings)?))),
        false => Ok(None),
    }
}

/// A bound listener, not yet accepting.
pub(crate) struct Bound {
    pub(crate) address: SocketAddr,
    listener: TcpListener,
    transport: Transport,
    proxies: Vec<IpNet>,
}

impl Bound {
    /// The setting that named this listener.
    pub(crate) fn setting(&self) -> &'static str {
        self.transport.name()
    }
}

/// Binds all configured listeners before anything else is done, so that a busy port is found out first.
pub(crate) async fn bind(
    settings: &Listeners,
    tls: Option<&Arc<TlsSource>>,
    limits: &Limits,
) -> Result<Vec<Bound>, ListenError> {
    let path: Arc<str> = settings.ws_path.as_str().into();
    let mut bound = Vec::new();
    for (address, secure, ws) in [
        (settings.tcp, false, false),
        (settings.tls, true, false),
        (settings.ws, false, true),
        (settings.wss, true, true),
    ] {
        let Some(address) = address else { continue };
        let transport = Transport {
            tls: tls.filter(|_| secure).cloned(),
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
            proxies: settings.proxies.clone(),
        });
    }
    Ok(bound)
}

/// Accepts until the server stops.
pub(crate) async fn accept(bound: Bound, edge: Arc<Edge>) {
    let door = Door {
        transport: Arc::new(bound.transport),
        refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
        edge,
    };
    let unnamed = Arc::new(Semaphore::new(UNNAMED_MAX));
    while let Some(accepted) = door.edge.stop.run_until_cancelled(bound.listener.accept()).await {
        match accepted {
            Ok((socket, peer)) => {
                let address = peer.ip().to_canonical();
                let open = door.edge.metrics.opened(door.transport.listener());
                if !bound.proxies.iter().any(|proxies| proxies.contains(&address)) {
                    door.admit(socket, peer, open, Instant::now());
                } else if let Ok(permit) = Arc::clone(&unnamed).try_acquire_owned() {
                    let of_task = door.clone();
                    door.edge.tasks.spawn(of_task.ask(socket, peer, open, permit));
                } else {
                    door.edge.metrics.turned_away(Limit::ConnectionsMax);
                }
            }
            Err(error) => {
                tracing::warn!(%error, listener = door.transport.name(), "cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// What every socket of one listener needs.
#[derive(Clone)]
struct Door {
    transport: Arc<Transport>,
    refusals: Arc<Semaphore>,
    edge: Arc<Edge>,
}

impl Door {
    /// Waits for a load balancer to say whom it passes on, and goes on as if that one had come itself.
    async fn ask(self, mut socket: TcpStream, peer: SocketAddr, open: Open, permit: OwnedSemaphorePermit) {
        let began = Instant::now();
        let header = timeout_at(
            (began + self.edge.limits.connect_timeout).into(),
            proxy::client(&mut socket, peer),
        );
        let Some(header) = self.edge.stop.run_until_cancelled(header).await else {
            return;
        };
        drop(permit);
        match header {
            Ok(Ok(client)) => self.admit(socket, client, open, began),
            Ok(Err(error)) => {
                tracing::info!(%peer, listener = self.transport.name(), %error, "a proxy did not say whom it passes on");
                self.edge.metrics.refused.of(Refusal::Proxy).inc();
            }
            Err(_) => self.edge.metrics.turned_away(Limit::ConnectTimeout),
        }
    }

    /// Serves a socket in a task of its own if there is a place for it. `began`: when its time to say CONNECT began.
    fn admit(&self, socket: TcpStream, peer: SocketAddr, open: Open, began: Instant) {
        let of_task = self.clone();
        let caller = Caller {
            peer,
            listener: self.transport.name(),
            began,
        };
        match self.edge.admission.admit(peer, Instant::now()) {
            Ok(place) => {
                // All that a task is given stays in it, so what only its beginning needs is in a box that ends with it.
                let given = Box::new((of_task, socket, caller));
                self.edge.tasks.spawn(async move {
                    let (Door { transport, edge, .. }, socket, caller) = {
                        let given = given;
                        *given
                    };
                    let opening = transport.open(socket, &edge.domain);
                    connection::serve(opening, caller, &edge).await;
                    drop((place, open));
                });
            }
            Err(turned_away) => {
                tracing::debug!(%peer, listener = caller.listener, %turned_away, "turned away");
                let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() else {
                    return self.edge.metrics.turned_away(turned_away.limit());
                };
                self.edge.tasks.spawn(async move {
                    let Door { transport, edge, .. } = of_task;
                    let opening = Box::pin(transport.open(socket, &edge.domain));
                    connection::turn_away(opening, caller, &edge, turned_away).await;
                    drop((permit, open));
                });
            }
        }
    }
}

/// Serves a stream of MQTT bytes that no listener has accepted: a client in this process, which is logged in, limited and
/// served as those of `mqtt.tcp` are.
pub(crate) fn take(
    edge: &Arc<Edge>,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    peer: SocketAddr,
) {
    let caller = Caller {
        peer,
        listener: IN_MEMORY,
        began: Instant::now(),
    };
    let of_task = Arc::clone(edge);
    edge.tasks.spawn(async move {
        let edge = of_task;
        let opening = std::future::ready(Ok(Opened::in_memory(stream)));
        match edge.admission.admit(peer, caller.began) {
            Ok(place) => {
                connection::serve(opening, caller, &edge).await;
                drop(place);
            }
            Err(turned_away) => connection::turn_away(opening, caller, &edge, turned_away).await,
        }
    });
}
