//! Strings (1.5.4; 3.1.1: 1.5.3): well-formed UTF-8, without U+0000, passed on byte for byte.

use irsp_session::{Action, CloseCause, ProtocolError};

use crate::client::{Client, V5, V311, accepted, connect_with, packet, publish, refused, string};

/// What no string may hold.
const ILL_FORMED: [(&str, &[u8]); 8] = [
    ("a byte that begins nothing", b"\xFF"),
    ("a continuation without a beginning", b"a\x80"),
    ("a beginning without its continuation", b"\xE2\x82"),
    ("more bytes than needed", b"\xC1\x81"),
    ("the first surrogate U+D800", b"\xED\xA0\x80"),
    ("the last surrogate U+DFFF", b"a\xED\xBF\xBFb"),
    ("beyond U+10FFFF", b"\xF4\x90\x80\x80"),
    ("U+0000 [MQTT-1.5.4-2]", b"a\0b"),
];

fn bytes(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text].concat()
}

/// Every place of a packet after CONNECT where a client writes a string; the packet around `text`.
fn after_connect(level: u8, text: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let text = bytes(text);
    let none: &[u8] = if level == V5 { &[0] } else { &[] };
    let with = |first: u8, before: &[u8], block: &[u8], behind: &[u8]| {
        packet(first, &[before, &[block.len() as u8], block, behind].concat())
    };
    let mut packets = vec![
        ("topic name", packet(0x30, &[&text, none].concat())),
        (
            "topic filter",
            packet(0x82, &[&[0, 1], none, &text, &[0]].concat()),
        ),
        (
            "filter of UNSUBSCRIBE",
            packet(0xA2, &[&[0, 1], none, &text].concat()),
        ),
    ];
    if level == V5 {
        let property = |id: u8, value: &[u8]| [&[id], value].concat();
        let pair = [&text, &string("v")[..]].concat();
        packets.extend([
            (
                "content type [MQTT-3.3.2-19]",
                with(0x30, &string("t"), &property(3, &text), &[]),
            ),
            (
                "response topic [MQTT-3.3.2-13]",
                with(0x30, &string("t"), &property(8, &text), &[]),
            ),
            (
                "a user property's name [MQTT-1.5.7-1]",
                with(0x30, &string("t"), &property(0x26, &pair), &[]),
            ),
            (
                "a user property's value",
                with(
                    0x30,
                    &string("t"),
                    &property(0x26, &[string("k"), text.clone()].concat()),
                    &[],
                ),
            ),
            (
                "reason string of PUBACK",
                with(0x40, &[0, 1, 0], &property(0x1F, &text), &[]),
            ),
            (
                "reason string of DISCONNECT",
                with(0xE0, &[0], &property(0x1F, &text), &[]),
            ),
            (
                "a user property of SUBSCRIBE",
                with(0x82, &[0, 1], &property(0x26, &pair), b"\0\x01a\0"),
            ),
        ]);
    }
    packets
}

#[test]
fn ill_formed_text_ends_the_connection_wherever_it_stands() {
    for level in [V311, V5] {
        for (what, text) in ILL_FORMED {
            for (place, bytes) in after_connect(level, text) {
                let mut client = Client::new(level);
                let cause = client.send(&bytes).closed();
                assert!(
                    matches!(cause, CloseCause::ProtocolError(ProtocolError::Malformed(_))),
                    "{what} in {place}: {cause:?}"
                );
                let output = client.output();
                match level {
                    V5 => assert_eq!((output[0], output[2]), (0xE0, 0x81), "{what} in {place}"),
                    _ => assert_eq!(output, b"", "{what} in {place}"),
                }
            }
        }
    }
}

/// [MQTT-3.1.3-4, 3.1.3-11, 3.1.3-12; 3.1.1: 3.1.3-4, 3.1.3-10, 3.1.3-11]
#[test]
fn ill_formed_text_in_connect_is_refused() {
    for level in [V311, V5] {
        let none: &[u8] = if level == V5 { &[0] } else { &[] };
        for (what, text) in ILL_FORMED {
            let text = bytes(text);
            let (c, m) = (string("c"), string("m"));
            for (place, flags, payload) in [
                ("client identifier", 2, text.clone()),
                ("will topic", 6, [&c[..], none, &text, &m].concat()),
                ("user name", 0x82, [&c[..], &text].concat()),
            ] {
                let (output, error) = refused(&connect_with(level, flags, &[], &payload));
                assert!(
                    matches!(error, ProtocolError::Malformed(_)),
                    "{what} in {place}: {error}"
                );
                match level {
                    V5 => assert_eq!((output[0], output[3]), (0x20, 0x81), "{what} in {place}"),
                    _ => assert_eq!(&*output, b"", "{what} in {place}"),
                }
            }
        }
    }
}

/// [MQTT-1.5.4-3; 3.1.1: MQTT-1.5.3-3] and [MQTT-4.7.3-4]: nothing is stripped, nothing is normalised.
#[test]
fn text_stays_as_it_came() {
    let bom = "\u{FEFF}a/\u{FEFF}";
    let (composed, decomposed) = ("caf\u{E9}", "cafe\u{301}");
    let odd = "a//b/ \u{1}\u{7F}\u{FFFE}\u{10FFFF}";
    for level in [V311, V5] {
        for text in [bom, composed, decomposed, odd] {
            let mut client = Client::new(level);
            client.send(&publish(level, 0x30, text, 0, &[], b""));
            assert_eq!(client.published().1.topic, text);
            let none: &[u8] = if level == V5 { &[0] } else { &[] };
            client.send(&packet(0x82, &[&[0, 1], none, &string(text), &[0]].concat()));
            let Action::Subscribe { filters, .. } = client.action() else {
                panic!("no subscribe")
            };
            assert_eq!(filters[0].filter, text);
            assert_eq!(
                accepted(&connect_with(level, 2, &[], &string(text))).client_id,
                text
            );
        }
    }
    assert!(!irsp_session::filter::matches(composed, decomposed));
    assert!(!irsp_session::filter::matches("a", "\u{FEFF}a"));
}

/// [MQTT-4.7.3-3]: the length takes two bytes.
#[test]
fn the_longest_topic_has_65535_bytes() {
    let longest = "a".repeat(65_535);
    for level in [V311, V5] {
        let mut client = Client::new(level);
        client.send(&publish(level, 0x30, &longest, 0, &[], b""));
        assert_eq!(client.published().1.topic.len(), 65_535);
    }
}
