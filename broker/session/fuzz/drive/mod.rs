//! What the fuzz targets do with their input, and what must hold whatever the input is: no panic, bounded output,
//! only well-formed packets to the client, nothing after the end, packet identifiers never used twice at a time,
//! every delivery ended once.
//!
//! The same code replays the corpus in `cargo test` (`broker/session/tests/corpus.rs`), so what a fuzzer once found
//! stays found.

mod codec;
mod conversation;
mod handshake;
mod input;
mod model;
mod wire;

use irsp_session::Limits;

/// Runs one input through one target. A target's name is its file in `fuzz_targets/` and its folder in `corpus/`.
pub(crate) fn run(target: &str, input: &[u8]) {
    match target {
        "codec" => codec::run(input),
        "before_connect" => handshake::run(input),
        "conversation_v311" => conversation::run(4, input),
        "conversation_v5" => conversation::run(5, input),
        unknown => panic!("no target {unknown}"),
    }
}

/// Small, so that every limit is met soon.
fn limits() -> Limits {
    Limits {
        packet_size_max: 2048,
        receive_max: 4,
        inflight_max: 3,
        queue_messages_max: 5,
        topic_alias_max: 3,
        ..Limits::default()
    }
}
