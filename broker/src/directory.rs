//! How the message server keeps up with the account server (clause 8.2): what a change ends, and the snapshot that is
//! asked for after a gap.

use std::sync::Arc;
use std::time::Duration;

use irsp_courier::store::{StoreError, Tx, forget_restored};
use irsp_courier::{Courier, Hop, Received};
use irsp_directory::follow::{Follower, Step};
use irsp_directory::{Consequence, Directory, store};
use irsp_protocol::change::{Cause, Change, DirectoryPage, Entity, EntityKey, Right};
use irsp_protocol::frame::{Question, Reply};
use irsp_protocol::{Address, Domain, MessageKind, Principal, Server, Status, Timestamp};
use tokio::sync::Notify;

use crate::access;
use crate::federation::end::Cut;
use crate::federation::links::{Links, News};
use crate::metrics::Metrics;
use crate::sessions::Sessions;
use crate::sessions::keeper::{Done, Keeper};
use crate::sessions::mailbox::Mailbox;
use crate::sessions::orders::End;
use crate::store::{retained, session};
use crate::topics::{self, Topics};

/// How long the account server has to answer for one page.
const PAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// Carries out what follows from changes for sessions and subscriptions.
#[derive(Clone, Debug)]
pub(crate) struct Enforcer {
    pub(crate) directory: Arc<Directory>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) metrics: Arc<Metrics>,
    /// To other domains.
    pub(crate) links: Arc<Links>,
}

impl Enforcer {
    /// Ends what may not go on; `changed`: when the change was made, if that is known. Queues have been ended in the
    /// transaction of the change.
    pub(crate) fn enforce(&self, consequences: Vec<Consequence>, changed: Option<Timestamp>) {
        for consequence in consequences {
            match consequence {
                Consequence::EndSessions { principal, cause } => {
                    tracing::info!(%principal, ?cause, "sessions end");
                    for mailbox in self.sessions.mailboxes(&principal) {
                        if mailbox.is_connected() {
                            mailbox.changed(changed);
                        }
                    }
                    for parked in self.sessions.end_all(&principal, End::Revoked) {
                        self.forget(&parked);
                    }
                }
                Consequence::EndLogins { principal, lost } => {
                    for mailbox in self.sessions.mailboxes(&principal) {
                        if mailbox.is_connected() && lost.iter().any(|lost| mailbox.was_opened_with(lost)) {
                            tracing::info!(%principal, "a session ends with what it was opened with");
                            mailbox.changed(changed);
                            mailbox.end(End::Revoked);
                        }
                    }
                }
                Consequence::EndQueue { principal, .. } => self.topics.forget_live(&principal),
                Consequence::RightsLost { user, .. } => self.recheck(&Principal::user(user), changed),
                Consequence::Peer { .. } => self.links.touch(),
                // Its presence is told anew to a new link.
                Consequence::Hears { domain } => self.links.cut(&domain, Cut::Terms),
                Consequence::Granted { principal, to } => self.links.tell(News::Granted { principal, to }),
            }
        }
    }

    /// A session is over: its subscriptions end, and what it has on disk goes.
    pub(crate) fn forget(&self, mailbox: &Mailbox) {
        self.topics.forget(mailbox);
        if let Some(id) = mailbox.session() {
            self.keeper.end(id, mailbox);
        }
    }

    /// Takes back a principal's subscriptions that are no longer granted, and what waits of them.
    pub(crate) fn recheck(&self, principal: &Principal, changed: Option<Timestamp>) {
        for mailbox in self.sessions.mailboxes(principal) {
            let mut lost = false;
            for filter in mailbox.filters() {
                let (_, plain) = topics::split_share(&filter);
                if access::subscribe(principal, plain, &*self.directory).is_err() {
                    tracing::info!(%principal, %filter, "a subscription is no longer granted");
                    lost = true;
                    self.topics.unsubscribe(&mailbox, &filter);
                    if let Some(id) = mailbox.session() {
                        self.keeper.unsubscribe(id, vec![filter], Done::Follows);
                    }
                }
            }
            if lost {
                if mailbox.is_connected() {
                    mailbox.changed(changed);
                }
                mailbox.recheck();
            }
        }
    }
}

/// Ends in this transaction what waits for a principal that is gone or was reset (clauses 8.2.3, 8.2.4), with its stored
/// sessions and, if it is gone, what is retained on its live topics.
pub(crate) fn end_queue(tx: &mut Tx<'_>, principal: Principal, status: Status) -> Result<(), StoreError> {
    session::end_of(tx.sql(), &principal)?;
    if status == Status::DELETED {
        retained::forget_of(tx.sql(), &principal)?;
    }
    tx.end_hop(&Hop::Principal(principal), status).map(drop)
}

