//! A proxy that understands MQTT well enough to break the platform's word, once in a thousand times.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use devicesim::options::MqttVersion;
use devicesim::wire::{self, Frame, Publish, PublishOut, kind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// One message in so many is treated badly.
const ONE_IN: u64 = 1_000;
/// Where a single one may hide in what had to be sent again.
const ONE_IN_MANY: u64 = 150;
/// The first of them: within what a short run sends.
const FIRST: u64 = 200;
/// Packet ids of what the proxy itself delivers are odd ones from here on, which the platform does not come to in a short
/// run (its pushes have even ones); their acknowledgements end here.
const OWN_IDS: u16 = 60_001;
/// Will Flag in the flags of CONNECT.
const WILL: u8 = 4;
/// How long a connection stands that is to be ended.
const SHORT: Duration = Duration::from_millis(300);
/// How long a push is held back: beyond its expiry and the tolerance.
const HELD: Duration = Duration::from_millis(4_500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    LoseUpload,
    LosePush,
    RepeatPush,
    SwapPushes,
    MisroutePush,
    ChangeStatus,
    SwallowStatus,
    ExpireEarly,
    DeliverLate,
    LieAboutPresence,
    KeepTheRevoked,
    LoseCopy,
    RepeatCopy,
    SwapCopies,
    CutCopy,
    ChangeUpload,
    RenamePusher,
    MovePush,
    MisrouteStatus,
    RepeatStatus,
    RefuseTheTaken,
    RefuseTheStored,
    LieAboutTheReason,
    LoseLive,
    RepeatLive,
    MisrouteLive,
    LoseWill,
    SwallowGoodbye,
    /// Uploads and pushes go no further, and nobody acknowledges them.
    SwallowPublish,
    SwallowAcknowledgement,
    SwallowSubscription,
    EndConnection,
    /// Devices' answers are acknowledged, and go no further.
    LoseAnswer,
}

/// Ends with the test: dropping the set aborts its tasks.
pub(crate) struct Proxy {
    address: SocketAddr,
    mischief: Arc<Mischief>,
    _tasks: JoinSet<()>,
}

struct Mischief {
    fault: Option<Fault>,
    /// Strikes whenever it can.
    always: bool,
    seen: AtomicU64,
    done: AtomicU64,
    ids: AtomicU16,
    /// Payloads of the uploads that were swallowed.
    lost: Mutex<Vec<Bytes>>,
    /// What is written to each client, by its username.
    clients: Mutex<HashMap<String, mpsc::UnboundedSender<Vec<u8>>>>,
}

impl Proxy {
    /// Strikes once in a while.
    pub(crate) async fn start(upstream: SocketAddr, fault: Option<Fault>) -> Proxy {
        Proxy::with(upstream, fault, false).await
    }

    /// Strikes whenever it can.
    pub(crate) async fn always(upstream: SocketAddr, fault: Fault) -> Proxy {
        Proxy::with(upstream, Some(fault), true).await
    }

    async fn with(upstream: SocketAddr, fault: Option<Fault>, always: bool) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mischief = Arc::new(Mischief {
            fault,
            always,
            seen: AtomicU64::new(0),
            done: AtomicU64::new(0),
            ids: AtomicU16::new(0),
            lost: Mutex::default(),
            clients: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        let shared = Arc::clone(&mischief);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(connection(client, upstream, Arc::clone(&shared)));
            }
        });
        Proxy {
            address,
            mischief,
            _tasks: tasks,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often the fault was done.
    pub(crate) fn done(&self) -> u64 {
        self.mischief.done.load(Ordering::Relaxed)
    }
}

impl Mischief {
    /// Whether it is this one's turn, of those that this fault could befall.
    fn strikes(&self, fault: Fault, could: bool) -> bool {
        if self.fault != Some(fault) || !could {
            return false;
        }
        let every = match fault {
            _ if self.always => 1,
            Fault::LieAboutPresence => 5,
            Fault::SwallowSubscription | Fault::EndConnection => 1,
            Fault::KeepTheRevoked | Fault::LieAboutTheReason | Fault::LoseWill | Fault::SwallowGoodbye => 1,
            Fault::LoseUpload
            | Fault::LosePush
            | Fault::RepeatPush
            | Fault::SwapPushes
            | Fault::MisroutePush
            | Fault::ChangeStatus
            | Fault::SwallowStatus
            | Fault::ExpireEarly
            | Fault::DeliverLate => ONE_IN,
            Fault::LoseCopy
            | Fault::RepeatCopy
            | Fault::SwapCopies
            | Fault::CutCopy
            | Fault::ChangeUpload
            | Fault::RenamePusher
            | Fault::MovePush
            | Fault::MisrouteStatus
            | Fault::RepeatStatus
            | Fault::RefuseTheTaken
            | Fault::SwallowPublish
            | Fault::SwallowAcknowledgement
            | Fault::LoseAnswer
            | Fault::RefuseTheStored
            | Fault::LoseLive
            | Fault::RepeatLive
            | Fault::MisrouteLive => ONE_IN_MANY,
        };
        let strikes = self.seen.fetch_add(1, Ordering::Relaxed) % every == FIRST % every;
        if strikes {
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        strikes
    }

    /// Whether an upload is swallowed. One that was, and is sent again because its client did not live to hear the
    /// acknowledgement, is swallowed again.
    fn loses(&self, publish: &Publish) -> bool {
        let could = publish.topic.contains("/up/") && publish.qos == 1;
        let mut lost = self.lost.lock().unwrap();
        let again = could && lost.contains(&publish.payload);
        if !again && self.strikes(Fault::LoseUpload, could) {
            lost.push(publish.payload.clone());
            return true;
        }
        again
    }

    /// Whether it goes no further, however often it comes.
    fn swallows(&self, publish: &Publish) -> bool {
        let way = publish.topic.contains("/up/") || publish.topic.contains("/to/");
        let could = self.fault == Some(Fault::SwallowPublish) && way && publish.qos == 1;
        let mut lost = self.lost.lock().unwrap();
        let again = could && lost.contains(&publish.payload);
        if !again && self.strikes(Fault::SwallowPublish, could) {
            lost.push(publish.payload.clone());
            return true;
        }
        again
    }

    fn own_id(&self) -> u16 {
        OWN_IDS + self.ids.fetch_add(1, Ordering::Relaxed) % 2_500 * 2
    }
}

fn is_own_id(id: u16) -> bool {
    id >= OWN_IDS && id % 2 == 1
}

async fn connection(client: TcpStream, upstream: SocketAddr, mischief: Arc<Mischief>) {
    let Ok(server) = TcpStream::connect(upstream).await else {
        return;
    };
    let (mut from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut input = BytesMut::new();
    let Some(connect) = next(&mut from_client, &mut input).await else {
        return;
    };
    let version = if connect.body.get(6) == Some(&5) {
        MqttVersion::V5
    } else {
        MqttVersion::V311
    };
    let username = username(version, &connect.body);
    let (tell, told) = mpsc::unbounded_channel();
    let side = Side {
        mischief,
        version,
        username,
        tell,
    };
    let mut out = Vec::new();
    connect.put(&mut out);
    let (up, down) = (side.clone(), side);
    tokio::select! {
        () = write(to_client, told) => {}
        () = up.upwards(from_client, input, to_server, out) => {}
        () = down.downwards(from_server) => {}
    }
}

#[derive(Clone)]
struct Side {
    mischief: Arc<Mischief>,
    version: MqttVersion,
    username: String,
    tell: mpsc::UnboundedSender<Vec<u8>>,
}

impl Side {
    /// From the client to the server.
    async fn upwards(
        &self,
        mut from: OwnedReadHalf,
        mut input: BytesMut,
        mut to: OwnedWriteHalf,
        mut out: Vec<u8>,
    ) {
        let mut server_is_there = true;
        loop {
            if server_is_there && to.write_all(&out).await.is_err() {
                // A revoked client is kept by this side alone.
                server_is_there = false;
            }
            out.clear();
            let Some(frame) = next(&mut from, &mut input).await else {
                return;
            };
            let publish =
                (frame.kind() == kind::PUBLISH).then(|| Publish::read(self.version, &frame).unwrap());
            if !server_is_there {
                self.pretend(&frame, publish.as_ref());
                continue;
            }
            let goodbye = frame.kind() == kind::DISCONNECT && self.is_device();
            if self.mischief.strikes(Fault::SwallowGoodbye, goodbye) {
                return;
            }
            let ours = matches!(frame.kind(), kind::PUBACK)
                && frame.body.len() >= 2
                && is_own_id(u16::from_be_bytes([frame.body[0], frame.body[1]]));
            if ours {
                continue;
            }
            if let Some(publish) = &publish
                && self.mischief.loses(publish)
            {
                self.pretend(&frame, Some(publish));
                continue;
            }
            if let Some(publish) = &publish
                && self
                    .mischief
                    .strikes(Fault::LoseAnswer, publish.topic.contains("/ack/"))
            {
                self.pretend(&frame, Some(publish));
                continue;
            }
            if let Some(publish) = &publish
                && self.mischief.swallows(publish)
            {
                continue;
            }
            match &publish {
                Some(publish) if self.changes(publish) => {
                    let text = String::from_utf8_lossy(&publish.payload).replace("\"v\":", "\"v\":1");
                    self.put(&mut out, publish, publish.id, text.as_bytes());
                }
                Some(_) | None => frame.put(&mut out),
            }
        }
    }

    /// Whether an upload's value is changed on its way.
    fn changes(&self, publish: &Publish) -> bool {
        self.mischief
            .strikes(Fault::ChangeUpload, publish.topic.contains("/up/"))
    }

    /// Answers as the server would.
    fn pretend(&self, frame: &Frame, publish: Option<&Publish>) {
        let mut out = Vec::new();
        if let Some(publish) = publish {
            wire::ack(&mut out, kind::PUBACK, publish.id);
        } else if frame.kind() == kind::PINGREQ {
            out.extend_from_slice(&[kind::PINGRESP << 4, 0]);
        }
        let _ = self.tell.send(out);
    }

    /// From the server to the client.
    async fn downwards(&self, mut from: OwnedReadHalf) {
        let (mut input, mut held) = (BytesMut::new(), None::<Frame>);
        let mut late_copy = None::<(String, Frame)>;
        let mut late = JoinSet::new();
        while let Some(frame) = next(&mut from, &mut input).await {
            let mut out = Vec::new();
            if frame.kind() == kind::CONNACK {
                // From here on it can be sent what is not for it.
                self.welcome(&frame);
                if self.mischief.strikes(Fault::EndConnection, self.is_device()) {
                    tokio::time::sleep(SHORT).await;
                    return;
                }
                continue;
            }
            let suback = frame.kind() == kind::SUBACK && self.is_device();
            let puback = frame.kind() == kind::PUBACK;
            if self.mischief.strikes(Fault::SwallowSubscription, suback)
                || self.mischief.strikes(Fault::SwallowAcknowledgement, puback)
            {
                continue;
            }
            if frame.kind() == kind::DISCONNECT
                && self.mischief.strikes(Fault::KeepTheRevoked, self.is_device())
            {
                std::future::pending::<()>().await;
            }
            let taken = frame.kind() == kind::PUBACK && self.username.starts_with("app/");
            if self.mischief.strikes(Fault::RefuseTheTaken, taken) {
                out.extend_from_slice(&[kind::PUBACK << 4, 4, frame.body[0], frame.body[1], 0x97, 0]);
                let _ = self.tell.send(out);
                continue;
            }
            if frame.kind() != kind::PUBLISH {
                frame.put(&mut out);
                let _ = self.tell.send(out);
                continue;
            }
            let mut publish = Publish::read(self.version, &frame).unwrap();
            let push = publish.topic.contains("/down/");
            if push && self.mischief.strikes(Fault::LosePush, true) {
                continue;
            }
            if push && self.mischief.strikes(Fault::DeliverLate, true) {
                frame.put(&mut out);
                let tell = self.tell.clone();
                late.spawn(async move {
                    tokio::time::sleep(HELD).await;
                    let _ = tell.send(out);
                });
                continue;
            }
            if push && self.mischief.strikes(Fault::MisroutePush, true) {
                self.misroute(&publish);
                continue;
            }
            if push && self.mischief.strikes(Fault::SwapPushes, true) {
                held = Some(frame);
                continue;
            }
            if self
                .mischief
                .strikes(Fault::SwallowStatus, publish.topic.ends_with("/status"))
            {
                continue;
            }
            let live = publish.topic.contains("/live/state");
            let will = publish.topic.ends_with("/live/will");
            if self.mischief.strikes(Fault::LoseLive, live) || self.mischief.strikes(Fault::LoseWill, will) {
                continue;
            }
            if self.mischief.strikes(Fault::MisrouteLive, live) {
                self.misroute(&publish);
            }
            let copy = publish.topic.contains("/up/");
            if self.mischief.strikes(Fault::LoseCopy, copy) {
                continue;
            }
            if copy && late_copy.is_none() && self.mischief.strikes(Fault::SwapCopies, true) {
                late_copy = Some((publish.topic.clone(), frame));
                continue;
            }
            let moved = self.moved(&mut publish);
            match self.changed(&publish) {
                Some(payload) => self.put(&mut out, &publish, publish.id, &payload),
                None if moved => self.put(&mut out, &publish, publish.id, &publish.payload),
                None => frame.put(&mut out),
            }
            let status = publish.topic.ends_with("/status");
            if self.mischief.strikes(Fault::MisrouteStatus, status) {
                self.misroute(&publish);
            }
            if self.mischief.strikes(Fault::RepeatStatus, status)
                || self.mischief.strikes(Fault::RepeatCopy, copy)
                || self.mischief.strikes(Fault::RepeatLive, live)
            {
                self.put(&mut out, &publish, self.mischief.own_id(), &publish.payload);
            }
            if let Some((_, frame)) = late_copy.take_if(|(topic, _)| *topic == publish.topic) {
                frame.put(&mut out);
            }
            if push && self.mischief.strikes(Fault::RepeatPush, true) {
                self.put(&mut out, &publish, self.mischief.own_id(), &publish.payload);
            }
            if push && let Some(held) = held.take() {
                held.put(&mut out);
            }
            let _ = self.tell.send(out);
        }
    }

    fn welcome(&self, connack: &Frame) {
        let mut clients = self.mischief.clients.lock().unwrap();
        let mut out = Vec::new();
        connack.put(&mut out);
        let _ = self.tell.send(out);
        clients.insert(self.username.clone(), self.tell.clone());
    }

    fn is_device(&self) -> bool {
        self.username.starts_with("dev/")
    }

    /// Somebody else's connection gets it.
    fn misroute(&self, publish: &Publish) {
        let clients = self.mischief.clients.lock().unwrap();
        let other = clients
            .iter()
            .find(|(name, tell)| name.starts_with("dev/") && **name != self.username && !tell.is_closed());
        let mut out = Vec::new();
        self.put(&mut out, publish, self.mischief.own_id(), &publish.payload);
        let _ = other.unwrap().1.send(out);
    }

    /// Whether a push comes under another name than its own.
    fn moved(&self, publish: &mut Publish) -> bool {
        let push = publish.topic.contains("/down/");
        if self.mischief.strikes(Fault::MovePush, push) {
            publish.topic.push_str("/elsewhere");
            return true;
        }
        if self.mischief.strikes(Fault::RenamePusher, push) {
            let levels = publish.topic.split('/').enumerate();
            let levels: Vec<&str> = levels
                .map(|(n, level)| if n == 4 { "usr:nobody" } else { level })
                .collect();
            publish.topic = levels.join("/");
            return true;
        }
        false
    }

    /// What is said instead.
    fn changed(&self, publish: &Publish) -> Option<Bytes> {
        let text = std::str::from_utf8(&publish.payload).ok()?;
        let status = publish.topic.ends_with("/status");
        let done = "\"code\":200,\"name\":\"done\"";
        let upload = status && text.contains(done) && text.contains("\"app\"");
        let push = status && text.contains(done) && text.contains("\"to\"");
        let online = publish.topic.ends_with("/presence")
            && self.username.starts_with("usr/")
            && text.contains("\"online\"");
        if self
            .mischief
            .strikes(Fault::CutCopy, publish.topic.contains("/up/"))
        {
            return Some(publish.payload.slice(..publish.payload.len() - 1));
        }
        if self.mischief.strikes(Fault::ChangeStatus, upload) {
            return Some(
                text.replace(done, "\"code\":404,\"name\":\"no-such-principal\"")
                    .into(),
            );
        }
        if self.mischief.strikes(Fault::RefuseTheStored, upload) {
            return Some(text.replace(done, "\"code\":507,\"name\":\"queue-full\"").into());
        }
        let lost = publish.topic.ends_with("/presence") && text.contains("\"connection-lost\"");
        if self.mischief.strikes(Fault::LieAboutTheReason, lost) {
            return Some(text.replace("connection-lost", "disconnected").into());
        }
        if self.mischief.strikes(Fault::ExpireEarly, push) {
            return Some(text.replace(done, "\"code\":408,\"name\":\"expired\"").into());
        }
        if self.mischief.strikes(Fault::LieAboutPresence, online) {
            return Some(text.replace("\"online\"", "\"offline\"").into());
        }
        None
    }

    fn put(&self, out: &mut Vec<u8>, publish: &Publish, id: u16, payload: &[u8]) {
        let user: Vec<(&str, &str)> = publish
            .user
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        wire::publish(
            out,
            self.version,
            &PublishOut {
                topic: &publish.topic,
                payload,
                qos: publish.qos,
                id,
                dup: false,
                retain: publish.retain,
                expiry_s: publish.expiry_s,
                user: &user,
            },
        );
    }
}

async fn write(mut to: OwnedWriteHalf, mut told: mpsc::UnboundedReceiver<Vec<u8>>) {
    while let Some(bytes) = told.recv().await {
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

async fn next(from: &mut OwnedReadHalf, input: &mut BytesMut) -> Option<Frame> {
    loop {
        if let Some(frame) = wire::take(input).unwrap() {
            return Some(frame);
        }
        if from.read_buf(input).await.ok()? == 0 {
            return None;
        }
    }
}

/// The username in a CONNECT; before it stand the client id and what belongs to a will.
fn username(version: MqttVersion, body: &[u8]) -> String {
    let mut at = 10;
    if version == MqttVersion::V5 {
        at += 1 + usize::from(body[at]);
    }
    let text = |at: usize| {
        let len = usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
        (
            String::from_utf8_lossy(&body[at + 2..at + 2 + len]).into_owned(),
            at + 2 + len,
        )
    };
    let (_, mut at) = text(at);
    if body[7] & WILL != 0 {
        if version == MqttVersion::V5 {
            at += 1 + usize::from(body[at]);
        }
        // Topic and payload.
        at = text(text(at).1).1;
    }
    text(at).0
}
