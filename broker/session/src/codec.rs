//! The one door to the foreign codec (`rmqtt-codec`): its packets in, ours out, and back.
//!
//! It is given one complete packet at a time, only after [`check`](crate::check) found it well formed, and only if it is not
//! [`plain`](crate::plain): by itself it would refuse a Message Expiry Interval of 0 and, in MQTT 5, an empty client
//! identifier with Clean Start 0 (both are allowed), so those bytes are changed before and restored behind it. It is never
//! told a size limit when encoding: its own arithmetic underflows on a small one.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use rmqtt_codec::error::DecodeError;
use rmqtt_codec::types::QoS as WireQoS;
use rmqtt_codec::{types, v3, v5};
use tokio_util::codec::{Decoder, Encoder};

use crate::check::{self, Notes};
use crate::connect::{Connect, Will};
use crate::error::ProtocolError;
use crate::frame::Frame;
use crate::packet::{
    Incoming, IncomingPublish, Publish, PublishProperties, QoS, RetainHandling, SubscribeFilter, Version,
};
use crate::plain::{self, LastTopic};
use crate::reason;

/// The codec reserves this much behind each packet; having it there already saves an allocation.
pub(crate) const TAIL: usize = 8;

/// Decodes CONNECT. Limits are not applied yet.
pub(crate) fn decode_connect(
    version: Version,
    frame: Frame,
    mut bytes: BytesMut,
) -> Result<Connect, ProtocolError> {
    let notes = check::connect(version, bytes.get(frame.header..).unwrap_or_default())?;
    restore_later(&mut bytes, frame, notes);
    match version {
        Version::V5 => {
            let v5::Packet::Connect(connect) = decode_v5(bytes)? else {
                return Err(ProtocolError::NotConnect);
            };
            Ok(connect_v5(*connect, notes))
        }
        Version::V31 | Version::V311 => {
            let v3::Packet::Connect(connect) = decode_v3(bytes)? else {
                return Err(ProtocolError::NotConnect);
            };
            Ok(connect_v3(*connect, version))
        }
    }
}

/// Decodes a packet after CONNECT, whose first byte was already found good, and copies what is kept of it.
pub(crate) fn decode_copied(
    version: Version,
    frame: Frame,
    packet: &[u8],
    last_topic: &mut LastTopic,
    now: Instant,
) -> Result<Incoming, ProtocolError> {
    let (first, body) = parts(frame, packet);
    let notes = check::packet(version, first, body)?;
    if let Some(incoming) = plain::read(version, first, body, last_topic) {
        return Ok(incoming);
    }
    let mut bytes = BytesMut::with_capacity(packet.len() + TAIL);
    bytes.extend_from_slice(packet);
    decode_checked(version, frame, bytes, notes, now)
}

/// The same; what is kept of it stays where it is.
pub(crate) fn decode(
    version: Version,
    frame: Frame,
    bytes: BytesMut,
    now: Instant,
) -> Result<Incoming, ProtocolError> {
    let (first, body) = parts(frame, &bytes);
    let notes = check::packet(version, first, body)?;
    decode_checked(version, frame, bytes, notes, now)
}

fn parts(frame: Frame, packet: &[u8]) -> (u8, &[u8]) {
    let first = packet.first().copied().unwrap_or_default();
    (first, packet.get(frame.header..).unwrap_or_default())
}

fn decode_checked(
    version: Version,
    frame: Frame,
    mut bytes: BytesMut,
    notes: Notes,
    now: Instant,
) -> Result<Incoming, ProtocolError> {
    restore_later(&mut bytes, frame, notes);
    match version {
        Version::V5 => incoming_v5(decode_v5(bytes)?, notes, now),
        Version::V31 | Version::V311 => incoming_v3(decode_v3(bytes)?),
    }
}

