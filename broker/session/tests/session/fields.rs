//! The fields of CONNECT: which are there, in which order, and what becomes of them (3.1).

use std::time::Duration;

use irsp_session::{ProtocolError, Session};

use crate::client::{Client, V5, V311, accepted, begin, connect, connect_with, refused, string};

const WILL: u8 = 0x04;
const PASSWORD: u8 = 0x40;
const USER_NAME: u8 = 0x80;

/// [MQTT-3.1.3-1] with the flags of [MQTT-3.1.2-9, 3.1.2-16..19; 3.1.1: 3.1.2-9, 3.1.2-11, 3.1.2-18..21]: a field is
/// there exactly if its flag says so.
#[test]
fn the_flags_say_which_fields_follow() {
    for level in [V311, V5] {
        let none: &[u8] = if level == V5 { &[0] } else { &[] };
        let will = [none, &string("w"), &string("m")].concat();
        for flags in [
            0,
            WILL,
            USER_NAME,
            USER_NAME | PASSWORD,
            WILL | USER_NAME | PASSWORD,
        ] {
            let mut payload = string("c");
            for (flag, field) in [
                (WILL, will.clone()),
                (USER_NAME, string("u")),
                (PASSWORD, string("p")),
            ] {
                if flags & flag != 0 {
                    payload.extend_from_slice(&field);
                }
            }
            let connect = accepted(&connect_with(level, flags | 2, &[], &payload));
            let topic = connect.will.map(|will| will.publish.topic.to_string());
            assert_eq!(topic.as_deref(), (flags & WILL != 0).then_some("w"));
            assert_eq!(
                connect.username.as_deref(),
                (flags & USER_NAME != 0).then_some("u")
            );
            assert_eq!(
                connect.password.as_deref(),
                (flags & PASSWORD != 0).then_some(&b"p"[..])
            );
            // one field more, one field less
            let more = connect_with(level, flags | 2, &[], &[payload.clone(), string("x")].concat());
            assert!(
                matches!(refused(&more).1, ProtocolError::Malformed(_)),
                "{flags:02x}"
            );
            let less = connect_with(level, flags | 2, &[], &payload[..payload.len() - 3]);
            assert!(
                matches!(refused(&less).1, ProtocolError::Malformed(_)),
                "{flags:02x}"
            );
        }
    }
}

/// MQTT 5 lets a password come without a user name (3.1.2.9).
#[test]
fn a_password_alone_is_for_mqtt_5() {
    let payload = [string("c"), string("p")].concat();
    let connect = accepted(&connect_with(V5, PASSWORD | 2, &[], &payload));
    assert_eq!(
        (connect.username, connect.password.as_deref()),
        (None, Some(&b"p"[..]))
    );
}

/// [MQTT-3.1.3-5]: 1 to 23 letters and digits; we take longer ones, and any character.
#[test]
fn client_identifiers() {
    for level in [V311, V5] {
        for id in [
            "a",
            "0",
            "Z",
            "0123456789abcdefghijklm",
            "nopqrstuvwxyzABCDEFGHIJ",
            "KLMNOPQRSTUVWXYZ",
            "an identifier of more than 23 bytes, with \u{E9} and /",
        ] {
            assert_eq!(accepted(&connect_with(level, 2, &[], &string(id))).client_id, id);
        }
    }
}

/// [MQTT-3.1.2-12, 3.1.2-14, 3.1.2-15; 3.1.1: 3.1.2-14, 3.1.2-16, 3.1.2-17]
#[test]
fn the_will_keeps_its_qos_and_retain() {
    for level in [V311, V5] {
        let none: &[u8] = if level == V5 { &[0] } else { &[] };
        let payload = [&string("c")[..], none, &string("w"), &string("gone")].concat();
        for qos in 0..3u8 {
            for retain in [false, true] {
                let flags = 2 | WILL | qos << 3 | u8::from(retain) << 5;
                let will = accepted(&connect_with(level, flags, &[], &payload))
                    .will
                    .expect("a will");
                assert_eq!((will.publish.qos as u8, will.publish.retain), (qos, retain));
                assert_eq!(
                    (&*will.publish.topic, &*will.publish.payload),
                    ("w", &b"gone"[..])
                );
                assert!(will.delay.is_zero() && will.expiry.is_none());
            }
        }
    }
}

/// [MQTT-3.1.3-10]
#[test]
fn the_wills_user_properties_keep_their_order() {
    let properties = b"\x26\0\x01b\0\x012\x26\0\x01a\0\x011\x26\0\x01b\0\x013";
    let payload = [
        &string("c")[..],
        &[properties.len() as u8],
        properties,
        &string("w"),
        &string("m"),
    ]
    .concat();
    let will = accepted(&connect_with(V5, 2 | WILL, &[], &payload))
        .will
        .expect("a will");
    let kept = will.publish.properties.expect("properties").user_properties;
    let kept: Vec<_> = kept.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(kept, [("b", "2"), ("a", "1"), ("b", "3")]);
}

