//! Rules of MQTT that a packet decoder can check: what must be accepted, and what must be refused.

use std::panic;

use bytes::BytesMut;

use crate::codecs::{CRATES, Crate, Decoded, PACKET_LEN_MAX, Version};
use crate::wire::{packet, props, puback, publish_v4, publish_v5, string, text_prop, user_prop};

struct Rule {
    version: Version,
    name: &'static str,
    clause: &'static str,
    valid: bool,
    bytes: Vec<u8>,
}

pub fn print() {
    panic::set_hook(Box::new(|_| {}));
    println!("| | rule | clause | {} |", CRATES.map(Crate::name).join(" | "));
    println!("|---|---|---|{}", "---|".repeat(CRATES.len()));
    let mut right = CRATES.map(|_| [0, 0]);
    let rules = rules();
    for rule in &rules {
        let mut cells = Vec::new();
        for (codec, right) in CRATES.into_iter().zip(&mut right) {
            let verdict = panic::catch_unwind(|| {
                codec
                    .connect(rule.version)
                    .decode(&mut BytesMut::from(rule.bytes.as_slice()))
            });
            let (cell, is_right) = match (verdict, rule.valid) {
                (Err(_), _) => ("**panics**", false),
                (Ok(Decoded::Packet(_)), valid) => (if valid { "yes" } else { "**accepts**" }, valid),
                (Ok(Decoded::Refused(_)), valid) => (if valid { "**refuses**" } else { "yes" }, !valid),
                (Ok(Decoded::More), _) => ("**waits for more**", false),
            };
            right[usize::from(!rule.valid)] += usize::from(is_right);
            cells.push(cell);
        }
        let verb = if rule.valid { "accepts" } else { "refuses" };
        println!(
            "| {:?} | {verb} {} | {} | {} |",
            rule.version,
            rule.name,
            rule.clause,
            cells.join(" | ")
        );
    }
    drop(panic::take_hook());
    for (index, verb) in ["accepts what is valid", "refuses what is not"]
        .into_iter()
        .enumerate()
    {
        let of = rules.iter().filter(|rule| rule.valid == (index == 0)).count();
        let sums = right.map(|[a, b]| format!("{}/{of}", [a, b][index])).join(" | ");
        println!("| | **sum: {verb}** | | {sums} |");
    }
}

/// Valid packets of every type, to mutate.
pub fn valid_packets(version: Version) -> Vec<Vec<u8>> {
    let rules = rules().into_iter();
    rules
        .filter(|rule| rule.valid && rule.version == version)
        .map(|rule| rule.bytes)
        .collect()
}

/// A CONNECT: protocol name and level, flags, keep alive, then the rest.
fn connect(level: u8, flags: u8, rest: &[&[u8]]) -> Vec<u8> {
    packet(0x10, &[&string("MQTT"), &[level, flags, 0, 60], &rest.concat()])
}

/// A v5 CONNECT with these properties.
fn connect_with(properties: &[&[u8]]) -> Vec<u8> {
    connect(5, 2, &[&props(properties), &string("c")])
}

/// A v5 PUBLISH of QoS 0 with these properties.
fn publish_with(properties: &[&[u8]]) -> Vec<u8> {
    packet(0x30, &[&string("a/b"), &props(properties), b"x"])
}

fn publish_to(topic: impl AsRef<[u8]>) -> Vec<u8> {
    packet(0x30, &[&string(topic), &[0], b"x"])
}

fn publish_v4_to(topic: impl AsRef<[u8]>) -> Vec<u8> {
    packet(0x30, &[&string(topic), b"x"])
}

fn subscribe(first: u8, filter: &str, options: u8) -> Vec<u8> {
    packet(first, &[&[0, 9, 0], &string(filter), &[options]])
}

