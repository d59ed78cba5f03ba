//! A server of this domain that runs apart: its MQTT connection, spliced onto a link of the bus.
//!
//! It may publish frames on `bus/{server}` and subscribe to its own; nothing else. Frames are QoS 0: couriers repeat
//! what is not answered, so a frame that finds no room is dropped and counted.

use std::sync::Arc;

use bytes::Bytes;
use irsp_courier::bus::{Incoming, Link};
use irsp_protocol::{Server, Status};
use irsp_session::{Delivery, Publish, QoS, SubscriptionIds};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bus::{Bus, BusError, topic};
use crate::metrics::Metrics;
use crate::sessions::mailbox::Mailbox;

/// The bus as one connected server sees it.
pub(super) struct BusPort {
    server: Server,
    metrics: Arc<Metrics>,
    outgoing: mpsc::Sender<(Server, Bytes)>,
    /// Until the server subscribes, frames for it are not taken from the bus.
    incoming: Option<mpsc::Receiver<Incoming>>,
    /// Cancelled when the connection is over, and the forwarding with it.
    gone: CancellationToken,
}

impl Drop for BusPort {
    fn drop(&mut self) {
        self.gone.cancel();
    }
}

impl BusPort {
    pub(super) fn open(bus: &Bus, server: Server, metrics: &Arc<Metrics>) -> Result<BusPort, BusError> {
        let Link { outgoing, incoming } = bus.attach(server)?;
        Ok(BusPort {
            server,
            metrics: Arc::clone(metrics),
            outgoing,
            incoming: Some(incoming),
            gone: CancellationToken::new(),
        })
    }

    /// Passes a frame on.
    pub(super) fn publish(&self, publish: &Publish) -> Result<(), Status> {
        let to = Server::ALL
            .into_iter()
            .find(|server| topic(*server) == &*publish.topic);
        let to = to.ok_or(Status::FORBIDDEN)?;
        if self.outgoing.try_send((to, publish.payload.clone())).is_err() {
            self.metrics.bus_port_lost.inc();
            tracing::debug!(server = %self.server, "a bus frame found no room");
        }
        Ok(())
    }

    /// Begins to move frames from the bus to the server's session.
    pub(super) fn subscribe(
        &mut self,
        filter: &str,
        mailbox: &Arc<Mailbox>,
        tasks: &TaskTracker,
    ) -> Result<(), Status> {
        if filter != topic(self.server) {
            return Err(Status::FORBIDDEN);
        }
        if let Some(incoming) = self.incoming.take() {
            let forward = forward(
                incoming,
                topic(self.server),
                Arc::clone(mailbox),
                Arc::clone(&self.metrics),
            );
            let gone = self.gone.clone();
            tasks.spawn(async move { gone.run_until_cancelled(forward).await });
        }
        Ok(())
    }
}

async fn forward(
    mut incoming: mpsc::Receiver<Incoming>,
    topic: &'static str,
    mailbox: Arc<Mailbox>,
    metrics: Arc<Metrics>,
) {
    while let Some(incoming) = incoming.recv().await {
        let Incoming::Frame(frame) = incoming else {
            continue;
        };
        if mailbox.is_full() {
            metrics.bus_port_lost.inc();
            tracing::debug!(owner = %mailbox.owner(), "a bus frame found no room");
            continue;
        }
        mailbox.deliver(Delivery {
            publish: Arc::new(Publish::new(topic, frame, QoS::AtMostOnce)),
            qos: QoS::AtMostOnce,
            retain: false,
            subscription_ids: SubscriptionIds::None,
            tag: None,
            dup: false,
        });
    }
}
