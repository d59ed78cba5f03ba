//! Stores presence changes, then tells the application server and the subscribers.
//!
//! All events pass through one task: the order in which it stores them is the order everybody hears, and what has
//! come together is stored together.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use irsp_courier::store::StoreError;
use irsp_courier::{Courier, Hop};
use irsp_protocol::presence::Presence;
use irsp_protocol::topic::Branch;
use irsp_protocol::{Address, Envelope, MessageKind, Server, Topic};
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::table::{Event, Table};
use super::unstored::Unstored;
use crate::attached::Attached;
use crate::directory::Enforcer;
use crate::federation::Abroad;
use crate::store;

/// Events under way before connections that begin or end wait for the disk.
const EVENTS_MAX: usize = 4096;
/// Changes stored in one transaction.
const BATCH_MAX: usize = 512;
/// How long to wait after the disk refused.
const RETRY: Duration = Duration::from_secs(1);

/// Where connections report that sessions begin and end.
#[derive(Clone, Debug)]
pub(crate) struct Presences {
    events: mpsc::Sender<Event>,
    unstored: Arc<Unstored>,
}

impl Presences {
    /// Reports that a session begins or ends; `false` if nobody listens any more, because the server stops.
    pub(crate) async fn send(&self, event: Event) -> bool {
        if let Event::Begun(principal) = &event {
            self.unstored.add(principal);
        }
        self.events.send(event).await.is_ok()
    }
}

/// The one task that changes presence.
pub(crate) struct Announcer {
    /// Locked from a change until it is stored, so that nobody reads an epoch that could be lost.
    table: Arc<Mutex<Table>>,
    events: mpsc::Receiver<Event>,
    courier: Courier,
    enforcer: Enforcer,
    attached: Arc<Attached>,
    unstored: Arc<Unstored>,
    /// Who of other domains hears of it.
    abroad: Arc<Abroad>,
    grace_ends: Option<Instant>,
}

impl Announcer {
    pub(crate) fn new(
        table: Arc<Mutex<Table>>,
        courier: Courier,
        enforcer: Enforcer,
        attached: Arc<Attached>,
        unstored: Arc<Unstored>,
        abroad: Arc<Abroad>,
        grace: Duration,
    ) -> (Announcer, Presences) {
        let (reports, events) = mpsc::channel(EVENTS_MAX);
        let presences = Presences {
            events: reports,
            unstored: Arc::clone(&unstored),
        };
        let grace_ends = Some(Instant::now() + grace);
        (
            Announcer {
                table,
                events,
                courier,
                enforcer,
                attached,
                unstored,
                abroad,
                grace_ends,
            },
            presences,
        )
    }

    /// Sets what was stored before this start, then works until all connections are gone.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        self.recall().await;
        let mut batch = Vec::new();
        loop {
            let grace_ends = self.grace_ends;
            tokio::select! {
                taken = self.events.recv_many(&mut batch, BATCH_MAX) => {
                    if taken == 0 {
                        return self.all_told().await;
                    }
                    let begun = batch.iter().filter_map(Event::begun).cloned().collect::<Vec<_>>();
                    self.change(|table, now| {
                        batch.drain(..).filter_map(|event| table.apply(event, now)).collect()
                    }, &stop).await;
                    begun.iter().for_each(|principal| self.unstored.remove(principal));
                }
                () = until(grace_ends) => {
                    self.grace_ends = None;
                    self.change(Table::grace_over, &stop).await;
                }
            }
        }
    }

    /// Sets the presence of everybody as it was stored. Sessions that outlived the start have heard it, but for the last
    /// changes before a kill: those are told again.
    async fn recall(&self) {
        let stored: Vec<Presence> = self.table.lock().await.iter().cloned().collect();
        let untold = match self.courier.store().read(store::load_untold).await {
            Ok(untold) => untold,
            Err(error) => {
                tracing::error!(%error, "which presence was told before this start cannot be read: all of it is told again");
                stored
                    .iter()
                    .map(|presence| presence.principal.to_string())
                    .collect()
            }
        };
        for presence in &stored {
            if untold.contains(&presence.principal.to_string()) {
                self.publish(presence);
            } else {
                self.enforcer.topics.restate(&topic(presence), body(presence));
            }
        }
    }

    async fn all_told(&self) {
        if let Err(error) = self.courier.write(|tx| store::presences_told(tx)).await {
            tracing::warn!(%error, "the last changes of presence will be told once more");
        }
    }

    async fn change(
        &self,
        change: impl FnOnce(&mut Table, irsp_protocol::Timestamp) -> Vec<Presence>,
        stop: &CancellationToken,
    ) {
        let mut table = self.table.lock().await;
        let changes = change(&mut table, self.courier.now());
        if changes.is_empty() {
            return;
        }
        while let Err(error) = self.store(changes.clone()).await {
            tracing::error!(%error, "presence cannot be stored; trying again");
            if stop
                .run_until_cancelled(tokio::time::sleep(RETRY))
                .await
                .is_none()
            {
                return;
            }
        }
        drop(table);
        for presence in &changes {
            let changes = &self.enforcer.metrics.presence_changes;
            changes.of(presence.state.into()).inc();
            self.publish(presence);
            for application in self.enforcer.directory.attached_hearing(&presence.principal) {
                self.attached.announce(&application, presence);
            }
        }
    }

    async fn store(&self, changes: Vec<Presence>) -> Result<(), StoreError> {
        let (courier, abroad) = (self.courier.clone(), Arc::clone(&self.abroad));
        self.courier
            .write(move |tx| {
                // Those before were told before these came.
                store::presences_told(tx)?;
                for presence in &changes {
                    store::put_presence(tx, presence)?;
                    tx.accept(envelope(&courier, presence), Hop::Server(Server::App))?;
                    abroad.tell(tx, presence, || courier.new_id())?;
                }
                Ok(())
            })
            .await
    }

    fn publish(&self, presence: &Presence) {
        self.enforcer
            .topics
            .announce(&topic(presence), body(presence), true);
    }
}

fn topic(presence: &Presence) -> Topic {
    Topic {
        owner: Address::local(presence.principal.clone()),
        branch: Branch::Presence,
    }
}

fn envelope(courier: &Courier, presence: &Presence) -> Envelope {
    let (id, now) = (courier.new_id(), courier.now());
    let ends = (Server::Message, Server::App);
    Envelope {
        time: presence.since,
        ..Envelope::between_servers(id, MessageKind::Presence, ends, now, body(presence))
    }
}

fn body(presence: &Presence) -> Bytes {
    // A struct of strings and numbers always serialises.
    serde_json::to_vec(presence).map(Bytes::from).unwrap_or_default()
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
