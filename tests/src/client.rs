//! An MQTT client that is not ours, as a story uses it: one thing after the other.
//!
//! A task keeps the connection going and passes on what it hears. Codes are told by their names, as the client
//! library has them: `Success`, `NotAuthorized`, `SessionTakenOver`.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use rumqttc::v5::mqttbytes::v5::{Filter, PublishProperties};
use rumqttc::{TlsConfiguration, Transport, v5};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::PATIENCE;
use crate::pki;
use crate::platform::Doors;

/// MQTT's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V311,
    V5,
}

/// Packets the client library takes before a story has to wait; above what any story sends at once.
const REQUESTS: usize = 4096;
/// Bytes of the largest packet, in both directions.
const PACKET_MAX: usize = 2 << 20;

/// A message that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub payload: Bytes,
    /// 0, 1 or 2.
    pub qos: u8,
    pub retain: bool,
}

impl Message {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }

    /// The payload as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap_or(Value::Null)
    }

    /// One level of the topic, from 0.
    pub fn level(&self, n: usize) -> &str {
        self.topic.split('/').nth(n).unwrap_or_default()
    }
}

/// What the connection's task hears.
enum Heard {
    Connected {
        resumed: bool,
    },
    Message(Message),
    /// The server has answered a publish.
    Published(String),
    Subscribed(Vec<String>),
    Unsubscribed,
    Lost(String),
}

/// A client that is about to connect.
#[derive(Clone, Debug)]
pub struct Connecting {
    doors: Doors,
    username: String,
    password: String,
    client_id: String,
    version: Version,
    tls: bool,
    session_expiry: u32,
    clean: bool,
    keep_alive: Duration,
    will: Option<(String, String)>,
}

impl Connecting {
    pub(crate) fn new(doors: &Doors, username: &str, password: &str) -> Connecting {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        Connecting {
            doors: doors.clone(),
            username: username.to_owned(),
            password: password.to_owned(),
            client_id: format!("client-{}", COUNT.fetch_add(1, Ordering::Relaxed)),
            version: Version::V5,
            tls: false,
            session_expiry: 0,
            clean: true,
            keep_alive: Duration::from_secs(60),
            will: None,
        }
    }

    pub fn version(mut self, version: Version) -> Connecting {
        self.version = version;
        self
    }

    /// Through the TLS listener, trusting the domain's CA alone.
    pub fn tls(mut self) -> Connecting {
        self.tls = true;
        self
    }

    pub fn id(mut self, client_id: &str) -> Connecting {
        self.client_id = client_id.to_owned();
        self
    }

    /// Goes on with the session that was left, and leaves one behind.
    pub fn keeps_session(mut self) -> Connecting {
        self.clean = false;
        self.session_expiry = 3600;
        self
    }

    pub fn keep_alive(mut self, keep_alive: Duration) -> Connecting {
        self.keep_alive = keep_alive;
        self
    }

    /// A last will, at QoS 1 and not retained.
    pub fn will(mut self, topic: &str, payload: &str) -> Connecting {
        self.will = Some((topic.to_owned(), payload.to_owned()));
        self
    }

    /// Connects; the error is the name of the refusal.
    pub async fn connect(self) -> Result<Client> {
        let (tell, heard) = mpsc::unbounded_channel();
        let (frozen, freezing) = watch::channel(false);
        let mut pump = JoinSet::new();
        let link = match self.version {
            Version::V311 => {
                let (client, events) = rumqttc::AsyncClient::new(self.options_v311()?, REQUESTS);
                pump.spawn(pump_v311(events, tell, freezing));
                Link::V311(client)
            }
            Version::V5 => {
                let (client, events) = v5::AsyncClient::new(self.options_v5()?, REQUESTS);
                pump.spawn(pump_v5(events, tell, freezing));
                Link::V5(client)
            }
        };
        let mut client = Client {
            username: self.username,
            link,
            heard,
            messages: VecDeque::new(),
            answers: VecDeque::new(),
            resumed: false,
            frozen,
            pump,
        };
        match client.answer().await? {
            Heard::Connected { resumed } => client.resumed = resumed,
            Heard::Lost(why) => bail!(why),
            Heard::Message(_) | Heard::Published(_) | Heard::Subscribed(_) | Heard::Unsubscribed => {
                bail!("an answer before CONNACK")
            }
        }
        Ok(client)
    }

    /// Tries to connect, and returns the name of the refusal.
    pub async fn refused(self) -> Result<String> {
        match self.connect().await {
            Ok(_) => bail!("was not refused"),
            Err(error) => Ok(error.to_string()),
        }
    }

