//! What is sent again, and what is not (3.3.1.1, 4.3, 4.4).

use std::sync::Arc;
use std::time::Duration;

use irsp_session::{Action, CloseCause, Delivery, ProtocolError, Publish, QoS};

use crate::client::{Client, V5, V311, connect, delivery, publish};

/// [MQTT-3.3.1-3]: the DUP of a publisher is its own affair.
#[test]
fn dup_is_not_passed_on() {
    for level in [V311, V5] {
        for (first, qos) in [(0x3A, 0x32), (0x3C, 0x34)] {
            let mut client = Client::new(level);
            client.send(&publish(level, first, "t", 7, &[], b"x"));
            let (token, message) = client.published();
            client.connection.settle(token, 0, None);
            client.output();
            let onward = Delivery {
                qos: message.qos,
                publish: Arc::new(message),
                ..delivery("t", QoS::AtMostOnce, 1)
            };
            client.connection.deliver(&onward, client.now);
            assert_eq!(client.output()[0], qos);
        }
    }
}

/// [MQTT-4.3.1-1, 4.3.2-2, 4.3.3-2, 3.3.1-2]
#[test]
fn the_first_time_has_no_dup() {
    for level in [V311, V5] {
        let mut client = Client::new(level);
        for (qos, first) in [
            (QoS::AtMostOnce, 0x30),
            (QoS::AtLeastOnce, 0x32),
            (QoS::ExactlyOnce, 0x34),
        ] {
            client.deliver("t", qos, 1);
            assert_eq!(client.output()[0], first);
        }
    }
}

/// [MQTT-4.3.2-5]: after PUBACK the identifier is free, whatever DUP says.
#[test]
fn after_puback_the_same_identifier_is_a_new_message() {
    for level in [V311, V5] {
        let mut client = Client::new(level);
        for first in [0x32, 0x3A, 0x32] {
            let (token, _) = client.send(&publish(level, first, "t", 1, &[], b"")).published();
            client.connection.settle(token, 0, None);
            assert_eq!(client.output(), [0x40, 2, 0, 1]);
        }
        client.idle();
    }
}

/// [MQTT-4.3.3-12]: after PUBCOMP likewise.
#[test]
fn after_pubcomp_the_same_identifier_is_a_new_message() {
    for level in [V311, V5] {
        let mut client = Client::new(level);
        for first in [0x34, 0x3C, 0x34] {
            let (token, _) = client.send(&publish(level, first, "t", 1, &[], b"")).published();
            client.connection.settle(token, 0, None);
            assert_eq!(client.output(), [0x50, 2, 0, 1]);
            assert_eq!(client.send(&[0x62, 2, 0, 1]).output(), [0x70, 2, 0, 1]);
        }
        client.idle();
    }
}

/// 2.2.1 of 5.0: told by a code of its own, in its turn; the exchange goes on.
#[test]
fn an_identifier_of_an_open_exchange_is_refused() {
    let without_words = connect(V5, 2, &[0x17, 0]);
    let mut client = Client::with(&without_words);
    let (two, _) = client.send(&publish(V5, 0x34, "t", 7, &[], b"")).published();
    client.send(&publish(V5, 0x32, "t", 7, &[], b"")).idle();
    client.connection.settle(two, 0, None);
    assert_eq!(client.output(), [0x50, 2, 0, 7, 0x40, 3, 0, 7, 0x91]);
    client.send(&publish(V5, 0x32, "t", 7, &[], b""));
    assert_eq!(client.output(), [0x40, 3, 0, 7, 0x91], "until PUBREL");
    assert_eq!(client.send(&[0x62, 2, 0, 7]).output(), [0x70, 2, 0, 7]);
    let (one, _) = client.send(&publish(V5, 0x32, "t", 7, &[], b"")).published();
    client.send(&publish(V5, 0x34, "t", 7, &[], b"")).idle();
    client.connection.settle(one, 0, None);
    assert_eq!(client.output(), [0x40, 2, 0, 7, 0x50, 3, 0, 7, 0x91]);
    client.send(&publish(V5, 0x34, "t", 7, &[], b"")).published();
}

/// [MQTT-4.8.0-1 of 3.1.1]: a violation, but only once for a client that has lost its state.
#[test]
fn an_identifier_of_an_open_exchange_ends_the_connection_of_mqtt_3() {
    let mut client = Client::new(V311);
    let (token, _) = client.send(&publish(V311, 0x34, "t", 7, &[], b"")).published();
    client.connection.settle(token, 0, None);
    client.output();
    client.send(&publish(V311, 0x32, "t", 7, &[], b""));
    assert!(matches!(
        client.closed(),
        CloseCause::ProtocolError(ProtocolError::Violation(_))
    ));
    let (now, session) = (client.now, client.connection.into_session());
    let mut client = Client::resume(&connect(V311, 0, &[]), session, true, now);
    client.send(&publish(V311, 0x3A, "t", 7, &[], b"")).published();
}

