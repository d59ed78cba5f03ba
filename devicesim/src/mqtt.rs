//! The MQTT client: the only file that names it. Outside, a connection is a [`Client`] that asks and [`Events`] that
//! are heard; 3.1.1 and 5.0 look the same.
//!
//! The session is persistent (3.1.1: clean session 0; 5.0: clean start only the first time, then resumed), so that
//! statuses wait for a device that comes back. A publish under way is sent again by the client library under its old
//! packet id when the server has kept the session [MQTT-4.4.0-1]; one that never left is given back to the caller.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use irsp_protocol::Secret;
use rumqttc::{TlsConfiguration, Transport, v5};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use thiserror::Error;

use crate::options::{BrokerUrl, MqttVersion, Qos};

/// Uploads one device has under way at once; later ones wait, and their latency counts from when they were due.
pub const WINDOW: usize = 64;
/// Packet ids of one device. Twice the window, so that an id is free again before its turn comes.
const PACKET_IDS: u16 = 2 * WINDOW as u16;
/// Requests between a device's uploads and its connection.
const REQUESTS: usize = 8;
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// TCP, TLS and CONNACK together.
const CONNECT_WAIT_S: u64 = 20;
/// How long the server is asked to keep the session of a device that is away.
const SESSION_EXPIRY_S: u32 = 3600;
/// Largest packet a device takes: a status is small.
const PACKET_SIZE_MAX: usize = 256 * 1024;

/// Where and how devices connect.
#[derive(Clone, Debug)]
pub struct Server {
    url: BrokerUrl,
    version: MqttVersion,
    tls: Option<Arc<rustls::ClientConfig>>,
}

/// Why a TLS connection cannot be prepared.
#[derive(Debug, Error)]
pub enum CaError {
    #[error("cannot read certificates from {path}: {error}", path = path.display())]
    Pem {
        path: PathBuf,
        error: rustls::pki_types::pem::Error,
    },
    #[error("{path} holds no usable certificate", path = path.display())]
    Empty { path: PathBuf },
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

impl Server {
    pub fn new(url: BrokerUrl, version: MqttVersion, ca: Option<&Path>) -> Result<Server, CaError> {
        let tls = ca.map(tls).transpose()?.map(Arc::new);
        Ok(Server { url, version, tls })
    }

    fn transport(&self) -> Transport {
        match &self.tls {
            Some(tls) => Transport::tls_with_config(TlsConfiguration::Rustls(Arc::clone(tls))),
            None => Transport::tcp(),
        }
    }
}

pub(crate) fn tls(path: &Path) -> Result<rustls::ClientConfig, CaError> {
    let pem = |error| CaError::Pem {
        path: path.to_owned(),
        error,
    };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(pem)? {
        roots.add(certificate.map_err(pem)?)?;
    }
    if roots.is_empty() {
        return Err(CaError::Empty {
            path: path.to_owned(),
        });
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// What a device hears on its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// CONNACK: accepted.
    Connected { session: Session },
    /// A publish has gone out under this packet id; 0 at QoS 0.
    Sent(u16),
    /// PUBACK or PUBCOMP.
    Acknowledged(u16),
    /// PUBACK or PUBREC with a reason code that refuses the publish.
    Refused { packet_id: u16, reason: String },
    /// SUBACK.
    Subscribed(Result<(), String>),
    /// A message on a subscribed topic.
    Message(Bytes),
    /// DISCONNECT has gone out.
    Left,
    /// Nothing a device acts on.
    Other,
}

/// Whether the server still has the session of the connection before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    New,
    Resumed,
}

/// Why there is no connection any more, or none at all.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Broken {
    /// CONNACK: refused for good.
    #[error("{0}")]
    Refused(String),
    /// It may go better the next time.
    #[error("{0}")]
    Again(String),
}

/// Asks on a connection.
#[derive(Clone)]
pub enum Client {
    V311(rumqttc::AsyncClient),
    V5(v5::AsyncClient),
}

/// Hears on a connection, and connects again when asked after it broke.
pub struct Events {
    inner: Loop,
    /// What was heard before the connection broke and not yet told.
    rest: VecDeque<Heard>,
    broken: Option<Broken>,
}

enum Loop {
    V311(Box<rumqttc::EventLoop>),
    V5(Box<v5::EventLoop>),
}

/// The connection's other half has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the connection has ended")]
pub struct Ended;

