//! Presence across domains (clause 8.7), as far as it may leave ours: applications and users of other domains that were
//! granted it hear of a principal's changes, of its state when a link comes up or the grant is given, and that it is
//! unknown once the grant is withdrawn. Our own application server hears when a peer is out of sight.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use irsp_courier::store::{StoreError, Tx};
use irsp_courier::{Courier, Hop};
use irsp_directory::Directory;
use irsp_protocol::peer::Grant;
use irsp_protocol::presence::{Connectivity, Presence, Reason};
use irsp_protocol::{
    Address, Domain, Envelope, Kind, MessageId, MessageKind, Principal, PushOptions, Server, Timestamp,
    expiry,
};
use tokio::sync::{Mutex, mpsc};

use super::links::{Links, News};
use crate::presence::Table;

/// How long news of presence waits for a link. What is older is made good by the state told when the link comes up.
const LIFETIME: Duration = Duration::from_secs(600);
/// States told in one transaction.
const BATCH: usize = 500;
/// How long to wait after the disk refused.
const RETRY: Duration = Duration::from_secs(1);

/// Who abroad hears of a principal.
pub(crate) struct Abroad {
    pub(crate) directory: Arc<Directory>,
}

impl Abroad {
    /// Puts a change into the outbox for everyone abroad who hears the principal, in the transaction that stores it.
    pub(crate) fn tell(
        &self,
        tx: &mut Tx<'_>,
        presence: &Presence,
        new_id: impl Fn() -> MessageId,
    ) -> Result<(), StoreError> {
        for to in self.directory.heard_by(&presence.principal) {
            if may_be_told(&self.directory, &to) {
                accept(tx, presence, &to, new_id())?;
            }
        }
        Ok(())
    }
}

/// Acts on what happens to links and grants until the server stops.
pub(crate) async fn abroad(
    mut news: mpsc::UnboundedReceiver<News>,
    links: Arc<Links>,
    courier: Courier,
    directory: Arc<Directory>,
    table: Arc<Mutex<Table>>,
) {
    while let Some(one) = news.recv().await {
        match one {
            News::Linked(peer) => {
                if !directory.tells_presence(&peer) {
                    continue;
                }
                let of_peer = |grant: &Grant| grant.hears && grant.to.domain.as_ref() == Some(&peer);
                let grants = directory.grants(of_peer);
                let wanted = grants
                    .iter()
                    .map(|grant| (grant.principal.clone(), grant.to.clone()));
                for some in wanted.collect::<Vec<_>>().chunks(BATCH) {
                    // Its next link is told, so who comes and goes faster than it can be told costs nothing.
                    if !links.is_linked(&peer) {
                        break;
                    }
                    let table = table.lock().await;
                    tell(&courier, known(&table, some)).await;
                }
            }
            News::Granted { principal, to } => {
                if !may_be_told(&directory, &to) {
                    continue;
                }
                let hears = directory.grant(&principal, &to).is_some_and(|grant| grant.hears);
                let table = table.lock().await;
                let mut states = known(&table, &[(principal, to)]);
                if !hears {
                    for (presence, _) in &mut states {
                        presence.state = Connectivity::Unknown;
                        presence.reason = Reason::Revoked;
                        presence.since = courier.now();
                    }
                }
                tell(&courier, states).await;
            }
            News::Parted { peer, at } => out_of_sight(&courier, peer, at).await,
        }
    }
}

/// Whether the terms of a hearer's domain let presence leave ours for it.
fn may_be_told(directory: &Directory, to: &Address) -> bool {
    let peer = to.domain.as_ref();
    peer.is_some_and(|peer| directory.tells_presence(peer))
}

/// The present state of those that have one. The table stays locked until it is stored: a newer one that was stored in between
/// would end as one that has been replaced.
fn known(table: &Table, wanted: &[(Principal, Address)]) -> Vec<(Presence, Address)> {
    let states = wanted
        .iter()
        .filter_map(|(principal, to)| Some((table.of(principal)?.clone(), to.clone())));
    states.collect()
}

async fn tell(courier: &Courier, states: Vec<(Presence, Address)>) {
    store(courier, move |courier, tx| {
        for (presence, to) in &states {
            accept(tx, presence, to, courier.new_id())?;
        }
        Ok(())
    })
    .await;
}

/// Tells the application server that nothing is heard of a peer's principals since `at`.
async fn out_of_sight(courier: &Courier, peer: Domain, at: Timestamp) {
    store(courier, move |courier, tx| {
        let news = Envelope {
            source: Address {
                principal: Principal::server(Server::Message),
                domain: Some(peer.clone()),
            },
            destination: Address::local(Principal::server(Server::App)),
            time: at,
            expires: tx.now().plus(expiry::BETWEEN_SERVERS),
            ..empty(courier.new_id(), tx.now())
        };
        tx.accept(news, Hop::Server(Server::App)).map(drop)
    })
    .await;
}

/// Stores it, however often the disk refuses. The task that runs this ends with the server.
async fn store(
    courier: &Courier,
    put: impl Fn(&Courier, &mut Tx<'_>) -> Result<(), StoreError> + Clone + Send + 'static,
) {
    loop {
        let (put, with) = (put.clone(), courier.clone());
        match courier.write(move |tx| put(&with, tx)).await {
            Ok(()) => return,
            Err(error) => {
                tracing::warn!(%error, "presence abroad cannot be stored; trying again");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

fn accept(tx: &mut Tx<'_>, presence: &Presence, to: &Address, id: MessageId) -> Result<(), StoreError> {
    let Some(peer) = &to.domain else { return Ok(()) };
    if !matches!(to.principal.kind, Kind::Application | Kind::User) {
        return Ok(());
    }
    let envelope = Envelope {
        source: Address::local(presence.principal.clone()),
        destination: to.clone(),
        time: presence.since,
        expires: tx.now().plus(LIFETIME),
        content_type: Some("application/json".to_owned()),
        data: Bytes::from(serde_json::to_vec(presence)?),
        ..empty(id, tx.now())
    };
    // Always a new envelope: what waits with the same words may have been refused by terms that hold no more, and would be again.
    tx.accept(envelope, Hop::Peer(peer.clone())).map(drop)
}

fn empty(id: MessageId, now: Timestamp) -> Envelope {
    let nobody = Address::local(Principal::server(Server::Message));
    Envelope {
        id,
        kind: MessageKind::Presence,
        source: nobody.clone(),
        destination: nobody,
        channel: None,
        time: now,
        expires: now,
        sender_id: None,
        content_type: None,
        options: PushOptions::default(),
        attributes: Vec::new(),
        data: Bytes::new(),
    }
}
