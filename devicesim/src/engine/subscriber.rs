//! A connection that hears, or rests.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::Brief;
use crate::peer::Peer;
use crate::wire::{self, kind};

/// Of an idle connection.
const PING_EVERY: Duration = Duration::from_secs(50);

/// Hears until it is told to leave.
pub(super) async fn run(mut peer: Peer, shard: usize, brief: Brief) {
    let mut stamps: Vec<u64> = Vec::new();
    let mut ping = Instant::now() + PING_EVERY;
    loop {
        let turned = tokio::select! {
            turned = peer.turn(|packet, out| {
                let payload = packet.publish().filter(|_| packet.kind() == kind::PUBLISH && !packet.is_retained());
                if let Some(stamp) = payload.and_then(|(_, _, payload)| payload.first_chunk::<8>()) {
                    stamps.push(u64::from_be_bytes(*stamp));
                }
                packet.acknowledge(out);
            }) => turned,
            () = sleep_until(ping) => {
                wire::ping(&mut peer.out);
                ping = Instant::now() + PING_EVERY;
                Ok(())
            }
            () = brief.leave.cancelled() => break,
        };
        if turned.is_err() || peer.write().await.is_err() {
            brief.books.broke();
            return;
        }
        if !stamps.is_empty() {
            brief.books.received(shard, &stamps, Instant::now());
            stamps.clear();
        }
    }
    peer.leave().await;
}
