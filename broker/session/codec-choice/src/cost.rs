//! CPU per packet. The codecs take turns within each round, so that what disturbs the machine disturbs all of them,
//! and the clock is the thread's own CPU time. Of the rounds the median is shown, with the 10th and 90th percentile.

use std::hint::black_box;

use bytes::BytesMut;
use rustix::time::{ClockId, clock_gettime};

use crate::codecs::{CRATES, Crate, Decoded, Packet, Version};
use crate::wire;

const ROUNDS: usize = 41;
/// Bytes of packets handled in one measurement.
const BATCH_BYTES: usize = 512 * 1024;
const BATCH_PACKETS_MAX: usize = 4096;

#[derive(Clone, Copy)]
enum Work {
    Decode,
    Encode,
}

pub fn print() {
    println!("Nanoseconds of CPU per packet: median of {ROUNDS} rounds (10th to 90th percentile).\n");
    println!("| packet | | {} |", CRATES.map(Crate::name).join(" | "));
    println!("|---|---|{}", "---:|".repeat(CRATES.len()));
    for (name, version, bytes) in [
        ("PUBLISH QoS 1, v4, 128 B", Version::V4, wire::publish_v4(128)),
        (
            "PUBLISH QoS 1, v4, 16 kB",
            Version::V4,
            wire::publish_v4(16 * 1024),
        ),
        (
            "PUBLISH QoS 1, v5, 3 user properties, 128 B",
            Version::V5,
            wire::publish_v5(128),
        ),
        (
            "PUBLISH QoS 1, v5, 3 user properties, 16 kB",
            Version::V5,
            wire::publish_v5(16 * 1024),
        ),
        ("PUBACK, v4", Version::V4, wire::puback()),
        ("PUBACK, v5", Version::V5, wire::puback()),
    ] {
        for (work, what) in [(Work::Decode, "decode"), (Work::Encode, "encode")] {
            let mut rounds = CRATES.map(|_| Vec::with_capacity(ROUNDS));
            for round in 0..=ROUNDS {
                for turn in 0..CRATES.len() {
                    // Each codec is first in a third of the rounds.
                    let which = (turn + round) % CRATES.len();
                    let ns = measure(work, CRATES[which], version, &bytes);
                    if round > 0 {
                        rounds[which].push(ns);
                    }
                }
            }
            println!("| {name} | {what} | {} |", rounds.map(summary).join(" | "));
        }
    }
}

fn measure(work: Work, codec: Crate, version: Version, bytes: &[u8]) -> f64 {
    let packets = (BATCH_BYTES / bytes.len()).clamp(1, BATCH_PACKETS_MAX);
    match work {
        Work::Decode => {
            let mut connection = codec.connect(version);
            // With room to spare, as a connection's read buffer has: nobody allocates for the bytes to come.
            let mut buffer = BytesMut::with_capacity(bytes.len() * packets + 1024);
            buffer.extend_from_slice(&bytes.repeat(packets));
            let start = cpu_ns();
            for _ in 0..packets {
                match connection.decode(&mut buffer) {
                    Decoded::Packet(packet) => drop(black_box(packet)),
                    other => panic!("{codec:?} {version:?}: {other:?}"),
                }
            }
            (cpu_ns() - start) as f64 / packets as f64
        }
        Work::Encode => {
            let packet = decoded(codec, version, bytes);
            let mut connection = codec.connect(version);
            let mut out = BytesMut::with_capacity((bytes.len() + 16) * packets + 1024);
            let start = cpu_ns();
            for _ in 0..packets {
                black_box(&packet)
                    .encode(&mut connection, &mut out)
                    .expect("encodes what it decoded");
            }
            let ns = (cpu_ns() - start) as f64 / packets as f64;
            // A PUBACK has a short and a long form, so the length need not be the same.
            assert!(out.len() >= bytes.len() * packets, "{codec:?} {version:?}");
            ns
        }
    }
}

fn decoded(codec: Crate, version: Version, bytes: &[u8]) -> Packet {
    match codec.connect(version).decode(&mut BytesMut::from(bytes)) {
        Decoded::Packet(packet) => packet,
        other => panic!("{codec:?} {version:?}: {other:?}"),
    }
}

fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn summary(mut rounds: Vec<f64>) -> String {
    rounds.sort_by(f64::total_cmp);
    let at = |percent: usize| rounds[(rounds.len() - 1) * percent / 100];
    format!("{:.0} ({:.0}-{:.0})", at(50), at(10), at(90))
}
