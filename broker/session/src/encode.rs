//! The packets that are sent most, written in place: PUBLISH straight from the shared message, and the short
//! acknowledgements.

use std::time::Instant;

use bytes::{BufMut, BytesMut};

use crate::alias::TopicForm;
use crate::frame;
use crate::packet::{Delivery, PublishProperties, QoS, Version};

/// What four bytes of Remaining Length can tell (2.1.4).
const REMAINING_LENGTH_MAX: usize = 268_435_455;

/// PUBACK, PUBREC, PUBREL or PUBCOMP: two bytes of body when all is well, three with a reason of MQTT 5
/// (the reason and the properties may be left out, 3.4.2.1).
pub(crate) fn acknowledgement(kind: u8, version: Version, packet_id: u16, reason: u8, out: &mut BytesMut) {
    let flags = if kind == frame::PUBREL { 2 } else { 0 };
    out.put_u8(kind << 4 | flags);
    match version.is_v5() && reason != 0 {
        true => {
            out.put_u8(3);
            out.put_u16(packet_id);
            out.put_u8(reason);
        }
        false => {
            out.put_u8(2);
            out.put_u16(packet_id);
        }
    }
}

/// SUBACK, or UNSUBACK with a code for each filter (3.9, 3.11). UNSUBACK of MQTT 3 has no codes, and neither has words there.
pub(crate) fn subscription_acknowledgement(
    kind: u8,
    version: Version,
    packet_id: u16,
    reasons: &[u8],
    text: Option<&str>,
    out: &mut BytesMut,
) {
    let words = text.map_or(0, |text| 3 + text.len());
    let properties = match version.is_v5() {
        true => variable_length(words) + words,
        false => 0,
    };
    out.put_u8(kind << 4);
    variable(2 + properties + reasons.len(), out);
    out.put_u16(packet_id);
    if version.is_v5() {
        variable(words, out);
        if let Some(text) = text {
            out.put_u8(0x1F);
            string(text.as_bytes(), out);
        }
    }
    out.put_slice(reasons);
}

/// One PUBLISH to one client.
pub(crate) struct Outgoing<'a> {
    pub(crate) delivery: &'a Delivery,
    /// 0 at QoS 0.
    pub(crate) packet_id: u16,
    pub(crate) dup: bool,
    pub(crate) topic: TopicForm,
}

/// The packet would be larger than the client allows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

impl Outgoing<'_> {
    /// Appends the packet, unless it is larger than `packet_size_max` [MQTT-3.1.2-24].
    pub(crate) fn encode(
        &self,
        version: Version,
        packet_size_max: u32,
        now: Instant,
        out: &mut BytesMut,
    ) -> Result<(), TooLarge> {
        let publish = &*self.delivery.publish;
        let topic = match self.topic {
            TopicForm::Name | TopicForm::Learn(_) => &*publish.topic,
            TopicForm::Alias(_) => "",
        };
        let properties = version.is_v5().then(|| self.properties(now));
        let properties_length = properties.as_ref().map(Properties::length);
        let remaining = 2
            + topic.len()
            + if self.delivery.qos == QoS::AtMostOnce {
                0
            } else {
                2
            }
            + properties_length.map_or(0, |length| variable_length(length) + length)
            + publish.payload.len();
        let total = 1 + variable_length(remaining) + remaining;
        if total > packet_size_max as usize || remaining > REMAINING_LENGTH_MAX || !self.fits_strings() {
            return Err(TooLarge);
        }
        out.reserve(total);
        out.put_u8(
            frame::PUBLISH << 4
                | u8::from(self.dup) << 3
                | (self.delivery.qos as u8) << 1
                | u8::from(self.delivery.retain),
        );
        variable(remaining, out);
        string(topic.as_bytes(), out);
        if self.delivery.qos != QoS::AtMostOnce {
            out.put_u16(self.packet_id);
        }
        if let (Some(properties), Some(length)) = (properties, properties_length) {
            variable(length, out);
            properties.write(out);
        }
        out.put_slice(&publish.payload);
        Ok(())
    }

    /// Whether every string has a length that two bytes can tell (1.5.4).
    fn fits_strings(&self) -> bool {
        let publish = &*self.delivery.publish;
        let fits = |length: usize| length <= usize::from(u16::MAX);
        fits(publish.topic.len())
            && publish.properties.as_deref().is_none_or(|message| {
                message.content_type.as_ref().is_none_or(|text| fits(text.len()))
                    && message
                        .response_topic
                        .as_ref()
                        .is_none_or(|text| fits(text.len()))
                    && message
                        .correlation_data
                        .as_ref()
                        .is_none_or(|data| fits(data.len()))
                    && message
                        .user_properties
                        .iter()
                        .all(|(key, value)| fits(key.len()) && fits(value.len()))
            })
    }

    fn properties(&self, now: Instant) -> Properties<'_> {
        let publish = &*self.delivery.publish;
        Properties {
            alias: match self.topic {
                TopicForm::Name => None,
                TopicForm::Learn(alias) | TopicForm::Alias(alias) => Some(alias),
            },
            // [MQTT-3.3.2-6]: the interval less the time it waited here, begun seconds counted in full. A packet
            // that is sent again after its time keeps the last second.
            expiry: publish.expires.map(|at| {
                let left = at.saturating_duration_since(now);
                let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
                u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
            }),
            subscription_ids: self.delivery.subscription_ids.as_slice(),
            message: publish.properties.as_deref(),
        }
    }
}