    fn transport(&self) -> Result<(u16, Transport)> {
        if !self.tls {
            return Ok((self.doors.tcp.port(), Transport::Tcp));
        }
        let tls = TlsConfiguration::Rustls(pki::trusting(&self.doors.ca)?);
        Ok((self.doors.tls.port(), Transport::Tls(tls)))
    }

    fn options_v311(&self) -> Result<rumqttc::MqttOptions> {
        let (port, transport) = self.transport()?;
        let mut options = rumqttc::MqttOptions::new(&self.client_id, "127.0.0.1", port);
        options.set_transport(transport);
        options.set_credentials(&self.username, &self.password);
        options.set_clean_session(self.clean);
        options.set_keep_alive(self.keep_alive);
        options.set_max_packet_size(PACKET_MAX, PACKET_MAX);
        if let Some((topic, payload)) = &self.will {
            let will = rumqttc::LastWill::new(topic, payload.as_bytes(), rumqttc::QoS::AtLeastOnce, false);
            options.set_last_will(will);
        }
        Ok(options)
    }

    fn options_v5(&self) -> Result<v5::MqttOptions> {
        let (port, transport) = self.transport()?;
        let mut options = v5::MqttOptions::new(&self.client_id, "127.0.0.1", port);
        options.set_transport(transport);
        options.set_credentials(&self.username, &self.password);
        options.set_clean_start(self.clean);
        options.set_session_expiry_interval(Some(self.session_expiry));
        options.set_keep_alive(self.keep_alive);
        if let Some((topic, payload)) = &self.will {
            let qos = v5::mqttbytes::QoS::AtLeastOnce;
            let will = v5::mqttbytes::v5::LastWill::new(topic, payload.as_bytes(), qos, false, None);
            options.set_last_will(will);
        }
        Ok(options)
    }
}

enum Link {
    V311(rumqttc::AsyncClient),
    V5(v5::AsyncClient),
}

/// A connected client. Dropped, its socket closes without a goodbye.
pub struct Client {
    username: String,
    link: Link,
    heard: mpsc::UnboundedReceiver<Heard>,
    messages: VecDeque<Message>,
    answers: VecDeque<Heard>,
    resumed: bool,
    frozen: watch::Sender<bool>,
    pump: JoinSet<()>,
}

impl Client {
    /// Whether the server had a session of this client.
    pub fn resumed(&self) -> bool {
        self.resumed
    }

    /// Publishes below `v1/{username}/` and returns the name of the server's answer; at QoS 0 there is none.
    pub async fn publish(&mut self, below: &str, qos: u8, payload: &str) -> Result<String> {
        let topic = self.own(below);
        self.publish_on(&topic, qos, false, payload).await
    }

    /// Publishes anywhere and returns the name of the server's answer.
    pub async fn publish_on(&mut self, topic: &str, qos: u8, retain: bool, payload: &str) -> Result<String> {
        self.send(topic, qos, retain, payload).await?;
        if qos == 0 {
            return Ok("Success".to_owned());
        }
        self.published().await
    }

    /// Publishes and does not wait for the answer.
    pub async fn send(&self, topic: &str, qos: u8, retain: bool, payload: &str) -> Result<()> {
        match &self.link {
            Link::V311(client) => {
                let qos = rumqttc::qos(qos)?;
                client.publish(topic, qos, retain, payload.as_bytes()).await?;
            }
            Link::V5(client) => {
                let qos = v5::mqttbytes::qos(qos).context("no such QoS")?;
                client
                    .publish(topic, qos, retain, payload.as_bytes().to_vec())
                    .await?;
            }
        }
        Ok(())
    }

    /// Publishes at QoS 1 with MQTT 5 user properties.
    pub async fn publish_with(
        &mut self,
        below: &str,
        payload: &str,
        properties: &[(&str, &str)],
    ) -> Result<String> {
        let Link::V5(client) = &self.link else {
            bail!("properties are MQTT 5's");
        };
        let properties = PublishProperties {
            user_properties: properties
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..PublishProperties::default()
        };
        let qos = v5::mqttbytes::QoS::AtLeastOnce;
        let topic = self.own(below);
        client
            .publish_with_properties(topic, qos, false, payload.as_bytes().to_vec(), properties)
            .await?;
        self.published().await
    }

    /// The server's answer to the oldest publish that has none yet.
    pub async fn published(&mut self) -> Result<String> {
        match self.answer().await? {
            Heard::Published(code) => Ok(code),
            Heard::Lost(why) => Ok(format!("lost: {why}")),
            Heard::Connected { .. } | Heard::Message(_) | Heard::Subscribed(_) | Heard::Unsubscribed => {
                bail!("not the answer to a publish")
            }
        }
    }

