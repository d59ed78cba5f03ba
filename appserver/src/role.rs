//! What comes over the bus: uploads, messages, presence and account changes, each stored in the courier's transaction that
//! also remembers it as seen (clauses 8.2, 8.3.1, 8.3.2, 8.4).

use std::sync::Arc;

use irsp_courier::store::{StoreError, Tx};
use irsp_courier::{Ended, Received, ReplyFuture, Role};
use irsp_directory::follow::Verdict;
use irsp_directory::{Directory, ends_queue, store as directory_store};
use irsp_protocol::change::{Change, ChangeBatch, Delivery, EntityKey};
use irsp_protocol::departure::Departure;
use irsp_protocol::frame::{Question, Reply};
use irsp_protocol::presence::{Presence, Reason};
use irsp_protocol::{Address, Domain, Envelope, Kind, MessageKind, Principal, Server, Status};
use tokio::sync::{Notify, watch};

use crate::external::{self, External};
use crate::heard::Heard;
use crate::live::Feed;
use crate::metrics::Metrics;
use crate::store::presence::{self, Changes};
use crate::store::uploads::{self, Uploads};
use crate::store::{endpoint, heard};

/// The application server, as its courier sees it.
pub(crate) struct ApplicationServer {
    pub(crate) domain: Domain,
    pub(crate) directory: Arc<Directory>,
    pub(crate) uploads: Arc<Feed<Uploads>>,
    pub(crate) presence: Arc<Feed<Changes>>,
    /// Which applications and users hear principals of other domains.
    pub(crate) heard: Arc<Heard>,
    pub(crate) rights_changed: watch::Sender<u64>,
    /// Woken when uploads are stored, for what is read by sender.
    pub(crate) uploads_stored: Arc<Notify>,
    /// Woken when an account change is missing.
    pub(crate) snapshot_wanted: Arc<Notify>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) external: Arc<External>,
}

impl Role for ApplicationServer {
    fn receive(&self, tx: &mut Tx<'_>, from: Server, envelope: &Envelope) -> Result<Received, StoreError> {
        match (envelope.kind, from) {
            (MessageKind::Upload | MessageKind::Message, Server::Message) => self.store(tx, envelope),
            (MessageKind::Presence, Server::Message) => self.presence_news(tx, envelope),
            (MessageKind::Directory, Server::Account) => self.account_changes(tx, envelope),
            (MessageKind::Directory, Server::Message) => departure(tx, envelope),
            (
                MessageKind::Upload
                | MessageKind::Presence
                | MessageKind::Directory
                | MessageKind::Push
                | MessageKind::Message
                | MessageKind::Status,
                Server::Account | Server::Message | Server::App,
            ) => {
                tracing::warn!(id = %envelope.id, kind = envelope.kind.as_str(), %from, "not for an application server");
                Ok(Received::Ended(Status::MALFORMED))
            }
        }
    }

    fn received(&self, envelope: Envelope, outcome: &Received) {
        if let Received::Ended(status) = outcome {
            self.metrics.took(envelope.kind, *status);
        }
        if *outcome != Received::Ended(Status::DONE) {
            return;
        }
        match envelope.kind {
            MessageKind::Upload | MessageKind::Message => {
                self.uploads.wake();
                self.uploads_stored.notify_one();
            }
            MessageKind::Presence => {
                if let Some((address, hearer, hears)) = abroad(&envelope) {
                    self.heard.set(address, hearer, hears);
                }
                self.presence.wake();
            }
            MessageKind::Directory if envelope.source.domain.is_some() => self.heard.forget(&envelope.source),
            MessageKind::Directory => self.apply(&envelope),
            MessageKind::Push | MessageKind::Status => {}
        }
    }

    fn deliver(&self, to: &Principal, envelopes: Vec<Arc<Envelope>>) {
        // Principals are reached through the message server, so nothing is ever accepted for such a hop here.
        tracing::error!(%to, count = envelopes.len(), "an application server has no principal to deliver to");
    }

    fn waits(&self, service: &Principal, envelope: &Envelope) {
        self.external
            .doorbell
            .arrived(&service.id, envelope.source.to_string());
    }

    fn ended(&self, ended: Ended) {
        tracing::debug!(id = %ended.envelope.id, status = %ended.status, "a message has ended");
    }

    fn answer(&self, _question: Question) -> ReplyFuture<'_> {
        // Receipts are the courier's to answer; directory and presence are asked of those who own them.
        Box::pin(std::future::ready(Reply::Unanswered(Status::NOT_FOUND)))
    }
}

impl ApplicationServer {
    /// Takes an upload, or a message of another application: for an external one it is kept for its service, else it is
    /// stored.
    fn store(&self, tx: &mut Tx<'_>, envelope: &Envelope) -> Result<Received, StoreError> {
        let to = &envelope.destination;
        if to.domain.as_ref().is_some_and(|domain| *domain != self.domain) {
            return Ok(Received::Ended(Status::WRONG_DOMAIN));
        }
        if to.principal.kind != Kind::Application {
            return Ok(Received::Ended(Status::MALFORMED));
        }
        if self.directory.applied() == 0 {
            // We know nobody yet: "no such application" would be a guess.
            return Ok(Received::Later);
        }
        if let Err(status) = self.directory.check(&to.principal) {
            return Ok(Received::Ended(status));
        }
        match self.directory.delivery(&to.principal.id) {
            Ok(Delivery::External) => return Ok(Received::Forward(external::hop(&to.principal.id))),
            Ok(Delivery::Hosted | Delivery::Attached) => {}
            Err(status) => return Ok(Received::Ended(status)),
        }
        let source = match &envelope.source.domain {
            Some(domain) if *domain == self.domain => Address::local(envelope.source.principal.clone()),
            Some(_) | None => envelope.source.clone(),
        };
        uploads::insert(tx.sql(), &to.principal.id, &source, envelope, tx.now())?;
        Ok(Received::Ended(Status::DONE))
    }