/// A message at QoS 1 that is repeated while it waits is another: MQTT 3 clients may do that.
#[test]
fn at_qos_1_a_repeat_that_comes_early_is_taken() {
    for level in [V311, V5] {
        let mut client = Client::new(level);
        client.send(&publish(level, 0x32, "t", 7, &[], b"")).published();
        client.send(&publish(level, 0x3A, "t", 7, &[], b"")).published();
        client.send(&publish(level, 0x34, "t", 8, &[], b"")).published();
        client.send(&publish(level, 0x3A, "t", 7, &[], b"")).published();
    }
}

/// [MQTT-4.4.0-1]: only a new connection makes the server repeat itself.
#[test]
fn nothing_is_sent_again_while_the_connection_lasts() {
    for level in [V311, V5] {
        let mut client = Client::new(level);
        client.deliver("t", QoS::AtLeastOnce, 1);
        client.deliver("t", QoS::ExactlyOnce, 2);
        client.output();
        for _ in 0..50 {
            client.wait(9).send(&[0xC0, 0]);
            client.connection.timeout(client.now);
            assert_eq!(client.output(), [0xD0, 0]);
        }
        client.idle();
        assert_eq!(client.connection.session().pending(), 2);
    }
}

/// [MQTT-4.4.0-2]: what the client refused has ended.
#[test]
fn what_the_client_refused_does_not_come_again() {
    let mut client = Client::new(V5);
    client.deliver("a", QoS::AtLeastOnce, 1);
    client.deliver("b", QoS::ExactlyOnce, 2);
    client.send(&[0x40, 3, 0, 1, 0x80]).send(&[0x50, 3, 0, 2, 0x97]);
    let (now, session) = (client.now, client.connection.into_session());
    let mut client = Client::resume(&connect(V5, 0, &[]), session, true, now);
    assert_eq!(client.output()[0], 0x20);
    client.idle();
}

/// [MQTT-4.3.3-6]: once PUBREL is sent, PUBLISH is not, however often the client comes back.
#[test]
fn after_pubrel_only_pubrel_is_sent_again() {
    for level in [V311, V5] {
        let mut client = Client::new(level);
        client.deliver("t", QoS::ExactlyOnce, 1);
        client.send(&[0x50, 2, 0, 1]).output();
        for _ in 0..3 {
            let (now, session) = (client.now, client.connection.into_session());
            client = Client::resume(&connect(level, 0, &[]), session, true, now);
            let output = client.output();
            let behind = 2 + usize::from(output[1]);
            assert_eq!(output[behind..], [0x62, 2, 0, 1]);
        }
        client.send(&[0x70, 2, 0, 1]);
        assert!(matches!(client.action(), Action::Delivered { tag: 1, reason: 0 }));
        assert!(client.connection.session().is_empty());
    }
}

fn brief(client: &Client, qos: QoS) -> Delivery {
    let publish = Publish {
        expires: Some(client.now + Duration::from_secs(5)),
        ..Publish::new("t", &b"x"[..], qos)
    };
    Delivery {
        publish: Arc::new(publish),
        qos,
        ..delivery("t", qos, 1)
    }
}

/// [MQTT-4.3.3-7]: what has been sent does not expire any more, at QoS 1 neither.
#[test]
fn a_delivery_that_was_sent_does_not_expire() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut client = Client::new(V5);
        client.connection.deliver(&brief(&client, qos), client.now);
        assert!(!client.output().is_empty());
        client.wait(60);
        let (now, session) = (client.now, client.connection.into_session());
        let mut client = Client::resume(&connect(V5, 0, &[]), session, true, now);
        let output = client.output();
        let behind = 2 + usize::from(output[1]);
        let first = 0x38 | (qos as u8) << 1;
        // with the last second of its interval
        assert_eq!(
            output[behind..],
            [first, 12, 0, 1, b't', 0, 1, 5, 2, 0, 0, 0, 1, b'x']
        );
    }
}

/// [MQTT-4.3.3-13]: the exchange of a publisher goes on though its message has expired.
#[test]
fn an_expired_qos_2_publish_is_still_ended_in_order() {
    let mut client = Client::new(V5);
    let (token, message) = client
        .send(&publish(V5, 0x34, "t", 7, &[2, 0, 0, 0, 1], b""))
        .published();
    client.wait(5);
    assert!(message.is_expired(client.now));
    client.connection.settle(token, 0, None);
    assert_eq!(client.output(), [0x50, 2, 0, 7]);
    assert_eq!(client.send(&[0x62, 2, 0, 7]).output(), [0x70, 2, 0, 7]);
    client.idle();
}
