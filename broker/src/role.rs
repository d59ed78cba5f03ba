//! The message server as its courier sees it: what it does with envelopes from the other servers.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use irsp_courier::store::{Store, StoreError, Tx};
use irsp_courier::{Ended, Hop, Received, ReplyFuture, Role};
use irsp_directory::follow::Verdict;
use irsp_protocol::change::{ChangeBatch, EntityKey};
use irsp_protocol::frame::{Question, Reply};
use irsp_protocol::granted::Granted;
use irsp_protocol::topic::Branch;
use irsp_protocol::{
    Address, Domain, Envelope, Kind, MessageId, MessageKind, Principal, Server, Status, Timestamp, Topic,
    expiry,
};
use tokio::sync::{Mutex, Notify};

use crate::attached::Attached;
use crate::directory::{self, Enforcer};
use crate::presence::{Table, Unstored};
use crate::route;
use crate::status_news::StatusNews;
use crate::store;

/// Presences in one reply.
const PRESENCE_PAGE: usize = 1000;

/// The longest expiry MQTT can tell a client: a push that lives longer is told this one [MQTT-3.3.2-5].
const EXPIRY_MAX: Duration = Duration::from_secs(u32::MAX as u64);

/// Receives 8.2 changes and pushes; hands pushes to sessions; tells senders how their messages ended.
pub(crate) struct MessageRole {
    pub(crate) domain: Domain,
    pub(crate) enforcer: Enforcer,
    pub(crate) attached: Arc<Attached>,
    pub(crate) store: Store,
    pub(crate) presence: Arc<Mutex<Table>>,
    pub(crate) unstored: Arc<Unstored>,
    /// Tells the follower that changes are missing.
    pub(crate) behind: Arc<Notify>,
    pub(crate) from_peers: FromPeers,
}

/// How large a payload may be that comes from another domain: as one of our own may.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FromPeers {
    /// Of a push or a message.
    pub(crate) push_bytes_max: usize,
    pub(crate) upload_bytes_max: usize,
}

impl FromPeers {
    fn fits(self, envelope: &Envelope) -> Result<(), Status> {
        let bytes_max = match envelope.kind {
            MessageKind::Upload => self.upload_bytes_max,
            MessageKind::Push | MessageKind::Message => self.push_bytes_max,
            // The link has seen to it.
            MessageKind::Status | MessageKind::Presence | MessageKind::Directory => return Ok(()),
        };
        if envelope.data.len() > bytes_max {
            return Err(Status::TOO_LARGE);
        }
        Ok(())
    }
}

impl Role for MessageRole {
    fn receive(&self, tx: &mut Tx<'_>, from: Server, envelope: &Envelope) -> Result<Received, StoreError> {
        match (envelope.kind, from) {
            (MessageKind::Directory, Server::Account) => match &envelope.destination.domain {
                None => self.receive_changes(tx, envelope),
                Some(domain) => directory::tell_abroad(tx, domain),
            },
            (MessageKind::Push | MessageKind::Message, Server::App) => Ok(self.forward(envelope)),
            (
                MessageKind::Upload
                | MessageKind::Push
                | MessageKind::Message
                | MessageKind::Status
                | MessageKind::Presence
                | MessageKind::Directory,
                _,
            ) => Ok(Received::Ended(Status::MALFORMED)),
        }
    }

    /// What a peer has sent, which the link has found to be its own and for us: rights are looked at, and it is ours.
    fn receive_from_peer(
        &self,
        tx: &mut Tx<'_>,
        peer: &Domain,
        envelope: &Envelope,
    ) -> Result<Received, StoreError> {
        let directory = &self.enforcer.directory;
        let to = &envelope.destination;
        if envelope.kind == MessageKind::Directory {
            return self.news_of_accounts(tx, peer, envelope);
        }
        let has_channel = envelope.channel.is_some() || envelope.kind == MessageKind::Presence;
        let right = match has_channel {
            true => directory.may_come_in(envelope.kind, &envelope.source, &to.principal),
            false => Err(Status::MALFORMED),
        };
        let fits = right.and_then(|()| self.from_peers.fits(envelope));
        let hop = fits.and_then(|()| match envelope.kind {
            MessageKind::Presence => Ok(Hop::Server(Server::App)),
            MessageKind::Upload
            | MessageKind::Push
            | MessageKind::Message
            | MessageKind::Status
            | MessageKind::Directory => route::next_hop(to, directory),
        });
        Ok(match hop {
            Ok(hop) => Received::Forward(hop),
            Err(status) => {
                tracing::debug!(%peer, id = %envelope.id, from = %envelope.source, %to, %status, "refused");
                Received::Ended(status)
            }
        })
    }

