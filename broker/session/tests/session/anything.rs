//! Whatever bytes come, in whatever pieces: no panic, bounded memory, and every output is a packet.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use irsp_session::{Action, Connection, Handshake, Progress, QoS, Session};
use proptest::collection::vec;
use proptest::prelude::*;
use rmqtt_codec::{v3, v5};
use tokio_util::codec::Decoder;

use crate::client::{V5, connect, connect_with, delivery, limits, packet, publish, string};

/// Reads everything the server sent as a client would.
fn decodes(level: u8, bytes: &[u8]) {
    let mut bytes = BytesMut::from(bytes);
    while !bytes.is_empty() {
        match level {
            V5 => {
                let packet = v5::Codec::new(0, 0)
                    .decode(&mut bytes)
                    .expect("a packet of MQTT 5");
                assert!(packet.is_some(), "an incomplete packet: {bytes:02x?}");
            }
            _ => {
                let packet = v3::Codec::new(0).decode(&mut bytes).expect("a packet of MQTT 3");
                assert!(packet.is_some(), "an incomplete packet: {bytes:02x?}");
            }
        }
    }
}

/// A caller that answers everything, with the codes it is given.
fn serve(connection: &mut Connection, level: u8, now: Instant, codes: &mut impl Iterator<Item = u8>) {
    let mut after_close = false;
    while let Some(action) = connection.poll() {
        let code = codes.next().unwrap_or(0);
        match action {
            Action::Publish { token, publish } => {
                assert!(!after_close);
                let qos = if code & 1 == 0 {
                    publish.qos
                } else {
                    QoS::AtLeastOnce
                };
                connection.settle(token, code, (code & 2 == 0).then_some("because"));
                let delivery = irsp_session::Delivery {
                    publish: Arc::new(publish),
                    qos,
                    retain: false,
                    subscription_ids: Some(u32::from(code) + 1).into(),
                    tag: Some(1),
                    dup: false,
                };
                connection.deliver(&delivery, now);
            }
            Action::Subscribe { token, filters, .. } => {
                connection.subscribed(token, &vec![code; filters.len()], Some("because"))
            }
            Action::Unsubscribe { token, filters } => {
                connection.unsubscribed(token, &vec![code; filters.len()])
            }
            Action::Close { .. } => after_close = true,
            Action::Received { packet_id, .. } => connection.release(packet_id),
            Action::Released { packet_id } => connection.complete(packet_id),
            Action::Delivered { .. } | Action::Dropped { .. } => {}
        }
    }
    if let Some(output) = connection.output() {
        decodes(level, &output);
    }
}

/// Bytes that look like packets, more often than chance would have it.
fn nearly_packets() -> impl Strategy<Value = Vec<u8>> {
    let text = || {
        prop_oneof![
            Just("a"),
            Just("a/b"),
            Just(""),
            Just("$share/g/x"),
            Just("#"),
            Just("a/+")
        ]
    };
    let property = prop_oneof![
        Just(vec![]),
        Just(vec![0x23, 0, 1]),
        Just(vec![0x02, 0, 0, 0, 0]),
        Just(vec![0x02, 0, 0, 0, 3, 0x26, 0, 1, b'k', 0, 0]),
        Just(vec![0x01, 1]),
        Just(vec![0x0B, 1]),
        vec(any::<u8>(), 0..6),
    ];
    let id = prop_oneof![0..6u16, any::<u16>()];
    let level = prop_oneof![Just(4u8), Just(5)];
    prop_oneof![
        vec(any::<u8>(), 0..30),
        (
            level.clone(),
            0x30..0x40u8,
            text(),
            id.clone(),
            property.clone(),
            vec(any::<u8>(), 0..9)
        )
            .prop_map(|(level, first, topic, id, properties, payload)| publish(
                level,
                first,
                topic,
                id,
                &properties,
                &payload
            )),
        (
            prop_oneof![Just(0x40u8), Just(0x50), Just(0x62), Just(0x70)],
            id.clone(),
            vec(any::<u8>(), 0..3)
        )
            .prop_map(|(first, id, rest)| packet(first, &[&id.to_be_bytes()[..], &rest].concat())),
        (
            prop_oneof![Just(0x82u8), Just(0xA2)],
            id,
            property,
            text(),
            any::<bool>(),
            0..0x40u8
        )
            .prop_map(|(first, id, properties, filter, v5, options)| {
                let mut body = id.to_be_bytes().to_vec();
                if v5 {
                    body.push(properties.len() as u8);
                    body.extend(properties);
                }
                body.extend(string(filter));
                if first == 0x82 {
                    body.push(options);
                }
                packet(first, &body)
            }),
        (any::<u8>(), vec(any::<u8>(), 0..20)).prop_map(|(first, body)| packet(first, &body)),
        Just(vec![0xC0, 0]),
        Just(vec![0xE0, 0]),
        (
            3..6u8,
            any::<u8>(),
            vec(any::<u8>(), 0..8),
            vec(any::<u8>(), 0..30)
        )
            .prop_map(|(level, flags, properties, payload)| connect_with(
                level,
                flags,
                &properties,
                &payload
            )),
        (3..6u8).prop_map(|level| connect(level, 2, &[])),
    ]
}

