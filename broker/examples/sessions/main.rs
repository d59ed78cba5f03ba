//! What a message and a session cost while there are few sessions and while there are many: the edge itself, over streams
//! in memory, so that no limit on open files is in the way.
//!
//! ```text
//! cargo run --release -p irsp-broker --example sessions [-- 1000,19000,200000 [MESSAGES]]
//! ```
//!
//! Half of the sessions are devices, half are the users who own them, each logged in with a secret. A message is one
//! `live` publish of 128 bytes at QoS 1 from a device to its owner: access rules, topic index, delivery and both
//! acknowledgements. Senders take turns in an order that jumps, so that no two messages of a session follow each other
//! closely. CPU is that of all threads but the one that plays the clients. A session's bytes are what the process grows
//! by, its presence, its subscription and the client's end of its stream included; what two streams in memory take by
//! themselves is measured before, and told apart.
#![allow(clippy::print_stdout, reason = "its figures are its output")]

mod client;
mod gauge;
mod house;
mod pair;

use std::error::Error;
use std::time::Duration;

use tokio::runtime::Builder;

use crate::client::Clients;
use crate::house::House;

/// How many sessions there are at each look.
const SESSIONS: &str = "1000,19000,200000";
/// Messages of one measurement unless said otherwise, and at least one for each pair.
const MESSAGES: usize = 200_000;
/// Measurements at each size; the middle one is told.
const ROUNDS: usize = 3;
/// How long what logins have set in motion may take.
const SETTLED: Duration = Duration::from_secs(600);

fn main() -> Result<(), Box<dyn Error>> {
    let wanted = std::env::args().nth(1).unwrap_or_else(|| SESSIONS.to_owned());
    let messages = match std::env::args().nth(2) {
        Some(messages) => messages.parse()?,
        None => MESSAGES,
    };
    let sizes = wanted
        .split(',')
        .map(|size| size.trim().parse::<usize>())
        .collect::<Result<Vec<_>, _>>()?;
    let pairs_max = sizes.iter().max().map_or(0, |most| most / 2);

    let server = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let player = Builder::new_current_thread().enable_all().build()?;
    let stream_bytes = player.block_on(client::bytes_of_streams())?;
    let mut house = House::open(&server, pairs_max)?;
    let empty = gauge::resident_bytes()?;
    println!(
        "{:>9} {:>12} {:>12} {:>17} {:>8}",
        "sessions", "us/message", "x the first", "bytes/session", "streams"
    );
    player.block_on(async {
        let mut clients = Clients::new(house.door());
        let mut first = None;
        for size in sizes {
            clients.connect_up_to(size / 2).await?;
            house.settle(SETTLED).await?;
            let sessions = clients.pairs() * 2;
            let bytes = gauge::resident_bytes()?.saturating_sub(empty) / sessions.max(1) as u64;
            clients.exchange(clients.pairs()).await?;
            let messages = messages.max(clients.pairs());
            let mut costs = Vec::new();
            for _ in 0..ROUNDS {
                let before = gauge::cpu_of_others()?;
                clients.exchange(messages).await?;
                let spent = gauge::cpu_of_others()?.saturating_sub(before);
                costs.push(spent.as_secs_f64() * 1e6 / messages as f64);
            }
            costs.sort_by(f64::total_cmp);
            let cost = costs[ROUNDS / 2];
            let factor = cost / *first.get_or_insert(cost);
            println!("{sessions:>9} {cost:>12.2} {factor:>12.2} {bytes:>17} {stream_bytes:>8}");
        }
        Ok::<(), Box<dyn Error>>(())
    })?;
    house.close(&server)
}
