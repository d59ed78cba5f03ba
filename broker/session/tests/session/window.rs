//! Flow control (4.9, 3.3.4): the Receive Maximum both ways, and what it does not hold up.

use irsp_session::{Action, QoS};

use crate::client::{Client, V5, V311, connect, packet, publish, string};

fn packets(bytes: &[u8]) -> Vec<u8> {
    let mut firsts = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        firsts.push(bytes[at]);
        at += 2 + usize::from(bytes[at + 1]);
    }
    firsts
}

/// [MQTT-3.3.4-9, 4.9.0-1, 4.9.0-2]: PUBACK, PUBCOMP and a PUBREC that refuses make room; a PUBREC that does not, no.
#[test]
fn what_makes_room_in_the_window() {
    let mut client = Client::with(&connect(V5, 2, &[0x21, 0, 1]));
    client.deliver("a", QoS::ExactlyOnce, 1);
    client.deliver("b", QoS::ExactlyOnce, 2);
    client.deliver("c", QoS::AtLeastOnce, 3);
    client.deliver("d", QoS::AtLeastOnce, 4);
    assert_eq!(packets(&client.output()), [0x34]);
    assert_eq!(packets(client.send(&[0x50, 2, 0, 1]).output().as_slice()), [0x62]);
    assert_eq!(packets(client.send(&[0x70, 2, 0, 1]).output().as_slice()), [0x34]);
    assert_eq!(
        packets(client.send(&[0x50, 3, 0, 2, 0x83]).output().as_slice()),
        [0x32]
    );
    assert_eq!(packets(client.send(&[0x40, 2, 0, 3]).output().as_slice()), [0x32]);
    assert_eq!(client.send(&[0x40, 2, 0, 4]).output(), b"");
    for expected in 1..=4 {
        let action = client.action();
        assert!(
            matches!(action, Action::Delivered { tag, .. } if tag == expected),
            "{action:?}"
        );
    }
}

/// [MQTT-3.3.4-10, 4.9.0-3]: only PUBLISH waits.
#[test]
fn a_full_window_holds_up_nothing_else() {
    let mut client = Client::with(&connect(V5, 2, &[0x21, 0, 1]));
    client.deliver("a", QoS::AtLeastOnce, 1);
    client.deliver("b", QoS::AtLeastOnce, 2);
    client.output();
    assert_eq!(client.send(&[0xC0, 0]).output(), [0xD0, 0]);
    for (first, answer) in [(0x32, 0x40), (0x34, 0x50)] {
        let (token, _) = client.send(&publish(V5, first, "t", 9, &[], b"")).published();
        client.connection.settle(token, 0, None);
        assert_eq!(client.output(), [answer, 2, 0, 9]);
    }
    assert_eq!(client.send(&[0x62, 2, 0, 9]).output(), [0x70, 2, 0, 9]);
    client.send(&packet(0x82, &[&[0, 3, 0][..], &string("a"), &[1]].concat()));
    let Action::Subscribe { token, .. } = client.action() else {
        panic!("no subscribe")
    };
    client.connection.subscribed(token, &[1], None);
    assert_eq!(client.output(), [0x90, 4, 0, 3, 0, 1]);
    client.deliver("z", QoS::AtMostOnce, 3);
    assert_eq!(client.output()[0], 0x30);
}

/// [MQTT-3.3.4-7]: what was told in CONNACK is what is allowed, QoS 0 not counted.
#[test]
fn the_receive_maximum_counts_what_is_not_acknowledged() {
    let mut client = Client::new(V5);
    for id in 1..=4 {
        client
            .send(&publish(V5, 0x30, "t", 0, &[], b""))
            .send(&publish(V5, 0x32, "t", id, &[], b""));
    }
    assert!(!client.connection.is_closed());
    client.send(&publish(V5, 0x30, "t", 0, &[], b""));
    assert!(!client.connection.is_closed());
    client.send(&publish(V5, 0x34, "t", 5, &[], b""));
    assert!(client.connection.is_closed());
    let output = client.output();
    assert_eq!((output[0], output[2]), (0xE0, 0x93));
}

/// [MQTT-2.2.1-4, 4.3.2-1, 4.3.3-1; 3.1.1: MQTT-2.3.1-4]
#[test]
fn identifiers_in_flight_differ() {
    for level in [V311, V5] {
        let mut client = Client::new(level);
        let mut ids = std::collections::HashSet::new();
        for tag in 0..3 {
            let qos = if tag == 1 {
                QoS::AtLeastOnce
            } else {
                QoS::ExactlyOnce
            };
            client.deliver("a", qos, tag);
            let output = client.output();
            let id = u16::from_be_bytes([output[5], output[6]]);
            assert!(id != 0 && ids.insert(id), "{id}");
        }
    }
}

/// [MQTT-2.2.1-2; 3.1.1: MQTT-2.3.1-5]: at QoS 0 the payload begins where an identifier would stand.
#[test]
fn qos_0_has_no_identifier() {
    for level in [V311, V5] {
        let mut client = Client::new(level);
        client.send(&publish(level, 0x30, "t", 0, &[], b"\0\x07rest"));
        assert_eq!(&*client.published().1.payload, b"\0\x07rest");
        client.deliver("t", QoS::AtMostOnce, 1);
        let properties = usize::from(level == V5);
        assert_eq!(client.output().len(), 2 + 3 + properties + 1);
    }
}
