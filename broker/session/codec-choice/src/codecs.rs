//! The three codecs behind one door: bytes in, a packet, a refusal or "more" out.

use bytes::BytesMut;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{PacketBuildResult, PacketBuilder, PacketData, RawPacket};
use mqtt_protocol_core::mqtt::packet::{GenericPacket, GenericPacketTrait as _, v3_1_1, v5_0};
use rumqttd::protocol::{Error as RumqttdError, Packet as RumqttdPacket, Protocol as _, v4::V4, v5::V5};
use tokio_util::codec::{Decoder as _, Encoder as _};

/// The limit every codec is given, as a server would.
pub const PACKET_LEN_MAX: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V4,
    V5,
}

pub const VERSIONS: [Version; 2] = [Version::V4, Version::V5];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crate {
    Rumqttd,
    Rmqtt,
    Core,
}

pub const CRATES: [Crate; 3] = [Crate::Rumqttd, Crate::Rmqtt, Crate::Core];

/// A decoded packet in its crate's own type.
#[derive(Debug)]
pub enum Packet {
    Rumqttd(RumqttdPacket),
    RmqttV4(rmqtt_codec::v3::Packet),
    RmqttV5(rmqtt_codec::v5::Packet),
    Core(Box<GenericPacket<u16>>),
}

#[derive(Debug)]
pub enum Decoded {
    Packet(Packet),
    #[expect(
        dead_code,
        reason = "shown by Debug when a packet is refused that should not be"
    )]
    Refused(String),
    /// The bytes are the beginning of a packet.
    More,
}

/// One connection's decoder.
pub enum Connection {
    Rumqttd(Version),
    RmqttV4(rmqtt_codec::v3::Codec),
    RmqttV5(rmqtt_codec::v5::Codec),
    Core(Version, Box<PacketBuilder>),
}

impl Crate {
    pub fn name(self) -> &'static str {
        match self {
            Crate::Rumqttd => "rumqttd::protocol 0.20.0",
            Crate::Rmqtt => "rmqtt-codec 0.3.1",
            Crate::Core => "mqtt-protocol-core 0.7.9",
        }
    }

    pub fn connect(self, version: Version) -> Connection {
        let max = PACKET_LEN_MAX as u32;
        match (self, version) {
            (Crate::Rumqttd, version) => Connection::Rumqttd(version),
            (Crate::Rmqtt, Version::V4) => Connection::RmqttV4(rmqtt_codec::v3::Codec::new(max)),
            (Crate::Rmqtt, Version::V5) => Connection::RmqttV5(rmqtt_codec::v5::Codec::new(max, 0)),
            (Crate::Core, version) => {
                Connection::Core(version, Box::new(PacketBuilder::with_maximum_packet_size(max)))
            }
        }
    }
}

impl Connection {
    /// Takes the next packet off the front of `buffer`.
    #[inline]
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Decoded {
        match self {
            Connection::Rumqttd(Version::V4) => rumqttd(V4.read_mut(buffer, PACKET_LEN_MAX)),
            Connection::Rumqttd(Version::V5) => rumqttd(V5.read_mut(buffer, PACKET_LEN_MAX)),
            Connection::RmqttV4(codec) => rmqtt(codec.decode(buffer), Packet::RmqttV4),
            Connection::RmqttV5(codec) => rmqtt(codec.decode(buffer), Packet::RmqttV5),
            Connection::Core(version, builder) => core(*version, builder, buffer),
        }
    }
}

impl Packet {
    /// Appends the packet to `out`. Two of the three want it by value, so a server that sends one packet to many
    /// pays for a clone; it is counted here.
    #[inline]
    pub fn encode(&self, connection: &mut Connection, out: &mut BytesMut) -> Result<(), String> {
        match (self, connection) {
            (Packet::Rumqttd(packet), Connection::Rumqttd(Version::V4)) => {
                V4.write(packet.clone(), out).map(drop).map_err(|e| e.to_string())
            }
            (Packet::Rumqttd(packet), Connection::Rumqttd(Version::V5)) => {
                V5.write(packet.clone(), out).map(drop).map_err(|e| e.to_string())
            }
            (Packet::RmqttV4(packet), Connection::RmqttV4(codec)) => {
                codec.encode(packet.clone(), out).map_err(|e| e.to_string())
            }
            (Packet::RmqttV5(packet), Connection::RmqttV5(codec)) => {
                codec.encode(packet.clone(), out).map_err(|e| e.to_string())
            }
            (Packet::Core(packet), Connection::Core(..)) => {
                out.extend_from_slice(&packet.to_continuous_buffer());
                Ok(())
            }
            _ => Err("a packet of another crate or version".into()),
        }
    }

