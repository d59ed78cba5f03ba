//! CONNECT and CONNACK (3.1, 3.2).

use std::sync::Arc;
use std::time::{Duration, Instant};

use irsp_session::{
    Action, CloseCause, Handshake, Limits, Progress, ProtocolError, Refusal, Session, Version,
};

use crate::client::{Client, V5, V311, accepted, begin, connect, connect_with, refused, string};

#[test]
fn the_version_is_recognised() {
    for (level, version) in [(3, Version::V31), (V311, Version::V311), (V5, Version::V5)] {
        let connect = accepted(&connect(level, 2, &[]));
        assert_eq!(connect.version, version);
        assert_eq!(connect.client_id, "c");
        assert_eq!(connect.keep_alive, Duration::from_secs(10));
        assert!(connect.clean_start);
    }
}

#[test]
fn every_field_arrives() {
    let will_properties = [
        0x18, 0, 0, 0, 5, 0x02, 0, 0, 0, 9, 0x01, 1, 0x26, 0, 1, b'k', 0, 1, b'v',
    ];
    let mut payload = string("c");
    payload.push(will_properties.len() as u8);
    payload.extend_from_slice(&will_properties);
    payload.extend([string("w/t"), string("gone"), string("user"), string("pass")].concat());
    let properties = [
        0x11, 0, 0, 0, 60, 0x21, 0, 7, 0x27, 0, 0, 1, 0, 0x22, 0, 2, 0x17, 0,
    ];
    let connect = accepted(&connect_with(V5, 0b1110_1110, &properties, &payload));
    assert_eq!(connect.session_expiry, Duration::from_secs(60));
    assert_eq!(
        (
            connect.receive_max,
            connect.packet_size_max,
            connect.topic_alias_max
        ),
        (7, Some(256), 2)
    );
    assert!(!connect.request_problem_information);
    assert_eq!(connect.username.as_deref(), Some("user"));
    assert_eq!(connect.password.as_deref(), Some(&b"pass"[..]));
    assert!(!format!("{connect:?}").contains("pass\""));
    let will = connect.will.expect("a will");
    assert_eq!(
        (will.delay, will.expiry),
        (Duration::from_secs(5), Some(Duration::from_secs(9)))
    );
    assert_eq!(
        (&*will.publish.topic, &*will.publish.payload, will.publish.retain),
        ("w/t", &b"gone"[..], true)
    );
    assert_eq!(will.publish.qos as u8, 1);
    assert_eq!(will.publish.user_property("k").map(|value| &**value), Some("v"));
}

#[test]
fn connect_may_come_byte_by_byte() {
    let now = Instant::now();
    let mut handshake = Handshake::new(Arc::new(Limits::default()), now);
    let bytes = connect(V5, 2, &[]);
    for byte in &bytes[..bytes.len() - 1] {
        assert!(matches!(handshake.input(&[*byte], now), Progress::More));
    }
    assert!(matches!(
        handshake.input(&bytes[bytes.len() - 1..], now),
        Progress::Connect(_)
    ));
    assert_eq!(handshake.deadline(), now + Duration::from_secs(10));
}

/// 3.1.4: a client need not wait for CONNACK.
#[test]
fn what_follows_connect_is_kept() {
    let bytes = [connect(V311, 2, &[]), vec![0xC0, 0], vec![0xC0]].concat();
    let mut client = Client::resume(&bytes, Session::new(), false, Instant::now());
    assert_eq!(client.output(), [0x20, 2, 0, 0, 0xD0, 0]);
    assert_eq!(client.send(&[0]).output(), [0xD0, 0]);
}