    /// Subscribes to what stands below `v1/{username}/`; the server grants it.
    pub async fn hear(&mut self, below: &str) -> Result<()> {
        let filter = self.own(below);
        self.hear_all(&filter).await
    }

    /// Subscribes to a filter at QoS 2; the server grants it.
    pub async fn hear_all(&mut self, filter: &str) -> Result<()> {
        let code = self.subscribe(filter, 2).await?;
        if code.starts_with("Success") {
            Ok(())
        } else {
            bail!("{filter}: {code}")
        }
    }

    /// Subscribes and returns the name of the server's answer.
    pub async fn subscribe(&mut self, filter: &str, qos: u8) -> Result<String> {
        match &self.link {
            Link::V311(client) => client.subscribe(filter, rumqttc::qos(qos)?).await?,
            Link::V5(client) => {
                let qos = v5::mqttbytes::qos(qos).context("no such QoS")?;
                client.subscribe_many([Filter::new(filter, qos)]).await?;
            }
        }
        match self.answer().await? {
            Heard::Subscribed(mut codes) => codes.pop().context("a SUBACK without a code"),
            Heard::Lost(why) => bail!("lost: {why}"),
            Heard::Connected { .. } | Heard::Message(_) | Heard::Published(_) | Heard::Unsubscribed => {
                bail!("not the answer to a subscription")
            }
        }
    }

    pub async fn unsubscribe(&mut self, filter: &str) -> Result<()> {
        match &self.link {
            Link::V311(client) => client.unsubscribe(filter).await?,
            Link::V5(client) => client.unsubscribe(filter).await?,
        }
        match self.answer().await? {
            Heard::Unsubscribed => Ok(()),
            Heard::Connected { .. }
            | Heard::Message(_)
            | Heard::Published(_)
            | Heard::Subscribed(_)
            | Heard::Lost(_) => bail!("not the answer to an end of a subscription"),
        }
    }

    /// The next message.
    pub async fn message(&mut self) -> Result<Message> {
        loop {
            if let Some(message) = self.messages.pop_front() {
                return Ok(message);
            }
            match self.next().await.context("no message")? {
                Heard::Message(message) => return Ok(message),
                Heard::Lost(why) => bail!("lost while a message was waited for: {why}"),
                other @ (Heard::Connected { .. }
                | Heard::Published(_)
                | Heard::Subscribed(_)
                | Heard::Unsubscribed) => self.answers.push_back(other),
            }
        }
    }

    /// Every message up to one that the client sends itself, on a live topic of its own, to mark the end.
    pub async fn messages_so_far(&mut self) -> Result<Vec<Message>> {
        self.hear("live/mark").await?;
        let topic = self.own("live/mark");
        self.publish_on(&topic, 1, false, "mark").await?;
        let mut heard = Vec::new();
        loop {
            let message = self.message().await?;
            if message.topic == topic {
                return Ok(heard);
            }
            heard.push(message);
        }
    }

    /// Waits for the end of the connection and returns why it ended.
    pub async fn lost(&mut self) -> Result<String> {
        loop {
            match self.next().await.context("the connection does not end")? {
                Heard::Lost(why) => return Ok(why),
                Heard::Message(message) => self.messages.push_back(message),
                Heard::Connected { .. }
                | Heard::Published(_)
                | Heard::Subscribed(_)
                | Heard::Unsubscribed => {}
            }
        }
    }

    /// Falls silent: the socket stays open, but nothing is read or written any more, not even a ping.
    pub fn freeze(&self) {
        self.frozen.send_replace(true);
    }

    /// Closes the socket without a goodbye. When this returns the client acknowledges nothing any more; a client that
    /// is merely dropped may, for a moment.
    pub async fn cut(mut self) {
        self.pump.shutdown().await;
    }

    /// Says goodbye and goes.
    pub async fn leave(mut self) -> Result<()> {
        match &self.link {
            Link::V311(client) => client.disconnect().await?,
            Link::V5(client) => client.disconnect().await?,
        }
        self.lost().await.map(drop)
    }

    fn own(&self, below: &str) -> String {
        format!("v1/{}/{below}", self.username)
    }

    async fn answer(&mut self) -> Result<Heard> {
        if let Some(answer) = self.answers.pop_front() {
            return Ok(answer);
        }
        loop {
            match self.next().await.context("no answer")? {
                Heard::Message(message) => self.messages.push_back(message),
                answer @ (Heard::Connected { .. }
                | Heard::Published(_)
                | Heard::Subscribed(_)
                | Heard::Unsubscribed
                | Heard::Lost(_)) => return Ok(answer),
            }
        }
    }