fn pieces(bytes: &[u8], cuts: &[prop::sample::Index]) -> Vec<Vec<u8>> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2)
        .map(|range| bytes[range[0]..range[1]].to_vec())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn before_connect(bytes in nearly_packets(), cuts in vec(any::<prop::sample::Index>(), 0..4)) {
        let now = Instant::now();
        let mut handshake = Handshake::new(Arc::new(limits()), now);
        for piece in pieces(&bytes, &cuts) {
            match handshake.input(&piece, now) {
                Progress::More => {}
                Progress::Connect(connect) => {
                    let mut connection = handshake.accept(&connect, Session::new(), false, None, now);
                    let level = if connect.version.is_v5() { V5 } else { 4 };
                    serve(&mut connection, level, now, &mut std::iter::empty());
                    break;
                }
                Progress::Refused { output, .. } => {
                    let level = if output.len() == 4 { 4 } else { V5 };
                    decodes(level, &output);
                    break;
                }
            }
        }
    }

    #[test]
    fn after_connect(
        level in 3..6u8,
        properties in prop_oneof![Just(vec![]), Just(vec![0x27, 0, 0, 0, 30]), Just(vec![0x21, 0, 1, 0x22, 0, 2]), Just(vec![0x17, 0])],
        packets in vec(nearly_packets(), 1..12),
        cuts in vec(any::<prop::sample::Index>(), 0..6),
        codes in vec(any::<u8>(), 0..20),
        later in 0..20u64,
    ) {
        let start = Instant::now();
        let mut handshake = Handshake::new(Arc::new(limits()), start);
        let Progress::Connect(request) = handshake.input(&connect(level, 2, &properties), start) else {
            return Err(TestCaseError::fail("refused"));
        };
        let mut connection = handshake.accept(&request, Session::new(), false, None, start);
        let mut codes = codes.into_iter();
        connection.deliver(&delivery("first", QoS::ExactlyOnce, 1), start);
        connection.deliver(&delivery("second", QoS::AtLeastOnce, 2), start);
        for piece in pieces(&packets.concat(), &cuts) {
            connection.input(&piece, start);
            serve(&mut connection, level, start, &mut codes);
        }
        let then = start + Duration::from_secs(later);
        connection.timeout(then);
        serve(&mut connection, level, then, &mut codes);

        let mut handshake = Handshake::new(Arc::new(limits()), then);
        let Progress::Connect(request) = handshake.input(&connect(level, 0, &[]), then) else {
            return Err(TestCaseError::fail("refused"));
        };
        let mut resumed = handshake.accept(&request, connection.into_session(), true, None, then);
        serve(&mut resumed, level, then, &mut codes);
    }

    /// However a conversation is cut, it means the same.
    #[test]
    fn cuts_change_nothing(packets in vec(nearly_packets(), 1..8), cuts in vec(any::<prop::sample::Index>(), 0..8), level in 3..6u8) {
        let now = Instant::now();
        let run = |pieces: Vec<Vec<u8>>| {
            let mut handshake = Handshake::new(Arc::new(limits()), now);
            let Progress::Connect(request) = handshake.input(&connect(level, 2, &[]), now) else {
                panic!("refused");
            };
            let mut connection = handshake.accept(&request, Session::new(), false, None, now);
            pieces.iter().for_each(|piece| connection.input(piece, now));
            let actions: Vec<String> = std::iter::from_fn(|| connection.poll()).map(|action| format!("{action:?}")).collect();
            (actions, connection.output())
        };
        let bytes = packets.concat();
        prop_assert_eq!(run(pieces(&bytes, &cuts)), run(vec![bytes.clone()]));
    }
}