/// [MQTT-3.2.2-2, 3.2.2-3]
#[test]
fn connack_golden_bytes() {
    let output =
        |bytes: &[u8], present| Client::resume(bytes, Session::new(), present, Instant::now()).output();
    assert_eq!(output(&connect(V311, 2, &[]), false), [0x20, 2, 0, 0]);
    assert_eq!(output(&connect(V311, 0, &[]), true), [0x20, 2, 1, 0]);
    assert_eq!(output(&connect(3, 0, &[]), true), [0x20, 2, 0, 0]);
    let v5 = [0x20, 14, 1, 0, 11, 0x21, 0, 4, 0x27, 0, 16, 0, 0, 0x22, 0, 3];
    assert_eq!(output(&connect(V5, 0, &[]), true), v5);
    // [MQTT-3.2.2-21], session expiry told when it is cut
    let mut asks_much = connect(V5, 0, &[0x11, 0xFF, 0xFF, 0xFF, 0xFF]);
    asks_much[10] = 0xFF;
    let answer = output(&asks_much, false);
    assert!(
        answer.windows(5).any(|window| window == [0x11, 0, 9, 0x3A, 0x80]),
        "{answer:02x?}"
    );
    assert!(
        answer.windows(3).any(|window| window == [0x13, 0xFD, 0x20]),
        "{answer:02x?}"
    );
}

#[test]
fn an_assigned_client_id_is_told() {
    let now = Instant::now();
    let mut handshake = Handshake::new(Arc::new(Limits::default()), now);
    // MQTT 5 allows an empty client id without clean start
    let Progress::Connect(connect) = handshake.input(&connect_with(V5, 0, &[], &string("")), now) else {
        panic!("refused");
    };
    assert!(connect.client_id.is_empty() && !connect.clean_start);
    let mut connection = handshake.accept(&connect, Session::new(), false, Some("made-up".into()), now);
    let output = connection.output().expect("CONNACK");
    assert!(output.windows(10).any(|window| window == b"\x12\0\x07made-up"));
}

#[test]
fn a_well_formed_connect_can_be_refused() {
    let refuse = |bytes: &[u8], refusal: &Refusal| {
        let now = Instant::now();
        let mut handshake = Handshake::new(Arc::new(Limits::default()), now);
        assert!(matches!(handshake.input(bytes, now), Progress::Connect(_)));
        handshake.refuse(refusal)
    };
    assert_eq!(
        &*refuse(&connect(V311, 2, &[]), &Refusal::BAD_CREDENTIALS),
        [0x20, 2, 0, 4]
    );
    assert_eq!(
        &*refuse(&connect(V5, 2, &[]), &Refusal::BAD_CREDENTIALS),
        [0x20, 3, 0, 0x86, 0]
    );
    let told = Refusal::NOT_AUTHORIZED.with_text("no");
    assert_eq!(
        &*refuse(&connect(V5, 2, &[]), &told),
        b"\x20\x08\0\x87\x05\x1F\0\x02no"
    );
    // [MQTT-3.2.2-19]
    assert_eq!(
        &*refuse(&connect(V5, 2, &[0x27, 0, 0, 0, 6]), &told),
        [0x20, 3, 0, 0x87, 0]
    );
    assert_eq!(&*refuse(&connect(V5, 2, &[0x27, 0, 0, 0, 4]), &told), []);
}

#[test]
fn a_client_with_no_room_for_connack_is_closed() {
    let mut client = Client::resume(
        &connect(V5, 2, &[0x27, 0, 0, 0, 7]),
        Session::new(),
        false,
        Instant::now(),
    );
    assert_eq!(client.output(), b"");
    assert!(matches!(
        client.closed(),
        CloseCause::ProtocolError(ProtocolError::PeerLimitTooSmall)
    ));
}

#[test]
fn the_first_packet_is_connect() {
    // [MQTT-3.1.0-1]
    for first in [0x00, 0x20, 0x30, 0xC0, 0xE0, 0xF0] {
        let (output, error) = refused(&[first, 0]);
        assert_eq!((&*output, error), (&b""[..], ProtocolError::NotConnect));
    }
    assert_eq!(refused(b"GET / HTTP/1.1\r\n\r\n").1, ProtocolError::NotConnect);
    assert!(matches!(refused(&[0x11, 0]).1, ProtocolError::Malformed(_)));
}

#[test]
fn unknown_protocols() {
    // [MQTT-3.1.2-1]
    assert_eq!(
        refused(b"\x10\x0C\0\x04MQTQ\x04\x02\0\0\0\0").1,
        ProtocolError::NotMqtt
    );
    assert_eq!(refused(b"\x10\x20\0\x05").1, ProtocolError::NotMqtt);
    // [MQTT-3.1.2-2]
    let level = |level: u8| refused(&[&b"\x10\x0C\0\x04MQTT"[..], &[level, 2, 0, 0, 0, 0]].concat()).0;
    assert_eq!(&*level(6), [0x20, 3, 0, 0x84, 0]);
    for old in [0, 1, 3, 0x84] {
        assert_eq!(&*level(old), [0x20, 2, 0, 1], "{old}");
    }
}

