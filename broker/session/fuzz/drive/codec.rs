//! Bytes to packets and back: what a client writes is what the server understands, what the server passes on is what was
//! published, and how the bytes were cut changes nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use irsp_session::{
    Action, Connection, Delivery, DropCause, Handshake, Progress, Publish, Session, SubscriptionIds,
};

use super::input::Input;
use super::wire::{self, Packet, Properties};

pub(crate) fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let flags = input.byte();
    let level = if flags & 1 == 0 { 4 } else { 5 };
    match flags & 2 {
        0 => there_and_back(level, &mut input),
        _ => cuts_change_nothing(level, &mut input),
    }
}

fn connection(level: u8, now: Instant) -> Connection {
    let mut handshake = Handshake::new(Arc::new(super::limits()), now);
    let Progress::Connect(connect) = handshake.input(&wire::connect(level, &[]), now) else {
        panic!("CONNECT refused");
    };
    let mut connection = handshake.accept(&connect, Session::new(), false, None, now);
    assert!(connection.output().is_some());
    connection
}

/// Text without what a topic may not have.
fn text(input: &mut Input<'_>) -> String {
    let length = usize::from(input.byte() & 0x3F);
    let text = String::from_utf8_lossy(input.take(length)).replace(['+', '#', '\0'], "_");
    if text.is_empty() { "t".into() } else { text }
}

fn there_and_back(level: u8, input: &mut Input<'_>) {
    let (v5, now) = (level == 5, Instant::now());
    let (flags, which) = (input.byte(), if level == 5 { input.byte() } else { 0 });
    let has = |bit: u8| which & 1 << bit != 0;
    let (topic, content_type, response_topic) = (text(input), text(input), text(input));
    let (key, value) = (text(input), text(input));
    let expiry = u32::from_be_bytes([0, input.byte(), input.byte(), input.byte()]);
    let payload = match has(0) {
        true => String::from_utf8_lossy(input.rest()).into_owned().into_bytes(),
        false => input.rest().to_vec(),
    };
    let user = [(key.as_bytes(), value.as_bytes()); 3];
    let sent = wire::Publish {
        dup: flags & 8 != 0 && flags % 3 > 0,
        qos: flags % 3,
        retain: flags & 4 != 0,
        topic: topic.as_bytes(),
        id: if flags % 3 > 0 { u16::from(flags) + 1 } else { 0 },
        properties: Properties {
            utf8: (has(0) || has(1)).then_some(u8::from(has(0))),
            expiry: has(2).then_some(expiry),
            content_type: has(3).then_some(content_type.as_bytes()),
            response_topic: has(4).then_some(response_topic.as_bytes()),
            correlation: has(5).then_some(value.as_bytes()),
            user: user[..usize::from(which >> 6)].to_vec(),
            ..Properties::default()
        },
        payload: &payload,
    };
    let mut connection = connection(level, now);
    connection.input(&written(v5, &sent), now);
    let Some(Action::Publish { token, publish }) = connection.poll() else {
        assert!(connection.is_closed(), "neither taken nor refused");
        assert!(payload.len() + topic.len() > 1000, "refused: {sent:?}");
        return;
    };
    connection.settle(token, 0, None);
    if let Some(output) = connection.output() {
        let (Packet::Ack { kind, id, reason, .. }, _) = wire::read(v5, &mut &*output) else {
            panic!("no acknowledgement")
        };
        assert_eq!((kind, id, reason), (3 + sent.qos, sent.id, 0));
    }
    heard_as_sent(v5, &sent, &publish, &mut connection, now);
}

fn heard_as_sent(
    v5: bool,
    sent: &wire::Publish<'_>,
    publish: &Publish,
    connection: &mut Connection,
    now: Instant,
) {
    assert_eq!(&*publish.payload, sent.payload);
    assert_eq!(
        (publish.topic.as_bytes().as_ref(), publish.qos as u8),
        (sent.topic, sent.qos)
    );
    assert_eq!(
        publish.expires,
        sent.properties
            .expiry
            .map(|seconds| now + Duration::from_secs(seconds.into()))
    );
    let delivery = Delivery {
        publish: Arc::new(publish.clone()),
        qos: publish.qos,
        retain: publish.retain,
        subscription_ids: SubscriptionIds::None,
        tag: Some(1),
        dup: false,
    };
    connection.deliver(&delivery, now);
    let Some(output) = connection.output() else {
        let Some(Action::Dropped {
            tag: Some(1),
            cause: DropCause::Expired,
        }) = connection.poll()
        else {
            panic!("neither sent nor dropped")
        };
        assert_eq!(sent.properties.expiry, Some(0));
        return;
    };
    let (Packet::Publish(mut heard), length) = wire::read(v5, &mut &*output) else {
        panic!("no PUBLISH")
    };
    assert_eq!((length, heard.id), (output.len(), u16::from(sent.qos > 0)));
    heard.id = sent.id;
    heard.dup = sent.dup;
    assert_eq!(&heard, sent);
}

fn written(v5: bool, publish: &wire::Publish<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    wire::put(publish.topic, &mut body);
    if publish.qos > 0 {
        body.extend_from_slice(&publish.id.to_be_bytes());
    }
    if v5 {
        let mut block = Vec::new();
        let properties = &publish.properties;
        if let Some(utf8) = properties.utf8 {
            block.extend_from_slice(&[1, utf8]);
        }
        if let Some(seconds) = properties.expiry {
            block.push(2);
            block.extend_from_slice(&seconds.to_be_bytes());
        }
        let fields = [
            (3, properties.content_type),
            (8, properties.response_topic),
            (9, properties.correlation),
        ];
        for (id, bytes) in fields {
            if let Some(bytes) = bytes {
                block.push(id);
                wire::put(bytes, &mut block);
            }
        }
        for (key, value) in &properties.user {
            block.push(0x26);
            wire::put(key, &mut block);
            wire::put(value, &mut block);
        }
        wire::put_variable(block.len(), &mut body);
        body.extend_from_slice(&block);
    }
    body.extend_from_slice(publish.payload);
    let flags = u8::from(publish.dup) << 3 | publish.qos << 1 | u8::from(publish.retain);
    wire::packet(0x30 | flags, &body)
}

fn cuts_change_nothing(level: u8, input: &mut Input<'_>) {
    let piece = usize::from(input.byte()).max(1);
    let bytes = input.rest();
    let now = Instant::now();
    let conversation = |piece: usize| {
        let mut connection = connection(level, now);
        bytes.chunks(piece).for_each(|piece| connection.input(piece, now));
        let mut said = String::new();
        while let Some(action) = connection.poll() {
            said.push_str(&format!("{action:?};"));
        }
        (said, connection.output())
    };
    assert_eq!(conversation(bytes.len().max(1)), conversation(piece));
}
