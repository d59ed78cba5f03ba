//! Reason codes on the wire: whatever the caller says, only those a packet may carry (2.4); and packets that the client's
//! Maximum Packet Size has no room for.

use irsp_session::{
    Action, CloseCause, Handshake, Limits, Progress, ProtocolError, QoS, Refusal, SubscribeToken,
};

use crate::client::{Client, V5, V311, connect, packet, publish, string};

/// [MQTT-3.4.2-1, 3.5.2-1, 2.2.1-5]
#[test]
fn puback_and_pubrec() {
    let allowed = [0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
    for (first, answer) in [(0x32, 0x40), (0x34, 0x50)] {
        for code in 0..=255 {
            let mut client = Client::new(V5);
            let (token, _) = client
                .send(&publish(V5, first, "t", 0x1234, &[], b""))
                .published();
            client.connection.settle(token, code, None);
            let output = client.output();
            assert_eq!((output[0], &output[2..4]), (answer, &[0x12, 0x34][..]));
            let told = output.get(4).copied().unwrap_or_default();
            let expected = if allowed.contains(&code) { code } else { 0x80 };
            assert_eq!(told, expected, "{code:02x}");
            // what the client was told is what the server holds to: a refused identifier is free again
            if answer == 0x50 {
                client.send(&publish(V5, 0x34, "t", 0x1234, &[], b""));
                assert_eq!(client.connection.poll().is_some(), told >= 0x80, "{code:02x}");
            }
        }
    }
}

/// [MQTT-3.8.4-2, 3.8.4-6, 3.8.4-7, 3.9.3-1, 3.9.3-2; 3.1.1: also 3.9.3-2]
#[test]
fn suback() {
    let allowed = [0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2];
    for code in 0..=255u8 {
        let filters = [string("a"), vec![1], string("b"), vec![2]].concat();
        let mut client = Client::new(V5);
        client.send(&packet(0x82, &[&[0x12, 0x34, 0], &filters[..]].concat()));
        let Action::Subscribe { token, .. } = client.action() else {
            panic!("no subscribe")
        };
        client.connection.subscribed(token, &[code, 1], None);
        let told = if allowed.contains(&code) { code } else { 0x80 };
        assert_eq!(client.output(), [0x90, 5, 0x12, 0x34, 0, told, 1], "{code:02x}");

        let mut client = Client::new(V311);
        client.send(&packet(0x82, &[&[0x12, 0x34], &filters[..]].concat()));
        let Action::Subscribe { token, .. } = client.action() else {
            panic!("no subscribe")
        };
        client.connection.subscribed(token, &[code, 1], None);
        let told = if code < 3 { code } else { 0x80 };
        assert_eq!(client.output(), [0x90, 4, 0x12, 0x34, told, 1], "{code:02x}");
    }
}

/// [MQTT-3.10.4-4..6, 3.11.3-1, 3.11.3-2]: also where nothing was subscribed.
#[test]
fn unsuback() {
    let allowed = [0, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91];
    for code in 0..=255u8 {
        let filters = [string("a"), string("b")].concat();
        let mut client = Client::new(V5);
        client.send(&packet(0xA2, &[&[0x12, 0x34, 0], &filters[..]].concat()));
        let Action::Unsubscribe { token, .. } = client.action() else {
            panic!("no unsubscribe")
        };
        client.connection.unsubscribed(token, &[0x11, code]);
        let told = if allowed.contains(&code) { code } else { 0x80 };
        assert_eq!(client.output(), [0xB0, 5, 0x12, 0x34, 0, 0x11, told]);
    }
}

/// [MQTT-3.2.2-6, 3.2.2-8; 3.1.1: 3.2.2-4]: one packet, Session Present 0.
#[test]
fn connack_of_every_refusal() {
    for refusal in [
        Refusal::BAD_CREDENTIALS,
        Refusal::NOT_AUTHORIZED,
        Refusal::UNAVAILABLE,
        Refusal::BUSY,
        Refusal::CLIENT_ID,
    ] {
        let refuse = |level| {
            let now = std::time::Instant::now();
            let mut handshake = Handshake::new(Limits::default().into(), now);
            let progress = handshake.input(&connect(level, 0, &[]), now);
            assert!(matches!(progress, Progress::Connect(_)));
            handshake.refuse(&refusal)
        };
        assert_eq!(&*refuse(V5), [0x20, 3, 0, refusal.v5, 0]);
        assert_eq!(&*refuse(V311), [0x20, 2, 0, refusal.v3]);
        assert!(refusal.v5 >= 0x80 && (1..=5).contains(&refusal.v3));
    }
}

/// [MQTT-3.14.2-1, 3.14.2-2, 3.14.4-1]: DISCONNECT has a code of its own, no session expiry, and is the last packet.
#[test]
fn disconnect_is_the_last_packet() {
    let allowed = [
        0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98,
        0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
    ];
    for code in 0x80..=255 {
        let mut client = Client::new(V5);
        let (token, _) = client.send(&publish(V5, 0x32, "t", 1, &[], b"")).published();
        client.connection.disconnect(code, None);
        let told = if allowed.contains(&code) { code } else { 0x80 };
        assert_eq!(client.output(), [0xE0, 2, told, 0], "{code:02x}");
        assert!(matches!(client.closed(), CloseCause::Server { .. }));
        client.connection.settle(token, 0, None);
        client.deliver("t", QoS::AtLeastOnce, 1);
        client.connection.disconnect(0x80, None);
        client.wait(1000).send(&[0xC0, 0]);
        client.connection.timeout(client.now);
        client.idle();
    }
}

/// [MQTT-3.1.2-29]: a client that wants no problem information is told codes; words only with DISCONNECT and CONNACK.
#[test]
fn no_words_for_who_wants_none() {
    let quiet = connect(V5, 2, &[0x17, 0]);
    for (first, answer) in [(0x32, 0x40), (0x34, 0x50)] {
        let mut client = Client::with(&quiet);
        let (token, _) = client.send(&publish(V5, first, "t", 1, &[], b"")).published();
        client.connection.settle(token, 0x97, Some("full"));
        assert_eq!(client.output(), [answer, 3, 0, 1, 0x97]);
    }
    let mut client = Client::with(&quiet);
    let token = subscribe(&mut client, 1);
    client.connection.subscribed(token, &[0x87], Some("not granted"));
    assert_eq!(client.output(), [0x90, 4, 0, 1, 0, 0x87]);
    client.connection.disconnect(0x98, Some("so"));
    assert_eq!(client.output(), b"\xE0\x07\x98\x05\x1F\0\x02so");
}

/// One SUBSCRIBE for so many filters.
fn subscribe(client: &mut Client, filters: usize) -> SubscribeToken {
    let filters = [string("a"), vec![0]].concat().repeat(filters);
    client.send(&packet(0x82, &[&[0, 1, 0], &filters[..]].concat()));
    let Action::Subscribe { token, .. } = client.action() else {
        panic!("no subscribe")
    };
    token
}

/// 3.9.2.1.2
#[test]
fn a_refused_filter_is_told_in_words() {
    let mut client = Client::new(V5);
    let token = subscribe(&mut client, 2);
    client
        .connection
        .subscribed(token, &[1, 0x87], Some("not granted"));
    assert_eq!(
        client.output(),
        b"\x90\x13\0\x01\x0E\x1F\0\x0Bnot granted\x01\x87"
    );
    let token = subscribe(&mut client, 1);
    let long = "x".repeat(200);
    client.connection.subscribed(token, &[0x87], Some(&long));
    let output = client.output();
    assert_eq!(output[..9], [0x90, 0xD0, 1, 0, 1, 0xCB, 1, 0x1F, 0]);
    assert_eq!((output.len(), output.last()), (3 + 208, Some(&0x87)));
}

/// [MQTT-3.4.2-2, 3.5.2-2, 3.9.2-1, 3.14.2-3]: the words go first.
#[test]
fn words_are_left_out_where_there_is_no_room() {
    let narrow = connect(V5, 2, &[0x27, 0, 0, 0, 18]);
    for (first, answer) in [(0x32, 0x40), (0x34, 0x50)] {
        let mut client = Client::with(&narrow);
        let (token, _) = client.send(&publish(V5, first, "t", 1, &[], b"")).published();
        client.connection.settle(token, 0x97, Some("nine char"));
        // the largest that fits
        let length = client.output().len();
        assert_eq!(length, 18, "{answer:02x}");
        let (token, _) = client.send(&publish(V5, first, "t", 2, &[], b"")).published();
        client.connection.settle(token, 0x97, Some("ten chars!"));
        assert_eq!(client.output(), [answer, 3, 0, 2, 0x97]);
    }
    let mut client = Client::with(&narrow);
    for (words, left) in [("nine char", true), ("ten chars!", false)] {
        let token = subscribe(&mut client, 1);
        client.connection.subscribed(token, &[0x87], Some(words));
        let output = client.output();
        assert_eq!(output.len(), if left { 18 } else { 6 });
        assert_eq!(output.last(), Some(&0x87));
    }
    client.connection.disconnect(0x97, Some("more than fits in here"));
    assert_eq!(client.output(), [0xE0, 2, 0x97, 0]);
}

/// A SUBACK has to be sent; a client that has no room for it is told so, and goes.
#[test]
fn an_answer_that_may_not_be_left_out_and_does_not_fit() {
    let mut client = Client::with(&connect(V5, 2, &[0x27, 0, 0, 0, 20]));
    let token = subscribe(&mut client, 20);
    client.connection.subscribed(token, &[0; 20], None);
    assert_eq!(client.output(), [0xE0, 2, 0x95, 0]);
    assert_eq!(
        client.closed(),
        CloseCause::ProtocolError(ProtocolError::PeerLimitTooSmall)
    );
}
