//! A client made of bytes, and the server side it talks to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use irsp_session::{
    Action, CloseCause, Connect, Connection, Delivery, Handshake, Limits, Progress, ProtocolError, Publish,
    PublishToken, QoS, Session, SubscriptionIds,
};

pub(crate) const V311: u8 = 4;
pub(crate) const V5: u8 = 5;

pub(crate) fn limits() -> Limits {
    Limits {
        receive_max: 4,
        inflight_max: 3,
        queue_messages_max: 5,
        topic_alias_max: 3,
        ..Limits::default()
    }
}

pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut length = body.len();
    while length > 0x7F {
        bytes.push(length as u8 & 0x7F | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(body);
    bytes
}

pub(crate) fn string(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u16).to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// CONNECT of client `c` with keep-alive 10; `properties` without their length.
pub(crate) fn connect(level: u8, flags: u8, properties: &[u8]) -> Vec<u8> {
    connect_with(level, flags, properties, &string("c"))
}

pub(crate) fn connect_with(level: u8, flags: u8, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut body = string(if level == 3 { "MQIsdp" } else { "MQTT" });
    body.extend_from_slice(&[level, flags, 0, 10]);
    if level == V5 {
        body.push(properties.len() as u8);
        body.extend_from_slice(properties);
    }
    body.extend_from_slice(payload);
    packet(0x10, &body)
}

/// PUBLISH to `topic`; `properties` are left out before MQTT 5.
pub(crate) fn publish(
    level: u8,
    first: u8,
    topic: &str,
    id: u16,
    properties: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let mut body = string(topic);
    if first & 6 != 0 {
        body.extend_from_slice(&id.to_be_bytes());
    }
    if level == V5 {
        body.push(properties.len() as u8);
        body.extend_from_slice(properties);
    }
    body.extend_from_slice(payload);
    packet(first, &body)
}

pub(crate) fn begin(bytes: &[u8]) -> Progress {
    let now = Instant::now();
    Handshake::new(Arc::new(limits()), now).input(bytes, now)
}

/// The CONNACK and the error of a CONNECT that is refused.
pub(crate) fn refused(bytes: &[u8]) -> (Bytes, ProtocolError) {
    match begin(bytes) {
        Progress::Refused { output, error } => (output, error),
        Progress::More | Progress::Connect(_) => panic!("not refused: {bytes:02x?}"),
    }
}

pub(crate) fn accepted(bytes: &[u8]) -> Connect {
    let Progress::Connect(connect) = begin(bytes) else {
        panic!("not accepted: {bytes:02x?}")
    };
    *connect
}

/// One connection, and the time it lives in.
pub(crate) struct Client {
    pub(crate) connection: Connection,
    pub(crate) now: Instant,
}

impl Client {
    /// Connects with a new session; CONNACK is already taken off.
    pub(crate) fn new(level: u8) -> Client {
        Client::with(&connect(level, 2, &[]))
    }

    pub(crate) fn with(connect: &[u8]) -> Client {
        let mut client = Client::resume(connect, Session::new(), false, Instant::now());
        client.output();
        client
    }

    pub(crate) fn resume(bytes: &[u8], session: Session, present: bool, now: Instant) -> Client {
        let mut handshake = Handshake::new(Arc::new(limits()), now);
        let Progress::Connect(connect) = handshake.input(bytes, now) else {
            panic!("not accepted: {bytes:02x?}");
        };
        Client {
            connection: handshake.accept(&connect, session, present, None, now),
            now,
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> &mut Self {
        self.connection.input(bytes, self.now);
        self
    }

    pub(crate) fn wait(&mut self, seconds: u64) -> &mut Self {
        self.now += Duration::from_secs(seconds);
        self
    }

    pub(crate) fn output(&mut self) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        self.connection.write_into(&mut bytes);
        bytes.to_vec()
    }

    pub(crate) fn action(&mut self) -> Action {
        self.connection.poll().expect("an action")
    }

    /// The next action is a publish.
    pub(crate) fn published(&mut self) -> (PublishToken, Publish) {
        let Action::Publish { token, publish } = self.action() else {
            panic!("no publish")
        };
        (token, publish)
    }

    /// The next action closes the connection.
    pub(crate) fn closed(&mut self) -> CloseCause {
        let Action::Close { cause } = self.action() else {
            panic!("no close")
        };
        cause
    }

    pub(crate) fn idle(&mut self) {
        let action = self.connection.poll();
        assert!(action.is_none(), "{action:?}");
        assert_eq!(self.output(), b"");
    }

    pub(crate) fn deliver(&mut self, topic: &'static str, qos: QoS, tag: u64) {
        self.connection.deliver(&delivery(topic, qos, tag), self.now);
    }
}

pub(crate) fn delivery(topic: &'static str, qos: QoS, tag: u64) -> Delivery {
    Delivery {
        publish: Arc::new(Publish::new(topic, &b"x"[..], qos)),
        qos,
        retain: false,
        subscription_ids: SubscriptionIds::None,
        tag: Some(tag),
        dup: false,
    }
}