    async fn next(&mut self) -> Result<Heard> {
        let heard = timeout(PATIENCE, self.heard.recv()).await?;
        heard.context("the connection has ended")
    }
}

/// Holds the socket open and does nothing, if that is wanted.
async fn thaw(freezing: &mut watch::Receiver<bool>) {
    // Without a sender the client has been dropped, and this task with it.
    let _ = freezing.wait_for(|frozen| !frozen).await;
}

async fn pump_v311(
    mut events: rumqttc::EventLoop,
    tell: mpsc::UnboundedSender<Heard>,
    mut freezing: watch::Receiver<bool>,
) {
    use rumqttc::{ConnectionError, Event};
    let pass = |event| {
        if let Event::Incoming(packet) = event
            && let Some(heard) = heard_v311(packet)
        {
            let _ = tell.send(heard);
        }
    };
    loop {
        thaw(&mut freezing).await;
        let polled = tokio::select! {
            polled = events.poll() => polled,
            _ = freezing.changed() => continue,
        };
        let error = match polled {
            Ok(event) => {
                pass(event);
                continue;
            }
            Err(error) => error,
        };
        // What came before the end is still in there.
        events.state.events.drain(..).for_each(pass);
        let why = if let ConnectionError::ConnectionRefused(code) = error {
            format!("{code:?}")
        } else {
            error.to_string()
        };
        let _ = tell.send(Heard::Lost(why));
        return;
    }
}

fn heard_v311(packet: rumqttc::Packet) -> Option<Heard> {
    use rumqttc::Packet;
    if let Packet::ConnAck(connack) = packet {
        Some(Heard::Connected {
            resumed: connack.session_present,
        })
    } else if let Packet::Publish(publish) = packet {
        Some(Heard::Message(Message {
            topic: publish.topic,
            payload: publish.payload,
            qos: publish.qos as u8,
            retain: publish.retain,
        }))
    } else if let Packet::PubAck(_) | Packet::PubComp(_) = packet {
        Some(Heard::Published("Success".to_owned()))
    } else if let Packet::SubAck(suback) = packet {
        Some(Heard::Subscribed(names(&suback.return_codes)))
    } else if let Packet::UnsubAck(_) = packet {
        Some(Heard::Unsubscribed)
    } else {
        None
    }
}

async fn pump_v5(
    mut events: v5::EventLoop,
    tell: mpsc::UnboundedSender<Heard>,
    mut freezing: watch::Receiver<bool>,
) {
    use v5::{ConnectionError, Event, StateError};
    let pass = |event| {
        if let Event::Incoming(packet) = event
            && let Some(heard) = heard_v5(packet)
        {
            let _ = tell.send(heard);
        }
    };
    loop {
        thaw(&mut freezing).await;
        let polled = tokio::select! {
            polled = events.poll() => polled,
            _ = freezing.changed() => continue,
        };
        let error = match polled {
            Ok(event) => {
                pass(event);
                continue;
            }
            Err(error) => error,
        };
        // What came before the end is still in there.
        events.state.events.drain(..).for_each(pass);
        let why = if let ConnectionError::ConnectionRefused(code) = error {
            format!("{code:?}")
        } else if let ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) = error {
            format!("{reason_code:?}")
        } else {
            error.to_string()
        };
        let _ = tell.send(Heard::Lost(why));
        return;
    }
}

fn heard_v5(packet: v5::mqttbytes::v5::Packet) -> Option<Heard> {
    use v5::mqttbytes::v5::{Packet, PubRecReason};
    if let Packet::ConnAck(connack) = packet {
        Some(Heard::Connected {
            resumed: connack.session_present,
        })
    } else if let Packet::Publish(publish) = packet {
        Some(Heard::Message(Message {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            payload: publish.payload,
            qos: publish.qos as u8,
            retain: publish.retain,
        }))
    } else if let Packet::PubAck(puback) = packet {
        Some(Heard::Published(format!("{:?}", puback.reason)))
    } else if let Packet::PubRec(pubrec) = packet {
        // PUBREC with success is half of the way; PUBCOMP follows.
        (pubrec.reason != PubRecReason::Success).then(|| Heard::Published(format!("{:?}", pubrec.reason)))
    } else if let Packet::PubComp(pubcomp) = packet {
        Some(Heard::Published(format!("{:?}", pubcomp.reason)))
    } else if let Packet::SubAck(suback) = packet {
        Some(Heard::Subscribed(names(&suback.return_codes)))
    } else if let Packet::UnsubAck(_) = packet {
        Some(Heard::Unsubscribed)
    } else {
        None
    }
}

fn names(codes: &[impl Debug]) -> Vec<String> {
    codes.iter().map(|code| format!("{code:?}")).collect()
}
