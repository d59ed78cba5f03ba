use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;

const VERSIONS: [MqttVersion; 2] = [MqttVersion::V311, MqttVersion::V5];

fn one(bytes: &[u8]) -> Frame {
    let mut input = BytesMut::from(bytes);
    let frame = take(&mut input).unwrap().unwrap();
    assert!(input.is_empty());
    frame
}

/// Bytes as the specifications print them.
#[test]
fn golden_packets() {
    let mut out = Vec::new();
    let mut with = Connect {
        version: MqttVersion::V311,
        client_id: "c",
        username: Some("u"),
        password: Some("p"),
        keep_alive: 60,
        clean: false,
        session_expiry: 3600,
        receive_max: 0,
        will: None,
    };
    connect(&mut out, &with);
    assert_eq!(
        out,
        b"\x10\x13\x00\x04MQTT\x04\xC0\x00\x3C\x00\x01c\x00\x01u\x00\x01p"
    );
    out.clear();
    (with.version, with.clean, with.receive_max) = (MqttVersion::V5, true, 10);
    connect(&mut out, &with);
    assert_eq!(
        out,
        b"\x10\x1C\x00\x04MQTT\x05\xC2\x00\x3C\x08\x11\x00\x00\x0E\x10\x21\x00\x0A\x00\x01c\x00\x01u\x00\x01p"
    );
    out.clear();
    with.will = Some(Will {
        topic: "w",
        payload: b"x",
    });
    connect(&mut out, &with);
    assert_eq!(
        out,
        b"\x10\x23\x00\x04MQTT\x05\xCE\x00\x3C\x08\x11\x00\x00\x0E\x10\x21\x00\x0A\x00\x01c\x00\x00\x01w\x00\x01x\x00\x01u\x00\x01p"
    );
    out.clear();
    subscribe(&mut out, MqttVersion::V5, 7, &[("a/#", 1)]);
    unsubscribe(&mut out, MqttVersion::V311, 8, &["a/#"]);
    ack(&mut out, kind::PUBREL, 9);
    ping(&mut out);
    disconnect(&mut out);
    assert_eq!(
        out,
        b"\x82\x09\x00\x07\x00\x00\x03a/#\x01\xA2\x07\x00\x08\x00\x03a/#\x62\x02\x00\x09\xC0\x00\xE0\x00"
    );
}

#[test]
fn what_a_server_says() {
    let v5 = MqttVersion::V5;
    for (version, bytes, packet) in [
        (
            MqttVersion::V311,
            &b"\x20\x02\x01\x00"[..],
            Packet::ConnAck {
                resumed: true,
                code: 0,
                receive_max: 65535,
            },
        ),
        (
            v5,
            b"\x20\x06\x00\x00\x03\x21\x01\x00",
            Packet::ConnAck {
                resumed: false,
                code: 0,
                receive_max: 256,
            },
        ),
        (
            v5,
            b"\x20\x03\x00\x86\x00",
            Packet::ConnAck {
                resumed: false,
                code: 0x86,
                receive_max: 65535,
            },
        ),
        (v5, b"\x40\x02\x00\x05", Packet::PubAck { id: 5, code: 0 }),
        (v5, b"\x40\x03\x00\x05\x97", Packet::PubAck { id: 5, code: 0x97 }),
        (
            v5,
            b"\x90\x05\x00\x05\x00\x01\x87",
            Packet::SubAck {
                id: 5,
                codes: vec![1, 0x87],
            },
        ),
        (
            MqttVersion::V311,
            b"\x90\x03\x00\x05\x80",
            Packet::SubAck {
                id: 5,
                codes: vec![0x80],
            },
        ),
        (v5, b"\xE0\x01\x8E", Packet::Disconnect { code: 0x8E }),
        (v5, b"\xD0\x00", Packet::Pong),
    ] {
        assert_eq!(read(version, &one(bytes)), Ok(packet));
    }
    for bytes in [
        &b"\x20\x01\x00"[..],
        b"\x30\x03\x00\x05a",
        b"\x90\x02\x00\x05",
        b"\x10\x00",
    ] {
        assert!(read(v5, &one(bytes)).is_err(), "{bytes:?}");
    }
}

#[test]
fn a_packet_that_never_ends_is_refused() {
    let mut input = BytesMut::from(&b"\x30\xFF\xFF\xFF\xFF\x01"[..]);
    assert_eq!(take(&mut input), Err(WireError::Length));
    let mut input = BytesMut::from(&b"\x30\xFF\xFF\xFF\x7F"[..]);
    assert!(matches!(take(&mut input), Err(WireError::TooLong(_))));
    for part in [&b""[..], b"\x30", b"\x30\x80", b"\x30\x02\x00"] {
        assert_eq!(take(&mut BytesMut::from(part)), Ok(None), "{part:?}");
    }
}

proptest! {
    #[test]
    fn a_publish_reads_as_it_was_written(
        topic in "[a-z/]{1,40}", payload in prop::collection::vec(any::<u8>(), 0..300), qos in 0u8..3, id in 1u16..,
        dup: bool, retain: bool, expiry in prop::option::of(any::<u32>()), value in "[a-z0-9]{0,150}",
    ) {
        for version in VERSIONS {
            let user = [("id", value.as_str()), ("time", "now")];
            let mut out = Vec::new();
            publish(&mut out, version, &PublishOut {
                topic: &topic, payload: &payload, qos, id, dup, retain, expiry_s: expiry, user: &user,
            });
            let frame = one(&out);
            let read = Publish::read(version, &frame).unwrap();
            let v5 = version == MqttVersion::V5;
            prop_assert_eq!(&read, &Publish {
                topic: topic.clone(), payload: Bytes::from(payload.clone()), qos,
                id: if qos == 0 { 0 } else { id }, dup, retain,
                expiry_s: expiry.filter(|_| v5),
                user: if v5 { vec![("id".into(), value.clone()), ("time".into(), "now".into())] } else { vec![] },
            });
            let mut again = Vec::new();
            frame.put(&mut again);
            prop_assert_eq!(again, out);
        }
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        for version in VERSIONS {
            let mut input = BytesMut::from(&bytes[..]);
            while let Ok(Some(frame)) = take(&mut input) {
                // Whether it is a packet is not the question here.
                let _ = read(version, &frame);
            }
        }
    }
}
