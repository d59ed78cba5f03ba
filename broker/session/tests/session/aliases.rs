//! Topic aliases (3.3.2.3.4): as many as were announced, for one connection, never a reason to lose a message.

use irsp_session::{Action, DropCause, QoS};

use crate::client::{Client, V5, V311, connect, publish};

/// [MQTT-3.3.2-12]: every alias up to the maximum told in CONNACK is taken.
#[test]
fn every_announced_alias_is_taken() {
    let mut client = Client::new(V5);
    for alias in 1..=3u8 {
        let topic = ["x", "y", "z"][usize::from(alias) - 1];
        for name in [topic, "", ""] {
            client.send(&publish(V5, 0x30, name, 0, &[0x23, 0, alias], b""));
            assert_eq!(client.published().1.topic, topic);
        }
    }
}

/// [MQTT-3.3.2-7], both ways.
#[test]
fn a_new_connection_knows_no_alias() {
    let mut client = Client::with(&connect(V5, 2, &[0x22, 0, 9]));
    client
        .send(&publish(V5, 0x30, "t", 0, &[0x23, 0, 1], b""))
        .published();
    client.deliver("a", QoS::AtMostOnce, 1);
    client.deliver("a", QoS::AtMostOnce, 2);
    client.output();
    let (now, session) = (client.now, client.connection.into_session());
    let mut client = Client::resume(&connect(V5, 0, &[0x22, 0, 9]), session, true, now);
    client.output();
    client.deliver("a", QoS::AtMostOnce, 3);
    assert_eq!(client.output(), b"\x30\x08\0\x01a\x03\x23\0\x01x");
    client.send(&publish(V5, 0x30, "", 0, &[0x23, 0, 1], b""));
    client.closed();
    assert_eq!(client.output()[2], 0x82);
}

/// [MQTT-3.1.2-26, 3.1.2-27, 3.3.2-11]
#[test]
fn no_more_aliases_than_the_client_takes() {
    for (bytes, most) in [
        (connect(V311, 2, &[]), 0u8),
        (connect(V5, 2, &[]), 0),
        (connect(V5, 2, &[0x22, 0, 0]), 0),
        (connect(V5, 2, &[0x22, 0, 2]), 2),
        // our own limit
        (connect(V5, 2, &[0x22, 0, 9]), 3),
    ] {
        let mut client = Client::with(&bytes);
        for topic in ["a", "b", "c", "d", "e"] {
            for _ in 0..2 {
                client.deliver(topic, QoS::AtMostOnce, 1);
            }
        }
        let output = client.output();
        let aliases = output
            .windows(3)
            .filter(|window| window[..2] == [0x23, 0])
            .map(|window| window[2]);
        let (used, highest) = aliases.fold((0, 0), |(used, highest), alias| (used + 1, alias.max(highest)));
        assert_eq!((used, highest), (u32::from(most) * 2, most));
    }
}

/// [MQTT-3.1.2-25]: what fits without the alias it would teach is sent without it, and not dropped.
#[test]
fn an_alias_makes_no_message_too_large() {
    let mut client = Client::with(&connect(V5, 2, &[0x27, 0, 0, 0, 20, 0x22, 0, 9]));
    // 2 + 2 + topic + property length + payload: 20 bytes without an alias, 23 with one
    client.deliver("fourteen bytes", QoS::AtMostOnce, 1);
    assert_eq!(client.output(), b"\x30\x12\0\x0Efourteen bytes\0x");
    client.deliver("fifteen bytes..", QoS::AtMostOnce, 2);
    let Action::Dropped {
        tag: Some(2),
        cause: DropCause::TooLarge,
    } = client.action()
    else {
        panic!("not dropped")
    };
    client.idle();
}