    fn received(&self, envelope: Envelope, outcome: &Received) {
        if envelope.kind == MessageKind::Upload && matches!(outcome, Received::Forward(_)) {
            self.observe(envelope);
            return;
        }
        if envelope.kind == MessageKind::Directory && *outcome == Received::Ended(Status::DONE) {
            let Ok(batch) = serde_json::from_slice::<ChangeBatch>(&envelope.data) else {
                return;
            };
            let changed = Some(envelope.time);
            for change in &batch.changes {
                self.enforcer
                    .enforce(self.enforcer.directory.apply(change), changed);
                if let EntityKey::Principal(principal) = &change.key {
                    self.enforcer.recheck(principal, changed);
                }
            }
            let now = Timestamp::from(SystemTime::now());
            self.enforcer.metrics.enforced(now.since(envelope.time));
        }
    }

    fn deliver(&self, to: &Principal, envelopes: Vec<Arc<Envelope>>) {
        let now = (Instant::now(), Timestamp::from(SystemTime::now()));
        let expires = |envelope: &Envelope| now.0 + envelope.expires.since(now.1).min(EXPIRY_MAX);
        if to.kind == Kind::Application {
            let work = envelopes.into_iter().map(|envelope| {
                let expires = expires(&envelope);
                (envelope, expires)
            });
            return self.attached.given(to, work);
        }
        let sessions = self.enforcer.sessions.mailboxes(to);
        for envelope in envelopes {
            let expires = expires(&envelope);
            self.enforcer.topics.push(&sessions, to, &envelope, expires);
        }
    }

    fn again(&self, to: &Principal, id: MessageId, failures: u32) {
        Attached::again(&self.attached, to, id, failures);
    }

    fn epoch(&self, tx: &Tx<'_>, of: &Principal) -> Result<Option<u64>, StoreError> {
        if self.unstored.contains(of) {
            return Err(StoreError::refused(
                Status::UNAVAILABLE,
                "its newest session is not stored yet",
            ));
        }
        store::epoch(tx, of)
    }

    fn ended(&self, ended: Ended) {
        if let Hop::Principal(receiver) = &ended.hop {
            if receiver.kind == Kind::Application {
                self.attached.ended(receiver, ended.envelope.id);
            }
            for session in self.enforcer.sessions.mailboxes(receiver) {
                session.ended(ended.envelope.id);
            }
        }
        let envelope = &ended.envelope;
        let tells = matches!(
            envelope.kind,
            MessageKind::Upload | MessageKind::Push | MessageKind::Message
        ) && matches!(
            envelope.source.principal.kind,
            Kind::Device | Kind::User | Kind::Application
        );
        if ended.origin.is_some() || !tells {
            return;
        }
        let news = StatusNews::of(&ended);
        self.enforcer
            .topics
            .tell_status(&envelope.source.principal, &news);
    }

    fn answer(&self, question: Question) -> ReplyFuture<'_> {
        Box::pin(async move {
            match question {
                Question::Presence { of, .. } if !of.is_empty() => {
                    let table = self.presence.lock().await;
                    let page = of.iter().take(PRESENCE_PAGE).filter_map(|one| table.of(one));
                    Reply::Presence {
                        page: page.cloned().collect(),
                        next: None,
                    }
                }
                Question::Presence { after, .. } => {
                    let (page, next) = self.presence.lock().await.page(after.as_ref(), PRESENCE_PAGE);
                    Reply::Presence { page, next }
                }
                Question::Peers => self.peers().await,
                Question::Courier(_) | Question::Directory { .. } => Reply::Unanswered(Status::NOT_FOUND),
            }
        })
    }
}

