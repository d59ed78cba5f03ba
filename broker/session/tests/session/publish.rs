//! Publishes from a client (3.3, 4.3, 4.6).

use std::time::Duration;

use irsp_session::{CloseCause, ProtocolError, QoS};

use crate::client::{Client, V5, V311, connect, publish};

#[test]
fn qos_0() {
    let mut client = Client::new(V311);
    let (token, message) = client
        .send(&publish(V311, 0x31, "a/b", 0, &[], b"hi"))
        .published();
    assert_eq!(
        (&*message.topic, &*message.payload, message.qos),
        ("a/b", &b"hi"[..], QoS::AtMostOnce)
    );
    assert!(message.retain && message.properties.is_none());
    client.connection.settle(token, 0, None);
    client.idle();
}

#[test]
fn properties_are_kept_as_they_came() {
    let properties = [
        &b"\x01\0\x02\0\0\0\x1E\x03\0\x04json\x08\0\x01r\x09\0\x02\0\xFF"[..],
        b"\x26\0\x01b\0\x012\x26\0\x01a\0\x011\x26\0\x01b\0\x013",
    ]
    .concat();
    let mut client = Client::new(V5);
    let (_, message) = client
        .send(&publish(V5, 0x30, "t", 0, &properties, b""))
        .published();
    assert_eq!(message.expires, Some(client.now + Duration::from_secs(30)));
    let kept = message.properties.expect("properties");
    assert_eq!(kept.payload_utf8, Some(false));
    assert_eq!(kept.content_type.as_deref(), Some("json"));
    assert_eq!(kept.response_topic.as_deref(), Some("r"));
    assert_eq!(kept.correlation_data.as_deref(), Some(&b"\0\xFF"[..]));
    let user: Vec<_> = kept
        .user_properties
        .iter()
        .map(|(key, value)| (&**key, &**value))
        .collect();
    assert_eq!(user, [("b", "2"), ("a", "1"), ("b", "3")]);
}

#[test]
fn an_expiry_of_0_is_allowed() {
    let mut client = Client::new(V5);
    let (_, message) = client
        .send(&publish(V5, 0x30, "t", 0, &[2, 0, 0, 0, 0], b""))
        .published();
    assert_eq!(message.expires, Some(client.now));
}

/// [MQTT-4.6.0-2, 4.6.0-3]
#[test]
fn acknowledgements_keep_the_order_of_arrival() {
    let mut client = Client::new(V5);
    client
        .send(&publish(V5, 0x32, "t", 1, &[], b""))
        .send(&publish(V5, 0x34, "t", 2, &[], b""));
    client.send(&publish(V5, 0x32, "t", 3, &[], b""));
    let tokens: Vec<_> = (0..3).map(|_| client.published().0).collect();
    client.connection.settle(tokens[2], 0, None);
    client.connection.settle(tokens[1], 0x10, None);
    assert_eq!(client.output(), b"");
    client.connection.settle(tokens[0], 0x97, None);
    assert_eq!(
        client.output(),
        [0x40, 3, 0, 1, 0x97, 0x50, 3, 0, 2, 0x10, 0x40, 2, 0, 3]
    );
    // settled is settled
    client.connection.settle(tokens[0], 0, None);
    client.idle();
}

#[test]
fn a_refusal_gives_its_reason() {
    let mut client = Client::new(V5);
    let (token, _) = client.send(&publish(V5, 0x32, "t", 1, &[], b"")).published();
    client.connection.settle(token, 0x87, Some("not yours"));
    assert_eq!(client.output(), b"\x40\x10\0\x01\x87\x0C\x1F\0\x09not yours");
    // [MQTT-3.1.2-29]: a client that does not want to know is not told
    let mut client = Client::with(&connect(V5, 2, &[0x17, 0]));
    let (token, _) = client.send(&publish(V5, 0x32, "t", 1, &[], b"")).published();
    client.connection.settle(token, 0x87, Some("not yours"));
    assert_eq!(client.output(), [0x40, 3, 0, 1, 0x87]);
    // [MQTT-3.4.2-2]: nor one without room for it
    let mut client = Client::with(&connect(V5, 2, &[0x27, 0, 0, 0, 17]));
    let (token, _) = client.send(&publish(V5, 0x32, "t", 1, &[], b"")).published();
    client.connection.settle(token, 0x87, Some("not yours"));
    assert_eq!(client.output(), [0x40, 3, 0, 1, 0x87]);
}

/// [MQTT-3.3.5-2] of 3.1.1
#[test]
fn a_refusal_ends_an_mqtt_3_connection() {
    let mut client = Client::new(V311);
    let (token, _) = client.send(&publish(V311, 0x32, "t", 1, &[], b"")).published();
    client.connection.settle(token, 0x87, Some("not yours"));
    assert_eq!(client.closed(), CloseCause::PublishRefused { reason: 0x87 });
    client.idle();
}

