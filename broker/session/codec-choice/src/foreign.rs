//! Foreign bytes: valid packets of every type with bytes changed, cut, repeated or inserted, and pure noise. A
//! server decodes what strangers send, so a panic here is a connection, or a server, that anybody can stop.

use std::collections::BTreeMap;
use std::panic;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use crate::codecs::{CRATES, Crate, Decoded, VERSIONS, Version};
use crate::rules;

const INPUTS: u64 = 3_000_000;
/// A codec that is too slow to see them all is stopped, and the number it saw is shown.
const WITHIN: Duration = Duration::from_secs(18);
const EXAMPLES_SHOWN_MAX: usize = 8;

/// Where the last panic happened, as the hook saw it.
static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

#[derive(Default)]
struct Outcome {
    inputs: u64,
    packets: u64,
    refused: u64,
    more: u64,
    panics: u64,
    /// First input for each place of panic, and how often.
    places: BTreeMap<String, (u64, Vec<u8>)>,
}

pub fn print() {
    panic::set_hook(Box::new(|info| {
        let place = info
            .location()
            .map(|at| format!("{}:{}", within_crate(at.file()), at.line()));
        if let Ok(mut last) = LAST_PANIC.lock() {
            *last = place.unwrap_or_default();
        }
    }));
    println!("| codec | | inputs | packets | refused | more | panics |");
    println!("|---|---|---:|---:|---:|---:|---:|");
    let mut panics = Vec::new();
    for codec in CRATES {
        for version in VERSIONS {
            let outcome = feed(codec, version);
            println!(
                "| {} | {version:?} | {} | {} | {} | {} | {} |",
                codec.name(),
                outcome.inputs,
                outcome.packets,
                outcome.refused,
                outcome.more,
                outcome.panics
            );
            panics.push((codec, version, outcome.places));
        }
    }
    drop(panic::take_hook());
    println!(
        "\nThe same inputs, in the same order, for each codec. Places of panic, with the first input:\n"
    );
    println!("| codec | | place | times | input |");
    println!("|---|---|---|---:|---|");
    for (codec, version, places) in &panics {
        let mut places = places.iter().collect::<Vec<_>>();
        places.sort_by_key(|(_, (times, _))| std::cmp::Reverse(*times));
        for (place, (times, input)) in places.iter().take(EXAMPLES_SHOWN_MAX) {
            println!(
                "| {} | {version:?} | {place} | {times} | `{}` |",
                codec.name(),
                hex(input)
            );
        }
        if places.len() > EXAMPLES_SHOWN_MAX {
            println!(
                "| {} | {version:?} | and {} more places | | |",
                codec.name(),
                places.len() - EXAMPLES_SHOWN_MAX
            );
        }
    }
    if panics.iter().all(|(_, _, places)| places.is_empty()) {
        println!("| none | | | | |");
    }
}

fn feed(codec: Crate, version: Version) -> Outcome {
    let seeds = rules::valid_packets(version);
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut outcome = Outcome::default();
    let start = Instant::now();
    while outcome.inputs < INPUTS && (outcome.inputs % 4096 != 0 || start.elapsed() < WITHIN) {
        let input = random.input(&seeds);
        outcome.inputs += 1;
        match panic::catch_unwind(|| {
            codec
                .connect(version)
                .decode(&mut BytesMut::from(input.as_slice()))
        }) {
            Ok(Decoded::Packet(_)) => outcome.packets += 1,
            Ok(Decoded::Refused(_)) => outcome.refused += 1,
            Ok(Decoded::More) => outcome.more += 1,
            Err(_) => {
                outcome.panics += 1;
                let place = LAST_PANIC.lock().map(|last| last.clone()).unwrap_or_default();
                outcome.places.entry(place).or_insert((0, input)).0 += 1;
            }
        }
    }
    outcome
}

/// `some-crate-1.0.0/src/file.rs` of a path in the registry's folder.
fn within_crate(file: &str) -> &str {
    let crate_folder = file.rfind("/src/").and_then(|src| file[..src].rfind('/'));
    crate_folder.map_or(file, |slash| &file[slash + 1..])
}

/// xorshift64*: the same inputs in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn input(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        if self.below(8) == 0 {
            return self.noise();
        }
        let mut bytes = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(6) {
                0 => bytes[at] = self.next() as u8,
                1 => bytes[at] ^= 1 << self.below(8),
                2 => bytes[at] = [0, 1, 0x7F, 0x80, 0xFF, b'#'][self.below(6)],
                3 => bytes.insert(at, self.next() as u8),
                4 if bytes.len() > 1 => drop(bytes.remove(at)),
                _ => bytes.truncate(at.max(1)),
            }
        }
        // Half of the inputs get a remaining length that is right again, so that the body is looked at.
        if bytes.len() >= 2 && bytes.len() < 130 && self.below(2) == 0 {
            bytes[1] = (bytes.len() - 2) as u8;
        }
        bytes
    }

    /// Random bytes behind a header that fits them.
    fn noise(&mut self) -> Vec<u8> {
        let len = self.below(60);
        let mut bytes = vec![self.next() as u8, len as u8];
        bytes.extend((0..len).map(|_| self.next() as u8));
        bytes
    }
}

fn hex(bytes: &[u8]) -> String {
    let shown = bytes
        .iter()
        .take(40)
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>();
    if bytes.len() > 40 {
        format!("{shown}... ({} bytes)", bytes.len())
    } else {
        shown
    }
}
