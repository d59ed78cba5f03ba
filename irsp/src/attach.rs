//! A role that runs apart, joined to the bus: an MQTT client of the message server's TLS listener, known by its
//! certificate. The only file that knows the MQTT client.
//!
//! ```text
//! role's courier ── Link ── Attachment ──► publish bus/{destination}   QoS 0
//!                              incoming ◄── subscribe bus/{own}
//! ```
//!
//! Frames may be lost here: while the message server is away they are dropped, and the couriers send what they hold
//! again once `Attached` tells them that the bus is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use irsp_config::{Bus, Settings};
use irsp_courier::bus::{self, Incoming, Link};
use irsp_protocol::Server;
use rumqttc::{
    AsyncClient, ClientError, ConnectionError, Event, EventLoop, MqttOptions, Packet, QoS,
    SubscribeReasonCode, TlsConfiguration, Transport,
};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::pki::{self, PkiError};

/// Bytes of the largest frame: a batch of what one disk write made durable.
const FRAME_SIZE_MAX: usize = 16 << 20;
/// Frames handed to the client before the sender waits. Small: what waits here is lost with the connection.
const FRAMES_MAX: usize = 64;
/// How long a frame waits for the client before it is dropped. Both sides of a link may be full at once; this ends
/// the standstill, and the courier repeats the frame.
const SEND_WAIT: Duration = Duration::from_secs(1);
/// The waits between attempts to connect: short at first, because a message server restarts in moments.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Detects a message server that vanished without a word.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How long the goodbye may take.
const GOODBYE_WAIT: Duration = Duration::from_millis(500);

#[derive(Debug, Error)]
pub(crate) enum AttachError {
    #[error("bus.url = {0:?}: is not mqtts://host:port")]
    Url(String),
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error("the bus certificate cannot be used: {0}: set bus.cert and bus.key")]
    Tls(#[from] rustls::Error),
}

