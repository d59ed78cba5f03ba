//! Whether the payload of a decoded PUBLISH lies where the network put it.

use bytes::BytesMut;

use crate::codecs::{CRATES, Crate, Decoded, VERSIONS, Version};
use crate::wire;

pub fn print() {
    println!("| | {} |", CRATES.map(Crate::name).join(" | "));
    println!("|---|{}", "---|".repeat(CRATES.len()));
    for version in VERSIONS {
        let shown = CRATES.map(|codec| {
            if lies_in_the_input(codec, version) {
                "shared with the input buffer"
            } else {
                "copied"
            }
        });
        println!("| {version:?} | {} |", shown.join(" | "));
    }
}

fn lies_in_the_input(codec: Crate, version: Version) -> bool {
    let bytes = match version {
        Version::V4 => wire::publish_v4(16 * 1024),
        Version::V5 => wire::publish_v5(16 * 1024),
    };
    let mut buffer = BytesMut::from(bytes.as_slice());
    let input = buffer.as_ptr_range();
    match codec.connect(version).decode(&mut buffer) {
        Decoded::Packet(packet) => {
            let payload = packet.payload().expect("a PUBLISH has a payload").as_ptr();
            input.contains(&payload)
        }
        other => panic!("{codec:?} {version:?}: {other:?}"),
    }
}
