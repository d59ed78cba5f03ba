//! What comes before a login: the handshakes below MQTT and CONNECT, under one deadline.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use irsp_session::{Connect, Handshake, Limits, Progress};
use tokio::time::timeout_at;

use super::Edge;
use super::farewell::Why;
use super::tls::{self, Bearer, Revocation};
use super::transport::Opened;
use super::wire::Wire;
use crate::metrics::{Limit, Refusal};

/// A client that has said CONNECT.
pub(super) struct Arrived {
    pub(super) wire: Wire,
    pub(super) handshake: Handshake,
    pub(super) connect: Box<Connect>,
    pub(super) bearer: Option<Bearer>,
    pub(super) revocation: Option<Revocation>,
}

/// Who comes: from where, by which listener, and since when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    pub(super) peer: SocketAddr,
    /// The listener's name, for the log.
    pub(super) listener: &'static str,
    /// When its time to say CONNECT began.
    pub(super) began: Instant,
}

/// The handshakes and CONNECT, in time. `None` if it does not come to that.
pub(super) async fn arrive(
    opening: impl Future<Output = io::Result<Opened>>,
    caller: Caller,
    edge: &Edge,
) -> Option<Box<Arrived>> {
    let Caller {
        peer,
        listener,
        began,
    } = caller;
    let deadline = (began + edge.limits.connect_timeout).into();
    let arrival = async {
        let opened = opening.await?;
        let mut wire = Wire::new(opened.stream, opened.sent, opened.farewell);
        let is_server = matches!(opened.bearer, Some(Bearer::Server(_)));
        let limits = if is_server {
            &edge.server_limits
        } else {
            &edge.session_limits
        };
        let greeted = greet(&mut wire, edge, limits, began).await?;
        let arrived = |(handshake, connect)| Arrived {
            wire,
            handshake,
            connect,
            bearer: opened.bearer,
            revocation: opened.revocation,
        };
        Ok::<_, io::Error>(greeted.map(arrived).map(Box::new))
    };
    // Whoever has not said CONNECT when the server stops has nothing to be told.
    let arrived = edge
        .stop
        .run_until_cancelled(timeout_at(deadline, arrival))
        .await?;
    match arrived {
        Ok(Ok(arrived)) => arrived,
        Ok(Err(error)) => {
            if let Some(why) = tls::refused_certificate(&error) {
                edge.metrics.refused.of(Refusal::Certificate).inc();
                tracing::info!(%peer, listener, %why, "certificate refused");
            } else {
                edge.metrics.refused.of(Refusal::NoConnect).inc();
                tracing::debug!(%peer, listener, %error, "no CONNECT");
            }
            None
        }
        Err(_) => {
            edge.metrics.turned_away(Limit::ConnectTimeout);
            tracing::debug!(%peer, listener, "no CONNECT in time");
            None
        }
    }
}

/// Reads up to CONNECT. `None` if the client was refused; the refusal is written.
async fn greet(
    wire: &mut Wire,
    edge: &Edge,
    limits: &Arc<Limits>,
    began: Instant,
) -> io::Result<Option<(Handshake, Box<Connect>)>> {
    let mut handshake = Handshake::new(Arc::clone(limits), began);
    loop {
        let mut progress = Progress::More;
        let read = wire.read(|bytes| progress = handshake.input(bytes, Instant::now()));
        if let Err(error) = read.await {
            // A WebSocket's client is told what was wrong below MQTT.
            let _gone = wire.finish().await;
            return Err(error);
        }
        match progress {
            Progress::More => {}
            Progress::Connect(connect) => return Ok(Some((handshake, connect))),
            Progress::Refused { output, error } => {
                tracing::debug!(%error, "CONNECT refused");
                edge.metrics.refused.of(Refusal::Malformed).inc();
                edge.metrics.broke(&error);
                wire.output().extend_from_slice(&output);
                wire.ends(Why::of_error(error));
                wire.finish().await?;
                return Ok(None);
            }
        }
    }
}
