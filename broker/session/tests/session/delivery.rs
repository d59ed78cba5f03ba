//! Deliveries to a client (3.3, 4.3, 4.9).

use std::sync::Arc;
use std::time::Duration;

use irsp_session::{
    Action, CloseCause, Delivery, DropCause, ProtocolError, Publish, PublishProperties, QoS, SubscriptionIds,
};

use crate::client::{Client, V5, V311, connect, delivery};

fn delivered(action: Action) -> (u64, u8) {
    let Action::Delivered { tag, reason } = action else {
        panic!("not delivered: {action:?}")
    };
    (tag, reason)
}

fn dropped(action: Action) -> (Option<u64>, DropCause) {
    let Action::Dropped { tag, cause } = action else {
        panic!("not dropped: {action:?}")
    };
    (tag, cause)
}

#[test]
fn golden_bytes() {
    for (level, properties) in [(V311, &[][..]), (V5, &[0])] {
        let mut client = Client::new(level);
        client.deliver("a", QoS::AtMostOnce, 1);
        let length = 4 + properties.len() as u8;
        assert_eq!(
            client.output(),
            [&[0x30, length, 0, 1, b'a'], properties, b"x"].concat()
        );
        client.deliver("a", QoS::AtLeastOnce, 1);
        assert_eq!(
            client.output(),
            [&[0x32, length + 2, 0, 1, b'a', 0, 1], properties, b"x"].concat()
        );
        client.deliver("a", QoS::ExactlyOnce, 1);
        assert_eq!(
            client.output(),
            [&[0x34, length + 2, 0, 1, b'a', 0, 2], properties, b"x"].concat()
        );
        client.idle();
    }
}

#[test]
fn all_properties_are_passed_on() {
    let properties = PublishProperties {
        payload_utf8: Some(false),
        content_type: Some("c".into()),
        response_topic: Some("r".into()),
        correlation_data: Some((&b"d"[..]).into()),
        user_properties: vec![("b".into(), "2".into()), ("a".into(), "1".into())],
    };
    let mut client = Client::new(V5);
    let mut subscription_ids = SubscriptionIds::None;
    [1, 200].into_iter().for_each(|id| subscription_ids.push(id));
    let publish = Publish {
        expires: Some(client.now + Duration::from_millis(9500)),
        properties: Some(Box::new(properties)),
        ..Publish::new("t", &b"x"[..], QoS::AtMostOnce)
    };
    let delivery = Delivery {
        publish: Arc::new(publish),
        qos: QoS::AtMostOnce,
        retain: true,
        subscription_ids,
        tag: None,
        dup: false,
    };
    client.connection.deliver(&delivery, client.now);
    let expected = [
        &b"\x31\x2B\0\x01t\x26\x02\0\0\0\x0A\x0B\x01\x0B\xC8\x01\x01\0\x03\0\x01c\x08\0\x01r\x09\0\x01d"[..],
        b"\x26\0\x01b\0\x012\x26\0\x01a\0\x011x",
    ]
    .concat();
    assert_eq!(client.output(), expected);
    // [MQTT-3.3.2-6]
    client.wait(2);
    client.connection.deliver(&delivery, client.now);
    assert_eq!(client.output()[10], 8);
    // [MQTT-3.3.2-5]
    client.wait(8);
    client.connection.deliver(&delivery, client.now);
    assert_eq!(dropped(client.action()), (None, DropCause::Expired));
    client.idle();
}

/// [MQTT-4.3.2-1..3, 4.3.3-1..7]
#[test]
fn acknowledged() {
    for level in [V311, V5] {
        let mut client = Client::new(level);
        client.deliver("a", QoS::AtLeastOnce, 11);
        client.deliver("a", QoS::ExactlyOnce, 22);
        client.output();
        client.send(&[0x40, 2, 0, 1]);
        assert_eq!(delivered(client.action()), (11, 0));
        assert_eq!(client.send(&[0x50, 2, 0, 2]).output(), [0x62, 2, 0, 2]);
        // PUBREC again, PUBREL again
        assert_eq!(client.send(&[0x50, 2, 0, 2]).output(), [0x62, 2, 0, 2]);
        client.idle();
        client.send(&[0x70, 2, 0, 2]);
        assert_eq!(delivered(client.action()), (22, 0));
        client.idle();
        assert!(client.connection.session().is_empty());
    }
}

#[test]
fn refused_by_the_client() {
    let mut client = Client::new(V5);
    client.deliver("a", QoS::AtLeastOnce, 11);
    client.deliver("a", QoS::ExactlyOnce, 22);
    client.output();
    client.send(&[0x40, 3, 0, 1, 0x97]).send(&[0x50, 3, 0, 2, 0x83]);
    assert_eq!(delivered(client.action()), (11, 0x97));
    assert_eq!(delivered(client.action()), (22, 0x83));
    client.idle();
}