    fn account_changes(&self, tx: &mut Tx<'_>, envelope: &Envelope) -> Result<Received, StoreError> {
        let Some(batch) = parsed::<ChangeBatch>(envelope) else {
            return Ok(Received::Ended(Status::MALFORMED));
        };
        match directory_store::take(tx.sql(), &batch)? {
            Verdict::Apply { skip } => {
                for change in batch.changes.iter().skip(skip) {
                    Self::end_queue(tx, change)?;
                }
                Ok(Received::Ended(Status::DONE))
            }
            Verdict::Duplicate => Ok(Received::Ended(Status::DONE)),
            Verdict::Malformed => Ok(Received::Ended(Status::MALFORMED)),
            Verdict::Gap => {
                self.snapshot_wanted.notify_one();
                Ok(Received::Later)
            }
        }
    }

    /// News of a principal of ours, of one of another domain, or that another domain is out of sight.
    fn presence_news(&self, tx: &mut Tx<'_>, envelope: &Envelope) -> Result<Received, StoreError> {
        let foreign = envelope
            .source
            .domain
            .as_ref()
            .filter(|domain| **domain != self.domain);
        let Some(domain) = foreign else {
            return self.presence_of_ours(tx, envelope);
        };
        if envelope.source.principal.kind == Kind::Server {
            for unknown in presence::out_of_sight(tx.sql(), domain, envelope.time)? {
                external::tell(tx, &self.directory, &unknown)?;
            }
            return Ok(Received::Ended(Status::DONE));
        }
        let (Some((address, hearer, hears)), Some(news)) = (abroad(envelope), parsed::<Presence>(envelope))
        else {
            return Ok(Received::Ended(Status::MALFORMED));
        };
        if news.principal != address.principal {
            return Ok(Received::Ended(Status::MALFORMED));
        }
        if hears {
            heard::add(tx.sql(), address, hearer)?;
            if let Some(news) = presence::put_foreign(tx.sql(), address, &news)? {
                external::tell(tx, &self.directory, &news)?;
            }
        } else {
            heard::remove(tx.sql(), address, hearer)?;
        }
        Ok(Received::Ended(Status::DONE))
    }

    fn presence_of_ours(&self, tx: &mut Tx<'_>, envelope: &Envelope) -> Result<Received, StoreError> {
        let Some(news) = parsed::<Presence>(envelope) else {
            return Ok(Received::Ended(Status::MALFORMED));
        };
        // Stale news is taken in too: that something newer is held already is no fault of the sender.
        if let Some(news) = presence::put(tx.sql(), &news)? {
            external::tell(tx, &self.directory, &news)?;
        }
        Ok(Received::Ended(Status::DONE))
    }

    /// A deleted application's endpoint goes with what waits for it; a deleted user hears nobody of other domains.
    fn end_queue(tx: &mut Tx<'_>, change: &Change) -> Result<(), StoreError> {
        let Some((principal, status)) = ends_queue(change) else {
            return Ok(());
        };
        if principal.kind == Kind::Application {
            tx.end_hop(&external::hop(&principal.id), status)?;
            endpoint::remove(tx.sql(), &principal.id)?;
        }
        if principal.kind == Kind::User {
            heard::forget_user(tx.sql(), &principal.id)?;
        }
        Ok(())
    }

    /// Takes committed account changes into the directory in memory.
    fn apply(&self, envelope: &Envelope) {
        let Some(batch) = parsed::<ChangeBatch>(envelope) else {
            return;
        };
        let mut rights_lost = false;
        for change in &batch.changes {
            rights_lost |= !self.directory.apply(change).is_empty();
            if let EntityKey::Principal(principal) = &change.key {
                if principal.kind == Kind::Application {
                    self.external.doorbell.changed(&principal.id);
                }
                if principal.kind == Kind::User && change.entity.is_none() {
                    self.heard.forget_user(&principal.id);
                }
            }
        }
        if rights_lost {
            self.rights_changed.send_modify(|count| *count += 1);
        }
    }
}

/// A principal of another domain is deleted: what is known of its presence goes. What it has uploaded is the application's, for as long as that keeps what it stores, as with our own.
fn departure(tx: &mut Tx<'_>, envelope: &Envelope) -> Result<Received, StoreError> {
    let gone = &envelope.source;
    let named = parsed::<Departure>(envelope).is_some_and(|told| told.deleted == gone.principal);
    if !named || gone.domain.is_none() {
        return Ok(Received::Ended(Status::MALFORMED));
    }
    tracing::info!(principal = %gone, "deleted in its domain");
    heard::forget(tx.sql(), gone)?;
    presence::forget_foreign(tx.sql(), gone)?;
    Ok(Received::Ended(Status::DONE))
}

/// Which application or user of ours hears which principal of another domain by this news, and whether it goes on hearing it.
fn abroad(envelope: &Envelope) -> Option<(&Address, &Principal, bool)> {
    envelope.source.domain.as_ref()?;
    let hearer = &envelope.destination.principal;
    if !matches!(hearer.kind, Kind::Application | Kind::User) {
        return None;
    }
    let news = parsed::<Presence>(envelope)?;
    Some((&envelope.source, hearer, news.reason != Reason::Revoked))
}

fn parsed<T: serde::de::DeserializeOwned>(envelope: &Envelope) -> Option<T> {
    serde_json::from_slice(&envelope.data)
        .inspect_err(|error| tracing::warn!(id = %envelope.id, %error, "the data is not what its kind says"))
        .ok()
}
