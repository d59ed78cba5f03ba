//! This server towards its followers (clause 8.2): it tells them changes, shows late ones the present state page by
//! page, and notes what they answered. Itself it takes notes for its audit log, and what other domains tell of their accounts
//! (clause 8.7): who is deleted there, and what they grant to ours.

use std::sync::Arc;

use irsp_courier::store::{Store, StoreError, Tx};
use irsp_courier::{Ended, Hop, Received, ReplyFuture, Role};
use irsp_protocol::departure::Departure;
use irsp_protocol::frame::{Question, Reply};
use irsp_protocol::granted::Granted;
use irsp_protocol::note::Note;
use irsp_protocol::{Address, Domain, Envelope, MessageKind, Principal, Server, Status};
use tokio::sync::mpsc;
use tracing::{debug, error, warn};

use crate::metrics::Metrics;
use crate::store::audit::{self, Line};
use crate::store::operation::End;
use crate::store::{Author, Draft, entity, grant, granted};

/// The account server as its courier sees it.
pub(crate) struct Lead {
    store: Store,
    metrics: Arc<Metrics>,
    ends: mpsc::UnboundedSender<End>,
}

impl Lead {
    /// What the courier works for, and where the ends of its envelopes come out. They are at most as many as there are
    /// envelopes on disk, and each comes once, so the channel needs no bound of its own.
    pub(crate) fn new(store: Store, metrics: Arc<Metrics>) -> (Arc<Lead>, mpsc::UnboundedReceiver<End>) {
        let (ends, ended) = mpsc::unbounded_channel();
        (Arc::new(Lead { store, metrics, ends }), ended)
    }

    async fn page(&self, after: Option<String>) -> Reply {
        match self
            .store
            .read(move |sql| entity::page(sql, after.as_deref()))
            .await
        {
            Ok(page) => {
                self.metrics.directory_pages.inc();
                Reply::Directory(page)
            }
            Err(error) => {
                error!(%error, "a page of the directory cannot be read");
                Reply::Unanswered(error.status())
            }
        }
    }
}

/// Writes down what was done at a server that keeps no audit log.
fn noted(tx: &mut Tx<'_>, envelope: &Envelope) -> Result<Received, StoreError> {
    let Ok(notes) = serde_json::from_slice::<Vec<Note>>(&envelope.data) else {
        return Ok(Received::Ended(Status::MALFORMED));
    };
    for note in notes {
        let line = Line {
            who: note.who,
            from: note.from,
            action: note.action.as_str(),
            what: note.what,
            status: note.status,
            targets: note.targets.into_iter().collect(),
        };
        // A clock that is ahead writes nothing into the future.
        audit::append(tx.sql(), note.time.min(tx.now()), &line)?;
    }
    Ok(Received::Ended(Status::DONE))
}

/// Takes what another domain tells of its principal.
fn abroad(tx: &mut Tx<'_>, domain: &Domain, envelope: &Envelope) -> Result<Received, StoreError> {
    let from = &envelope.source;
    if let Ok(Departure { deleted }) = serde_json::from_slice(&envelope.data) {
        return match deleted == from.principal {
            true => departed(tx, from),
            false => Ok(Received::Ended(Status::MALFORMED)),
        };
    }
    let status = match serde_json::from_slice::<Granted>(&envelope.data) {
        Ok(news) => granted::keep(tx.sql(), from, domain, &news)?,
        Err(_) => Status::MALFORMED,
    };
    Ok(Received::Ended(status))
}

/// Ends every grant to somebody who is deleted in another domain. The copy in memory is asked for no grants, so it need not
/// follow.
fn departed(tx: &mut Tx<'_>, gone: &Address) -> Result<Received, StoreError> {
    let mut draft = Draft::begin(tx, false)?;
    grant::remove_to(&mut draft, gone)?;
    if !draft.is_empty() {
        let author = Author {
            who: Principal::server(Server::Account),
            from: None,
        };
        draft.finish(Line::done(&author, "grant.delete", format!("{gone} is deleted")))?;
    }
    Ok(Received::Ended(Status::DONE))
}

impl Role for Lead {
    fn receive(&self, tx: &mut Tx<'_>, from: Server, envelope: &Envelope) -> Result<Received, StoreError> {
        match (envelope.kind, from, &envelope.source.domain) {
            (MessageKind::Directory, Server::Message, Some(domain)) => return abroad(tx, domain, envelope),
            (MessageKind::Directory, Server::App | Server::Message, None) => return noted(tx, envelope),
            _ => {}
        }
        warn!(%from, id = %envelope.id, kind = envelope.kind.as_str(), "nothing for the account server");
        Ok(Received::Ended(Status::FORBIDDEN))
    }

    fn received(&self, _envelope: Envelope, _outcome: &Received) {}

    fn deliver(&self, to: &Principal, envelopes: Vec<Arc<Envelope>>) {
        error!(%to, count = envelopes.len(), "the account server holds no sessions to deliver to");
    }

    fn ended(&self, ended: Ended) {
        let Hop::Server(follower) = ended.hop else {
            return;
        };
        if ended.envelope.kind != MessageKind::Directory {
            return;
        }
        if let Some(domain) = &ended.envelope.destination.domain {
            let principal = &ended.envelope.source.principal;
            tracing::info!(%principal, %domain, status = %ended.status, "another domain was told of a deletion or a grant");
        } else if ended.status.is_error() {
            warn!(%follower, id = %ended.envelope.id, status = %ended.status, "a change was not taken over");
            self.metrics.not_taken(follower);
        } else {
            debug!(%follower, id = %ended.envelope.id, "a change is in force");
            let after = ended.at.since(ended.envelope.time);
            self.metrics.in_force(follower, after);
        }
        let end = End {
            message: ended.envelope.id,
            status: ended.status,
            at: ended.at,
        };
        if self.ends.send(end).is_err() {
            // The server stops; the courier's receipt still tells.
            debug!(id = %end.message, "the end of a change is not noted any more");
        }
    }

    fn answer(&self, question: Question) -> ReplyFuture<'_> {
        Box::pin(async move {
            match question {
                Question::Directory { after } => self.page(after).await,
                Question::Courier(_) | Question::Presence { .. } | Question::Peers => {
                    Reply::Unanswered(Status::NOT_FOUND)
                }
            }
        })
    }
}
