//! MQTT packets as a client writes and reads them, 3.1.1 and 5.0.
//!
//! Written here and not taken from the platform's codec: a mistake there is then not made twice, once by whoever is
//! under test and once by whoever tests. Writers append to a buffer, so that many packets leave in one system call.
//!
//! ```text
//! take(input) -> Frame { first, body }     any packet, for whoever passes packets on
//! read(version, frame) -> Packet           what a server says to a client
//! ```

mod write;

use bytes::{Buf as _, Bytes, BytesMut};
use thiserror::Error;

use crate::options::MqttVersion;

pub use write::{Connect, PublishOut, Will, ack, connect, disconnect, ping, publish, subscribe, unsubscribe};

/// Packet types, the high four bits of the first byte.
pub mod kind {
    pub const CONNECT: u8 = 1;
    pub const CONNACK: u8 = 2;
    pub const PUBLISH: u8 = 3;
    pub const PUBACK: u8 = 4;
    pub const PUBREC: u8 = 5;
    pub const PUBREL: u8 = 6;
    pub const PUBCOMP: u8 = 7;
    pub const SUBSCRIBE: u8 = 8;
    pub const SUBACK: u8 = 9;
    pub const UNSUBSCRIBE: u8 = 10;
    pub const UNSUBACK: u8 = 11;
    pub const PINGREQ: u8 = 12;
    pub const PINGRESP: u8 = 13;
    pub const DISCONNECT: u8 = 14;
}

/// Largest packet that is taken, in bytes; a longer one breaks the connection.
pub const PACKET_MAX: usize = 4 << 20;

/// Why bytes are no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    #[error("a packet's length has more than four bytes")]
    Length,
    #[error("a packet of {0} bytes is longer than {PACKET_MAX}")]
    TooLong(usize),
    #[error("a packet ends too early")]
    Short,
    #[error("a text is not UTF-8")]
    Text,
    #[error("property {0} is unknown")]
    Property(u8),
    #[error("a server does not send packet type {0}")]
    Type(u8),
}

/// One packet, not looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub first: u8,
    pub body: Bytes,
}

impl Frame {
    pub fn kind(&self) -> u8 {
        self.first >> 4
    }

    /// Appends the packet as it stands on the wire.
    pub fn put(&self, out: &mut Vec<u8>) {
        write::frame(out, self.first, |body| body.extend_from_slice(&self.body));
    }
}

/// Takes the next whole packet off `input`; `None` when there is none yet.
pub fn take(input: &mut BytesMut) -> Result<Option<Frame>, WireError> {
    let Some(&first) = input.first() else {
        return Ok(None);
    };
    let (mut len, mut at) = (0usize, 1);
    loop {
        let Some(&byte) = input.get(at) else {
            return if at > 4 { Err(WireError::Length) } else { Ok(None) };
        };
        if at > 4 {
            return Err(WireError::Length);
        }
        len |= usize::from(byte & 0x7F) << (7 * (at - 1));
        at += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    if len > PACKET_MAX {
        return Err(WireError::TooLong(len));
    }
    if input.len() < at + len {
        return Ok(None);
    }
    input.advance(at);
    Ok(Some(Frame {
        first,
        body: input.split_to(len).freeze(),
    }))
}

/// What a server says. `code` is the reason code, 0 where the version has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    ConnAck {
        resumed: bool,
        code: u8,
        /// Publishes the server takes at once.
        receive_max: u16,
    },
    Publish(Publish),
    PubAck {
        id: u16,
        code: u8,
    },
    PubRec {
        id: u16,
        code: u8,
    },
    PubRel {
        id: u16,
    },
    PubComp {
        id: u16,
        code: u8,
    },
    SubAck {
        id: u16,
        codes: Vec<u8>,
    },
    UnsubAck {
        id: u16,
    },
    Pong,
    Disconnect {
        code: u8,
    },
}