/// Prepares a connection; it is opened by the first [`Events::heard`].
pub fn prepare(server: &Server, client_id: &str, username: String, password: &Secret) -> (Client, Events) {
    let (host, port) = (server.url.host.clone(), server.url.port);
    match server.version {
        MqttVersion::V311 => {
            let mut options = rumqttc::MqttOptions::new(client_id, host, port);
            options
                .set_credentials(username, password.expose())
                .set_keep_alive(KEEP_ALIVE)
                .set_clean_session(false)
                .set_inflight(PACKET_IDS)
                .set_max_packet_size(PACKET_SIZE_MAX, usize::MAX)
                .set_transport(server.transport());
            let (client, mut events) = rumqttc::AsyncClient::new(options, REQUESTS);
            let mut network = rumqttc::NetworkOptions::new();
            network
                .set_connection_timeout(CONNECT_WAIT_S)
                .set_tcp_nodelay(true);
            events.set_network_options(network);
            (Client::V311(client), Events::new(Loop::V311(Box::new(events))))
        }
        MqttVersion::V5 => {
            let mut options = v5::MqttOptions::new(client_id, host, port);
            let mut network = rumqttc::NetworkOptions::new();
            network.set_tcp_nodelay(true);
            options
                .set_credentials(username, password.expose())
                .set_keep_alive(KEEP_ALIVE)
                .set_clean_start(true)
                .set_session_expiry_interval(Some(SESSION_EXPIRY_S))
                .set_connection_timeout(CONNECT_WAIT_S)
                .set_outgoing_inflight_upper_limit(PACKET_IDS)
                .set_network_options(network)
                .set_transport(server.transport());
            let (client, events) = v5::AsyncClient::new(options, REQUESTS);
            (Client::V5(client), Events::new(Loop::V5(Box::new(events))))
        }
    }
}

impl Client {
    /// Publishes; `id` travels as the CloudEvents attribute where the version has room for it.
    pub async fn publish(&self, topic: &str, qos: Qos, id: String, payload: Bytes) -> Result<(), Ended> {
        match self {
            Client::V311(client) => client
                .publish_bytes(topic, qos.into(), false, payload)
                .await
                .map_err(|_| Ended),
            Client::V5(client) => {
                let properties = v5::mqttbytes::v5::PublishProperties {
                    user_properties: vec![("id".to_owned(), id)],
                    ..Default::default()
                };
                client
                    .publish_bytes_with_properties(topic, qos.into(), false, payload, properties)
                    .await
                    .map_err(|_| Ended)
            }
        }
    }

    /// Subscribes at QoS 1.
    pub async fn subscribe(&self, filter: &str) -> Result<(), Ended> {
        let qos = Qos::AtLeastOnce;
        match self {
            Client::V311(client) => client.subscribe(filter, qos.into()).await.map_err(|_| Ended),
            Client::V5(client) => client.subscribe(filter, qos.into()).await.map_err(|_| Ended),
        }
    }

    /// Takes the subscription back and says goodbye.
    pub async fn leave(&self, filter: &str) -> Result<(), Ended> {
        match self {
            Client::V311(client) => {
                client.unsubscribe(filter).await.map_err(|_| Ended)?;
                client.disconnect().await.map_err(|_| Ended)
            }
            Client::V5(client) => {
                client.unsubscribe(filter).await.map_err(|_| Ended)?;
                client.disconnect().await.map_err(|_| Ended)
            }
        }
    }
}

impl Events {
    fn new(inner: Loop) -> Events {
        Events {
            inner,
            rest: VecDeque::new(),
            broken: None,
        }
    }

    /// The next event. [`Broken`] comes after everything that was heard before; the next call connects again.
    pub async fn heard(&mut self) -> Result<Heard, Broken> {
        if let Some(heard) = self.rest.pop_front() {
            return Ok(heard);
        }
        if let Some(broken) = self.broken.take() {
            return Err(broken);
        }
        let broken = match &mut self.inner {
            Loop::V311(events) => match events.poll().await {
                Ok(event) => return Ok(heard_v311(event)),
                Err(error) => {
                    self.rest.extend(events.state.events.drain(..).map(heard_v311));
                    // What never left is the caller's to send again: it still knows it.
                    events.state.collision = None;
                    events.pending.retain(|request| {
                        matches!(request, rumqttc::Request::Publish(publish) if publish.pkid != 0)
                            || matches!(request, rumqttc::Request::PubRel(_))
                    });
                    broken_v311(error)
                }
            },
            Loop::V5(events) => match events.poll().await {
                Ok(event) => {
                    let heard = heard_v5(event);
                    if matches!(heard, Heard::Connected { .. }) {
                        events.options.set_clean_start(false);
                    }
                    return Ok(heard);
                }
                Err(error) => {
                    self.rest.extend(events.state.events.drain(..).map(heard_v5));
                    events.state.collision = None;
                    events.pending.retain(|request| {
                        matches!(request, v5::Request::Publish(publish) if publish.pkid != 0)
                            || matches!(request, v5::Request::PubRel(_))
                    });
                    broken_v5(error)
                }
            },
        };
        match self.rest.pop_front() {
            Some(heard) => {
                self.broken = Some(broken);
                Ok(heard)
            }
            None => Err(broken),
        }
    }
}

