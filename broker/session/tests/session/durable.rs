//! Sessions that outlive the server: identifiers that need not be written down, and answers that wait for the disk.

use std::time::Instant;

use irsp_session::{Action, Delivery, QoS, Session};

use crate::client::{Client, V311, connect, delivery, publish};

fn durable() -> Client {
    let mut client = Client::resume(&connect(V311, 0, &[]), Session::durable(), false, Instant::now());
    client.output();
    client
}

/// Tags are packet identifiers; whatever has none never takes an odd one, which may be a stored delivery's.
#[test]
fn a_delivery_has_the_identifier_of_its_tag() {
    let mut client = durable();
    let mut id = |tag| {
        let delivery = Delivery {
            tag,
            ..delivery("a", QoS::AtLeastOnce, 0)
        };
        client.connection.deliver(&delivery, client.now);
        let output = client.output();
        let id = u16::from_be_bytes([output[5], output[6]]);
        client.send(&[0x40, 2, output[5], output[6]]);
        id
    };
    assert_eq!((id(Some(7)), id(Some(0x3_0008))), (7, 8));
    assert_eq!(id(None), 2, "the next even one");
    assert_eq!(id(Some(0x1_0000)), 4, "0 is none");
    client.deliver("a", QoS::AtLeastOnce, 7);
    client.output();
    client.deliver("a", QoS::AtLeastOnce, 0x1_0007);
    assert_eq!(client.output()[5..7], [0, 6], "its own is in use");
}

/// [MQTT-3.3.1-1, 4.4.0-1]: the caller knows in its own way that the client may have had it before the restart.
#[test]
fn what_may_have_come_before_comes_with_dup_and_at_qos_0_without() {
    let mut client = durable();
    let again = |qos| Delivery {
        dup: true,
        ..delivery("a", qos, 8)
    };
    client.connection.deliver(&again(QoS::AtLeastOnce), client.now);
    assert_eq!(client.output(), b"\x3A\x06\0\x01a\0\x08x");
    client.connection.deliver(&again(QoS::AtMostOnce), client.now);
    assert_eq!(client.output(), b"\x30\x04\0\x01ax", "[MQTT-3.3.1-2]");
}

/// [MQTT-4.3.3-4]: PUBREL says that the server has forgotten the message, so that has to be true first.
#[test]
fn pubrel_waits_until_pubrec_is_stored() {
    let mut client = durable();
    client.deliver("a", QoS::ExactlyOnce, 3);
    client.output();
    client.send(&[0x50, 2, 0, 3]);
    assert!(matches!(
        client.action(),
        Action::Received { packet_id: 3, tag: 3 }
    ));
    assert_eq!(client.output(), b"");
    // a repeated PUBREC changes nothing
    client.send(&[0x50, 2, 0, 3]).idle();
    client.connection.release(3);
    assert_eq!(client.output(), [0x62, 2, 0, 3]);
    client.send(&[0x70, 2, 0, 3]);
    assert!(matches!(client.action(), Action::Delivered { tag: 3, reason: 0 }));
    client.idle();
}

/// A connection that ends before the answer of the disk: the next one asks again.
#[test]
fn what_was_received_but_not_stored_is_asked_again() {
    let mut client = durable();
    client.deliver("a", QoS::ExactlyOnce, 3);
    client.send(&[0x50, 2, 0, 3]);
    let (now, session) = (client.now, client.connection.into_session());
    let mut client = Client::resume(&connect(V311, 0, &[]), session, true, now);
    assert!(matches!(
        client.action(),
        Action::Received { packet_id: 3, tag: 3 }
    ));
    client.output();
    client.connection.release(3);
    assert_eq!(client.output(), [0x62, 2, 0, 3]);
}

/// [MQTT-4.3.3-10, 4.3.3-11]: the identifier is taken until the disk has forgotten it.
#[test]
fn pubcomp_waits_until_pubrel_is_stored() {
    let mut client = durable();
    let (token, _) = client.send(&publish(V311, 0x34, "t", 7, &[], b"")).published();
    assert_eq!(client.connection.packet_id_qos_2(token), Some(7));
    client.connection.settle(token, 0, None);
    assert_eq!(client.connection.packet_id_qos_2(token), None);
    assert_eq!(client.output(), [0x50, 2, 0, 7]);
    client.send(&[0x62, 2, 0, 7]);
    assert!(matches!(client.action(), Action::Released { packet_id: 7 }));
    assert_eq!(client.output(), b"");
    client.send(&publish(V311, 0x3C, "t", 7, &[], b""));
    assert_eq!(client.output(), [0x50, 2, 0, 7], "still a repeat");
    client.connection.complete(7);
    assert_eq!(client.output(), [0x70, 2, 0, 7]);
    // PUBREL for what nothing is known of is answered at once
    client.send(&[0x62, 2, 0, 7]);
    assert_eq!(client.output(), [0x70, 2, 0, 7]);
    client.idle();
}

/// [MQTT-4.4.0-1, 3.3.1-1]: after a restart what may have been sent comes with DUP and its old identifier, PUBREL for
/// what was received, then what waits.
#[test]
fn a_restored_session_goes_on_where_it_was() {
    let mut session = Session::durable();
    session.restore_sent(3, delivery("a", QoS::AtLeastOnce, 3));
    session.restore_released(5);
    session.restore_queued(delivery("b", QoS::AtLeastOnce, 7));
    session.restore_received(9);
    let mut client = Client::resume(&connect(V311, 0, &[]), session, true, Instant::now());
    assert_eq!(
        client.output()[4..],
        *b"\x62\x02\0\x05\x3A\x06\0\x01a\0\x03x\x32\x06\0\x01b\0\x07x"
    );
    client.send(&publish(V311, 0x3C, "t", 9, &[], b""));
    assert_eq!(client.output(), [0x50, 2, 0, 9], "taken before the restart");
}
