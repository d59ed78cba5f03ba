//! What the courier has the writer do. Each job reports to the pump or to its caller when it is on disk.

use std::sync::{Arc, Mutex};

use irsp_protocol::frame::Place;
use irsp_protocol::receipt::{Answer, Cause};
use irsp_protocol::{Envelope, MessageId, MessageKind, Principal, State, Status, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::answer::PrincipalAnswer;
use super::events::Event;
use crate::accept::{AcceptSink, Accepted};
use crate::hop::{Hop, Origin};
use crate::lock::lock;
use crate::metrics::Metrics;
use crate::role::Role;
use crate::store::{
    End, Failed, Job, Order, Retention, StoreError, Swept, Told, Tx, Usage, Verdict, sweep, sweep_hop,
};

/// Accepts one envelope; the hot path.
pub(super) struct Accept {
    envelope: Arc<Envelope>,
    head: String,
    hop: Hop,
    sink: Arc<dyn AcceptSink>,
    token: u64,
    accepted: Option<Accepted>,
}

impl Accept {
    /// `None` if the envelope cannot be written; the sink has heard so.
    pub(super) fn new(
        envelope: Envelope,
        hop: Hop,
        sink: Arc<dyn AcceptSink>,
        token: u64,
    ) -> Option<Box<Accept>> {
        match serde_json::to_string(&envelope) {
            Ok(head) => Some(Box::new(Accept {
                envelope: Arc::new(envelope),
                head,
                hop,
                sink,
                token,
                accepted: None,
            })),
            Err(error) => {
                tracing::error!(id = %envelope.id, %error, "an envelope cannot be written");
                sink.settled(token, Err(Status::FAILED));
                None
            }
        }
    }
}

impl Accept {
    /// The job, unless a quota refuses it before it is tried; the sink has heard so. What an id or a key may find already
    /// accepted, or make room for, is left to the transaction.
    pub(super) fn unless_refused(
        self: Box<Self>,
        usage: &Mutex<Usage>,
        metrics: &Metrics,
    ) -> Option<Box<Accept>> {
        let envelope = &self.envelope;
        if envelope.sender_id.is_some() || !envelope.options.is_empty() {
            return Some(self);
        }
        let bytes = (self.head.len() + envelope.data.len()) as u64;
        let (source, hop) = (envelope.source.to_string(), self.hop.to_string());
        let refusal = match envelope.kind {
            MessageKind::Upload | MessageKind::Push | MessageKind::Message => {
                lock(usage).refuses_early(&source, &hop, envelope.kind, bytes)
            }
            MessageKind::Status | MessageKind::Presence | MessageKind::Directory => None,
        };
        let Some(status) = refusal else {
            return Some(self);
        };
        metrics.refused(status);
        self.sink.settled(self.token, Err(status));
        None
    }
}

impl Job for Accept {
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        self.accepted = Some(tx.insert(&self.envelope, &self.head, &self.hop, None)?);
        Ok(())
    }

    fn done(self: Box<Self>, result: Result<(), StoreError>) {
        let outcome = match result {
            Ok(()) => self.accepted.ok_or(Status::FAILED),
            Err(error) => Err(error.status()),
        };
        self.sink.settled(self.token, outcome);
    }
}

/// Accepts one envelope and, in the same transaction, stores what its caller has to remember of it.
pub(super) struct AcceptAlso<F> {
    pub(super) accept: Box<Accept>,
    pub(super) also: F,
}

impl<F> Job for AcceptAlso<F>
where
    F: FnMut(&mut Tx<'_>) -> Result<(), StoreError> + Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        self.accept.run(tx)?;
        (self.also)(tx)
    }

    fn done(self: Box<Self>, result: Result<(), StoreError>) {
        self.accept.done(result);
    }
}

/// Runs a caller's transaction.
pub(super) struct Write<F, R> {
    pub(super) f: F,
    pub(super) value: Option<R>,
    pub(super) tell: oneshot::Sender<Result<R, StoreError>>,
}