/// [MQTT-4.13.1-1] of MQTT 5 with a code; MQTT 3 has none for a malformed CONNECT.
#[test]
fn malformed_connects() {
    let will = |topic: &str| [string("c"), vec![0], string(topic), string("m")].concat();
    let with = |flags, properties: &[u8], payload: &[u8]| connect_with(V5, flags, properties, payload);
    let c = string("c");
    for (name, bytes, code) in [
        ("reserved flag", with(3, &[], &c), 0x81),
        ("will QoS without will", with(0x0A, &[], &c), 0x81),
        ("will retain without will", with(0x22, &[], &c), 0x81),
        ("will QoS 3", with(0x1E, &[], &will("t")), 0x81),
        ("will topic with a wildcard", with(6, &[], &will("a/#")), 0x90),
        ("empty will topic", with(6, &[], &will("")), 0x90),
        ("no password where one is promised", with(0x42, &[], &c), 0x81),
        ("bytes behind the payload", with(2, &[], b"\0\x01cX"), 0x81),
        ("client id is not UTF-8", with(2, &[], b"\0\x01\xFF"), 0x81),
        ("client id with NUL", with(2, &[], b"\0\x01\0"), 0x81),
        ("property twice", with(2, &[0x21, 0, 1, 0x21, 0, 1], &c), 0x82),
        ("receive maximum 0", with(2, &[0x21, 0, 0], &c), 0x82),
        ("packet size maximum 0", with(2, &[0x27, 0, 0, 0, 0], &c), 0x82),
        ("request problem information 2", with(2, &[0x17, 2], &c), 0x82),
        ("a property of PUBLISH", with(2, &[0x23, 0, 1], &c), 0x81),
        ("a property of CONNACK", with(2, &[0x13, 0, 1], &c), 0x81),
        ("unknown property", with(2, &[0x7F, 0], &c), 0x81),
        ("property cut off", with(2, &[0x21, 0], &c), 0x81),
        ("authentication method", with(2, &[0x15, 0, 1, b'x'], &c), 0x8C),
        (
            "authentication data alone",
            with(2, &[0x16, 0, 1, b'x'], &c),
            0x82,
        ),
    ] {
        let (output, error) = refused(&bytes);
        assert_eq!(
            (output[0], output[2], output[3]),
            (0x20, 0, code),
            "{name}: {error}"
        );
    }
    for (name, bytes) in [
        ("reserved flag", connect(V311, 3, &[])),
        ("will QoS without will", connect(V311, 0x0A, &[])),
        // 3.1.1 [MQTT-3.1.2-22]
        (
            "password without user name",
            connect_with(V311, 0x42, &[], &[string("c"), string("p")].concat()),
        ),
        ("too short", b"\x10\x02\0\x04".to_vec()),
        (
            "too short for a client id",
            b"\x10\x0A\0\x04MQTT\x04\x02\0\x00".to_vec(),
        ),
    ] {
        assert_eq!(&*refused(&bytes).0, b"", "{name}");
    }
}

/// 3.1.1 [MQTT-3.1.3-8, 3.1.3-9]
#[test]
fn an_empty_client_id_needs_a_clean_session_in_mqtt_3() {
    let (output, error) = refused(&connect_with(V311, 0, &[], &string("")));
    assert_eq!(
        (&*output, error),
        (&[0x20, 2, 0, 2][..], ProtocolError::ClientIdRejected)
    );
    assert!(
        accepted(&connect_with(V311, 2, &[], &string("")))
            .client_id
            .is_empty()
    );
    assert_eq!(
        &*refused(&connect_with(3, 2, &[], &string(""))).0,
        [0x20, 2, 0, 2]
    );
}