/// Changes what the codec would refuse though it is allowed.
fn restore_later(bytes: &mut BytesMut, frame: Frame, notes: Notes) {
    // a Message Expiry Interval of 0 becomes 1
    if let Some(byte) = notes
        .expiry_zero_at
        .and_then(|at| bytes.get_mut(frame.header + at + 3))
    {
        *byte = 1;
    }
    // Clean Start becomes 1
    if let Some(byte) = notes.unnamed_at.and_then(|at| bytes.get_mut(frame.header + at)) {
        *byte |= 0x02;
    }
}

fn decode_v5(mut bytes: BytesMut) -> Result<v5::Packet, ProtocolError> {
    match v5::Codec::new(0, 0).decode(&mut bytes) {
        Ok(Some((packet, _))) => Ok(packet),
        Ok(None) => Err(ProtocolError::Malformed("an incomplete packet")),
        Err(error) => Err(decode_error(&error)),
    }
}

fn decode_v3(mut bytes: BytesMut) -> Result<v3::Packet, ProtocolError> {
    match v3::Codec::new(0).decode(&mut bytes) {
        Ok(Some((packet, _))) => Ok(packet),
        Ok(None) => Err(ProtocolError::Malformed("an incomplete packet")),
        Err(error) => Err(decode_error(&error)),
    }
}

/// What is left for the codec to find after [`check`](crate::check): reason codes that do not exist.
fn decode_error(error: &DecodeError) -> ProtocolError {
    match error {
        DecodeError::InvalidProtocol => ProtocolError::NotMqtt,
        DecodeError::UnsupportedProtocolLevel => ProtocolError::UnsupportedVersion(0),
        DecodeError::InvalidClientId => ProtocolError::ClientIdRejected,
        DecodeError::InvalidTopicName => ProtocolError::TopicNameInvalid,
        DecodeError::InvalidTopicFilter => ProtocolError::TopicFilterInvalid,
        DecodeError::UnsupportedPacketType => ProtocolError::Malformed("an unknown packet type"),
        DecodeError::MalformedPacket => ProtocolError::Malformed("a reason code that does not exist here"),
        DecodeError::InvalidLength
        | DecodeError::ConnectReservedFlagSet
        | DecodeError::InvalidConnectFlags
        | DecodeError::ConnAckReservedFlagSet
        | DecodeError::PacketIdRequired
        | DecodeError::MaxSizeExceeded { .. }
        | DecodeError::Utf8Error
        | DecodeError::Io(_) => ProtocolError::Malformed("a field is out of bounds"),
    }
}

fn connect_v5(connect: v5::Connect, notes: Notes) -> Connect {
    Connect {
        version: Version::V5,
        client_id: connect.client_id,
        clean_start: connect.clean_start && notes.unnamed_at.is_none(),
        keep_alive: Duration::from_secs(connect.keep_alive.into()),
        session_expiry: session_expiry(connect.session_expiry_interval_secs),
        username: connect.username,
        password: connect.password,
        will: connect.last_will.map(|will| will_v5(will, notes)),
        receive_max: connect.receive_max.map_or(u16::MAX, |max| max.get()),
        packet_size_max: connect.max_packet_size.map(|max| max.get()),
        topic_alias_max: connect.topic_alias_max,
        request_problem_information: connect.request_problem_info,
        request_response_information: connect.request_response_info,
        user_properties: connect.user_properties,
    }
}

/// 0xFFFFFFFF: the session does not expire (3.1.2.11.2).
fn session_expiry(seconds: u32) -> Duration {
    match seconds {
        u32::MAX => Duration::MAX,
        seconds => Duration::from_secs(seconds.into()),
    }
}

fn connect_v3(connect: v3::Connect, version: Version) -> Connect {
    Connect {
        version,
        client_id: connect.client_id,
        clean_start: connect.clean_session,
        keep_alive: Duration::from_secs(connect.keep_alive.into()),
        // 3.1.2.4 of 3.1.1: kept unless Clean Session
        session_expiry: if connect.clean_session {
            Duration::ZERO
        } else {
            Duration::MAX
        },
        username: connect.username,
        password: connect.password,
        will: connect.last_will.map(|will| Will {
            publish: Publish {
                retain: will.retain,
                ..Publish::new(will.topic, will.message, our_qos(will.qos))
            },
            delay: Duration::ZERO,
            expiry: None,
        }),
        receive_max: u16::MAX,
        packet_size_max: None,
        topic_alias_max: 0,
        request_problem_information: false,
        request_response_information: false,
        user_properties: Vec::new(),
    }
}

