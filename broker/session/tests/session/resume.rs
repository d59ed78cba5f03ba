//! What a session carries from one connection to the next (4.1, 4.4).

use std::time::Instant;

use irsp_session::{Action, DropCause, QoS, Session};

use crate::client::{Client, V5, V311, connect, delivery, publish};

/// [MQTT-4.4.0-1, 3.3.1-1, 4.6.0-1]: with DUP, the same identifiers, in order; PUBREL for what was received.
#[test]
fn unacknowledged_deliveries_are_sent_again() {
    for (level, connack) in [(V311, 4), (V5, 16)] {
        let mut client = Client::new(level);
        client.deliver("a", QoS::AtLeastOnce, 1);
        client.deliver("b", QoS::ExactlyOnce, 2);
        client.deliver("c", QoS::ExactlyOnce, 3);
        client.deliver("d", QoS::AtLeastOnce, 4);
        client.send(&[0x50, 2, 0, 2]);
        let now = client.now;
        let session = client.connection.into_session();
        assert_eq!(session.pending(), 4);

        let mut client = Client::resume(&connect(level, 0, &[]), session, true, now);
        let output = client.output();
        let properties = if level == V5 { &[0][..] } else { &[] };
        let length = 6 + properties.len() as u8;
        let expected = [
            &[0x62, 2, 0, 2][..],
            &[0x3A, length, 0, 1, b'a', 0, 1],
            properties,
            b"x",
            &[0x3C, length, 0, 1, b'c', 0, 3],
            properties,
            b"x",
        ]
        .concat();
        assert_eq!(output[connack..], expected);
        // the window is full; the queue goes on when there is room, without DUP
        client.send(&[0x40, 2, 0, 1]);
        assert!(matches!(client.action(), Action::Delivered { tag: 1, .. }));
        assert_eq!(client.output()[..2], [0x32, length]);
    }
}

/// What the caller knows to be over is not sent again; the rest is, and no identifier in use is given twice.
#[test]
fn what_was_answered_in_another_way_is_not_sent_again() {
    let mut client = Client::new(V311);
    client.deliver("a", QoS::AtLeastOnce, 1);
    client.deliver("b", QoS::AtLeastOnce, 2);
    client.deliver("c", QoS::ExactlyOnce, 3);
    client.send(&[0x50, 2, 0, 3]);
    let (now, mut session) = (client.now, client.connection.into_session());
    assert_eq!(session.retain_sent(|delivery| delivery.tag == Some(2)), 1);
    let mut client = Client::resume(&connect(V311, 0, &[]), session, true, now);
    assert_eq!(client.output()[4..], *b"\x62\x02\0\x03\x3A\x06\0\x01b\0\x02x");
    client.deliver("d", QoS::AtLeastOnce, 4);
    assert_eq!(client.output()[5..7], [0, 4]);
}

/// 4.9: the window belongs to the connection, and a smaller one is kept to.
#[test]
fn a_smaller_window_resends_step_by_step() {
    let mut client = Client::new(V5);
    for tag in 1..=3 {
        client.deliver("a", QoS::AtLeastOnce, tag);
    }
    let (now, session) = (client.now, client.connection.into_session());
    let mut client = Client::resume(&connect(V5, 0, &[0x21, 0, 1]), session, true, now);
    for id in 1..=3u8 {
        let output = client.output();
        assert_eq!(output[output.len() - 9..], [0x3A, 7, 0, 1, b'a', 0, id, 0, b'x']);
        client.send(&[0x40, 2, 0, id]);
        assert!(matches!(client.action(), Action::Delivered { .. }));
    }
    client.idle();
}

/// [MQTT-4.3.3-10] across connections
#[test]
fn a_qos_2_publish_is_taken_once_across_connections() {
    let mut client = Client::new(V5);
    let (token, _) = client.send(&publish(V5, 0x34, "t", 7, &[], b"")).published();
    // the connection breaks before the caller has stored the message
    client.connection.disconnect(0x8E, None);
    client.output();
    assert_eq!(client.connection.unsettled(), 1);
    client.connection.settle(token, 0, None);
    assert_eq!(client.output(), b"");
    let (now, session) = (client.now, client.connection.into_session());
    let mut client = Client::resume(&connect(V5, 0, &[]), session, true, now);
    client.output();
    assert_eq!(
        client.send(&publish(V5, 0x3C, "t", 7, &[], b"")).output(),
        [0x50, 2, 0, 7]
    );
    client.idle();
    assert_eq!(client.send(&[0x62, 2, 0, 7]).output(), [0x70, 2, 0, 7]);
}

#[test]
fn messages_for_an_offline_client() {
    let mut session = Session::new();
    assert_eq!(
        session.enqueue(&delivery("a", QoS::AtMostOnce, 1), 2),
        Err(DropCause::NotConnected)
    );
    assert_eq!(session.enqueue(&delivery("a", QoS::AtLeastOnce, 2), 2), Ok(()));
    assert_eq!(session.enqueue(&delivery("a", QoS::ExactlyOnce, 3), 2), Ok(()));
    assert_eq!(
        session.enqueue(&delivery("a", QoS::AtLeastOnce, 4), 2),
        Err(DropCause::QueueFull)
    );
    let tags: Vec<_> = session.deliveries().map(|delivery| delivery.tag).collect();
    assert_eq!(tags, [Some(2), Some(3)]);
    let mut client = Client::resume(&connect(V311, 0, &[]), session, true, Instant::now());
    assert_eq!(
        client.output()[4..],
        *b"\x32\x06\0\x01a\0\x01x\x34\x06\0\x01a\0\x02x"
    );
}

/// An identifier in use is not given again [MQTT-2.2.1-3].
#[test]
fn packet_identifiers_wrap_around_those_in_use() {
    let mut client = Client::new(V311);
    client.deliver("a", QoS::AtLeastOnce, 0);
    client.output();
    for _ in 0..65_534 {
        client.deliver("b", QoS::AtLeastOnce, 1);
        let output = client.output();
        client.send(&[0x40, 2, output[5], output[6]]);
        client.action();
    }
    client.deliver("c", QoS::AtLeastOnce, 2);
    assert_eq!(client.output()[5..7], [0, 2]);
}