impl<F, R> Job for Write<F, R>
where
    F: FnMut(&mut Tx<'_>) -> Result<R, StoreError> + Send,
    R: Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        self.value = Some((self.f)(tx)?);
        Ok(())
    }

    fn done(self: Box<Self>, result: Result<(), StoreError>) {
        let Write { value, tell, .. } = *self;
        let missing = || StoreError::Unavailable("the transaction gave no result".to_owned());
        // A caller that has gone does not change what is on disk.
        let _gone = tell.send(result.and_then(|()| value.ok_or_else(missing)));
    }
}

/// One answer of the next server, or of the next domain.
pub(super) struct ServerAnswer {
    pub(super) hop: Hop,
    pub(super) id: MessageId,
    pub(super) status: Status,
    pub(super) answer: Option<Answer>,
    pub(super) cause: Option<Cause>,
    pub(super) sent_at: Option<Timestamp>,
}

/// One envelope of another server, or of another domain.
pub(super) struct Delivered {
    pub(super) from: Origin,
    pub(super) place: Place,
    pub(super) envelope: Envelope,
}

/// Everything a frame wants stored.
pub(super) struct Frame {
    pub(super) role: Arc<dyn Role>,
    pub(super) delivered: Vec<Delivered>,
    pub(super) verdicts: Vec<Verdict>,
    pub(super) answers: Vec<ServerAnswer>,
    /// What was answered and waited for no answer; the commit tells of the rest.
    pub(super) stale: Vec<(Hop, MessageId)>,
    /// How often the next server may fail at a message.
    pub(super) failures_max: u32,
    /// Of a frame that came from another domain: its place among those under way.
    pub(super) permit: Option<OwnedSemaphorePermit>,
    pub(super) events: mpsc::Sender<Event>,
}

impl Job for Frame {
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        self.verdicts.clear();
        self.stale.clear();
        let mut order = Order::default();
        for given in &self.delivered {
            let (role, from) = (self.role.as_ref(), &given.from);
            self.verdicts
                .push(tx.receive(role, from, given.place, &given.envelope, &mut order)?);
        }
        order.store(tx)?;
        for told in &self.answers {
            let counts = store_answer(tx, &told.hop, told, self.failures_max)?
                || (tx.heard_of_dead(told.id, &told.hop, told.status)?
                    && store_answer(tx, &told.hop, told, self.failures_max)?);
            if !counts {
                self.stale.push((told.hop.clone(), told.id));
            }
        }
        Ok(())
    }

    fn done(self: Box<Self>, result: Result<(), StoreError>) {
        let event = match result {
            Ok(()) => Event::Received {
                delivered: self
                    .delivered
                    .into_iter()
                    .map(|given| (given.from, given.envelope))
                    .zip(self.verdicts)
                    .collect(),
                stale: self.stale,
                permit: self.permit,
            },
            // The sender hears nothing and repeats it.
            Err(error) => {
                tracing::warn!(%error, "a frame could not be stored");
                Event::Received {
                    delivered: Vec::new(),
                    stale: Vec::new(),
                    permit: self.permit,
                }
            }
        };
        report(&self.events, event);
    }
}

/// Stores what the next server said of a message; whether that has waited for an answer.
fn store_answer(
    tx: &mut Tx<'_>,
    hop: &Hop,
    told: &ServerAnswer,
    failures_max: u32,
) -> Result<bool, StoreError> {
    if told.status == Status::QUEUED {
        return tx.hand_over(told.id, hop, told.sent_at);
    }
    let end = End {
        status: told.status,
        answer: told.answer.clone(),
        answered: true,
        sent_at: told.sent_at,
        cause: told.cause,
    };
    let may_yet_take_it = State::of(told.status) == State::Undeliverable && told.status.entry().retryable;
    if may_yet_take_it {
        return Ok(tx.failed(told.id, hop, &end, failures_max)? != Failed::Past);
    }
    tx.end_with(told.id, Some(hop), &end)
}

/// Stores what principals have answered.
pub(super) struct Answered {
    pub(super) answers: Vec<PrincipalAnswer>,
    pub(super) failures_max: u32,
    pub(super) results: Vec<Result<Told, Status>>,
    pub(super) events: mpsc::Sender<Event>,
}