/// [MQTT-4.3.3-8..12]
#[test]
fn qos_2_is_taken_once() {
    for level in [V311, V5] {
        let mut client = Client::new(level);
        let first = publish(level, 0x34, "t", 7, &[], b"");
        let again = publish(level, 0x3C, "t", 7, &[], b"");
        let (token, _) = client.send(&first).published();
        client.send(&again).idle();
        client.connection.settle(token, 0, None);
        assert_eq!(client.output(), [0x50, 2, 0, 7]);
        assert_eq!(client.send(&again).output(), [0x50, 2, 0, 7]);
        client.idle();
        assert_eq!(client.send(&[0x62, 2, 0, 7]).output(), [0x70, 2, 0, 7]);
        client.send(&first).published();
    }
}

#[test]
fn a_refused_qos_2_message_may_come_again() {
    let mut client = Client::new(V5);
    let (token, _) = client.send(&publish(V5, 0x34, "t", 7, &[], b"")).published();
    client.connection.settle(token, 0x97, None);
    assert_eq!(client.output(), [0x50, 3, 0, 7, 0x97]);
    client.send(&publish(V5, 0x34, "t", 7, &[], b"")).published();
}

#[test]
fn pubrel_without_publish() {
    assert_eq!(
        Client::new(V5).send(&[0x62, 2, 0, 9]).output(),
        [0x70, 3, 0, 9, 0x92]
    );
    assert_eq!(Client::new(V311).send(&[0x62, 2, 0, 9]).output(), [0x70, 2, 0, 9]);
}

/// [MQTT-3.3.4-7]
#[test]
fn mqtt_5_keeps_to_the_receive_maximum() {
    let mut client = Client::new(V5);
    for id in 1..=4 {
        client.send(&publish(V5, 0x34, "t", id, &[], b""));
        let (token, _) = client.published();
        client.connection.settle(token, 0, None);
    }
    // a completed one makes room
    client
        .send(&[0x62, 2, 0, 1])
        .send(&publish(V5, 0x32, "t", 5, &[], b""))
        .published();
    client.output();
    client.send(&publish(V5, 0x32, "t", 6, &[], b""));
    assert_eq!(
        client.closed(),
        CloseCause::ProtocolError(ProtocolError::ReceiveMaximumExceeded)
    );
    assert_eq!(client.output()[2], 0x93);
}

#[test]
fn mqtt_3_is_paused_instead() {
    let mut client = Client::new(V311);
    for id in 1..=4 {
        assert!(!client.connection.paused());
        client.send(&publish(V311, 0x32, "t", id, &[], b""));
    }
    assert!(client.connection.paused());
    // while we do not read, silence proves nothing
    client.wait(20);
    client.connection.timeout(client.now);
    let (token, _) = client.published();
    client.connection.settle(token, 0, None);
    assert!(!client.connection.paused());
    assert_eq!(client.output(), [0x40, 2, 0, 1]);
}

/// 3.3.2.3.4
#[test]
fn topic_aliases() {
    let mut client = Client::new(V5);
    let alias = |topic, alias: u8| publish(V5, 0x30, topic, 0, &[0x23, 0, alias], b"");
    assert_eq!(client.send(&alias("a", 3)).published().1.topic, "a");
    assert_eq!(client.send(&alias("", 3)).published().1.topic, "a");
    assert_eq!(client.send(&alias("b", 3)).published().1.topic, "b");
    assert_eq!(client.send(&alias("", 3)).published().1.topic, "b");
    client.send(&alias("", 2));
    assert!(matches!(
        client.closed(),
        CloseCause::ProtocolError(ProtocolError::Violation(_))
    ));
    assert_eq!(client.output()[2], 0x82);
}

#[test]
fn a_payload_that_is_not_what_it_claims() {
    let mut client = Client::with(&connect(V5, 2, &[0x17, 0]));
    client.send(&publish(V5, 0x32, "t", 1, &[1, 1], b"\xFF"));
    assert_eq!(client.output(), [0x40, 3, 0, 1, 0x99]);
    client.send(&publish(V5, 0x30, "t", 0, &[1, 1], b"\xFF"));
    assert_eq!(client.output()[2], 0x99);
}

#[test]
fn a_large_packet_in_pieces() {
    let mut client = Client::new(V5);
    let payload = vec![7; 100_000];
    let bytes = [publish(V5, 0x30, "t", 0, &[], b"").clone(), vec![0xC0, 0]].concat();
    client.send(&bytes);
    client.published();
    assert_eq!(client.output(), [0xD0, 0]);
    let mut body = vec![0, 1, b't', 0];
    body.extend_from_slice(&payload);
    let bytes = [crate::client::packet(0x30, &body), vec![0xC0, 0]].concat();
    for piece in bytes.chunks(997) {
        client.wait(1).send(piece);
    }
    assert_eq!(client.published().1.payload, payload);
    assert_eq!(client.output(), [0xD0, 0]);
}

#[test]
fn a_packet_above_the_limit_is_refused_by_its_header() {
    let mut client = Client::new(V5);
    client.send(&[0x30, 0xFF, 0xFF, 0x7F]);
    assert!(matches!(
        client.closed(),
        CloseCause::ProtocolError(ProtocolError::PacketTooLarge { .. })
    ));
    assert_eq!(client.output()[2], 0x95);
}