/// The property block of an outgoing PUBLISH.
struct Properties<'a> {
    alias: Option<u16>,
    expiry: Option<u32>,
    subscription_ids: &'a [u32],
    message: Option<&'a PublishProperties>,
}

impl Properties<'_> {
    fn length(&self) -> usize {
        let own = self.alias.map_or(0, |_| 3)
            + self.expiry.map_or(0, |_| 5)
            + self
                .subscription_ids
                .iter()
                .map(|&id| 1 + variable_length(id as usize))
                .sum::<usize>();
        let Some(message) = self.message else { return own };
        own + message.payload_utf8.map_or(0, |_| 2)
            + message.content_type.as_ref().map_or(0, |text| 3 + text.len())
            + message.response_topic.as_ref().map_or(0, |text| 3 + text.len())
            + message.correlation_data.as_ref().map_or(0, |data| 3 + data.len())
            + message
                .user_properties
                .iter()
                .map(|(key, value)| 5 + key.len() + value.len())
                .sum::<usize>()
    }

    fn write(&self, out: &mut BytesMut) {
        if let Some(alias) = self.alias {
            out.put_u8(0x23);
            out.put_u16(alias);
        }
        if let Some(seconds) = self.expiry {
            out.put_u8(0x02);
            out.put_u32(seconds);
        }
        for &id in self.subscription_ids {
            out.put_u8(0x0B);
            variable(id as usize, out);
        }
        let Some(message) = self.message else { return };
        if let Some(utf8) = message.payload_utf8 {
            out.put_slice(&[0x01, u8::from(utf8)]);
        }
        if let Some(text) = &message.content_type {
            out.put_u8(0x03);
            string(text.as_bytes(), out);
        }
        if let Some(text) = &message.response_topic {
            out.put_u8(0x08);
            string(text.as_bytes(), out);
        }
        if let Some(data) = &message.correlation_data {
            out.put_u8(0x09);
            string(data, out);
        }
        for (key, value) in &message.user_properties {
            out.put_u8(0x26);
            string(key.as_bytes(), out);
            string(value.as_bytes(), out);
        }
    }
}

/// Two bytes tell its length: `fits_strings`, or it is a text of ours.
fn string(bytes: &[u8], out: &mut BytesMut) {
    out.put_u16(bytes.len() as u16);
    out.put_slice(bytes);
}

/// Variable Byte Integer (1.5.5).
fn variable(mut value: usize, out: &mut BytesMut) {
    while value > 0x7F {
        out.put_u8(value as u8 & 0x7F | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

fn variable_length(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}