impl Job for Answered {
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        self.results.clear();
        for given in &self.answers {
            let (answer, sent_at) = (given.answer.clone(), given.sent_at);
            let result = tx.answered(&given.hop, given.id, answer, sent_at, self.failures_max)?;
            self.results.push(result.ok_or(Status::NOT_FOUND));
        }
        Ok(())
    }

    fn done(self: Box<Self>, result: Result<(), StoreError>) {
        let (mut settled, mut again, mut unstored) = (Vec::new(), Vec::new(), Vec::new());
        match result {
            Ok(()) => {
                for (given, result) in self.answers.into_iter().zip(self.results) {
                    let id = given.id;
                    match result {
                        Ok(Told::Again { failures }) => {
                            // Its answer was taken, and means: later.
                            given.tell(Ok(Accepted { id, duplicate: false }));
                            again.push((given.hop, id, failures));
                        }
                        Ok(Told::Settled(accepted)) => {
                            given.tell(Ok(accepted));
                            settled.push((given.hop, id));
                        }
                        Err(status) => {
                            given.tell(Err(status));
                            settled.push((given.hop, id));
                        }
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, answers = self.answers.len(), "answers could not be stored");
                for given in self.answers {
                    given.tell(Err(error.status()));
                    if given.teller.is_none() && error.is_disk() {
                        unstored.push(given);
                    }
                }
            }
        }
        let event = Event::Settled {
            settled,
            again,
            unstored,
        };
        report(&self.events, event);
    }
}

/// Writes down that pushes with options go to their receiver, and ends those that may not.
pub(super) struct Hand {
    pub(super) role: Arc<dyn Role>,
    pub(super) to: Principal,
    pub(super) ticket: u64,
    pub(super) envelopes: Vec<Arc<Envelope>>,
    pub(super) handed: Vec<Arc<Envelope>>,
    pub(super) events: mpsc::Sender<Event>,
}

impl Job for Hand {
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        self.handed.clear();
        let now = tx.now();
        for envelope in &self.envelopes {
            if envelope.options.is_empty() || tx.hand(self.role.as_ref(), &self.to, envelope, now)? {
                self.handed.push(Arc::clone(envelope));
            }
        }
        Ok(())
    }

    fn done(self: Box<Self>, result: Result<(), StoreError>) {
        let Hand {
            to,
            ticket,
            handed,
            events,
            ..
        } = *self;
        let envelopes = result.map(|()| handed);
        report(
            &events,
            Event::Handed {
                to,
                ticket,
                envelopes,
            },
        );
    }
}

/// Ends what has expired and forgets what is old.
pub(super) struct Sweep {
    pub(super) retention: Retention,
    pub(super) swept: Swept,
    pub(super) events: mpsc::Sender<Event>,
}

impl Job for Sweep {
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        self.swept = sweep(tx, &self.retention)?;
        Ok(())
    }

    fn done(self: Box<Self>, result: Result<(), StoreError>) {
        report(&self.events, Event::Swept(result.map(|()| self.swept)));
    }
}

/// Ends what has expired and holds up what waits behind it for the same hop.
pub(super) struct SweepHop {
    pub(super) hop: Hop,
}

impl Job for SweepHop {
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        sweep_hop(tx, &self.hop)
    }

    fn done(self: Box<Self>, result: Result<(), StoreError>) {
        if let Err(error) = result {
            tracing::warn!(hop = %self.hop, %error, "what has expired could not be ended; tried again");
        }
    }
}

/// Writes down when messages were first sent whose hop has gone.
pub(super) struct Remember {
    pub(super) sent: Vec<(MessageId, Timestamp)>,
}

impl Job for Remember {
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        for (id, at) in &self.sent {
            tx.remember_sent(*id, *at)?;
        }
        Ok(())
    }

    fn done(self: Box<Self>, result: Result<(), StoreError>) {
        if let Err(error) = result {
            tracing::warn!(%error, messages = self.sent.len(), "their receipts lack the time of sending");
        }
    }
}

/// Waits for the pump if it is behind: the pump never waits for the writer. A pump that has stopped needs no news.
pub(super) fn report(events: &mpsc::Sender<Event>, event: Event) {
    if tokio::runtime::Handle::try_current().is_ok() {
        // The writer has been closed and hands a late job back on its caller's task, which must not block.
        let _stopped = events.try_send(event);
    } else {
        let _stopped = events.blocking_send(event);
    }
}