/// 3.1.3.2: a will is checked as the message it will be.
#[test]
fn a_will_that_could_not_be_published_is_refused() {
    let will = |properties: &[u8], topic: &str, payload: &[u8]| {
        let length = (payload.len() as u16).to_be_bytes();
        let fields = [
            &string("c")[..],
            &[properties.len() as u8],
            properties,
            &string(topic),
            &length,
            payload,
        ];
        connect_with(V5, 2 | WILL, &[], &fields.concat())
    };
    for (name, bytes, code) in [
        ("not the UTF-8 it claims to be", will(&[1, 1], "w", b"\xFF"), 0x99),
        ("payload format 2", will(&[1, 2], "w", b""), 0x82),
        (
            "two delays",
            will(&[0x18, 0, 0, 0, 1, 0x18, 0, 0, 0, 1], "w", b""),
            0x82,
        ),
        ("a topic alias", will(&[0x23, 0, 1], "w", b""), 0x81),
        (
            "a response topic with a wildcard",
            will(&[8, 0, 1, b'+'], "w", b""),
            0x82,
        ),
    ] {
        let (output, error) = refused(&bytes);
        assert_eq!((output[0], output[3]), (0x20, code), "{name}: {error}");
    }
    assert!(accepted(&will(&[1, 1], "w", "\u{E9}".as_bytes())).will.is_some());
}

/// [MQTT-3.2.2-22], and 3.1.2.10: 0 turns it off for the client, who is given up all the same after the longest.
#[test]
fn the_keep_alive_is_the_clients_unless_the_server_says_otherwise() {
    let with = |level, seconds: u16| {
        let mut bytes = connect(level, 2, &[]);
        let at = bytes.len() - if level == V5 { 6 } else { 5 };
        bytes[at..at + 2].copy_from_slice(&seconds.to_be_bytes());
        let now = std::time::Instant::now();
        let mut client = Client::resume(&bytes, Session::new(), false, now);
        let told = client
            .output()
            .windows(3)
            .any(|window| window == [0x13, 0xFD, 0x20]);
        (told, client.connection.deadline().map(|at| at - now))
    };
    // 18 hours are the most; only MQTT 5 can be told
    let longest = Some(Duration::from_secs(64_800 + 32_400));
    for (level, told) in [(V311, false), (V5, true)] {
        assert_eq!(with(level, 20), (false, Some(Duration::from_secs(30))));
        assert_eq!(with(level, 0), (told, longest));
        assert_eq!(with(level, 65_535), (told, longest));
    }
}

/// [MQTT-3.1.2-28]: there is no Response Information, whether the client asks for it or not.
#[test]
fn response_information_is_never_sent() {
    for asked in [0, 1] {
        let mut client = Client::resume(
            &connect(V5, 2, &[0x19, asked]),
            Session::new(),
            false,
            std::time::Instant::now(),
        );
        let connack = client.output();
        assert_eq!(
            connack,
            [0x20, 14, 0, 0, 11, 0x21, 0, 4, 0x27, 0, 16, 0, 0, 0x22, 0, 3]
        );
    }
    assert!(matches!(
        refused(&connect(V5, 2, &[0x19, 2])).1,
        ProtocolError::Violation(_)
    ));
}

/// 3.1.2.11.2: 0xFFFFFFFF never expires; MQTT 3 says it with Clean Session.
#[test]
fn how_long_the_session_lives() {
    let expiry = |bytes: &[u8]| accepted(bytes).session_expiry;
    assert_eq!(expiry(&connect(V5, 2, &[])), Duration::ZERO);
    assert_eq!(
        expiry(&connect(V5, 0, &[0x11, 0, 0, 0, 60])),
        Duration::from_secs(60)
    );
    let longest = Duration::from_secs(7 * 24 * 3600);
    assert_eq!(expiry(&connect(V5, 0, &[0x11, 255, 255, 255, 255])), longest);
    assert_eq!(expiry(&connect(V311, 2, &[])), Duration::ZERO);
    assert_eq!(expiry(&connect(V311, 0, &[])), longest);
}

/// [MQTT-3.1.4-6; 3.1.1: MQTT-3.1.4-5]: what follows a CONNECT that is refused is not looked at.
#[test]
fn what_follows_a_refused_connect_is_not_processed() {
    for level in [V311, V5] {
        let bytes = [connect(level, 3, &[]), vec![0xC0, 0]].concat();
        let (output, _) = refused(&bytes);
        let answers = output.windows(2).filter(|window| *window == [0xD0, 0]).count();
        assert_eq!(answers, 0);
        assert!(
            output.len() < 4 || usize::from(output[1]) + 2 == output.len(),
            "one packet"
        );
    }
    assert!(matches!(
        begin(&connect(V5, 2, &[])),
        irsp_session::Progress::Connect(_)
    ));
}