/// Why a connection to the bus ended, or did not come about.
#[derive(Debug, Error)]
enum Lost {
    #[error(transparent)]
    Connection(#[from] Box<ConnectionError>),
    #[error(transparent)]
    Client(#[from] Box<ClientError>),
    #[error("the message server refused the subscription: is the certificate this role's?")]
    Refused,
}

/// The topic on which `server` listens.
fn topic(server: Server) -> String {
    format!("bus/{server}")
}

/// Whether a role that runs apart is joined to the bus just now.
#[derive(Clone, Debug)]
pub(crate) struct Attached(Arc<AtomicBool>);

impl Attached {
    pub(crate) fn is_now(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Joins `server` to the bus. `tasks` owns the connection; it is kept up until `stop`.
pub(crate) fn attach(
    server: Server,
    settings: &Settings,
    stop: CancellationToken,
    tasks: &TaskTracker,
) -> Result<(Link, Attached), AttachError> {
    let (client, events) = AsyncClient::new(options(server, settings)?, FRAMES_MAX);
    let (link, attachment) = bus::link();
    let attached = Arc::new(AtomicBool::new(false));
    tasks.spawn(send(
        client.clone(),
        attachment.outgoing,
        Arc::clone(&attached),
        stop.clone(),
    ));
    let told = Attached(Arc::clone(&attached));
    let connection = Connection {
        server,
        client,
        events,
        attached,
        incoming: attachment.incoming,
    };
    tasks.spawn(connection.keep_up(stop));
    Ok((link, told))
}

fn options(server: Server, settings: &Settings) -> Result<MqttOptions, AttachError> {
    let Bus { url, .. } = &settings.bus;
    let (host, port) = settings
        .bus
        .address()
        .ok_or_else(|| AttachError::Url(url.clone()))?;
    let name = format!("srv/{server}");
    let mut options = MqttOptions::new(&name, host, port);
    options.set_transport(Transport::Tls(TlsConfiguration::Rustls(Arc::new(tls(
        server, settings,
    )?))));
    options.set_credentials(&name, "");
    options.set_clean_session(true);
    options.set_keep_alive(KEEP_ALIVE);
    options.set_max_packet_size(FRAME_SIZE_MAX, FRAME_SIZE_MAX);
    Ok(options)
}

/// Trusts the CA alone, and shows the role's certificate.
fn tls(server: Server, settings: &Settings) -> Result<ClientConfig, AttachError> {
    let files = settings.files();
    let role = files.role(server.as_str());
    for (path, key) in [
        (&role.cert, "bus.cert"),
        (&role.key, "bus.key"),
        (&files.ca(), "tls.ca"),
    ] {
        if !path.exists() {
            return Err(PkiError::Missing {
                path: path.clone(),
                key,
            }
            .into());
        }
    }
    let mut roots = RootCertStore::empty();
    for certificate in pki::read_certificates(&files.ca())? {
        roots.add(certificate)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(pki::read_certificates(&role.cert)?, pki::read_key(&role.key)?)?;
    Ok(config)
}

/// Moves frames from the link to the client while it is attached, and drops them while it is not.
async fn send(
    client: AsyncClient,
    mut outgoing: mpsc::Receiver<(Server, Bytes)>,
    attached: Arc<AtomicBool>,
    stop: CancellationToken,
) {
    while let Some(Some((to, frame))) = stop.run_until_cancelled(outgoing.recv()).await {
        if !attached.load(Ordering::Acquire) {
            tracing::trace!(%to, "not attached, frame dropped");
            continue;
        }
        let publish = client.publish_bytes(topic(to), QoS::AtMostOnce, false, frame);
        match tokio::time::timeout(SEND_WAIT, publish).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%to, %error, "frame dropped"),
            Err(_) => tracing::debug!(%to, "bus is slow, frame dropped"),
        }
    }
}

/// The client's connection, made again whenever it is lost.
struct Connection {
    server: Server,
    client: AsyncClient,
    events: EventLoop,
    attached: Arc<AtomicBool>,
    incoming: mpsc::Sender<Incoming>,
}

impl Connection {
    async fn keep_up(mut self, stop: CancellationToken) {
        let mut wait = RETRY_MIN;
        let link = self.incoming.clone();
        loop {
            let lost = tokio::select! {
                () = stop.cancelled() => break,
                () = link.closed() => break,
                lost = self.run() => lost,
            };
            if self.attached.swap(false, Ordering::AcqRel) {
                wait = RETRY_MIN;
            }
            self.events.clean();
            tracing::warn!(server = %self.server, error = %lost, retry = ?wait, "not attached to the bus");
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
            }
            wait = (wait * 2).min(RETRY_MAX);
        }
        self.leave().await;
    }

    /// Connects, subscribes and receives, until the connection is lost.
    async fn run(&mut self) -> Lost {
        loop {
            let handled = match self.events.poll().await {
                Ok(Event::Incoming(packet)) => self.handle(packet).await,
                Ok(Event::Outgoing(_)) => Ok(()),
                Err(error) => return Box::new(error).into(),
            };
            if let Err(lost) = handled {
                return lost;
            }
        }
    }

    async fn handle(&mut self, packet: Packet) -> Result<(), Lost> {
        if let Packet::ConnAck(_) = packet {
            self.client
                .try_subscribe(topic(self.server), QoS::AtMostOnce)
                .map_err(Box::new)?;
        } else if let Packet::SubAck(answer) = packet {
            if answer.return_codes.contains(&SubscribeReasonCode::Failure) {
                return Err(Lost::Refused);
            }
            self.attached.store(true, Ordering::Release);
            tracing::info!(server = %self.server, "attached to the bus");
            self.pass(Incoming::Attached).await;
        } else if let Packet::Publish(publish) = packet {
            self.pass(Incoming::Frame(publish.payload)).await;
        }
        Ok(())
    }

    /// Gives the link what came. A link that is gone has no use for it; [`Connection::keep_up`] sees that.
    async fn pass(&mut self, incoming: Incoming) {
        if self.incoming.send(incoming).await.is_err() {
            tracing::debug!(server = %self.server, "link is gone");
        }
    }

    /// Says goodbye, so that the message server does not wait for us.
    async fn leave(mut self) {
        let attached = self.attached.swap(false, Ordering::AcqRel);
        if !attached || self.client.try_disconnect().is_err() {
            return;
        }
        // The message server closes the connection on DISCONNECT, which ends the polling with an error.
        let goodbye = async { while self.events.poll().await.is_ok() {} };
        if tokio::time::timeout(GOODBYE_WAIT, goodbye).await.is_err() {
            tracing::debug!(server = %self.server, "no goodbye in time");
        }
    }
}