fn will_v5(will: v5::LastWill, notes: Notes) -> Will {
    let properties = PublishProperties {
        payload_utf8: notes.payload_utf8,
        content_type: will.content_type,
        response_topic: will.response_topic,
        correlation_data: will.correlation_data,
        user_properties: will.user_properties,
    };
    let expiry = will
        .message_expiry_interval
        .map(|seconds| expiry(seconds.get(), notes));
    Will {
        publish: Publish {
            retain: will.retain,
            properties: boxed(properties),
            ..Publish::new(will.topic, will.message, our_qos(will.qos))
        },
        delay: Duration::from_secs(will.will_delay_interval_sec.unwrap_or(0).into()),
        expiry,
    }
}

fn expiry(seconds: u32, notes: Notes) -> Duration {
    match notes.expiry_zero_at {
        Some(_) => Duration::ZERO,
        None => Duration::from_secs(seconds.into()),
    }
}

fn boxed(properties: PublishProperties) -> Option<Box<PublishProperties>> {
    (!properties.is_empty()).then(|| Box::new(properties))
}

fn our_qos(qos: WireQoS) -> QoS {
    match qos {
        WireQoS::AtMostOnce => QoS::AtMostOnce,
        WireQoS::AtLeastOnce => QoS::AtLeastOnce,
        WireQoS::ExactlyOnce => QoS::ExactlyOnce,
    }
}

fn incoming_v5(packet: v5::Packet, notes: Notes, now: Instant) -> Result<Incoming, ProtocolError> {
    Ok(match packet {
        v5::Packet::Publish(publish) => Incoming::Publish(incoming_publish(*publish, notes, now)),
        v5::Packet::PublishAck(ack) => Incoming::PubAck {
            packet_id: ack.packet_id.get(),
            reason: ack.reason_code.into(),
        },
        v5::Packet::PublishReceived(ack) => Incoming::PubRec {
            packet_id: ack.packet_id.get(),
            reason: ack.reason_code.into(),
        },
        v5::Packet::PublishRelease(ack) => Incoming::PubRel {
            packet_id: ack.packet_id.get(),
        },
        v5::Packet::PublishComplete(ack) => Incoming::PubComp {
            packet_id: ack.packet_id.get(),
            reason: ack.reason_code.into(),
        },
        v5::Packet::Subscribe(subscribe) => Incoming::Subscribe {
            packet_id: subscribe.packet_id.get(),
            filters: subscribe
                .topic_filters
                .into_iter()
                .map(subscribe_filter)
                .collect(),
            subscription_id: subscribe.id.map(|id| id.get()),
        },
        v5::Packet::Unsubscribe(unsubscribe) => Incoming::Unsubscribe {
            packet_id: unsubscribe.packet_id.get(),
            filters: unsubscribe.topic_filters,
        },
        v5::Packet::PingRequest => Incoming::PingReq,
        v5::Packet::Disconnect(disconnect) => Incoming::Disconnect {
            reason: disconnect.reason_code.into(),
            session_expiry: disconnect.session_expiry_interval_secs.map(session_expiry),
        },
        v5::Packet::Connect(_)
        | v5::Packet::ConnectAck(_)
        | v5::Packet::SubscribeAck(_)
        | v5::Packet::UnsubscribeAck(_)
        | v5::Packet::PingResponse
        | v5::Packet::Auth(_) => return Err(ProtocolError::Violation("a packet that may not come now")),
    })
}