/// Another domain is told that a principal of ours is deleted, or what is granted about one, whatever its state is: a pause only
/// delays it. News may come with the change that made it a peer, so what is stored says whether it is one.
pub(crate) fn tell_abroad(tx: &Tx<'_>, domain: &Domain) -> Result<Received, StoreError> {
    let is_peer = store::has(tx.sql(), &EntityKey::Peer(domain.clone()))?;
    Ok(match is_peer {
        true => Received::Forward(Hop::Peer(domain.clone())),
        false => Received::Ended(Status::WRONG_DOMAIN),
    })
}

/// Ends in this transaction what a change takes the right from: what waits for a peer that is none any more (421), and
/// what waits by a grant or a binding that is withdrawn or narrowed (403), and presence that may not leave any more (403).
pub(crate) fn end_unentitled(tx: &mut Tx<'_>, change: &Change) -> Result<(), StoreError> {
    match (&change.key, &change.entity) {
        (EntityKey::Peer(domain), None) => {
            tx.end_hop(&Hop::Peer(domain.clone()), Status::WRONG_DOMAIN)?;
        }
        (EntityKey::Peer(domain), Some(Entity::Peer(peer)))
            if !peer.outward.allows(MessageKind::Presence, None) =>
        {
            let hop = Hop::Peer(domain.clone());
            tx.end_kind(&hop, MessageKind::Presence, Status::FORBIDDEN)?;
        }
        (EntityKey::Binding { device, user }, entity) => {
            let pushes = match entity {
                Some(Entity::Binding(binding)) => binding.owner || binding.rights.includes(Right::Push),
                _ => false,
            };
            if !pushes {
                let device = Hop::Principal(Principal::device(device.clone()));
                let user = Address::local(Principal::user(user.clone()));
                tx.end_from(&device, &user, None, Status::FORBIDDEN)?;
            }
        }
        (EntityKey::Grant { principal, to }, entity) => {
            let grant = match entity {
                Some(Entity::Grant(grant)) => Some(grant),
                _ => None,
            };
            if !grant.is_some_and(|grant| grant.pushes) {
                tx.end_from(&Hop::Principal(principal.clone()), to, None, Status::FORBIDDEN)?;
            }
            if let Some(domain) = to
                .domain
                .clone()
                .filter(|_| !grant.is_some_and(|grant| grant.hears))
            {
                let from = Address::local(principal.clone());
                tx.end_from(&Hop::Peer(domain), &from, Some(to), Status::FORBIDDEN)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Reads a snapshot whenever `behind` says that something is missing. Runs until its task is dropped.
pub(crate) async fn catch_up(courier: Courier, enforcer: Enforcer, behind: Arc<Notify>) {
    loop {
        behind.notified().await;
        while !snapshot(&courier, &enforcer).await {
            tracing::info!("the account server does not answer; asking again");
        }
        tracing::info!(
            applied = enforcer.directory.applied(),
            "the directory is complete"
        );
    }
}

/// What a snapshot does not name any more.
fn gone(key: EntityKey) -> Change {
    Change {
        n: 0,
        cause: Cause::Delete,
        key,
        entity: None,
    }
}

/// Reads one snapshot; `false` if it was cut short.
async fn snapshot(courier: &Courier, enforcer: &Enforcer) -> bool {
    let mut follower = Follower::new(enforcer.directory.applied());
    let mut after = None;
    loop {
        let question = Question::Directory { after: after.take() };
        let Some(Reply::Directory(page)) = courier.ask(Server::Account, question, PAGE_TIMEOUT).await else {
            tokio::time::sleep(Duration::from_millis(500)).await;
            return false;
        };
        match take_page(courier, enforcer, &mut follower, page).await {
            Ok(Some(next)) => after = Some(next),
            Ok(None) => return true,
            Err(error) => {
                tracing::warn!(%error, "a page of the directory cannot be stored");
                tokio::time::sleep(PAGE_TIMEOUT).await;
                return false;
            }
        }
    }
}

/// Stores a page, then holds it in memory; returns where the next one starts.
async fn take_page(
    courier: &Courier,
    enforcer: &Enforcer,
    follower: &mut Follower,
    page: DirectoryPage,
) -> Result<Option<String>, StoreError> {
    let (entities, next, sweep) = match follower.page(page) {
        Step::More { entities, after } => (entities, Some(after), None),
        Step::Last { entities, sweep } => (entities, None, Some(sweep)),
    };
    let (stored, swept) = (entities.clone(), sweep.clone());
    courier
        .write(move |tx| {
            store::merge(tx.sql(), &stored)?;
            if let Some(sweep) = &swept {
                forget_restored(tx.sql())?;
                for key in store::sweep(tx.sql(), sweep)? {
                    if let EntityKey::Principal(principal) = key {
                        end_queue(tx, principal, Status::DELETED)?;
                    } else {
                        end_unentitled(tx, &gone(key))?;
                    }
                }
            }
            Ok(())
        })
        .await?;
    for (n, entity) in entities {
        enforcer.enforce(enforcer.directory.merge(n, entity), None);
    }
    if let Some(sweep) = sweep {
        enforcer.enforce(enforcer.directory.sweep(&sweep), None);
    }
    Ok(next)
}
