//! The connection: logs in, subscribes, hands events to the handler one after the other, publishes its answers, and
//! comes back when it is lost. What was not answered by then comes again.

use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use irsp_protocol::{Id, MessageId, Secret, Timestamp};
use rumqttc::{
    AsyncClient, ClientError, ConnectReturnCode, ConnectionError, EventLoop, MqttOptions, Packet, QoS,
    SubscribeFilter, SubscribeReasonCode, TlsConfiguration, Transport,
};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::desk::{Desk, Handler, Reply};
use crate::event::Event;

/// More than the platform has under way to one application: reading never waits for the handler.
const WAITING_MAX: usize = 2048;
/// The first and the longest wait before the connection is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Largest event: the platform's largest packet is 1 MiB, and base64 makes a third more of a payload.
const PACKET_MAX: usize = 2 << 20;

/// Where the platform is, who the application is, and where it remembers.
#[derive(Clone, Debug)]
pub struct Settings {
    pub host: String,
    pub port: u16,
    /// For `mqtt.tls`; plain TCP without.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    pub application: Id,
    pub key: Secret,
    /// Replicas of one group share the work; each has a database and a client id of its own.
    pub group: Option<String>,
    pub client_id: String,
    pub database: PathBuf,
}

/// Why an application does not go on. A lost connection is none: it is tried again.
#[derive(Debug, Error)]
pub enum Error {
    #[error("the platform refuses the login: {0:?}")]
    Login(ConnectReturnCode),
    #[error("the platform refuses the subscription: is this application attached?")]
    Subscription,
    #[error("the store: {0}")]
    Store(#[from] rusqlite::Error),
    #[error("the client takes nothing more: {0}")]
    Client(#[from] ClientError),
    #[error("the handler has panicked: {0}")]
    Panicked(#[from] JoinError),
}

/// What the connection tells.
enum Heard {
    Connected,
    Subscribed(bool),
    Event(Box<Event>),
    Refused(ConnectReturnCode),
}

/// One event handled.
struct Handled<H> {
    desk: Desk<H>,
    id: MessageId,
    reply: rusqlite::Result<Reply>,
}

/// Runs an application until `stop`, or until it cannot go on.
pub async fn run<H: Handler>(settings: Settings, handler: H, stop: CancellationToken) -> Result<(), Error> {
    let own = format!("v1/app/{}", settings.application);
    let (client, events) = AsyncClient::new(options(&settings), WAITING_MAX);
    let mut desk = Some(Desk::open(&settings.database, handler)?);
    let (tell, mut heard) = mpsc::channel(WAITING_MAX);
    let mut listening = JoinSet::new();
    listening.spawn(listen(events, tell));
    let mut working = JoinSet::new();
    let (mut waiting, mut known) = (VecDeque::new(), HashSet::new());
    loop {
        if !waiting.is_empty()
            && let Some(mut free) = desk.take()
            && let Some(event) = waiting.pop_front()
        {
            let event: Box<Event> = event;
            working.spawn_blocking(move || {
                let reply = free.answer(&event, Timestamp::from(SystemTime::now()));
                Handled {
                    desk: free,
                    id: event.id,
                    reply,
                }
            });
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            Some(news) = heard.recv() => match news {
                Heard::Connected => client.try_subscribe_many(filters(&own, settings.group.as_deref()))?,
                Heard::Subscribed(true) => tracing::info!(application = %settings.application, "attached"),
                Heard::Subscribed(false) => return Err(Error::Subscription),
                Heard::Refused(code) => return Err(Error::Login(code)),
                // One that waits already has come again with a new connection.
                Heard::Event(event) => {
                    if known.insert(event.id) {
                        waiting.push_back(event);
                    }
                }
            },
            Some(handled) = working.join_next() => {
                let Handled { desk: free, id, reply } = handled?;
                desk = Some(free);
                known.remove(&id);
                match reply {
                    Ok(reply) => {
                        client.try_publish(format!("{own}/ack/{id}"), QoS::AtLeastOnce, false, reply.payload())?;
                    }
                    Err(error) => tracing::error!(%id, %error, "a message could not be handled; it comes again"),
                }
            }
        }
    }
}

fn options(settings: &Settings) -> MqttOptions {
    let mut options = MqttOptions::new(&settings.client_id, &settings.host, settings.port);
    options.set_credentials(format!("app/{}", settings.application), settings.key.expose());
    options.set_keep_alive(Duration::from_secs(30));
    // The platform keeps what is not answered: a session that outlives its connection would add nothing.
    options.set_clean_session(true);
    options.set_max_packet_size(PACKET_MAX, PACKET_MAX);
    if let Some(tls) = &settings.tls {
        let tls = TlsConfiguration::Rustls(Arc::clone(tls));
        options.set_transport(Transport::tls_with_config(tls));
    }
    options
}

fn filters(own: &str, group: Option<&str>) -> Vec<SubscribeFilter> {
    let share = group.map(|group| format!("$share/{group}/")).unwrap_or_default();
    ["upload", "message"]
        .map(|kind| SubscribeFilter::new(format!("{share}{own}/in/{kind}/#"), QoS::AtLeastOnce))
        .into()
}

/// Polls the connection for as long as somebody hears it.
async fn listen(mut events: EventLoop, tell: mpsc::Sender<Heard>) {
    let mut retry = RETRY.0;
    loop {
        let news = match events.poll().await {
            Ok(rumqttc::Event::Incoming(packet)) => {
                retry = RETRY.0;
                news(packet)
            }
            Ok(rumqttc::Event::Outgoing(_)) => None,
            Err(ConnectionError::ConnectionRefused(
                code @ (ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized),
            )) => Some(Heard::Refused(code)),
            Err(error) => {
                tracing::info!(%error, "the connection is lost; trying again");
                tokio::time::sleep(retry).await;
                retry = (retry * 2).min(RETRY.1);
                None
            }
        };
        if let Some(news) = news
            && tell.send(news).await.is_err()
        {
            return;
        }
    }
}

fn news(packet: Packet) -> Option<Heard> {
    if let Packet::ConnAck(_) = packet {
        return Some(Heard::Connected);
    }
    if let Packet::SubAck(ack) = packet {
        let refused = ack.return_codes.contains(&SubscribeReasonCode::Failure);
        return Some(Heard::Subscribed(!refused));
    }
    let Packet::Publish(publish) = packet else {
        return None;
    };
    match Event::read(&publish.payload) {
        Ok(event) => Some(Heard::Event(Box::new(event))),
        Err(error) => {
            tracing::warn!(topic = publish.topic, %error, "not an event; it expires unanswered");
            None
        }
    }
}
