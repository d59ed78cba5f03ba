//! A connection that publishes.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{Brief, Pace};
use crate::peer::Peer;
use crate::wire::{self, PublishOut, kind};

/// Publishes under way: at saturation few, so that the load is shared; at a steady rate as many as there are ids for, so
/// that a slow server shows its slowness.
const WINDOW: u16 = 32;
const WINDOW_STEADY: u16 = 4096;
/// Bytes written in one go.
const BATCH: usize = 16 << 10;
/// Of an idle connection.
const PING_EVERY: Duration = Duration::from_secs(50);

/// Packet ids and the stamps of what is under way under them.
struct Flights {
    stamps: Vec<u64>,
    free: Vec<u16>,
}

/// Publishes to `topic` until the end; `place` is its number and how many publishers there are.
pub(super) async fn run(
    (mut peer, receive_max): (Peer, u16),
    topic: String,
    pace: Pace,
    place: (usize, usize),
    brief: Brief,
) {
    let window = receive_max.min(match pace {
        Pace::Saturated => WINDOW,
        Pace::Steady(_) => WINDOW_STEADY,
    });
    let mut flights = Flights {
        stamps: vec![0; if brief.qos > 0 { usize::from(window) + 1 } else { 0 }],
        free: if brief.qos > 0 {
            (1..=window).rev().collect()
        } else {
            Vec::new()
        },
    };
    let mut payload = vec![b'x'; brief.payload];
    let began = Instant::now();
    let every = match pace {
        Pace::Saturated => Duration::ZERO,
        Pace::Steady(rate) => Duration::from_secs_f64(place.1 as f64 / rate),
    };
    // Publishers are spread evenly over the time between two messages of one of them.
    let mut due = began + every.mul_f64(place.0 as f64 / place.1.max(1) as f64);
    let mut ping = began + PING_EVERY;
    let mut acknowledged = Vec::new();
    loop {
        let now = Instant::now();
        let mut count = 0;
        while peer.out.len() < BATCH && now < brief.cease && (brief.qos == 0 || !flights.free.is_empty()) {
            let intended = if pace == Pace::Saturated { now } else { due };
            if intended > now || intended >= brief.cease {
                break;
            }
            due += every;
            let stamp = brief.books.stamp(intended);
            payload[..8].copy_from_slice(&stamp.to_be_bytes());
            let id = flights.free.pop().unwrap_or(0);
            if let Some(place) = flights.stamps.get_mut(usize::from(id)) {
                *place = stamp;
            }
            let publish = PublishOut {
                topic: &topic,
                payload: &payload,
                qos: brief.qos,
                id,
                dup: false,
                retain: false,
                expiry_s: None,
                user: &[],
            };
            wire::publish(&mut peer.out, brief.version, &publish);
            count += 1;
        }
        if count > 0 {
            brief.books.sent(count, now);
        }
        if now >= ping {
            wire::ping(&mut peer.out);
            ping = now + PING_EVERY;
        }
        if peer.write().await.is_err() {
            brief.books.broke();
            return;
        }
        if pace == Pace::Saturated && peer.out.is_empty() && brief.qos == 0 && now < brief.cease {
            // The socket takes more: others have their turn first.
            tokio::task::yield_now().await;
            continue;
        }
        let sleeps =
            pace != Pace::Saturated && now < brief.cease && (brief.qos == 0 || !flights.free.is_empty());
        let wake = if sleeps { due.min(ping) } else { ping };
        let turned = tokio::select! {
            turned = peer.turn(|packet, out| {
                let Some(id) = packet.id() else {
                    return;
                };
                match packet.kind() {
                    // Refused: not acknowledged, and heard by nobody.
                    kind::PUBACK | kind::PUBREC if wire::refuses(packet.code()) => flights.free.push(id),
                    kind::PUBACK | kind::PUBCOMP => {
                        if let Some(stamp) = flights.stamps.get(usize::from(id)) {
                            acknowledged.push(*stamp);
                            flights.free.push(id);
                        }
                    }
                    kind::PUBREC => wire::ack(out, kind::PUBREL, id),
                    _ => {}
                }
            }) => turned,
            () = sleep_until(wake) => Ok(()),
            () = brief.leave.cancelled() => break,
        };
        if turned.is_err() {
            brief.books.broke();
            return;
        }
        if !acknowledged.is_empty() {
            brief.books.acknowledged(place.0, &acknowledged, Instant::now());
            acknowledged.clear();
        }
    }
    peer.leave().await;
}
