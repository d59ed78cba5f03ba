//! A transaction of the writer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use irsp_protocol::receipt::{Answer, Ending};
use irsp_protocol::{
    Address, Domain, Envelope, MessageId, MessageKind, Principal, PushOptions, Server, Status, Timestamp,
};
use rusqlite::Connection;

use super::dead;
use super::effects::{Effects, Stored};
use super::error::StoreError;
use super::message::{self, End, Freed, New};
use super::repeat;
use super::usage::{Parties, Usage, is_news};
use crate::accept::Accepted;
use crate::clock::Clock;
use crate::hop::{Hop, Origin};
use crate::lock::lock;
use crate::metrics::Metrics;

/// Whose database this is, and what it wants to hear.
pub(crate) struct Context {
    pub(crate) server: Server,
    pub(crate) clock: Arc<dyn Clock>,
    /// How long after its expiry a server that was sent a message and not heard is still asked.
    pub(crate) answer_grace: Duration,
    /// How long after its expiry the end of a message in another server's custody is waited for.
    pub(crate) custody_grace: Duration,
    /// How long the news of an end is kept for a server that cannot be reached.
    pub(crate) status_lifetime: Duration,
    pub(crate) metrics: Arc<Metrics>,
    /// What is in flight; read by others, changed by transactions only.
    pub(crate) usage: Arc<Mutex<Usage>>,
    /// Called on the writer's thread with what each commit has changed.
    pub(crate) committed: Box<dyn Fn(Effects) + Send>,
}

/// What becomes of a transaction when a part of it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Care {
    /// Parts run bare, because a savepoint makes SQLite copy every page the part touches. One that fails spoils the
    /// whole transaction, which is then rolled back and run again with savepoints.
    Trusting,
    /// A trusting transaction in which a part has failed: it must not be committed.
    Spoiled,
    /// Each part runs within a savepoint and is undone alone.
    Guarding,
}

/// A transaction of the writer's thread. Many callers' changes share one commit and one fsync.
pub struct Tx<'a> {
    sql: &'a Connection,
    now: Timestamp,
    context: &'a Context,
    effects: &'a mut Effects,
    care: &'a mut Care,
}

