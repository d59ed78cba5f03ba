//! Packets a client writes, each appended to a buffer.

use crate::options::MqttVersion;

use super::kind::{self, self as kinds};

/// A will: a message at QoS 1, not retained, published when the connection ends without a goodbye.
#[derive(Clone, Copy, Debug)]
pub struct Will<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
}

/// A CONNECT.
#[derive(Clone, Copy, Debug)]
pub struct Connect<'a> {
    pub version: MqttVersion,
    pub client_id: &'a str,
    pub username: Option<&'a str>,
    pub password: Option<&'a str>,
    /// Seconds; 0 is none.
    pub keep_alive: u16,
    /// 3.1.1: Clean Session; 5.0: Clean Start.
    pub clean: bool,
    /// 5.0: how long the session outlives the connection, in seconds.
    pub session_expiry: u32,
    /// 5.0: publishes this client takes at once; 0 leaves it to the default.
    pub receive_max: u16,
    pub will: Option<Will<'a>>,
}

/// A PUBLISH to be written.
#[derive(Clone, Copy, Debug)]
pub struct PublishOut<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub qos: u8,
    /// Used above QoS 0.
    pub id: u16,
    pub dup: bool,
    pub retain: bool,
    /// 5.0 only.
    pub expiry_s: Option<u32>,
    /// 5.0 only.
    pub user: &'a [(&'a str, &'a str)],
}

/// Will Flag and Will QoS in the flags of CONNECT.
const WILL_AT_QOS_1: u8 = 0x0C;

pub fn connect(out: &mut Vec<u8>, with: &Connect<'_>) {
    frame(out, kind::CONNECT << 4, |body| {
        text(body, "MQTT");
        let v5 = with.version == MqttVersion::V5;
        let flags = u8::from(with.username.is_some()) << 7
            | u8::from(with.password.is_some()) << 6
            | u8::from(with.clean) << 1
            | with.will.map_or(0, |_| WILL_AT_QOS_1);
        body.extend_from_slice(&[if v5 { 5 } else { 4 }, flags]);
        body.extend_from_slice(&with.keep_alive.to_be_bytes());
        if v5 {
            let mut list = Vec::new();
            list.push(0x11);
            list.extend_from_slice(&with.session_expiry.to_be_bytes());
            if with.receive_max > 0 {
                list.push(0x21);
                list.extend_from_slice(&with.receive_max.to_be_bytes());
            }
            varint(body, list.len());
            body.extend_from_slice(&list);
        }
        text(body, with.client_id);
        if let Some(will) = with.will {
            if v5 {
                body.push(0);
            }
            text(body, will.topic);
            bytes(body, will.payload);
        }
        for part in [with.username, with.password].into_iter().flatten() {
            text(body, part);
        }
    });
}

/// Written in one go, because this is the packet a load is made of.
pub fn publish(out: &mut Vec<u8>, version: MqttVersion, publish: &PublishOut<'_>) {
    let mut properties = 0;
    if version == MqttVersion::V5 {
        properties += if publish.expiry_s.is_some() { 5 } else { 0 };
        properties += publish
            .user
            .iter()
            .map(|(n, v)| 5 + n.len() + v.len())
            .sum::<usize>();
    }
    let id = if publish.qos > 0 { 2 } else { 0 };
    let list = if version == MqttVersion::V5 {
        varint_len(properties) + properties
    } else {
        0
    };
    let len = 2 + publish.topic.len() + id + list + publish.payload.len();
    out.reserve(len + 5);
    out.push(kind::PUBLISH << 4 | u8::from(publish.dup) << 3 | publish.qos << 1 | u8::from(publish.retain));
    varint(out, len);
    text(out, publish.topic);
    if publish.qos > 0 {
        out.extend_from_slice(&publish.id.to_be_bytes());
    }
    if version == MqttVersion::V5 {
        varint(out, properties);
        if let Some(seconds) = publish.expiry_s {
            out.push(0x02);
            out.extend_from_slice(&seconds.to_be_bytes());
        }
        for (name, value) in publish.user {
            out.push(0x26);
            text(out, name);
            text(out, value);
        }
    }
    out.extend_from_slice(publish.payload);
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP, by `kind`.
pub fn ack(out: &mut Vec<u8>, kind: u8, id: u16) {
    let flags = if kind == kinds::PUBREL { 2 } else { 0 };
    let [high, low] = id.to_be_bytes();
    out.extend_from_slice(&[kind << 4 | flags, 2, high, low]);
}

/// Filters, each with the QoS asked for.
pub fn subscribe(out: &mut Vec<u8>, version: MqttVersion, id: u16, filters: &[(&str, u8)]) {
    frame(out, kind::SUBSCRIBE << 4 | 2, |body| {
        body.extend_from_slice(&id.to_be_bytes());
        if version == MqttVersion::V5 {
            body.push(0);
        }
        for (filter, qos) in filters {
            text(body, filter);
            body.push(*qos);
        }
    });
}

pub fn unsubscribe(out: &mut Vec<u8>, version: MqttVersion, id: u16, filters: &[&str]) {
    frame(out, kind::UNSUBSCRIBE << 4 | 2, |body| {
        body.extend_from_slice(&id.to_be_bytes());
        if version == MqttVersion::V5 {
            body.push(0);
        }
        for filter in filters {
            text(body, filter);
        }
    });
}

pub fn ping(out: &mut Vec<u8>) {
    out.extend_from_slice(&[kind::PINGREQ << 4, 0]);
}

pub fn disconnect(out: &mut Vec<u8>) {
    out.extend_from_slice(&[kind::DISCONNECT << 4, 0]);
}

/// A packet whose body `write` appends.
pub(super) fn frame(out: &mut Vec<u8>, first: u8, write: impl FnOnce(&mut Vec<u8>)) {
    let mut body = Vec::new();
    write(&mut body);
    out.push(first);
    varint(out, body.len());
    out.extend_from_slice(&body);
}

/// A text longer than 65,535 bytes is cut: the contract's texts are far shorter.
fn text(out: &mut Vec<u8>, text: &str) {
    bytes(out, text.as_bytes());
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&bytes[..usize::from(len)]);
}

fn varint(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let byte = (value & 0x7F) as u8;
        value >>= 7;
        if value == 0 {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

fn varint_len(value: usize) -> usize {
    match value {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        _ => 4,
    }
}