impl MessageRole {
    fn receive_changes(&self, tx: &mut Tx<'_>, envelope: &Envelope) -> Result<Received, StoreError> {
        let Ok(batch) = serde_json::from_slice::<ChangeBatch>(&envelope.data) else {
            return Ok(Received::Ended(Status::MALFORMED));
        };
        match irsp_directory::store::take(tx.sql(), &batch)? {
            Verdict::Apply { skip } => {
                for (principal, status) in batch.changes[skip..]
                    .iter()
                    .filter_map(irsp_directory::ends_queue)
                {
                    directory::end_queue(tx, principal, status)?;
                }
                for change in &batch.changes[skip..] {
                    directory::end_unentitled(tx, change)?;
                }
                Ok(Received::Ended(Status::DONE))
            }
            Verdict::Duplicate => Ok(Received::Ended(Status::DONE)),
            Verdict::Gap => {
                self.behind.notify_one();
                Ok(Received::Later)
            }
            Verdict::Malformed => Ok(Received::Ended(Status::MALFORMED)),
        }
    }

    /// That a principal of the peer is deleted, or what is granted about one: nobody has to grant that it is told. Of a user or
    /// an application that is deleted our account server hears, too, because grants may name it.
    fn news_of_accounts(
        &self,
        tx: &mut Tx<'_>,
        peer: &Domain,
        envelope: &Envelope,
    ) -> Result<Received, StoreError> {
        if self.enforcer.directory.peer(peer).is_none() {
            return Ok(Received::Ended(Status::WRONG_DOMAIN));
        }
        if serde_json::from_slice::<Granted>(&envelope.data).is_ok() {
            return Ok(Received::Forward(Hop::Server(Server::Account)));
        }
        if matches!(envelope.source.principal.kind, Kind::User | Kind::Application) {
            let copy = Envelope {
                id: tx.new_id(),
                destination: Address::local(Principal::server(Server::Account)),
                expires: tx.now().plus(expiry::BETWEEN_SERVERS),
                sender_id: None,
                ..envelope.clone()
            };
            tx.accept(copy, Hop::Server(Server::Account))?;
        }
        Ok(Received::Forward(Hop::Server(Server::App)))
    }

    /// A push or a message that the application server has accepted: rights are looked at again, and it is ours.
    fn forward(&self, envelope: &Envelope) -> Received {
        let is_own = |domain: &Domain| *domain == self.domain;
        if envelope
            .source
            .domain
            .as_ref()
            .is_some_and(|domain| !is_own(domain))
        {
            return Received::Ended(Status::WRONG_DOMAIN);
        }
        let destination = Address {
            domain: envelope
                .destination
                .domain
                .clone()
                .filter(|domain| !is_own(domain)),
            principal: envelope.destination.principal.clone(),
        };
        let (from, to) = (&envelope.source.principal, &destination.principal);
        let directory = &self.enforcer.directory;
        let right = match (envelope.kind, to.kind) {
            _ if envelope.channel.is_none() => Err(Status::MALFORMED),
            (kind, _) if destination.domain.is_some() => directory.may_send_out(kind, from, &destination),
            (MessageKind::Push, Kind::Device | Kind::User) => directory.may_push(from, to),
            (MessageKind::Message, Kind::Application) => directory.may_message(from, to),
            _ => Err(Status::MALFORMED),
        };
        match right.and_then(|()| route::next_hop(&destination, directory)) {
            Ok(hop) => Received::Forward(hop),
            Err(status) => Received::Ended(status),
        }
    }

    /// How the links to all peers stand, and what waits for each.
    async fn peers(&self) -> Reply {
        let mut links = Vec::new();
        for peer in self.enforcer.directory.peers() {
            let mut link = self.enforcer.links.standing(&peer.domain);
            match self.store.queue(Hop::Peer(peer.domain.clone())).await {
                Ok((waiting, oldest)) => (link.waiting, link.oldest) = (waiting, oldest),
                Err(error) => {
                    tracing::warn!(%error, "what waits for a peer cannot be read");
                    return Reply::Unanswered(error.status());
                }
            }
            links.push(link);
        }
        links.sort_by(|one, other| one.domain.cmp(&other.domain));
        Reply::Peers(links)
    }

    /// Shows an upload of another domain's device, once it is stored, to those who watch its application's.
    fn observe(&self, envelope: Envelope) {
        let Envelope {
            source,
            destination: app,
            channel: Some(channel),
            data,
            ..
        } = envelope
        else {
            return;
        };
        let topic = Topic {
            owner: source,
            branch: Branch::Up { app, channel },
        };
        self.enforcer.topics.announce(&topic, data, false);
    }
}