fn subscribe_filter((filter, options): (ByteString, v5::SubscriptionOptions)) -> SubscribeFilter {
    SubscribeFilter {
        filter,
        qos: our_qos(options.qos),
        no_local: options.no_local,
        retain_as_published: options.retain_as_published,
        retain_handling: match options.retain_handling {
            v5::RetainHandling::AtSubscribe => RetainHandling::Send,
            v5::RetainHandling::AtSubscribeNew => RetainHandling::SendIfNew,
            v5::RetainHandling::NoAtSubscribe => RetainHandling::DoNotSend,
        },
    }
}

fn incoming_publish(publish: types::Publish, notes: Notes, now: Instant) -> IncomingPublish {
    let wire = publish.properties.unwrap_or_default();
    let expires = wire
        .message_expiry_interval
        .and_then(|seconds| now.checked_add(expiry(seconds.get(), notes)));
    let properties = PublishProperties {
        payload_utf8: notes.payload_utf8,
        content_type: wire.content_type,
        response_topic: wire.response_topic,
        correlation_data: wire.correlation_data,
        user_properties: wire.user_properties,
    };
    IncomingPublish {
        publish: Publish {
            topic: publish.topic,
            payload: publish.payload,
            qos: our_qos(publish.qos),
            retain: publish.retain,
            expires,
            properties: boxed(properties),
        },
        packet_id: publish.packet_id.map_or(0, |id| id.get()),
        alias: wire.topic_alias.map(|alias| alias.get()),
    }
}

fn incoming_v3(packet: v3::Packet) -> Result<Incoming, ProtocolError> {
    Ok(match packet {
        v3::Packet::Publish(publish) => Incoming::Publish(IncomingPublish {
            packet_id: publish.packet_id.map_or(0, |id| id.get()),
            alias: None,
            publish: Publish {
                retain: publish.retain,
                ..Publish::new(publish.topic, publish.payload, our_qos(publish.qos))
            },
        }),
        v3::Packet::PublishAck { packet_id } => Incoming::PubAck {
            packet_id: packet_id.get(),
            reason: reason::SUCCESS,
        },
        v3::Packet::PublishReceived { packet_id } => Incoming::PubRec {
            packet_id: packet_id.get(),
            reason: reason::SUCCESS,
        },
        v3::Packet::PublishRelease { packet_id } => Incoming::PubRel {
            packet_id: packet_id.get(),
        },
        v3::Packet::PublishComplete { packet_id } => Incoming::PubComp {
            packet_id: packet_id.get(),
            reason: reason::SUCCESS,
        },
        v3::Packet::Subscribe {
            packet_id,
            topic_filters,
        } => Incoming::Subscribe {
            packet_id: packet_id.get(),
            filters: topic_filters
                .into_iter()
                .map(|(filter, qos)| SubscribeFilter {
                    filter,
                    qos: our_qos(qos),
                    no_local: false,
                    retain_as_published: false,
                    retain_handling: RetainHandling::Send,
                })
                .collect(),
            subscription_id: None,
        },
        v3::Packet::Unsubscribe {
            packet_id,
            topic_filters,
        } => Incoming::Unsubscribe {
            packet_id: packet_id.get(),
            filters: topic_filters,
        },
        v3::Packet::PingRequest => Incoming::PingReq,
        v3::Packet::Disconnect => Incoming::Disconnect {
            reason: reason::SUCCESS,
            session_expiry: None,
        },
        v3::Packet::Connect(_)
        | v3::Packet::ConnectAck(_)
        | v3::Packet::SubscribeAck { .. }
        | v3::Packet::UnsubscribeAck { .. }
        | v3::Packet::PingResponse => return Err(ProtocolError::Violation("a packet that may not come now")),
    })
}

/// What CONNACK tells an MQTT 5 client (3.2.2.3).
#[derive(Debug, Default)]
pub(crate) struct Announce {
    pub(crate) session_expiry: Option<u32>,
    pub(crate) receive_max: u16,
    pub(crate) packet_size_max: Option<u32>,
    pub(crate) assigned_client_id: Option<ByteString>,
    pub(crate) topic_alias_max: u16,
    pub(crate) server_keep_alive: Option<u16>,
}