#[test]
fn acknowledgements_nobody_waits_for() {
    let mut client = Client::new(V5);
    client.send(&[0x40, 2, 0, 9]).send(&[0x70, 2, 0, 9]).idle();
    assert_eq!(client.send(&[0x50, 2, 0, 9]).output(), [0x62, 3, 0, 9, 0x92]);
    for (qos, wrong) in [
        (QoS::ExactlyOnce, 0x40),
        (QoS::AtLeastOnce, 0x50),
        (QoS::AtLeastOnce, 0x70),
    ] {
        let mut client = Client::new(V5);
        client.deliver("a", qos, 1);
        client.output();
        client.send(&[wrong, 2, 0, 1]);
        assert!(matches!(
            client.closed(),
            CloseCause::ProtocolError(ProtocolError::Violation(_))
        ));
    }
}

/// [MQTT-3.3.4-9], order kept [MQTT-4.6.0-1]
#[test]
fn the_window_and_the_queue_behind_it() {
    let mut client = Client::with(&connect(V5, 2, &[0x21, 0, 2]));
    for tag in 1..=8 {
        assert_eq!(client.connection.window_open(), tag <= 2);
        client.deliver("a", QoS::AtLeastOnce, tag);
    }
    assert_eq!(client.connection.queue_room(), 0);
    assert_eq!(dropped(client.action()), (Some(8), DropCause::QueueFull));
    assert_eq!(client.output().len(), 2 * 9);
    // QoS 0 needs no window
    client.deliver("z", QoS::AtMostOnce, 0);
    assert_eq!(client.output().len(), 7);
    for id in 1..=7u8 {
        client.send(&[0x40, 2, 0, id]);
        assert_eq!(delivered(client.action()).0, u64::from(id));
        let next = client.output();
        assert_eq!(next.is_empty(), id > 5);
        if let Some(&packet_id) = next.get(6) {
            assert_eq!(packet_id, id + 2);
        }
    }
    assert!(client.connection.window_open());
}

#[test]
fn a_queued_message_may_expire() {
    let mut client = Client::with(&connect(V5, 2, &[0x21, 0, 1]));
    client.deliver("a", QoS::AtLeastOnce, 1);
    let publish = Publish {
        expires: Some(client.now + Duration::from_secs(1)),
        ..Publish::new("a", &b"x"[..], QoS::AtLeastOnce)
    };
    let brief = Delivery {
        publish: Arc::new(publish),
        ..delivery("a", QoS::AtLeastOnce, 2)
    };
    client.connection.deliver(&brief, client.now);
    client.deliver("a", QoS::AtLeastOnce, 3);
    client.output();
    client.wait(1).send(&[0x40, 2, 0, 1]);
    assert_eq!(delivered(client.action()), (1, 0));
    assert_eq!(dropped(client.action()), (Some(2), DropCause::Expired));
    assert_eq!(client.output()[6], 2);
}

/// [MQTT-3.1.2-24, 3.1.2-25]
#[test]
fn too_large_for_the_client() {
    let mut client = Client::with(&connect(V5, 2, &[0x27, 0, 0, 0, 20]));
    let publish = |length| Arc::new(Publish::new("a", vec![0; length], QoS::AtLeastOnce));
    client.connection.deliver(
        &Delivery {
            publish: publish(13),
            ..delivery("a", QoS::AtLeastOnce, 1)
        },
        client.now,
    );
    assert_eq!(dropped(client.action()), (Some(1), DropCause::TooLarge));
    client.connection.deliver(
        &Delivery {
            publish: publish(12),
            ..delivery("a", QoS::AtLeastOnce, 2)
        },
        client.now,
    );
    assert_eq!(client.output().len(), 20);
}

/// [MQTT-3.3.2-10..12], no more aliases than the client allows
#[test]
fn outgoing_topic_aliases() {
    let mut client = Client::with(&connect(V5, 2, &[0x22, 0, 1]));
    client.deliver("a", QoS::AtMostOnce, 0);
    assert_eq!(client.output(), b"\x30\x08\0\x01a\x03\x23\0\x01x");
    client.deliver("a", QoS::AtMostOnce, 0);
    assert_eq!(client.output(), b"\x30\x07\0\0\x03\x23\0\x01x");
    client.deliver("b", QoS::AtMostOnce, 0);
    assert_eq!(client.output(), b"\x30\x05\0\x01b\0x");
}

#[test]
fn after_the_end_deliveries_wait_in_the_session() {
    let mut client = Client::new(V311);
    client.send(&[0xE0, 0]).closed();
    client.deliver("a", QoS::AtLeastOnce, 1);
    client.deliver("a", QoS::AtMostOnce, 2);
    assert_eq!(dropped(client.action()), (Some(2), DropCause::NotConnected));
    client.idle();
    let mut session = client.connection.into_session();
    assert_eq!(session.pending(), 1);
    assert_eq!(session.retain_queued(|delivery| delivery.tag != Some(1)), 1);
    assert!(session.is_empty());
}

/// What one idle connection and one offline session cost.
#[test]
fn sizes() {
    let connection = size_of::<irsp_session::Connection>();
    let session = size_of::<irsp_session::Session>();
    println!(
        "Connection {connection}, Session {session}, Action {}",
        size_of::<Action>()
    );
    assert!(connection < 400 && session <= 100, "{connection} {session}");
}
