//! The packets that come most, read in place: PUBLISH without properties, acknowledgements without a reason, PINGREQ. Of a
//! PUBLISH the payload is copied, and the topic if it is not that of the one before; nothing else is allocated. The codec
//! reads the rest.

use bytes::Bytes;
use bytestring::ByteString;

use crate::frame::{self, Reader};
use crate::packet::{Incoming, IncomingPublish, Publish, QoS, Version};
use crate::reason;

/// A longer topic is not remembered.
const TOPIC_LEN_MAX: usize = 256;

/// The topic of the PUBLISH before: mostly that of the next one, too.
#[derive(Debug, Default)]
pub(crate) struct LastTopic(ByteString);

impl LastTopic {
    fn topic(&mut self, name: &[u8]) -> Option<ByteString> {
        if name != self.0.as_bytes() {
            let topic = ByteString::from(std::str::from_utf8(name).ok()?);
            if name.len() > TOPIC_LEN_MAX {
                return Some(topic);
            }
            self.0 = topic;
        }
        Some(self.0.clone())
    }
}

/// The packet, if it is one of these. [`check`](crate::check) found it well formed.
pub(crate) fn read(version: Version, first: u8, body: &[u8], last_topic: &mut LastTopic) -> Option<Incoming> {
    let acknowledged = || match *body {
        [high, low] => Some(u16::from_be_bytes([high, low])),
        _ => None,
    };
    let reason = reason::SUCCESS;
    match first >> 4 {
        frame::PUBLISH => publish(version, first, body, last_topic),
        frame::PUBACK => acknowledged().map(|packet_id| Incoming::PubAck { packet_id, reason }),
        frame::PUBREC => acknowledged().map(|packet_id| Incoming::PubRec { packet_id, reason }),
        frame::PUBREL => acknowledged().map(|packet_id| Incoming::PubRel { packet_id }),
        frame::PUBCOMP => acknowledged().map(|packet_id| Incoming::PubComp { packet_id, reason }),
        frame::PINGREQ => Some(Incoming::PingReq),
        _ => None,
    }
}

fn publish(version: Version, first: u8, body: &[u8], last_topic: &mut LastTopic) -> Option<Incoming> {
    let mut reader = Reader::new(body);
    let topic = reader.binary().ok()?;
    let qos = QoS::from_u8(first >> 1 & 3)?;
    let packet_id = match qos {
        QoS::AtMostOnce => 0,
        QoS::AtLeastOnce | QoS::ExactlyOnce => reader.packet_id().ok()?,
    };
    if version.is_v5() && reader.u8().ok()? != 0 {
        return None;
    }
    let payload = body.get(reader.position()..)?;
    Some(Incoming::Publish(IncomingPublish {
        publish: Publish {
            retain: first & 1 != 0,
            ..Publish::new(last_topic.topic(topic)?, Bytes::copy_from_slice(payload), qos)
        },
        packet_id,
        alias: None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(version: Version, first: u8, body: &[u8]) -> Option<(u16, Publish)> {
        let Incoming::Publish(incoming) = read(version, first, body, &mut LastTopic::default())? else {
            panic!("not a PUBLISH");
        };
        Some((incoming.packet_id, incoming.publish))
    }

    #[test]
    fn a_publish_of_each_quality_of_service() {
        let (packet_id, publish) = published(Version::V311, 0x31, b"\0\x01thi").unwrap();
        assert_eq!(
            (packet_id, publish.qos, publish.retain),
            (0, QoS::AtMostOnce, true)
        );
        assert_eq!((&*publish.topic, &*publish.payload), ("t", &b"hi"[..]));
        let (packet_id, publish) = published(Version::V5, 0x34, b"\0\x01t\x01\x02\0").unwrap();
        assert_eq!(
            (packet_id, publish.qos, publish.retain),
            (258, QoS::ExactlyOnce, false)
        );
        assert_eq!((&*publish.topic, &*publish.payload), ("t", &b""[..]));
    }

    #[test]
    fn a_topic_that_comes_again_is_not_copied_again() {
        let mut last = LastTopic::default();
        let mut topic = |name: &str| last.topic(name.as_bytes()).unwrap();
        let first = topic("a/b");
        assert_eq!(topic("a/b").as_ptr(), first.as_ptr());
        let long = "x".repeat(TOPIC_LEN_MAX + 1);
        assert_eq!(topic(&long), long);
        assert_eq!(
            topic("a/b").as_ptr(),
            first.as_ptr(),
            "the long one is not remembered"
        );
        assert_eq!(topic("a/c"), "a/c");
        assert_ne!(topic("a/b").as_ptr(), first.as_ptr());
    }

    #[test]
    fn properties_and_reasons_are_left_to_the_codec() {
        assert!(published(Version::V5, 0x30, b"\0\x01t\x02\x01\x01hi").is_none());
        let read = |first, body| read(Version::V5, first, body, &mut LastTopic::default());
        assert!(read(0x40, b"\0\x01\x10").is_none());
        assert!(read(0xE0, b"").is_none());
    }

    #[test]
    fn acknowledgements_name_their_packet() {
        let mut last = LastTopic::default();
        let ids =
            [0x40, 0x50, 0x62, 0x70].map(|first| match read(Version::V311, first, &[1, 2], &mut last) {
                Some(
                    Incoming::PubAck { packet_id, reason: 0 }
                    | Incoming::PubRec { packet_id, reason: 0 }
                    | Incoming::PubRel { packet_id }
                    | Incoming::PubComp { packet_id, reason: 0 },
                ) => packet_id,
                other => panic!("{other:?}"),
            });
        assert_eq!(ids, [258; 4]);
    }
}