/// The CONNACK of an accepted CONNECT.
pub(crate) fn connack(session_present: bool, announce: Announce) -> Bytes {
    let mut ack = v5::ConnectAck {
        session_present,
        session_expiry_interval_secs: announce.session_expiry,
        max_packet_size: announce.packet_size_max,
        assigned_client_id: announce.assigned_client_id,
        topic_alias_max: announce.topic_alias_max,
        server_keepalive_sec: announce.server_keep_alive,
        ..v5::ConnectAck::default()
    };
    if let Some(max) = std::num::NonZeroU16::new(announce.receive_max) {
        ack.receive_max = max;
    }
    encode_v5(v5::Packet::ConnectAck(Box::new(ack)))
}

/// The CONNACK of a refused CONNECT: Session Present is 0 [MQTT-3.2.2-6].
pub(crate) fn connack_refused(reason: u8, text: Option<ByteString>) -> Bytes {
    encode_v5(v5::Packet::ConnectAck(Box::new(v5::ConnectAck {
        reason_code: v5::ConnectAckReason::try_from(reason).unwrap_or(v5::ConnectAckReason::UnspecifiedError),
        reason_string: text,
        ..v5::ConnectAck::default()
    })))
}

/// PUBACK or PUBREC with a reason string. Those without are written in place, see [`encode`](crate::encode).
pub(crate) fn acknowledgement(qos: QoS, packet_id: u16, reason: u8, text: &str) -> Bytes {
    let mut ack = v5::PublishAck {
        reason_code: v5::PublishAckReason::try_from(reason).unwrap_or(v5::PublishAckReason::UnspecifiedError),
        reason_string: Some(ByteString::from(text)),
        ..v5::PublishAck::default()
    };
    if let Some(id) = std::num::NonZeroU16::new(packet_id) {
        ack.packet_id = id;
    }
    encode_v5(match qos {
        QoS::ExactlyOnce => v5::Packet::PublishReceived(ack),
        QoS::AtMostOnce | QoS::AtLeastOnce => v5::Packet::PublishAck(ack),
    })
}

/// A reason code as the acknowledgement may carry it; any other becomes Unspecified error (3.4.2.1, 3.5.2.1).
pub(crate) fn publish_reason(reason: u8) -> u8 {
    v5::PublishAckReason::try_from(reason)
        .unwrap_or(v5::PublishAckReason::UnspecifiedError)
        .into()
}

/// Likewise for SUBACK (3.9.3).
pub(crate) fn subscribe_reason(reason: u8) -> u8 {
    v5::SubscribeAckReason::try_from(reason)
        .unwrap_or(v5::SubscribeAckReason::UnspecifiedError)
        .into()
}

/// Likewise for UNSUBACK (3.11.3).
pub(crate) fn unsubscribe_reason(reason: u8) -> u8 {
    v5::UnsubscribeAckReason::try_from(reason)
        .unwrap_or(v5::UnsubscribeAckReason::UnspecifiedError)
        .into()
}

/// DISCONNECT from the server (3.14); a code it may not carry becomes Unspecified error.
pub(crate) fn disconnect(reason: u8, text: Option<&str>) -> Bytes {
    let reason = match reason::is_of_disconnect(reason) {
        true => reason,
        false => reason::UNSPECIFIED_ERROR,
    };
    encode_v5(v5::Packet::Disconnect(v5::Disconnect {
        reason_string: text.map(ByteString::from),
        ..v5::Disconnect::new(
            v5::DisconnectReasonCode::try_from(reason).unwrap_or(v5::DisconnectReasonCode::UnspecifiedError),
        )
    }))
}

/// These packets are far below the codec's limit. Should it refuse one all the same, nothing is sent, as with
/// a packet too large for the client.
fn encode_v5(packet: v5::Packet) -> Bytes {
    let mut bytes = BytesMut::new();
    match v5::Codec::new(0, 0).encode(packet, &mut bytes) {
        Ok(()) => bytes.freeze(),
        Err(_) => Bytes::new(),
    }
}