impl<'a> Tx<'a> {
    pub(super) fn new(
        sql: &'a Connection,
        now: Timestamp,
        context: &'a Context,
        effects: &'a mut Effects,
        care: &'a mut Care,
    ) -> Tx<'a> {
        Tx {
            sql,
            now,
            context,
            effects,
            care,
        }
    }

    /// The open transaction. It is neither committed nor rolled back by whoever uses it.
    pub fn sql(&self) -> &Connection {
        self.sql
    }

    /// The time of this transaction.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// An id for a message accepted in this transaction.
    pub fn new_id(&self) -> MessageId {
        self.context.clock.new_id()
    }

    /// Puts an envelope into the outbox; it is sent after the commit.
    pub fn accept(&mut self, envelope: Envelope, hop: Hop) -> Result<Accepted, StoreError> {
        let head = serde_json::to_string(&envelope)?;
        self.insert(&Arc::new(envelope), &head, &hop, None)
    }

    /// How many messages wait for a hop, for limits on its queue.
    pub fn waiting(&self, hop: &Hop) -> Result<u64, StoreError> {
        message::count_waiting(self.sql, hop)
    }

    /// Ends every message that waits for a hop (its principal was deleted, reset, ...); says how many.
    pub fn end_hop(&mut self, hop: &Hop, status: Status) -> Result<u64, StoreError> {
        let mut ended = 0;
        for id in message::waiting(self.sql, hop)? {
            ended += u64::from(self.end_with(id, Some(hop), &End::by_us(status, None))?);
        }
        Ok(ended)
    }

    /// Ends what waits for a hop from one sender and, if it is named, to one receiver (a grant was withdrawn); says how
    /// many.
    pub fn end_from(
        &mut self,
        hop: &Hop,
        from: &Address,
        to: Option<&Address>,
        status: Status,
    ) -> Result<u64, StoreError> {
        let mut ended = 0;
        for id in message::waiting_from(self.sql, hop, from, to)? {
            ended += u64::from(self.end_with(id, Some(hop), &End::by_us(status, None))?);
        }
        Ok(ended)
    }

    /// Ends what waits for a hop and is of one kind; says how many.
    pub fn end_kind(&mut self, hop: &Hop, kind: MessageKind, status: Status) -> Result<u64, StoreError> {
        let mut ended = 0;
        for id in message::waiting_of(self.sql, hop, kind)? {
            ended += u64::from(self.end_with(id, Some(hop), &End::by_us(status, None))?);
        }
        Ok(ended)
    }

    /// Ends one message. One that is unknown or has ended stays as it is.
    pub fn end(&mut self, id: MessageId, status: Status, answer: Option<Answer>) -> Result<(), StoreError> {
        self.end_with(id, None, &End::by_us(status, answer))?;
        Ok(())
    }

    /// [`accept`](Tx::accept) with the head written already and, for a message in our custody, its origin.
    pub(crate) fn insert(
        &mut self,
        envelope: &Arc<Envelope>,
        head: &str,
        hop: &Hop,
        origin: Option<&Origin>,
    ) -> Result<Accepted, StoreError> {
        if *hop == Hop::Server(self.context.server) {
            return Err(StoreError::refused(
                Status::FAILED,
                "a server is no hop of its own",
            ));
        }
        // A server may have taken it and not been heard: only its word, or its silence, says that it has expired.
        let due = match hop {
            Hop::Principal(_) => envelope.expires,
            Hop::Server(_) | Hop::Peer(_) => envelope.expires.plus(self.context.answer_grace),
        };
        let source = envelope.source.to_string();
        let fingerprint = repeat::fingerprint(envelope)?;
        let new = New {
            envelope,
            source: &source,
            hop,
            head,
            origin,
            due,
            fingerprint: fingerprint.as_deref(),
        };
        let Some(seq) = message::insert(self.sql, &new, self.now)? else {
            return repeat::original(self.sql, envelope, &source, new.fingerprint);
        };
        // First what makes room, so that a full queue still takes what replaces a part of it.
        self.supersede(envelope, hop)?;
        self.count(&new)?;
        self.effects.stored.push(Stored {
            seq,
            hop: hop.clone(),
            envelope: Arc::clone(envelope),
            reopens: None,
        });
        Ok(Accepted {
            id: envelope.id,
            duplicate: false,
        })
    }

    /// Counts a new message, or refuses it for its sender's, its receiver's or this server's quota.
    fn count(&mut self, new: &New<'_>) -> Result<(), StoreError> {
        let hop = new.hop.to_string();
        let parties = Parties {
            source: new.source,
            hop: &hop,
            kind: new.envelope.kind,
        };
        let mut usage = self.usage();
        if is_news(parties.kind) {
            usage.take(parties, new.size());
            return Ok(());
        }
        usage.admit(parties, new.size())
    }

    /// Whether another domain is owed so much that nothing more is taken from it.
    pub(super) fn is_owed_all(&self, domain: &Domain, bytes: u64) -> bool {
        self.usage().refuses_from(domain, bytes)
    }

    fn release(&mut self, messages: u64, freed: &Freed) {
        let parties = Parties {
            source: &freed.source,
            hop: &freed.hop,
            kind: freed.kind,
        };
        self.usage().release(parties, messages, freed.bytes);
    }

    fn usage(&self) -> MutexGuard<'_, Usage> {
        lock(&self.context.usage)
    }

    /// Ends a message that waits for `hop`; if it was handed to us, its origin is told by a `Status` envelope of the
    /// same transaction. Says whether it was there and had not ended.
    pub(crate) fn end_with(
        &mut self,
        id: MessageId,
        hop: Option<&Hop>,
        end: &End,
    ) -> Result<bool, StoreError> {
        dead::keep(self.sql, id, hop, end.status, self.now)?;
        let Some(freed) = message::end(self.sql, id, hop, end, self.now)? else {
            return Ok(false);
        };
        self.release(1, &freed);
        let origin = freed
            .left
            .end
            .as_ref()
            .and_then(|end| Some((end.origin.clone()?, end.expires)));
        self.effects.left.push(freed.left);
        if let Some((origin, expires)) = origin {
            self.tell(
                &origin,
                expires,
                &Ending {
                    message: id,
                    status: end.status,
                    at: self.now,
                    answer: end.answer.clone(),
                    cause: end.cause,
                },
            )?;
        }
        Ok(true)
    }

    /// The server on this hop has taken custody of the message. Says whether it waited for that.
    pub(crate) fn hand_over(
        &mut self,
        id: MessageId,
        hop: &Hop,
        sent_at: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let grace_ms = i64::try_from(self.context.custody_grace.as_millis()).unwrap_or(i64::MAX);
        let Some(freed) = message::hand_over(self.sql, id, hop, sent_at, self.now, grace_ms)? else {
            return Ok(false);
        };
        self.release(0, &freed);
        self.effects.left.push(freed.left);
        Ok(true)
    }

    /// A message that had ended waits for its hop again.
    pub(super) fn reopened(&mut self, stored: Stored, bytes: u64) {
        let (source, hop) = (stored.envelope.source.to_string(), stored.hop.to_string());
        let parties = Parties {
            source: &source,
            hop: &hop,
            kind: stored.envelope.kind,
        };
        // An operator's word, and an old acceptance: not refused.
        self.usage().take(parties, bytes);
        self.effects.stored.push(stored);
    }

    pub(crate) fn remember_sent(&mut self, id: MessageId, at: Timestamp) -> Result<(), StoreError> {
        message::remember_sent(self.sql, id, at)
    }

    /// Runs `f` so that an error or a panic undoes what `f` did and nothing else; or, in a trusting transaction,
    /// everything, which is then run again.
    pub(crate) fn guarded<R>(
        &mut self,
        f: impl FnOnce(&mut Tx<'_>) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        if *self.care != Care::Guarding {
            let result = caught(|| f(self));
            if result.is_err() {
                *self.care = Care::Spoiled;
            }
            return result;
        }
        let (stored, left) = (self.effects.stored.len(), self.effects.left.len());
        let counted = self.usage().mark();
        self.run("SAVEPOINT part")?;
        let result = caught(|| f(self));
        if result.is_err() {
            self.effects.stored.truncate(stored);
            self.effects.left.truncate(left);
            self.usage().undo(counted);
            // Some errors of the disk have rolled everything back already.
            if !self.sql.is_autocommit() {
                self.run("ROLLBACK TO part")?;
                self.run("RELEASE part")?;
            }
        } else if self.sql.is_autocommit() {
            return Err(StoreError::Unavailable(
                "the transaction was rolled back".to_owned(),
            ));
        } else {
            self.run("RELEASE part")?;
        }
        result
    }

    fn run(&self, statement: &str) -> Result<(), StoreError> {
        self.sql.prepare_cached(statement)?.execute([])?;
        Ok(())
    }

    fn tell(&mut self, origin: &Origin, expires: Timestamp, ending: &Ending) -> Result<(), StoreError> {
        let destination = match origin {
            Origin::Server(server) => Address::local(Principal::server(*server)),
            Origin::Peer(domain) => Address {
                principal: Principal::server(Server::Message),
                domain: Some(domain.clone()),
            },
        };
        let status = Envelope {
            id: self.context.clock.new_id(),
            kind: MessageKind::Status,
            source: Address::local(Principal::server(self.context.server)),
            destination,
            channel: None,
            time: self.now,
            // The origin waits that long, and ends it with another status if it does not hear of this one.
            expires: (self.now.plus(self.context.status_lifetime))
                .max(expires.plus(self.context.custody_grace)),
            sender_id: None,
            content_type: Some("application/json".to_owned()),
            options: PushOptions::default(),
            attributes: Vec::new(),
            data: Bytes::from(serde_json::to_vec(ending)?),
        };
        self.accept(status, origin.hop())?;
        Ok(())
    }
}

impl End {
    /// We end it; the next hop had no part in that.
    pub(crate) fn by_us(status: Status, answer: Option<Answer>) -> End {
        End {
            status,
            answer,
            answered: false,
            sent_at: None,
            cause: None,
        }
    }
}

fn caught<R>(f: impl FnOnce() -> Result<R, StoreError>) -> Result<R, StoreError> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| Err(StoreError::Panicked(panic_text(&*panic))))
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    text.or(owned).unwrap_or("no message").to_owned()
}
