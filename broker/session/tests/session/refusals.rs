//! Wrong input after CONNECT: the code an MQTT 5 client is told, and silence for MQTT 3 (4.13; 3.1.1: 4.8).

use irsp_session::{CloseCause, ProtocolError};

use crate::client::{Client, V5, V311, connect, packet, publish, string};

fn subscribe(options: u8, filter: &str) -> Vec<u8> {
    packet(0x82, &[&[0, 1, 0][..], &string(filter), &[options]].concat())
}

#[test]
fn mqtt_5() {
    let with = |properties: &[u8]| publish(V5, 0x30, "t", 0, properties, b"");
    for (name, bytes, code) in [
        ("a second CONNECT [MQTT-3.1.0-2]", connect(V5, 2, &[]), 0x82),
        ("CONNACK", vec![0x20, 0], 0x82),
        ("SUBACK", vec![0x90, 0], 0x82),
        ("UNSUBACK", vec![0xB0, 0], 0x82),
        ("PINGRESP", vec![0xD0, 0], 0x82),
        ("AUTH [MQTT-4.12.0-7]", vec![0xF0, 0], 0x82),
        (
            "AUTH with a method",
            vec![0xF0, 6, 0x18, 4, 0x15, 0, 1, b'x'],
            0x82,
        ),
        ("flags of AUTH [MQTT-3.15.1-1]", vec![0xF1, 0], 0x81),
        ("packet type 0", vec![0x00, 0], 0x81),
        ("flags of PUBACK", vec![0x41, 2, 0, 1], 0x81),
        ("flags of PUBREL", vec![0x60, 2, 0, 1], 0x81),
        ("flags of SUBSCRIBE", vec![0x80, 0], 0x81),
        ("flags of PINGREQ", vec![0xC1, 0], 0x81),
        ("PINGREQ with a body", vec![0xC0, 1, 0], 0x81),
        (
            "remaining length of five bytes",
            vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF, 1],
            0x81,
        ),
        (
            "remaining length in more bytes than needed",
            vec![0xC0, 0x80, 0],
            0x81,
        ),
        ("QoS 3 [MQTT-3.3.1-4]", publish(V5, 0x36, "t", 1, &[], b""), 0x81),
        (
            "DUP at QoS 0 [MQTT-3.3.1-2]",
            publish(V5, 0x38, "t", 0, &[], b""),
            0x81,
        ),
        (
            "packet identifier 0 [MQTT-2.2.1-3]",
            publish(V5, 0x32, "t", 0, &[], b""),
            0x81,
        ),
        (
            "wildcard + in a topic [MQTT-3.3.2-2]",
            publish(V5, 0x30, "a/+", 0, &[], b""),
            0x90,
        ),
        ("wildcard # in a topic", publish(V5, 0x32, "#", 1, &[], b""), 0x90),
        (
            "NUL in a topic [MQTT-1.5.4-2]",
            publish(V5, 0x30, "a\0", 0, &[], b""),
            0x81,
        ),
        ("a topic that is not UTF-8", packet(0x30, b"\0\x01\xFF\0"), 0x81),
        ("no topic and no alias", publish(V5, 0x30, "", 0, &[], b""), 0x82),
        (
            "an alias never set",
            publish(V5, 0x30, "", 0, &[0x23, 0, 1], b""),
            0x82,
        ),
        ("topic alias 0 [MQTT-3.3.2-8]", with(&[0x23, 0, 0]), 0x94),
        (
            "topic alias above the maximum [MQTT-3.3.2-9]",
            with(&[0x23, 0, 4]),
            0x94,
        ),
        ("two topic aliases", with(&[0x23, 0, 1, 0x23, 0, 1]), 0x82),
        ("two expiries", with(&[2, 0, 0, 0, 1, 2, 0, 0, 0, 1]), 0x82),
        ("payload format 2", with(&[1, 2]), 0x82),
        (
            "response topic with a wildcard [MQTT-3.3.2-14]",
            with(&[8, 0, 1, b'#']),
            0x82,
        ),
        ("subscription identifier [MQTT-3.3.4-6]", with(&[0x0B, 1]), 0x82),
        ("a property of CONNECT", with(&[0x21, 0, 1]), 0x81),
        (
            "properties longer than the packet",
            packet(0x30, b"\0\x01t\x7F"),
            0x81,
        ),
        ("PUBACK without an identifier", vec![0x40, 0], 0x81),
        ("PUBACK with identifier 0", vec![0x40, 2, 0, 0], 0x81),
        ("PUBACK with an unknown reason", vec![0x40, 3, 0, 1, 0x42], 0x81),
        ("PUBREL with an unknown reason", vec![0x62, 3, 0, 1, 0x80], 0x81),
        ("PUBACK with bytes behind it", vec![0x40, 5, 0, 1, 0, 0, 0], 0x81),
        (
            "SUBSCRIBE without a filter [MQTT-3.8.3-2]",
            packet(0x82, &[0, 1, 0]),
            0x82,
        ),
        (
            "SUBSCRIBE with identifier 0",
            packet(0x82, &[0, 0, 0, 0, 1, b'a', 0]),
            0x81,
        ),
        ("SUBSCRIBE cut off", packet(0x82, &[0, 1, 0, 0, 1, b'a']), 0x81),
        ("reserved options [MQTT-3.8.3-5]", subscribe(0x40, "a"), 0x81),
        ("a subscription at QoS 3", subscribe(3, "a"), 0x82),
        ("retain handling 3", subscribe(0x30, "a"), 0x82),
        (
            "no local on a shared subscription [MQTT-3.8.3-4]",
            subscribe(4, "$share/g/a"),
            0x82,
        ),
        (
            "shared without a filter [MQTT-4.8.2-2]",
            subscribe(0, "$share/g"),
            0x8F,
        ),
        ("shared with a wildcard group", subscribe(0, "$share/+/a"), 0x8F),
        (
            "a filter with # in the middle [MQTT-4.7.1-1]",
            subscribe(0, "a/#/b"),
            0x8F,
        ),
        (
            "a filter with part of a level wild [MQTT-4.7.1-2]",
            subscribe(0, "a+/b"),
            0x8F,
        ),
        ("an empty filter [MQTT-4.7.3-1]", subscribe(0, ""), 0x8F),
        (
            "subscription identifier 0",
            packet(0x82, &[0, 1, 2, 0x0B, 0, 0, 1, b'a', 0]),
            0x82,
        ),
        (
            "two subscription identifiers",
            packet(0x82, &[0, 1, 4, 0x0B, 1, 0x0B, 1, 0, 1, b'a', 0]),
            0x82,
        ),
        (
            "UNSUBSCRIBE without a filter [MQTT-3.10.3-2]",
            packet(0xA2, &[0, 1, 0]),
            0x82,
        ),
        ("DISCONNECT with flags", vec![0xE1, 0], 0x81),
        ("DISCONNECT with an unknown reason", vec![0xE0, 1, 1], 0x81),
        ("DISCONNECT with a code of CONNACK", vec![0xE0, 1, 0x8C], 0x81),
        ("DISCONNECT with bytes behind it", vec![0xE0, 3, 0, 0, 0], 0x81),
        (
            "DISCONNECT with a server reference",
            vec![0xE0, 6, 0, 4, 0x1C, 0, 1, b'x'],
            0x82,
        ),
    ] {
        let mut client = Client::new(V5);
        let cause = client.send(&bytes).send(&[0xC0, 0]).closed();
        assert!(matches!(cause, CloseCause::ProtocolError(_)), "{name}: {cause:?}");
        let output = client.output();
        assert_eq!((output[0], output[2]), (0xE0, code), "{name}: {cause:?}");
        // nothing behind it is answered
        assert_eq!(output.len(), 2 + usize::from(output[1]), "{name}");
        client.idle();
    }
}