    /// The payload of a PUBLISH.
    pub fn payload(&self) -> Option<&[u8]> {
        match self {
            Packet::Rumqttd(RumqttdPacket::Publish(publish, _)) => Some(&publish.payload),
            Packet::RmqttV4(rmqtt_codec::v3::Packet::Publish(publish)) => Some(&publish.payload),
            Packet::RmqttV5(rmqtt_codec::v5::Packet::Publish(publish)) => Some(&publish.payload),
            Packet::Core(packet) => match &**packet {
                GenericPacket::V3_1_1Publish(publish) => Some(publish.payload().as_slice()),
                GenericPacket::V5_0Publish(publish) => Some(publish.payload().as_slice()),
                _ => None,
            },
            _ => None,
        }
    }
}

fn rumqttd(result: Result<RumqttdPacket, RumqttdError>) -> Decoded {
    match result {
        Ok(packet) => Decoded::Packet(Packet::Rumqttd(packet)),
        Err(RumqttdError::InsufficientBytes(_)) => Decoded::More,
        Err(error) => Decoded::Refused(error.to_string()),
    }
}

fn rmqtt<P>(
    result: Result<Option<(P, u32)>, rmqtt_codec::error::DecodeError>,
    wrap: impl FnOnce(P) -> Packet,
) -> Decoded {
    match result {
        Ok(Some((packet, _))) => Decoded::Packet(wrap(packet)),
        Ok(None) => Decoded::More,
        Err(error) => Decoded::Refused(error.to_string()),
    }
}

/// The crate's framing and packet parsers, put together as its own `Connection` does. Its connection state machine
/// checks further rules (order of packets, aliases, windows), which are not a codec's.
fn core(version: Version, builder: &mut PacketBuilder, buffer: &mut BytesMut) -> Decoded {
    let mut cursor = Cursor::new(&buffer[..]);
    let result = builder.feed(&mut cursor);
    let read = cursor.position() as usize;
    bytes::Buf::advance(buffer, read);
    match result {
        PacketBuildResult::Incomplete => Decoded::More,
        PacketBuildResult::Error(error) => Decoded::Refused(error.to_string()),
        PacketBuildResult::Complete(raw) => match core_packet(version, &raw) {
            Ok(packet) => Decoded::Packet(Packet::Core(Box::new(packet))),
            Err(error) => Decoded::Refused(error),
        },
    }
}

fn core_packet(version: Version, raw: &RawPacket) -> Result<GenericPacket<u16>, String> {
    if let PacketData::Publish(data) = &raw.data {
        return match version {
            Version::V4 => v3_1_1::Publish::parse(raw.flags(), data.clone()).map(|(packet, _)| packet.into()),
            Version::V5 => v5_0::Publish::parse(raw.flags(), data.clone()).map(|(packet, _)| packet.into()),
        }
        .map_err(|error| error.to_string());
    }
    macro_rules! parse {
        ($packet:ty) => {
            raw.parse_exact(<$packet>::parse).map(GenericPacket::from)
        };
    }
    match (version, raw.packet_type()) {
        (Version::V4, 1) => parse!(v3_1_1::Connect),
        (Version::V4, 2) => parse!(v3_1_1::Connack),
        (Version::V4, 4) => parse!(v3_1_1::Puback),
        (Version::V4, 5) => parse!(v3_1_1::Pubrec),
        (Version::V4, 6) => parse!(v3_1_1::Pubrel),
        (Version::V4, 7) => parse!(v3_1_1::Pubcomp),
        (Version::V4, 8) => parse!(v3_1_1::Subscribe),
        (Version::V4, 9) => parse!(v3_1_1::Suback),
        (Version::V4, 10) => parse!(v3_1_1::Unsubscribe),
        (Version::V4, 11) => parse!(v3_1_1::Unsuback),
        (Version::V4, 12) => parse!(v3_1_1::Pingreq),
        (Version::V4, 13) => parse!(v3_1_1::Pingresp),
        (Version::V4, 14) => parse!(v3_1_1::Disconnect),
        (Version::V5, 1) => parse!(v5_0::Connect),
        (Version::V5, 2) => parse!(v5_0::Connack),
        (Version::V5, 4) => parse!(v5_0::Puback),
        (Version::V5, 5) => parse!(v5_0::Pubrec),
        (Version::V5, 6) => parse!(v5_0::Pubrel),
        (Version::V5, 7) => parse!(v5_0::Pubcomp),
        (Version::V5, 8) => parse!(v5_0::Subscribe),
        (Version::V5, 9) => parse!(v5_0::Suback),
        (Version::V5, 10) => parse!(v5_0::Unsubscribe),
        (Version::V5, 11) => parse!(v5_0::Unsuback),
        (Version::V5, 12) => parse!(v5_0::Pingreq),
        (Version::V5, 13) => parse!(v5_0::Pingresp),
        (Version::V5, 14) => parse!(v5_0::Disconnect),
        (Version::V5, 15) => parse!(v5_0::Auth),
        (Version::V4 | Version::V5, _) => return Err("no such packet type".into()),
    }
    .map_err(|error| error.to_string())
}
