//! Bytes before CONNECT is accepted, cut into pieces, and what a client sends without waiting for CONNACK.

use std::sync::Arc;
use std::time::Instant;

use irsp_session::{Action, Connect, Handshake, Progress, ProtocolError, Refusal, Session};

use super::input::Input;
use super::model::{Asked, Model};
use super::wire::{self, Packet};

pub(crate) fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let flags = input.byte();
    let bytes = input.rest();
    let piece = match usize::from(flags & 0x3F) {
        0 => bytes.len().max(1),
        piece => piece,
    };
    let now = Instant::now();
    let (whole, _) = handshake(bytes, bytes.len().max(1), now);
    let (cut, behind) = handshake(bytes, piece, now);
    match (whole, cut) {
        (None, None) => {}
        (Some((_, Err(whole))), Some((_, Err(cut)))) => assert_eq!(whole, cut, "a cut changes the refusal"),
        (Some((_, Ok(whole))), Some((handshake, Ok(cut)))) => {
            assert_eq!(format!("{whole:?}"), format!("{cut:?}"), "a cut changes CONNECT");
            if flags & 0x40 != 0 {
                refused(handshake, &cut);
            } else {
                accepted(handshake, &cut, flags & 0x80 != 0, (bytes.len(), behind), now);
            }
        }
        (whole, cut) => panic!("a cut changes what it is: {whole:?}, {cut:?}"),
    }
}

type Outcome = Option<(Handshake, Result<Box<Connect>, ProtocolError>)>;

/// What the pieces amount to, and the bytes behind the piece that completed CONNECT.
fn handshake(bytes: &[u8], piece: usize, now: Instant) -> (Outcome, &[u8]) {
    let mut handshake = Handshake::new(Arc::new(super::limits()), now);
    let mut at = 0;
    while at < bytes.len() {
        let end = bytes.len().min(at + piece);
        match handshake.input(&bytes[at..end], now) {
            Progress::More => at = end,
            Progress::Connect(connect) => return (Some((handshake, Ok(connect))), &bytes[end..]),
            Progress::Refused { output, error } => {
                is_a_refusal(&output);
                // the output may be missing where the version had not arrived yet
                return (Some((handshake, Err(error))), &bytes[end..]);
            }
        }
    }
    (None, &[])
}

/// CONNACK of one version or the other, or nothing.
fn is_a_refusal(mut output: &[u8]) {
    if output.is_empty() {
        return;
    }
    let v5 = output[1] != 2;
    let (Packet::ConnAck { reason }, length) = wire::read(v5, &mut output) else {
        panic!("no CONNACK")
    };
    assert!(output.is_empty() && length < 200);
    assert!(
        if v5 {
            reason >= 0x80
        } else {
            (1..=5).contains(&reason)
        },
        "{reason}"
    );
}

fn refused(handshake: Handshake, connect: &Connect) {
    let output = handshake.refuse(&Refusal::NOT_AUTHORIZED.with_text("somebody else's"));
    assert!(output.len() <= connect.packet_size_max.unwrap_or(u32::MAX) as usize);
    is_a_refusal(&output);
}

fn accepted(handshake: Handshake, connect: &Connect, present: bool, bytes: (usize, &[u8]), now: Instant) {
    let limits = super::limits();
    if let Some(will) = &connect.will {
        assert!(!will.publish.topic.is_empty() && !will.publish.topic.contains(['+', '#', '\0']));
    }
    assert!(connect.session_expiry <= limits.session_expiry_max);
    let v5 = connect.version.is_v5();
    let mut model = Model::new(Asked {
        v5,
        packet_size_max: connect.packet_size_max.unwrap_or(u32::MAX) as usize,
        window: 0,
        alias_max: 0,
        problem_information: connect.request_problem_information,
    });
    let (all, behind) = bytes;
    model.sends(all);
    let mut connection = handshake.accept(connect, Session::new(), present, Some("made-up".into()), now);
    for bytes in [&[], behind] {
        connection.input(bytes, now);
        while let Some(action) = connection.poll() {
            match action {
                Action::Publish { token, .. } => connection.settle(token, 0x87, Some("not yours")),
                Action::Subscribe { token, filters, .. } => {
                    connection.subscribed(token, &vec![2; filters.len()], None)
                }
                Action::Unsubscribe { token, filters } => {
                    connection.unsubscribed(token, &vec![0; filters.len()])
                }
                Action::Close { .. } => assert!(connection.is_closed()),
                Action::Delivered { .. }
                | Action::Dropped { .. }
                | Action::Received { .. }
                | Action::Released { .. } => panic!("nothing was delivered: {action:?}"),
            }
        }
        model.reads(&connection.output().unwrap_or_default());
    }
}
