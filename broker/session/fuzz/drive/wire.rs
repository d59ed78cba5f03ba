//! Packets as a client sees them, read without the server's codec and with no mercy: whatever is not exactly as the
//! specification says is a panic.

/// A packet from the server.
#[derive(Debug)]
pub(crate) enum Packet<'a> {
    ConnAck {
        reason: u8,
    },
    Publish(Publish<'a>),
    /// PUBACK, PUBREC, PUBREL or PUBCOMP, by packet type.
    Ack {
        kind: u8,
        id: u16,
        reason: u8,
        /// With a Reason String.
        words: bool,
    },
    /// SUBACK or UNSUBACK.
    Filters,
    PingResp,
    Disconnect,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Publish<'a> {
    pub(crate) dup: bool,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) topic: &'a [u8],
    /// 0 at QoS 0.
    pub(crate) id: u16,
    pub(crate) properties: Properties<'a>,
    pub(crate) payload: &'a [u8],
}

/// The properties a server may send. Those nobody asks for here are only checked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Properties<'a> {
    pub(crate) utf8: Option<u8>,
    pub(crate) expiry: Option<u32>,
    pub(crate) content_type: Option<&'a [u8]>,
    pub(crate) response_topic: Option<&'a [u8]>,
    pub(crate) correlation: Option<&'a [u8]>,
    pub(crate) subscription_ids: Vec<u32>,
    pub(crate) alias: Option<u16>,
    pub(crate) user: Vec<(&'a [u8], &'a [u8])>,
    /// A Reason String was there.
    pub(crate) reason_string: bool,
}

/// Takes the next packet off `bytes`; returns it and its length.
pub(crate) fn read<'a>(v5: bool, bytes: &mut &'a [u8]) -> (Packet<'a>, usize) {
    let before = bytes.len();
    let first = u8_of(bytes);
    let length = variable_of(bytes) as usize;
    let mut body = take(bytes, length);
    let kind = first >> 4;
    if kind != 3 {
        assert_eq!(
            first & 0x0F,
            if kind == 6 { 2 } else { 0 },
            "flags of {first:02x}"
        );
    }
    let packet = match kind {
        2 => {
            let present = u8_of(&mut body);
            assert!(present <= 1, "reserved flags of CONNACK");
            let reason = u8_of(&mut body);
            assert!(reason == 0 || present == 0, "session present with a refusal");
            if v5 {
                properties(&mut body, &[0x11, 0x12, 0x13, 0x1F, 0x21, 0x22, 0x26, 0x27]);
            }
            Packet::ConnAck { reason }
        }
        3 => Packet::Publish(publish(v5, first & 0x0F, &mut body)),
        4..=7 => {
            let id = u16_of(&mut body);
            assert_ne!(id, 0);
            let (mut reason, mut words) = (0, false);
            if v5 && !body.is_empty() {
                reason = u8_of(&mut body);
                if !body.is_empty() {
                    words = properties(&mut body, &[0x1F, 0x26]).reason_string;
                }
            }
            let allowed: &[u8] = match kind {
                4 | 5 => &[0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
                _ => &[0, 0x92],
            };
            assert!(allowed.contains(&reason), "reason {reason:02x} in {first:02x}");
            Packet::Ack {
                kind,
                id,
                reason,
                words,
            }
        }
        9 | 11 => {
            assert_ne!(u16_of(&mut body), 0);
            if v5 {
                properties(&mut body, &[0x1F, 0x26]);
            }
            let reasons = std::mem::take(&mut body);
            let allowed: &[u8] = match (kind, v5) {
                (9, true) => &[0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2],
                (9, false) => &[0, 1, 2, 0x80],
                (_, true) => &[0, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91],
                (_, false) => &[],
            };
            assert!(
                reasons.iter().all(|reason| allowed.contains(reason)),
                "{reasons:02x?}"
            );
            assert!(!reasons.is_empty() || (kind == 11 && !v5));
            Packet::Filters
        }
        13 => Packet::PingResp,
        14 => {
            assert!(v5, "DISCONNECT to an MQTT 3 client");
            if !body.is_empty() {
                u8_of(&mut body);
            }
            if !body.is_empty() {
                properties(&mut body, &[0x1F, 0x26]);
            }
            Packet::Disconnect
        }
        _ => panic!("the server sent {first:02x}"),
    };
    assert!(
        body.is_empty(),
        "bytes behind the end of {first:02x}: {body:02x?}"
    );
    (packet, before - bytes.len())
}

fn publish<'a>(v5: bool, flags: u8, body: &mut &'a [u8]) -> Publish<'a> {
    let (dup, qos) = (flags & 8 != 0, flags >> 1 & 3);
    assert!(qos < 3 && (qos > 0 || !dup), "flags {flags:x} of PUBLISH");
    let topic = string(body);
    assert!(!topic.iter().any(|byte| b"+#".contains(byte)));
    let id = if qos > 0 { u16_of(body) } else { 0 };
    assert!(qos == 0 || id != 0);
    let properties = match v5 {
        true => properties(body, &[1, 2, 3, 8, 9, 0x0B, 0x23, 0x26]),
        false => Properties::default(),
    };
    assert!(
        !topic.is_empty() || properties.alias.is_some(),
        "neither topic nor alias"
    );
    Publish {
        dup,
        qos,
        retain: flags & 1 != 0,
        topic,
        id,
        properties,
        payload: std::mem::take(body),
    }
}