#[test]
fn mqtt_3() {
    let body = |bytes: &[u8]| packet(0x82, &[&[0, 1][..], bytes].concat());
    for (name, bytes) in [
        ("a second CONNECT", connect(V311, 2, &[])),
        ("CONNACK", vec![0x20, 0]),
        ("AUTH", vec![0xF0, 0]),
        ("packet type 0", vec![0x00, 0]),
        ("flags of PUBREL", vec![0x60, 2, 0, 1]),
        ("PINGREQ with a body", vec![0xC0, 1, 0]),
        ("DISCONNECT with a body", vec![0xE0, 1, 0]),
        ("PUBACK with a body of MQTT 5", vec![0x40, 3, 0, 1, 0]),
        ("QoS 3", publish(V311, 0x36, "t", 1, &[], b"")),
        ("packet identifier 0", publish(V311, 0x32, "t", 0, &[], b"")),
        ("an empty topic", publish(V311, 0x30, "", 0, &[], b"")),
        ("a wildcard in a topic", publish(V311, 0x30, "a/#", 0, &[], b"")),
        ("NUL in a topic", publish(V311, 0x30, "\0", 0, &[], b"")),
        ("SUBSCRIBE without a filter", body(&[])),
        ("reserved bits of the QoS [MQTT-3.8.3-4]", body(&[0, 1, b'a', 4])),
        ("a subscription at QoS 3", body(&[0, 1, b'a', 3])),
        ("an invalid filter", body(&[0, 2, b'a', b'#', 0])),
        ("UNSUBSCRIBE without a filter", packet(0xA2, &[0, 1])),
    ] {
        let mut client = Client::new(V311);
        let cause = client.send(&bytes).closed();
        assert!(matches!(cause, CloseCause::ProtocolError(_)), "{name}: {cause:?}");
        client.idle();
    }
}

#[test]
fn what_came_before_the_fault_is_done() {
    let mut client = Client::new(V5);
    let bytes = [publish(V5, 0x30, "t", 0, &[], b""), vec![0xC0, 0], vec![0x00, 0]].concat();
    client.send(&bytes);
    client.published();
    assert!(matches!(
        client.closed(),
        CloseCause::ProtocolError(ProtocolError::Malformed(_))
    ));
    assert_eq!(client.output()[..4], [0xD0, 0, 0xE0, client_reason_length()]);
}

/// DISCONNECT: reason code, property length, reason string "malformed packet: an unknown packet type".
fn client_reason_length() -> u8 {
    2 + 3 + "malformed packet: an unknown packet type".len() as u8
}