#[test]
fn a_huge_connect_is_refused_by_its_header() {
    assert!(matches!(
        refused(&[0x10, 0xFF, 0xFF, 0xFF, 0x7F]).1,
        ProtocolError::PacketTooLarge { .. }
    ));
    assert!(matches!(begin(&[0x10, 0xFF, 0xFF]), Progress::More));
    assert!(matches!(
        refused(&[0x10, 0xFF, 0xFF, 0xFF, 0xFF]).1,
        ProtocolError::Malformed(_)
    ));
}

/// [MQTT-3.1.2-22]
#[test]
fn keep_alive_times_out() {
    let goodbye_v5 = b"\xE0\x2F\x8D\x2D\x1F\0\x2Asilent for one and a half keep-alive times";
    for (level, goodbye) in [(V311, &b""[..]), (V5, goodbye_v5)] {
        let mut client = Client::new(level);
        assert_eq!(
            client.connection.deadline(),
            Some(client.now + Duration::from_secs(15))
        );
        client.wait(14).send(&[0xC0, 0]);
        assert_eq!(client.output(), [0xD0, 0]);
        client.wait(14);
        client.connection.timeout(client.now);
        client.idle();
        client.wait(1);
        client.connection.timeout(client.now);
        assert_eq!(client.closed(), CloseCause::KeepAlive);
        assert_eq!(client.output(), goodbye);
        assert!(CloseCause::KeepAlive.publishes_will());
    }
}

/// [MQTT-3.14.4-3]
#[test]
fn disconnect_and_the_will() {
    for (bytes, will) in [
        (&[0xE0, 0][..], false),
        (&[0xE0, 1, 4], true),
        (&[0xE0, 2, 0x81, 0], true),
    ] {
        let mut client = Client::new(V5);
        let cause = client.send(bytes).send(&[0xC0, 0]).closed();
        assert_eq!(
            cause,
            CloseCause::Disconnect {
                will,
                session_expiry: None
            }
        );
        assert_eq!(cause.publishes_will(), will);
        client.idle();
    }
}

/// [MQTT-3.14.2-1]: what a server says of itself is no client's word, and no reason to be believed that it wished to go.
#[test]
fn a_client_says_no_servers_reason_to_disconnect() {
    let clients = [
        0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
    ];
    let servers = [
        0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
    ];
    for code in 0..=u8::MAX {
        let mut client = Client::new(V5);
        let cause = client.send(&[0xE0, 1, code]).closed();
        match cause {
            CloseCause::Disconnect { .. } => assert!(clients.contains(&code), "{code:02x}"),
            CloseCause::ProtocolError(ref error) => {
                let told = if servers.contains(&code) { 0x82 } else { 0x81 };
                assert_eq!(error.reason(), told, "{code:02x}");
                assert!(!clients.contains(&code) && cause.publishes_will());
            }
            CloseCause::KeepAlive | CloseCause::PublishRefused { .. } | CloseCause::Server { .. } => {
                panic!("{code:02x}: {cause:?}")
            }
        }
    }
}

/// 3.14.2.2.2
#[test]
fn disconnect_changes_the_session_expiry_only_where_there_is_one() {
    let expiry = [0xE0, 7, 0, 5, 0x11, 0, 0, 0, 9];
    let mut client = Client::with(&connect(V5, 2, &[0x11, 0, 0, 0, 60]));
    let session_expiry = Some(Duration::from_secs(9));
    assert_eq!(
        client.send(&expiry).closed(),
        CloseCause::Disconnect {
            will: false,
            session_expiry
        }
    );
    let mut client = Client::new(V5);
    assert!(matches!(
        client.send(&expiry).closed(),
        CloseCause::ProtocolError(ProtocolError::Violation(_))
    ));
    assert_eq!(client.output()[2], 0x82);
}

#[test]
fn the_server_says_goodbye() {
    let mut client = Client::new(V5);
    client.connection.disconnect(0x8B, Some("bye"));
    assert!(matches!(
        client.action(),
        Action::Close {
            cause: CloseCause::Server { reason: 0x8B }
        }
    ));
    assert_eq!(client.output(), b"\xE0\x08\x8B\x06\x1F\0\x03bye");
    let mut client = Client::new(V311);
    client.connection.disconnect(0x8B, None);
    assert!(matches!(client.closed(), CloseCause::Server { reason: 0x8B }));
    client.idle();
}