fn properties<'a>(body: &mut &'a [u8], allowed: &[u8]) -> Properties<'a> {
    let length = variable_of(body) as usize;
    let mut block = take(body, length);
    let mut found = Properties::default();
    let mut seen = [false; 0x80];
    while !block.is_empty() {
        let id = u8_of(&mut block);
        assert!(allowed.contains(&id), "property {id:02x} may not stand here");
        assert!(
            matches!(id, 0x0B | 0x26) || !seen[usize::from(id)],
            "property {id:02x} twice"
        );
        seen[usize::from(id)] = true;
        match id {
            0x01 => found.utf8 = Some(u8_of(&mut block)),
            0x02 => found.expiry = Some(u32_of(&mut block)),
            0x03 => found.content_type = Some(string(&mut block)),
            0x08 => found.response_topic = Some(string(&mut block)),
            0x09 => found.correlation = Some(binary(&mut block)),
            0x0B => found.subscription_ids.push(variable_of(&mut block)),
            0x1F => {
                string(&mut block);
                found.reason_string = true;
            }
            0x12 => {
                string(&mut block);
            }
            0x23 => found.alias = Some(u16_of(&mut block)),
            0x26 => found.user.push((string(&mut block), string(&mut block))),
            0x13 | 0x21 | 0x22 => {
                u16_of(&mut block);
            }
            _ => {
                u32_of(&mut block);
            }
        }
    }
    found
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> &'a [u8] {
    assert!(bytes.len() >= length, "cut off");
    let (taken, rest) = bytes.split_at(length);
    *bytes = rest;
    taken
}

fn u8_of(bytes: &mut &[u8]) -> u8 {
    take(bytes, 1)[0]
}

fn u16_of(bytes: &mut &[u8]) -> u16 {
    take(bytes, 2)
        .iter()
        .fold(0, |value, &byte| value << 8 | u16::from(byte))
}

fn u32_of(bytes: &mut &[u8]) -> u32 {
    take(bytes, 4)
        .iter()
        .fold(0, |value, &byte| value << 8 | u32::from(byte))
}

fn variable_of(bytes: &mut &[u8]) -> u32 {
    let mut value = 0;
    for at in 0..4 {
        let byte = u8_of(bytes);
        value |= u32::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            assert!(at == 0 || byte != 0, "more bytes than needed");
            return value;
        }
    }
    panic!("more than four bytes")
}

fn binary<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let length = u16_of(bytes);
    take(bytes, length.into())
}

fn string<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let text = binary(bytes);
    assert!(
        std::str::from_utf8(text).is_ok() && !text.contains(&0),
        "{text:02x?}"
    );
    text
}

/// A packet with its Remaining Length.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    put_variable(body.len(), &mut bytes);
    bytes.extend_from_slice(body);
    bytes
}

pub(crate) fn put_variable(mut value: usize, out: &mut Vec<u8>) {
    while value > 0x7F {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Binary data or a string.
pub(crate) fn put(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// CONNECT of client `c` with Clean Start 0 and keep-alive 10; `properties` without their length.
pub(crate) fn connect(level: u8, properties: &[u8]) -> Vec<u8> {
    let mut body = b"\0\x04MQTT".to_vec();
    body.extend_from_slice(&[level, 0, 0, 10]);
    if level == 5 {
        put_variable(properties.len(), &mut body);
        body.extend_from_slice(properties);
    }
    put(b"c", &mut body);
    packet(0x10, &body)
}
