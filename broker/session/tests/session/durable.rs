//! Sessions that outlive the server: identifiers that need not be written down, and answers that wait for the disk.

use std::time::Instant;

use irsp_session::{Action, QoS, Session};

use crate::client::{Client, V311, connect, delivery, publish};

fn durable() -> Client {
    let mut client = Client::resume(&connect(V311, 0, &[]), Session::durable(), false, Instant::now());
    client.output();
    client
}

/// Odd tags are packet identifiers; whatever else is sent never takes one of theirs.
#[test]
fn a_stored_delivery_has_the_identifier_of_its_tag() {
    let mut client = durable();
    let mut id = |tag| {
        client.deliver("a", QoS::AtLeastOnce, tag);
        let output = client.output();
        u16::from_be_bytes([output[5], output[6]])
    };
    assert_eq!(id(7), 7);
    assert_eq!(id(8), 2, "not stored: the next even one");
    assert_eq!(id(0x1_0007), 4, "its own is in use");
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
