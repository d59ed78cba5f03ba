//! Links of the embedded router as [`irsp_courier::bus`] links.

use bytes::Bytes;
use irsp_courier::bus::{self, Attachment, Incoming, Link};
use irsp_protocol::Server;
use rumqttd::local::{LinkError, LinkRx, LinkTx};
use rumqttd::{Broker, Config, Notification, RouterConfig};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Bytes of one segment of a topic's log, and how many are kept, heard or not. What falls out unheard is lost: all but one
/// of them hold the windows of the two servers that send to a third (`courier::Settings::server_window_bytes`).
const SEGMENT_BYTES: usize = 512 << 10;
const SEGMENTS: usize = 7;
/// Links at once: one per server of the domain, with room for one that reconnects before its old link is gone.
const LINKS_MAX: usize = 16;
/// Frames the router gives a link at once before it waits for the link to be ready again.
const FRAMES_PER_TURN: u64 = 1024;

#[derive(Debug, Error)]
#[error("the bus refuses a link: {0}")]
pub(crate) struct BusError(Box<LinkError>);

impl From<LinkError> for BusError {
    fn from(error: LinkError) -> BusError {
        BusError(Box::new(error))
    }
}

/// The embedded router and the tasks that move frames between it and the links.
pub(crate) struct Bus {
    broker: Broker,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// The topic on which `server` listens.
pub(crate) const fn topic(server: Server) -> &'static str {
    match server {
        Server::Account => "bus/account",
        Server::Message => "bus/message",
        Server::App => "bus/app",
    }
}

impl Bus {
    /// Starts the router on its own thread.
    pub(crate) fn start(tasks: TaskTracker, stop: CancellationToken) -> Bus {
        let router = RouterConfig {
            max_connections: LINKS_MAX,
            max_outgoing_packet_count: FRAMES_PER_TURN,
            max_segment_size: SEGMENT_BYTES,
            max_segment_count: SEGMENTS,
            ..RouterConfig::default()
        };
        Bus {
            broker: Broker::new(Config {
                router,
                ..Config::default()
            }),
            tasks,
            stop,
        }
    }

    /// A link for `server`, whether it runs in this process or is spliced on from an edge connection.
    pub(crate) fn attach(&self, server: Server) -> Result<Link, BusError> {
        let (mut tx, rx) = self.broker.link(server.as_str())?;
        tx.subscribe(topic(server))?;
        let (link, Attachment { outgoing, incoming }) = bus::link();
        // The subscription stands in the router's queue before any frame that is sent from now on.
        let _ = incoming.try_send(Incoming::Attached);
        self.tasks.spawn(send(tx, outgoing, self.stop.clone()));
        self.tasks.spawn(receive(rx, incoming, self.stop.clone()));
        Ok(link)
    }
}

async fn send(mut tx: LinkTx, mut outgoing: mpsc::Receiver<(Server, Bytes)>, stop: CancellationToken) {
    while let Some(Some((to, frame))) = stop.run_until_cancelled(outgoing.recv()).await {
        if let Err(error) = tx.publish(topic(to), frame) {
            tracing::error!(%error, "the router is gone");
            return;
        }
    }
}

async fn receive(mut rx: LinkRx, incoming: mpsc::Sender<Incoming>, stop: CancellationToken) {
    loop {
        let notification = tokio::select! {
            () = stop.cancelled() => return,
            () = incoming.closed() => return,
            notification = rx.next() => notification,
        };
        let outcome = match notification {
            Ok(Some(Notification::Forward(forward))) => {
                if incoming
                    .send(Incoming::Frame(forward.publish.payload))
                    .await
                    .is_err()
                {
                    return;
                }
                Ok(())
            }
            // The router gave a full turn and waits for us to say that we have taken it.
            Ok(Some(Notification::Unschedule)) => rx.wake().await,
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            tracing::error!(%error, "the router is gone");
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_windows_of_two_servers_do_not_overrun_the_log_of_a_third() {
        let settings = irsp_courier::Settings::default();
        // An envelope's head and frame: more than most have.
        let window = settings.server_window_bytes + settings.server_window * 512;
        assert!(2 * window <= SEGMENT_BYTES * (SEGMENTS - 1));
    }
}