/// A message, in either direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    pub topic: String,
    pub payload: Bytes,
    pub qos: u8,
    /// 0 at QoS 0.
    pub id: u16,
    pub dup: bool,
    pub retain: bool,
    pub expiry_s: Option<u32>,
    pub user: Vec<(String, String)>,
}

impl Publish {
    /// Reads a PUBLISH.
    pub fn read(version: MqttVersion, frame: &Frame) -> Result<Publish, WireError> {
        let mut body = frame.body.clone();
        let topic = text(&mut body)?;
        let qos = frame.first >> 1 & 3;
        let id = if qos == 0 { 0 } else { u16(&mut body)? };
        let (mut expiry_s, mut user) = (None, Vec::new());
        if version == MqttVersion::V5 {
            properties(&mut body, |property| match property {
                Property::Expiry(seconds) => expiry_s = Some(seconds),
                Property::User(name, value) => user.push((name, value)),
                Property::ReceiveMax(_) | Property::Other => {}
            })?;
        }
        Ok(Publish {
            topic,
            payload: body,
            qos,
            id,
            dup: frame.first & 8 != 0,
            retain: frame.first & 1 != 0,
            expiry_s,
            user,
        })
    }

    /// The first user property of this name.
    pub fn user(&self, name: &str) -> Option<&str> {
        let found = self.user.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Reads what a server says.
pub fn read(version: MqttVersion, frame: &Frame) -> Result<Packet, WireError> {
    let v5 = version == MqttVersion::V5;
    let mut body = frame.body.clone();
    Ok(match frame.kind() {
        kind::CONNACK => {
            let (flags, code) = (u8(&mut body)?, u8(&mut body)?);
            let mut receive_max = u16::MAX;
            if v5 && body.has_remaining() {
                properties(&mut body, |property| {
                    if let Property::ReceiveMax(max) = property {
                        receive_max = max;
                    }
                })?;
            }
            Packet::ConnAck {
                resumed: flags & 1 != 0,
                code,
                receive_max,
            }
        }
        kind::PUBLISH => Packet::Publish(Publish::read(version, frame)?),
        kind::PUBACK => {
            let (id, code) = acknowledged(&mut body)?;
            Packet::PubAck { id, code }
        }
        kind::PUBREC => {
            let (id, code) = acknowledged(&mut body)?;
            Packet::PubRec { id, code }
        }
        kind::PUBREL => Packet::PubRel { id: u16(&mut body)? },
        kind::PUBCOMP => {
            let (id, code) = acknowledged(&mut body)?;
            Packet::PubComp { id, code }
        }
        kind::SUBACK => {
            let id = u16(&mut body)?;
            if v5 {
                properties(&mut body, |_| {})?;
            }
            Packet::SubAck {
                id,
                codes: body.to_vec(),
            }
        }
        kind::UNSUBACK => Packet::UnsubAck { id: u16(&mut body)? },
        kind::PINGRESP => Packet::Pong,
        kind::DISCONNECT => Packet::Disconnect {
            code: body.first().copied().unwrap_or(0),
        },
        other => return Err(WireError::Type(other)),
    })
}

/// A packet id, and the reason code where one stands.
fn acknowledged(body: &mut Bytes) -> Result<(u16, u8), WireError> {
    let id = u16(body)?;
    Ok((id, body.first().copied().unwrap_or(0)))
}

enum Property {
    Expiry(u32),
    ReceiveMax(u16),
    User(String, String),
    Other,
}

/// Reads a list of properties (MQTT 5.0, 2.2.2).
fn properties(body: &mut Bytes, mut on: impl FnMut(Property)) -> Result<(), WireError> {
    let len = varint(body)?;
    if body.remaining() < len {
        return Err(WireError::Short);
    }
    let mut list = body.split_to(len);
    while list.has_remaining() {
        let name = u8(&mut list)?;
        on(match name {
            0x02 => Property::Expiry(u32(&mut list)?),
            0x21 => Property::ReceiveMax(u16(&mut list)?),
            0x26 => Property::User(text(&mut list)?, text(&mut list)?),
            // One byte.
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => {
                u8(&mut list)?;
                Property::Other
            }
            // Two.
            0x13 | 0x22 | 0x23 => {
                u16(&mut list)?;
                Property::Other
            }
            // Four.
            0x11 | 0x18 | 0x27 => {
                u32(&mut list)?;
                Property::Other
            }
            0x0B => {
                varint(&mut list)?;
                Property::Other
            }
            // Text or bytes.
            0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1A | 0x1C | 0x1F => {
                bytes(&mut list)?;
                Property::Other
            }
            other => return Err(WireError::Property(other)),
        });
    }
    Ok(())
}

fn varint(body: &mut Bytes) -> Result<usize, WireError> {
    let mut value = 0;
    for at in 0..4 {
        let byte = u8(body)?;
        value |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(WireError::Length)
}

fn u8(body: &mut Bytes) -> Result<u8, WireError> {
    if body.has_remaining() {
        Ok(body.get_u8())
    } else {
        Err(WireError::Short)
    }
}

fn u16(body: &mut Bytes) -> Result<u16, WireError> {
    if body.remaining() >= 2 {
        Ok(body.get_u16())
    } else {
        Err(WireError::Short)
    }
}

fn u32(body: &mut Bytes) -> Result<u32, WireError> {
    if body.remaining() >= 4 {
        Ok(body.get_u32())
    } else {
        Err(WireError::Short)
    }
}

fn bytes(body: &mut Bytes) -> Result<Bytes, WireError> {
    let len = usize::from(u16(body)?);
    if body.remaining() >= len {
        Ok(body.split_to(len))
    } else {
        Err(WireError::Short)
    }
}

fn text(body: &mut Bytes) -> Result<String, WireError> {
    let bytes = bytes(body)?;
    std::str::from_utf8(&bytes)
        .map(str::to_owned)
        .map_err(|_| WireError::Text)
}

/// The name of a CONNACK code.
pub fn connack_name(version: MqttVersion, code: u8) -> &'static str {
    match (version, code) {
        (MqttVersion::V311, 1) | (MqttVersion::V5, 0x84) => "UnsupportedProtocolVersion",
        (MqttVersion::V311, 2) | (MqttVersion::V5, 0x85) => "ClientIdentifierNotValid",
        (MqttVersion::V311, 3) | (MqttVersion::V5, 0x88) => "ServerUnavailable",
        (MqttVersion::V311, 4) | (MqttVersion::V5, 0x86) => "BadUserNameOrPassword",
        (MqttVersion::V311, 5) | (MqttVersion::V5, 0x87) => "NotAuthorized",
        (MqttVersion::V5, 0x80) => "UnspecifiedError",
        (MqttVersion::V5, 0x89) => "ServerBusy",
        (MqttVersion::V5, 0x8A) => "Banned",
        (MqttVersion::V5, 0x95) => "PacketTooLarge",
        (MqttVersion::V5, 0x97) => "QuotaExceeded",
        (MqttVersion::V5, 0x9F) => "ConnectionRateExceeded",
        (_, _) => "Refused",
    }
}

/// Whether a reason code refuses.
pub fn refuses(code: u8) -> bool {
    code >= 0x80
}

/// The name of a reason code that refuses a publish or a subscription; 3.1.1 knows but one.
pub fn reason_name(code: u8) -> &'static str {
    match code {
        0x80 => "UnspecifiedError",
        0x83 => "ImplementationSpecificError",
        0x87 => "NotAuthorized",
        0x8F => "TopicFilterInvalid",
        0x90 => "TopicNameInvalid",
        0x91 => "PacketIdentifierInUse",
        0x97 => "QuotaExceeded",
        0x99 => "PayloadFormatInvalid",
        _ => "Refused",
    }
}

/// Whether a CONNACK code may be better the next time.
pub fn connack_passes(version: MqttVersion, code: u8) -> bool {
    match version {
        MqttVersion::V311 => code == 3,
        MqttVersion::V5 => matches!(code, 0x80 | 0x88 | 0x89 | 0x97 | 0x9F),
    }
}

#[cfg(test)]
mod tests;