fn heard_v311(event: rumqttc::Event) -> Heard {
    use rumqttc::{Event, Outgoing, Packet, SubscribeReasonCode};
    match event {
        Event::Outgoing(Outgoing::Publish(packet_id)) => Heard::Sent(packet_id),
        Event::Outgoing(Outgoing::Disconnect) => Heard::Left,
        Event::Incoming(Packet::ConnAck(connack)) => Heard::Connected {
            session: session(connack.session_present),
        },
        Event::Incoming(Packet::PubAck(ack)) => Heard::Acknowledged(ack.pkid),
        Event::Incoming(Packet::PubComp(ack)) => Heard::Acknowledged(ack.pkid),
        Event::Incoming(Packet::SubAck(ack)) => {
            let refused = ack.return_codes.contains(&SubscribeReasonCode::Failure);
            Heard::Subscribed(if refused {
                Err("Failure".to_owned())
            } else {
                Ok(())
            })
        }
        Event::Incoming(Packet::Publish(publish)) => Heard::Message(publish.payload),
        Event::Incoming(_) | Event::Outgoing(_) => Heard::Other,
    }
}

fn heard_v5(event: v5::Event) -> Heard {
    use v5::mqttbytes::v5::{Packet, PubAckReason, PubRecReason, SubscribeReasonCode};
    match event {
        v5::Event::Outgoing(rumqttc::Outgoing::Publish(packet_id)) => Heard::Sent(packet_id),
        v5::Event::Outgoing(rumqttc::Outgoing::Disconnect) => Heard::Left,
        v5::Event::Incoming(Packet::ConnAck(connack)) => Heard::Connected {
            session: session(connack.session_present),
        },
        v5::Event::Incoming(Packet::PubAck(ack)) => {
            if matches!(
                ack.reason,
                PubAckReason::Success | PubAckReason::NoMatchingSubscribers
            ) {
                Heard::Acknowledged(ack.pkid)
            } else {
                refused(ack.pkid, &ack.reason)
            }
        }
        v5::Event::Incoming(Packet::PubRec(ack)) => {
            if matches!(
                ack.reason,
                PubRecReason::Success | PubRecReason::NoMatchingSubscribers
            ) {
                Heard::Other
            } else {
                refused(ack.pkid, &ack.reason)
            }
        }
        v5::Event::Incoming(Packet::PubComp(ack)) => Heard::Acknowledged(ack.pkid),
        v5::Event::Incoming(Packet::SubAck(ack)) => {
            let refusal = ack
                .return_codes
                .iter()
                .find(|code| !matches!(code, SubscribeReasonCode::Success(_)));
            Heard::Subscribed(refusal.map_or(Ok(()), |code| Err(format!("{code:?}"))))
        }
        v5::Event::Incoming(Packet::Publish(publish)) => Heard::Message(publish.payload),
        v5::Event::Incoming(_) | v5::Event::Outgoing(_) => Heard::Other,
    }
}

fn refused(packet_id: u16, reason: &dyn std::fmt::Debug) -> Heard {
    Heard::Refused {
        packet_id,
        reason: format!("{reason:?}"),
    }
}

fn session(present: bool) -> Session {
    if present { Session::Resumed } else { Session::New }
}

fn broken_v311(error: rumqttc::ConnectionError) -> Broken {
    use rumqttc::{ConnectReturnCode, ConnectionError};
    let ConnectionError::ConnectionRefused(code) = error else {
        return Broken::Again(error.to_string());
    };
    if code == ConnectReturnCode::ServiceUnavailable {
        Broken::Again(format!("{code:?}"))
    } else {
        Broken::Refused(format!("{code:?}"))
    }
}

fn broken_v5(error: v5::ConnectionError) -> Broken {
    use v5::mqttbytes::v5::ConnectReturnCode::{
        ConnectionRateExceeded, ServerBusy, ServerUnavailable, ServiceUnavailable,
    };
    let v5::ConnectionError::ConnectionRefused(code) = error else {
        return Broken::Again(error.to_string());
    };
    let passing = [
        ConnectionRateExceeded,
        ServerBusy,
        ServerUnavailable,
        ServiceUnavailable,
    ];
    if passing.contains(&code) {
        Broken::Again(format!("{code:?}"))
    } else {
        Broken::Refused(format!("{code:?}"))
    }
}

impl From<Qos> for rumqttc::QoS {
    fn from(qos: Qos) -> rumqttc::QoS {
        match qos {
            Qos::AtMostOnce => rumqttc::QoS::AtMostOnce,
            Qos::AtLeastOnce => rumqttc::QoS::AtLeastOnce,
            Qos::ExactlyOnce => rumqttc::QoS::ExactlyOnce,
        }
    }
}

impl From<Qos> for v5::mqttbytes::QoS {
    fn from(qos: Qos) -> v5::mqttbytes::QoS {
        match qos {
            Qos::AtMostOnce => v5::mqttbytes::QoS::AtMostOnce,
            Qos::AtLeastOnce => v5::mqttbytes::QoS::AtLeastOnce,
            Qos::ExactlyOnce => v5::mqttbytes::QoS::ExactlyOnce,
        }
    }
}