fn rules() -> Vec<Rule> {
    let mut rules = Vec::new();
    let mut add = |version, valid, name, clause, bytes| {
        rules.push(Rule {
            version,
            name,
            clause,
            valid,
            bytes,
        });
    };
    let empty = &[0u8][..];
    let five = Version::V5;

    let connect_props: Vec<u8> = [
        &[0x11, 0, 0, 14, 16][..],
        &[0x21, 0, 10],
        &[0x27, 0, 1, 0, 0],
        &[0x22, 0, 10],
        &[0x19, 1],
        &[0x17, 1],
        &user_prop("k", "1"),
        &user_prop("k", "2"),
        &text_prop(0x15, "SCRAM"),
        &text_prop(0x16, b"\xff\x00"),
    ]
    .concat();
    let will_props: Vec<u8> = [
        &[0x18, 0, 0, 0, 5][..],
        &[0x01, 1],
        &[0x02, 0, 0, 0, 60],
        &text_prop(0x03, "text/plain"),
        &text_prop(0x08, "reply/to"),
        &text_prop(0x09, b"\xff\x00"),
        &user_prop("k", "v"),
    ]
    .concat();
    let publish_props: Vec<u8> = [
        &[0x01, 1][..],
        &[0x02, 0, 0, 0, 60],
        &[0x23, 0, 3],
        &text_prop(0x08, "reply/to"),
        &text_prop(0x09, b"\xff\x00"),
        &user_prop("k", "1"),
        &user_prop("k", "2"),
        &text_prop(0x03, "text/plain"),
    ]
    .concat();
    let ack_props: Vec<u8> = [text_prop(0x1F, "why"), user_prop("k", "v")].concat();
    let connack_props: Vec<u8> = [
        &[0x11, 0, 0, 14, 16][..],
        &[0x21, 0, 10],
        &[0x24, 1],
        &[0x25, 1],
        &[0x27, 0, 1, 0, 0],
        &text_prop(0x12, "made-up"),
        &[0x22, 0, 10],
        &text_prop(0x1F, "why"),
        &user_prop("k", "v"),
        &[0x28, 1],
        &[0x29, 1],
        &[0x2A, 1],
        &[0x13, 0, 60],
        &text_prop(0x1A, "info"),
        &text_prop(0x1C, "other:1883"),
        &text_prop(0x15, "SCRAM"),
        &text_prop(0x16, b"\xff\x00"),
    ]
    .concat();
    let disconnect_props: Vec<u8> = [
        &[0x11, 0, 0, 0, 0][..],
        &text_prop(0x1F, "why"),
        &user_prop("k", "v"),
        &text_prop(0x1C, "other:1883"),
    ]
    .concat();

    // Valid, 5.0.
    add(
        five,
        true,
        "CONNECT with every property, will with every property, user name, password",
        "3.1",
        connect(
            5,
            0xEE,
            &[
                &props(&[&connect_props]),
                &string("c"),
                &props(&[&will_props]),
                &string("w"),
                &string("gone"),
                &string("u"),
                &string("p"),
            ],
        ),
    );
    add(
        five,
        true,
        "CONNECT with a password that is not UTF-8",
        "3.1.3.6",
        connect(
            5,
            0xC2,
            &[empty, &string("c"), &string("u"), &string(b"\xff\xfe")],
        ),
    );
    add(
        five,
        true,
        "CONNECT with a password and no user name",
        "3.1.2.9",
        connect(5, 0x42, &[empty, &string("c"), &string("p")]),
    );
    add(
        five,
        true,
        "CONNECT with an empty client id",
        "3.1.3.1",
        connect(5, 2, &[empty, &string("")]),
    );
    add(
        five,
        true,
        "CONNECT with an empty will payload and no will delay",
        "3.1.3",
        connect(5, 6, &[empty, &string("c"), empty, &string("w"), &string("")]),
    );
    add(
        five,
        true,
        "CONNECT with a will expiry of 0",
        "3.1.3.2.4",
        connect(
            5,
            6,
            &[
                empty,
                &string("c"),
                &props(&[&[0x02, 0, 0, 0, 0]]),
                &string("w"),
                &string("x"),
            ],
        ),
    );
    add(
        five,
        true,
        "CONNECT with a session that never expires",
        "3.1.2.11.2",
        connect_with(&[&[0x11, 255, 255, 255, 255]]),
    );
    add(
        five,
        true,
        "CONNECT with topic alias maximum 0",
        "3.1.2.11.5",
        connect_with(&[&[0x22, 0, 0]]),
    );
    add(
        five,
        true,
        "CONNACK with every property",
        "3.2",
        packet(0x20, &[&[0, 0], &props(&[&connack_props])]),
    );
    add(
        five,
        true,
        "PUBLISH with every property a client may send",
        "3.3.2.3",
        packet(0x32, &[&string("a/b"), &[0, 7], &props(&[&publish_props]), b"x"]),
    );
    add(
        five,
        true,
        "PUBLISH with two subscription identifiers",
        "3.3.2.3.8",
        publish_with(&[&[0x0B, 1], &[0x0B, 0xFF, 0xFF, 0xFF, 0x7F]]),
    );
    add(
        five,
        true,
        "PUBLISH with a message expiry of 0",
        "3.3.2.3.3",
        publish_with(&[&[0x02, 0, 0, 0, 0]]),
    );
    add(
        five,
        true,
        "PUBLISH with an empty topic and an alias",
        "3.3.2.1",
        packet(0x30, &[&string(""), &props(&[&[0x23, 0, 3]]), b"x"]),
    );
    add(
        five,
        true,
        "PUBLISH without payload, retained",
        "3.3.3",
        packet(0x31, &[&string("a"), empty]),
    );
    add(
        five,
        true,
        "PUBLISH with an empty user property",
        "3.3.2.3.7",
        publish_with(&[&user_prop("", "")]),
    );
    add(
        five,
        true,
        "PUBLISH QoS 1 with user properties",
        "3.3",
        publish_v5(64),
    );
    add(five, true, "PUBACK of two bytes", "3.4.2.1", puback());
    add(
        five,
        true,
        "PUBACK with a reason and no property length",
        "3.4.2.2.1",
        packet(0x40, &[&[0, 7, 0x10]]),
    );
    add(
        five,
        true,
        "PUBACK with every property",
        "3.4",
        packet(0x40, &[&[0, 7, 0x87], &props(&[&ack_props])]),
    );
    add(
        five,
        true,
        "PUBREC with every property",
        "3.5",
        packet(0x50, &[&[0, 7, 0x87], &props(&[&ack_props])]),
    );
    add(
        five,
        true,
        "PUBREL with every property",
        "3.6",
        packet(0x62, &[&[0, 7, 0x92], &props(&[&ack_props])]),
    );
    add(
        five,
        true,
        "PUBREL of two bytes",
        "3.6.2.1",
        packet(0x62, &[&[0, 7]]),
    );
    add(
        five,
        true,
        "PUBCOMP with every property",
        "3.7",
        packet(0x70, &[&[0, 7, 0x92], &props(&[&ack_props])]),
    );
    add(
        five,
        true,
        "SUBSCRIBE with identifier, user property and all options",
        "3.8",
        packet(
            0x82,
            &[
                &[0, 9],
                &props(&[&[0x0B, 0x80, 0x01], &user_prop("k", "v")]),
                &string("a/+/#"),
                &[0x2E],
                &string("$share/g/b"),
                &[0x01],
            ],
        ),
    );
    add(
        five,
        true,
        "SUBACK with every property",
        "3.9",
        packet(0x90, &[&[0, 9], &props(&[&ack_props]), &[0, 1, 2, 0x87, 0x8F]]),
    );
    add(
        five,
        true,
        "UNSUBSCRIBE with a user property",
        "3.10",
        packet(
            0xA2,
            &[&[0, 9], &props(&[&user_prop("k", "v")]), &string("a/+/#")],
        ),
    );
    add(
        five,
        true,
        "UNSUBACK with every property",
        "3.11",
        packet(0xB0, &[&[0, 9], &props(&[&ack_props]), &[0, 0x11]]),
    );
    add(five, true, "PINGREQ", "3.12", vec![0xC0, 0]);
    add(five, true, "PINGRESP", "3.13", vec![0xD0, 0]);
    add(five, true, "DISCONNECT of no bytes", "3.14.2.1", vec![0xE0, 0]);
    add(
        five,
        true,
        "DISCONNECT with a reason alone",
        "3.14.2.2.1",
        packet(0xE0, &[&[4]]),
    );
    add(
        five,
        true,
        "DISCONNECT with every property",
        "3.14",
        packet(0xE0, &[&[0x9C], &props(&[&disconnect_props])]),
    );
    add(
        five,
        true,
        "AUTH with every property",
        "3.15",
        packet(
            0xF0,
            &[
                &[0x18],
                &props(&[&text_prop(0x15, "SCRAM"), &text_prop(0x16, b"\xff"), &ack_props]),
            ],
        ),
    );

    // Not valid, 5.0: framing.
    add(
        five,
        false,
        "a remaining length of five bytes",
        "1.5.5",
        vec![0x30, 0x80, 0x80, 0x80, 0x80, 0x01],
    );
    add(
        five,
        false,
        "a remaining length that is not minimal",
        "1.5.5-1",
        vec![0xC0, 0x80, 0x00],
    );
    add(
        five,
        false,
        "a packet above the limit, by its header alone",
        "3.1.2.11.4",
        [vec![0x30], crate::wire::var_int(PACKET_LEN_MAX * 2)].concat(),
    );
    add(five, false, "packet type 0", "2.1.2", vec![0x00, 0]);
    add(
        five,
        false,
        "CONNECT with header flags",
        "2.1.3-1",
        [vec![0x11], connect_with(&[])[1..].to_vec()].concat(),
    );
    add(
        five,
        false,
        "PUBACK with header flags",
        "2.1.3-1",
        packet(0x41, &[&[0, 7]]),
    );
    add(
        five,
        false,
        "PUBREL without its header flags",
        "3.6.1-1",
        packet(0x60, &[&[0, 7]]),
    );
    add(
        five,
        false,
        "SUBSCRIBE without its header flags",
        "3.8.1-1",
        subscribe(0x80, "a", 0),
    );
    add(
        five,
        false,
        "UNSUBSCRIBE without its header flags",
        "3.10.1-1",
        packet(0xA0, &[&[0, 9, 0], &string("a")]),
    );
    add(five, false, "PINGREQ with header flags", "2.1.3-1", vec![0xC1, 0]);
    add(five, false, "PINGREQ with a body", "3.12.2", vec![0xC0, 1, 0]);
    add(
        five,
        false,
        "DISCONNECT with header flags",
        "3.14.1-1",
        vec![0xE1, 0],
    );
    add(
        five,
        false,
        "PUBACK with bytes after its end",
        "1.5.5",
        packet(0x40, &[&[0, 7, 0, 0, 9]]),
    );
    add(
        five,
        false,
        "CONNECT with bytes after its end",
        "3.1.3",
        connect(5, 2, &[empty, &string("c"), b"zz"]),
    );
    add(
        five,
        false,
        "CONNECT cut in its client id",
        "3.1.3",
        connect(5, 2, &[empty, &[0, 9, b'c']]),
    );
    // CONNECT.
    add(
        five,
        false,
        "CONNECT with its reserved flag",
        "3.1.2-3",
        connect(5, 3, &[empty, &string("c")]),
    );
    add(
        five,
        false,
        "CONNECT with will QoS 3",
        "3.1.2-12",
        connect(5, 0x1E, &[empty, &string("c"), empty, &string("w"), &string("x")]),
    );
    add(
        five,
        false,
        "CONNECT with will QoS and no will",
        "3.1.2-11",
        connect(5, 0x0A, &[empty, &string("c")]),
    );
    add(
        five,
        false,
        "CONNECT with will retain and no will",
        "3.1.2-13",
        connect(5, 0x22, &[empty, &string("c")]),
    );
    add(
        five,
        false,
        "CONNECT with a will topic with wildcard",
        "3.3.2-2",
        connect(5, 6, &[empty, &string("c"), empty, &string("w/#"), &string("x")]),
    );
    add(
        five,
        false,
        "CONNECT of another protocol",
        "3.1.2-1",
        packet(0x10, &[&string("MQTX"), &[5, 2, 0, 60, 0], &string("c")]),
    );
    add(
        five,
        false,
        "CONNECT of level 6",
        "3.1.2-2",
        connect(6, 2, &[empty, &string("c")]),
    );
    add(
        five,
        false,
        "receive maximum 0",
        "3.1.2.11.3",
        connect_with(&[&[0x21, 0, 0]]),
    );
    add(
        five,
        false,
        "maximum packet size 0",
        "3.1.2.11.4",
        connect_with(&[&[0x27, 0, 0, 0, 0]]),
    );
    add(
        five,
        false,
        "request problem information 2",
        "3.1.2.11.7",
        connect_with(&[&[0x17, 2]]),
    );
    add(
        five,
        false,
        "authentication data without a method",
        "3.1.2.11.10",
        connect_with(&[&text_prop(0x16, "x")]),
    );
    add(
        five,
        false,
        "a session expiry given twice",
        "3.1.2.11.2",
        connect_with(&[&[0x11, 0, 0, 0, 1], &[0x11, 0, 0, 0, 1]]),
    );
    // Properties.
    add(
        five,
        false,
        "an unknown property",
        "2.2.2.2",
        publish_with(&[&[0x7F, 0]]),
    );
    add(
        five,
        false,
        "a property of another packet",
        "2.2.2.2",
        publish_with(&[&[0x13, 0, 60]]),
    );
    add(
        five,
        false,
        "a topic alias given twice",
        "3.3.2.3.4",
        publish_with(&[&[0x23, 0, 1], &[0x23, 0, 2]]),
    );
    add(
        five,
        false,
        "a content type given twice",
        "3.3.2.3.9",
        publish_with(&[&text_prop(0x03, "a"), &text_prop(0x03, "b")]),
    );
    add(
        five,
        false,
        "topic alias 0",
        "3.3.2-8",
        publish_with(&[&[0x23, 0, 0]]),
    );
    add(
        five,
        false,
        "payload format 2",
        "3.3.2.3.2",
        publish_with(&[&[0x01, 2]]),
    );
    add(
        five,
        false,
        "subscription identifier 0 in a PUBLISH",
        "3.3.2.3.8",
        publish_with(&[&[0x0B, 0]]),
    );
    add(
        five,
        false,
        "subscription identifier 0 in a SUBSCRIBE",
        "3.8.2.1.2",
        packet(0x82, &[&[0, 9], &props(&[&[0x0B, 0]]), &string("a"), &[0]]),
    );
    add(
        five,
        false,
        "a response topic with wildcard",
        "3.3.2-14",
        publish_with(&[&text_prop(0x08, "reply/#")]),
    );
    add(
        five,
        false,
        "a user property that is not UTF-8",
        "1.5.4-1",
        publish_with(&[&user_prop("k", b"\xff")]),
    );
    add(
        five,
        false,
        "properties longer than the packet",
        "2.2.2.1",
        packet(0x30, &[&string("a"), &[9, 0x01, 1]]),
    );
    add(
        five,
        false,
        "properties that end inside one",
        "2.2.2.1",
        packet(0x30, &[&string("a"), &[3, 0x02, 0, 0], &[0, 1, b'x']]),
    );
    // PUBLISH.
    add(
        five,
        false,
        "PUBLISH of QoS 3",
        "3.3.1-4",
        packet(0x36, &[&string("a"), &[0, 7, 0], b"x"]),
    );
    add(
        five,
        false,
        "PUBLISH of QoS 0 with DUP",
        "3.3.1-2",
        packet(0x38, &[&string("a"), empty, b"x"]),
    );
    add(
        five,
        false,
        "PUBLISH with packet id 0",
        "2.2.1-3",
        packet(0x32, &[&string("a"), &[0, 0, 0], b"x"]),
    );
    add(
        five,
        false,
        "PUBLISH to a topic with #",
        "3.3.2-2",
        publish_to("a/#"),
    );
    add(
        five,
        false,
        "PUBLISH to a topic with +",
        "3.3.2-2",
        publish_to("a/+/b"),
    );
    add(
        five,
        false,
        "PUBLISH to an empty topic without alias",
        "4.7.3-1",
        publish_to(""),
    );
    add(
        five,
        false,
        "PUBLISH to a topic with U+0000",
        "1.5.4-2",
        publish_to("a\0b"),
    );
    add(
        five,
        false,
        "PUBLISH to a topic that is not UTF-8",
        "1.5.4-1",
        publish_to(b"a\xff"),
    );
    add(
        five,
        false,
        "PUBLISH to a topic with a surrogate",
        "1.5.4-1",
        publish_to(b"a\xed\xa0\x80"),
    );
    // Acknowledgements and subscriptions.
    add(
        five,
        false,
        "PUBACK with packet id 0",
        "2.2.1-3",
        packet(0x40, &[&[0, 0]]),
    );
    add(
        five,
        false,
        "PUBACK with an unknown reason",
        "3.4.2-1",
        packet(0x40, &[&[0, 7, 0x55]]),
    );
    add(
        five,
        false,
        "SUBSCRIBE with packet id 0",
        "2.2.1-3",
        packet(0x82, &[&[0, 0, 0], &string("a"), &[0]]),
    );
    add(
        five,
        false,
        "SUBSCRIBE without a filter",
        "3.8.3-2",
        packet(0x82, &[&[0, 9, 0]]),
    );
    add(
        five,
        false,
        "SUBSCRIBE with reserved option bits",
        "3.8.3-5",
        subscribe(0x82, "a", 0x40),
    );
    add(
        five,
        false,
        "SUBSCRIBE of QoS 3",
        "3.8.3-5",
        subscribe(0x82, "a", 3),
    );
    add(
        five,
        false,
        "SUBSCRIBE with retain handling 3",
        "3.8.3.1",
        subscribe(0x82, "a", 0x30),
    );
    add(
        five,
        false,
        "SUBSCRIBE to an empty filter",
        "4.7.3-1",
        subscribe(0x82, "", 0),
    );
    add(
        five,
        false,
        "SUBSCRIBE to a/#/b",
        "4.7.1-1",
        subscribe(0x82, "a/#/b", 0),
    );
    add(
        five,
        false,
        "SUBSCRIBE to a+",
        "4.7.1-2",
        subscribe(0x82, "a+", 0),
    );
    add(
        five,
        false,
        "SUBSCRIBE to a shared filter with no local",
        "3.8.3-4",
        subscribe(0x82, "$share/g/a", 4),
    );
    add(
        five,
        false,
        "SUBSCRIBE to a filter with U+0000",
        "1.5.4-2",
        subscribe(0x82, "a\0", 0),
    );
    add(
        five,
        false,
        "UNSUBSCRIBE without a filter",
        "3.10.3-2",
        packet(0xA2, &[&[0, 9, 0]]),
    );
    add(
        five,
        false,
        "AUTH without a method",
        "3.15.2.2.2",
        packet(0xF0, &[&[0x18, 0]]),
    );

    // 3.1.1.
    let four = Version::V4;
    add(
        four,
        true,
        "CONNECT with will, user name and password",
        "3.1",
        connect(
            4,
            0xEE,
            &[
                &string("c"),
                &string("w"),
                &string("gone"),
                &string("u"),
                &string("p"),
            ],
        ),
    );
    add(
        four,
        true,
        "CONNECT with an empty client id, clean",
        "3.1.3-6",
        connect(4, 2, &[&string("")]),
    );
    add(
        four,
        true,
        "CONNECT with a password that is not UTF-8",
        "3.1.3.5",
        connect(4, 0xC2, &[&string("c"), &string("u"), &string(b"\xff\xfe")]),
    );
    add(four, true, "CONNACK", "3.2", vec![0x20, 2, 1, 0]);
    add(four, true, "PUBLISH QoS 1", "3.3", publish_v4(64));
    add(
        four,
        true,
        "PUBLISH without payload, retained",
        "3.3.3",
        packet(0x31, &[&string("a")]),
    );
    add(four, true, "PUBACK", "3.4", puback());
    add(four, true, "PUBREC", "3.5", packet(0x50, &[&[0, 7]]));
    add(four, true, "PUBREL", "3.6", packet(0x62, &[&[0, 7]]));
    add(four, true, "PUBCOMP", "3.7", packet(0x70, &[&[0, 7]]));
    add(
        four,
        true,
        "SUBSCRIBE with two filters",
        "3.8",
        packet(0x82, &[&[0, 9], &string("a/+/#"), &[1], &string("b"), &[2]]),
    );
    add(
        four,
        true,
        "SUBACK",
        "3.9",
        packet(0x90, &[&[0, 9, 0, 1, 2, 0x80]]),
    );
    add(
        four,
        true,
        "UNSUBSCRIBE",
        "3.10",
        packet(0xA2, &[&[0, 9], &string("a/+/#")]),
    );
    add(four, true, "UNSUBACK", "3.11", packet(0xB0, &[&[0, 9]]));
    add(four, true, "PINGREQ", "3.12", vec![0xC0, 0]);
    add(four, true, "DISCONNECT", "3.14", vec![0xE0, 0]);
    add(
        four,
        false,
        "a remaining length of five bytes",
        "2.2.3",
        vec![0x30, 0x80, 0x80, 0x80, 0x80, 0x01],
    );
    add(four, false, "packet type 0", "2.2.1", vec![0x00, 0]);
    add(four, false, "packet type 15", "2.2.1", vec![0xF0, 0]);
    add(
        four,
        false,
        "CONNECT with its reserved flag",
        "3.1.2-3",
        connect(4, 3, &[&string("c")]),
    );
    add(
        four,
        false,
        "CONNECT with a password and no user name",
        "3.1.2-22",
        connect(4, 0x42, &[&string("c"), &string("p")]),
    );
    add(
        four,
        false,
        "CONNECT with will QoS 3",
        "3.1.2-14",
        connect(4, 0x1E, &[&string("c"), &string("w"), &string("x")]),
    );
    add(
        four,
        false,
        "CONNECT with will retain and no will",
        "3.1.2-15",
        connect(4, 0x22, &[&string("c")]),
    );
    add(
        four,
        false,
        "CONNECT with an empty client id, not clean",
        "3.1.3-8",
        connect(4, 0, &[&string("")]),
    );
    add(
        four,
        false,
        "CONNECT with bytes after its end",
        "3.1.3",
        connect(4, 2, &[&string("c"), b"zz"]),
    );
    add(
        four,
        false,
        "PUBREL without its header flags",
        "3.6.1-1",
        packet(0x60, &[&[0, 7]]),
    );
    add(
        four,
        false,
        "SUBSCRIBE without its header flags",
        "3.8.1-1",
        packet(0x80, &[&[0, 9], &string("a"), &[0]]),
    );
    add(four, false, "PINGREQ with a body", "3.12.2", vec![0xC0, 1, 0]);
    add(
        four,
        false,
        "PUBACK with bytes after its end",
        "3.4.2",
        packet(0x40, &[&[0, 7, 0]]),
    );
    add(
        four,
        false,
        "PUBACK with packet id 0",
        "2.3.1-1",
        packet(0x40, &[&[0, 0]]),
    );
    add(
        four,
        false,
        "PUBLISH with packet id 0",
        "2.3.1-1",
        packet(0x32, &[&string("a"), &[0, 0], b"x"]),
    );
    add(
        four,
        false,
        "PUBLISH of QoS 3",
        "3.3.1-4",
        packet(0x36, &[&string("a"), &[0, 7], b"x"]),
    );
    add(
        four,
        false,
        "PUBLISH to a topic with #",
        "3.3.2-2",
        publish_v4_to("a/#"),
    );
    add(
        four,
        false,
        "PUBLISH to an empty topic",
        "4.7.3-1",
        publish_v4_to(""),
    );
    add(
        four,
        false,
        "PUBLISH to a topic with U+0000",
        "1.5.3-2",
        publish_v4_to("a\0b"),
    );
    add(
        four,
        false,
        "PUBLISH to a topic that is not UTF-8",
        "1.5.3-1",
        publish_v4_to(b"a\xff"),
    );
    add(
        four,
        false,
        "SUBSCRIBE without a filter",
        "3.8.3-3",
        packet(0x82, &[&[0, 9]]),
    );
    add(
        four,
        false,
        "SUBSCRIBE with reserved option bits",
        "3.8.3-4",
        packet(0x82, &[&[0, 9], &string("a"), &[4]]),
    );
    add(
        four,
        false,
        "SUBSCRIBE of QoS 3",
        "3.8.3-4",
        packet(0x82, &[&[0, 9], &string("a"), &[3]]),
    );
    add(
        four,
        false,
        "SUBSCRIBE to a/#/b",
        "4.7.1-2",
        packet(0x82, &[&[0, 9], &string("a/#/b"), &[0]]),
    );
    rules
}
