//! All connections reset at once: how long the next client waits.

use std::sync::Arc;

use tokio::time::{Instant, timeout};

use super::books::Books;
use super::{EngineError, Load, Measured, Opened, SERVED, Work, open};
use crate::link::{Close, Dialer};
use crate::peer::Slice;
use crate::usage::Usage;
use crate::wire::{self, PublishOut, kind};

pub(super) async fn run(dialer: &Dialer, load: &Load) -> Result<Measured, EngineError> {
    let books = Arc::new(Books::new()?);
    let (resting, newcomers): (Vec<_>, Vec<_>) = load
        .connections
        .iter()
        .cloned()
        .partition(|(_, work)| *work == Work::Rest);
    let clients = resting.len();
    let opened = Instant::now();
    let peers = open(dialer, &resting, load, Close::Reset, &books).await?;
    let connect_s = opened.elapsed().as_secs_f64();
    let before = load.pid.and_then(Usage::of);
    tokio::time::sleep(load.warm_up).await;
    // Each was opened to be reset by whoever drops it.
    drop(peers);
    let began = Instant::now();
    let served = async {
        let peers = open(dialer, &newcomers, load, Close::Orderly, &books).await?;
        pass_one(peers, load).await
    };
    timeout(SERVED, served)
        .await
        .map_err(|_| EngineError::Unserved { clients })??;
    let served = began.elapsed();
    let used = before
        .zip(load.pid.and_then(Usage::of))
        .map(|(before, after)| Usage {
            cpu_s: after.cpu_s - before.cpu_s,
            ..after
        });
    Ok(Measured {
        served_ms: Some(served.as_secs_f64() * 1000.0),
        ..books.close(load, connect_s, used, None)
    })
}

/// Publishes one message by whoever publishes, until whoever subscribes has it.
async fn pass_one(peers: Vec<Opened>, load: &Load) -> Result<(), EngineError> {
    let (mut hears, mut says) = (Vec::new(), Vec::new());
    for (peer, work, _) in peers {
        match work {
            Work::Publish(topic) => says.push((peer, topic)),
            Work::Subscribe(_) | Work::Rest => hears.push(peer),
        }
    }
    for (peer, topic) in &mut says {
        let publish = PublishOut {
            topic,
            payload: &vec![0; load.payload],
            qos: 0,
            id: 0,
            dup: false,
            retain: false,
            expiry_s: None,
            user: &[],
        };
        wire::publish(&mut peer.out, load.version, &publish);
        peer.write().await.map_err(EngineError::Newcomer)?;
    }
    for peer in &mut hears {
        let mut heard = false;
        while !heard {
            let on = |packet: Slice<'_>, out: &mut Vec<u8>| {
                heard |= packet.kind() == kind::PUBLISH && !packet.is_retained();
                packet.acknowledge(out);
            };
            peer.turn(on).await.map_err(EngineError::Newcomer)?;
        }
    }
    for peer in says.into_iter().map(|(peer, _)| peer).chain(hears) {
        peer.leave().await;
    }
    Ok(())
}
