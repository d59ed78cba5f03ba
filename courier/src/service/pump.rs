//! The pump: owns the core and moves what it says. Frames, events and commands in with `now`, [`Work`] and frames out;
//! it waits for nothing, so the same pump runs under the runtime and in a simulation.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use irsp_protocol::frame::{self, Item, Question, Reply};
use irsp_protocol::{Domain, Envelope, Kind, MessageId, Principal, Server, Status};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::answer::PrincipalAnswer;
use super::events::{Command, Event};
use super::handing::{Handing, Step};
use super::jobs::{self, Delivered, Frame, Hand, Remember, ServerAnswer};
use super::loader::{self, Loaded};
use super::outgoing::Outgoing;
use super::peer::{Outlet, PeerFrame};
use super::settings::Settings;
use super::unstored::Unstored;
use super::upkeep::Upkeep;
use crate::Backoff;
use crate::bus::Incoming;
use crate::clock::{Clock, Now};
use crate::core::{Action, Core, Leaving, Load, RELOAD_WAIT, Rest, Sending};
use crate::hop::{Hop, Origin};
use crate::metrics::Metrics;
use crate::role::{Ended, Received, Role};
use crate::store::{Effects, EndedRow, Job, Left, Retention, StoreError, Swept, Verdict};

/// Frames read from the bus whose effects are not on disk yet; with more, the bus waits.
const FRAMES_MAX: usize = 64;
/// When a slow link is offered again what it had no room for.
const HELD_WAIT: Duration = Duration::from_millis(20);
/// Questions answered at the same time; more are told that we are busy.
const QUESTIONS_MAX: usize = 64;
/// Before the role is asked again whether a push may be handed over, longer the more often in a row it has said "not yet".
const NOT_YET: Backoff = Backoff {
    min: Duration::from_millis(20),
    max: RELOAD_WAIT,
};

/// What the pump asks of whoever runs it.
pub(super) enum Work {
    /// Give it to the writer.
    Write(Box<dyn Job>),
    /// Read this and give it to [`Pump::on_loaded`]; there is one at a time.
    Read(Vec<Load>),
    /// Find the reply to another server's question and give it to [`Pump::on_reply`].
    Question {
        from: Server,
        token: u64,
        question: Question,
    },
    /// Another server's reply to the question with this token.
    Replied { token: u64, reply: Reply },
}

pub(super) struct Pump {
    server: Server,
    role: Arc<dyn Role>,
    core: Core,
    outgoing: Outgoing,
    /// The links to other domains that are up.
    peers: BTreeMap<Domain, Outlet>,
    seed: u64,
    metrics: Arc<Metrics>,
    handing: Handing,
    /// How often in a row the role has said "not yet" of a push to be handed over.
    not_yet: u32,
    upkeep: Upkeep,
    unstored: Unstored,
    retention: Retention,
    failures_max: u32,
    /// For the jobs that report back.
    report: mpsc::Sender<Event>,
    frames_under_way: usize,
    questions_under_way: usize,
    loads: Vec<Load>,
    reading: Vec<Load>,
    work: VecDeque<Work>,
}

impl Pump {
    /// A pump whose first work is to say that we are there and to end what has expired while we were not.
    pub(super) fn new(
        server: Server,
        role: Arc<dyn Role>,
        settings: &Settings,
        outgoing: Outgoing,
        metrics: Arc<Metrics>,
        report: mpsc::Sender<Event>,
        clock: &dyn Clock,
    ) -> Pump {
        let seed = random(clock.new_id());
        let mut pump = Pump {
            server,
            role,
            core: Core::new(server, settings.limits(), seed),
            outgoing,
            peers: BTreeMap::new(),
            seed,
            metrics,
            handing: Handing::default(),
            not_yet: 0,
            upkeep: Upkeep::new(settings.retention()),
            unstored: Unstored::default(),
            retention: settings.retention(),
            failures_max: settings.failures_max.max(1),
            report,
            frames_under_way: 0,
            questions_under_way: 0,
            loads: Vec::new(),
            reading: Vec::new(),
            work: VecDeque::new(),
        };
        pump.greet();
        pump.sweep(clock.now());
        pump
    }

    /// What is to be done next. To be asked until there is nothing, before [`flush`](Pump::flush).
    pub(super) fn poll_work(&mut self) -> Option<Work> {
        self.act();
        self.work.pop_front()
    }

    /// Gives the bus what it takes now. Says whether something is left that it does not take.
    pub(super) fn flush(&mut self) -> bool {
        for outlet in self.peers.values_mut() {
            outlet.flush(&self.metrics);
        }
        self.outgoing.flush()
    }

    /// Resolves when the bus takes frames again.
    pub(super) fn room(&self) -> impl Future<Output = ()> + Send + use<> {
        self.outgoing.room()
    }

    /// Whether the next frame may come: not too many wait for the disk.
    pub(super) fn takes_frames(&self) -> bool {
        self.frames_under_way < FRAMES_MAX
    }

    /// When [`on_timer`](Pump::on_timer) has something to do.
    pub(super) fn next_wake(&self, now: Now) -> Option<Instant> {
        let upkeep = self.upkeep.next(now);
        let holds = self.peers.values().any(Outlet::holds);
        let held = holds.then(|| now.instant + HELD_WAIT);
        let wakes = [self.core.next_timeout(), self.unstored.next(), upkeep, held];
        wakes.into_iter().flatten().min()
    }

    fn greet(&mut self) {
        let from = self.server;
        for server in Server::ALL.into_iter().filter(|server| *server != from) {
            self.outgoing.push(server, &Item::Hello { from });
        }
    }

    pub(super) fn on_timer(&mut self, now: Now) {
        self.core.handle_timeout(now);
        let answers = self.unstored.take(now);
        self.store_answers(answers);
        if self.upkeep.is_due(now) {
            self.sweep(now);
        }
    }

    fn sweep(&mut self, now: Now) {
        self.upkeep.begin(now);
        let job = jobs::Sweep {
            retention: self.retention,
            swept: Swept::default(),
            events: self.report.clone(),
        };
        self.write(job);
    }

    pub(super) fn on_event(&mut self, event: Event, now: Now) {
        match event {
            Event::Committed(effects) => self.on_committed(effects, now),
            Event::Received {
                delivered,
                stale,
                permit,
            } => {
                if permit.is_none() {
                    self.frames_under_way -= 1;
                }
                self.on_received(delivered, now);
                self.on_settled(stale, now);
            }
            Event::Settled {
                settled,
                again,
                unstored,
            } => {
                self.unstored.keep(unstored, now);
                for (hop, id, failures) in again {
                    if let Hop::Principal(to) = hop {
                        self.role.again(&to, id, failures);
                    }
                }
                self.on_settled(settled, now);
            }
            Event::Swept(result) => self.upkeep.end(result, now),
            Event::Handed {
                to,
                ticket,
                envelopes,
            } => self.on_handed(&to, ticket, envelopes, now),
        }
    }

    fn on_handed(
        &mut self,
        to: &Principal,
        ticket: u64,
        envelopes: Result<Vec<Arc<Envelope>>, StoreError>,
        now: Now,
    ) {
        if !self.handing.awaits(to, ticket) {
            return;
        }
        match envelopes {
            Ok(envelopes) => {
                self.not_yet = 0;
                for step in self.handing.recorded(to, envelopes) {
                    self.step(to, step);
                }
            }
            Err(error) => {
                // The role says "not yet" while its own word is on its way to the disk.
                let wait = if let StoreError::Refused { .. } = error {
                    self.not_yet = self.not_yet.saturating_add(1);
                    NOT_YET.after(self.not_yet, u32::MAX)
                } else {
                    tracing::warn!(%to, %error, "pushes cannot be handed over just now; they are tried again");
                    RELOAD_WAIT
                };
                self.handing.forget(to);
                self.core.not_handed(to, wait, now);
            }
        }
    }

    fn step(&mut self, to: &Principal, step: Step) {
        match step {
            Step::Deliver(envelopes) => self.deliver(to, envelopes),
            Step::Record { ticket, envelopes } => {
                let job = Hand {
                    role: Arc::clone(&self.role),
                    to: to.clone(),
                    ticket,
                    handed: Vec::with_capacity(envelopes.len()),
                    envelopes,
                    events: self.report.clone(),
                };
                self.write(job);
            }
        }
    }

    fn deliver(&self, to: &Principal, envelopes: Vec<Arc<Envelope>>) {
        if !envelopes.is_empty() {
            self.role.deliver(to, envelopes);
        }
    }

    fn on_committed(&mut self, effects: Effects, now: Now) {
        // What has ended in the commit that stored it is not sent.
        let gone: HashSet<MessageId> = match effects.stored.is_empty() {
            true => HashSet::new(),
            false => effects.left.iter().map(|left| left.id).collect(),
        };
        for stored in &effects.stored {
            // What a late word has brought back, and left in custody, may expire as well.
            self.upkeep.expires(stored.envelope.expires);
            if gone.contains(&stored.envelope.id) {
                continue;
            }
            match &stored.hop {
                Hop::Principal(service) if service.kind == Kind::External => {
                    self.role.waits(service, &stored.envelope);
                }
                Hop::Principal(_) | Hop::Server(_) | Hop::Peer(_) => {
                    self.core.stored(&stored.hop, stored.seq, &stored.envelope, now);
                }
            }
        }
        for left in effects.left {
            let why = match left.is_answered() {
                true => Leaving::Answered,
                false => Leaving::Unanswered,
            };
            let Left { id, hop, end } = left;
            if let Hop::Principal(receiver) = &hop {
                self.handing.ended(receiver, id);
            }
            let sent = self.core.left(&hop, id, why, now);
            if let Some(end) = end {
                self.upkeep.wrote(now);
                self.on_ended(hop, sent, end);
            }
        }
    }

    /// `sent` is the envelope, if its lane still had it; else it is read from its row.
    fn on_ended(&mut self, hop: Hop, sent: Option<Arc<Envelope>>, end: EndedRow) {
        let envelope = sent.map_or_else(|| serde_json::from_str(&end.head).map(Arc::new), Ok);
        match envelope {
            Ok(envelope) => self.role.ended(Ended {
                envelope,
                hop,
                origin: end.origin,
                status: end.status,
                answer: end.answer,
                cause: end.cause,
                at: end.at,
            }),
            Err(error) => tracing::error!(%hop, %error, "an ended message cannot be read"),
        }
    }

    fn on_received(&mut self, delivered: Vec<((Origin, Envelope), Verdict)>, now: Now) {
        let from = self.server;
        for ((origin, envelope), verdict) in delivered {
            if let Some(status) = verdict.answer {
                self.upkeep.wrote(now);
                let answer = Item::Answer {
                    from,
                    id: envelope.id,
                    status,
                    answer: verdict.said,
                    cause: verdict.cause,
                };
                match &origin {
                    Origin::Server(server) => self.outgoing.push(*server, &answer),
                    Origin::Peer(peer) => {
                        if let Some(outlet) = self.peers.get_mut(peer) {
                            outlet.push(&answer, &self.metrics);
                        }
                    }
                }
            }
            match verdict.decided {
                Some(outcome @ (Received::Ended(_) | Received::Forward(_))) => {
                    self.role.received(envelope, &outcome);
                }
                Some(Received::Later) | None => {}
            }
        }
    }

    /// An answer was dealt with, whatever it changed: the slot is free.
    fn on_settled(&mut self, settled: Vec<(Hop, MessageId)>, now: Now) {
        for (hop, id) in settled {
            self.core.left(&hop, id, Leaving::Answered, now);
        }
    }

    pub(super) fn on_commands(&mut self, commands: impl IntoIterator<Item = Command>) {
        let mut answers = Vec::new();
        for command in commands {
            match command {
                Command::Present(Hop::Principal(principal)) => {
                    self.handing.forget(&principal);
                    self.core.present(principal);
                }
                Command::Absent(Hop::Principal(principal)) => {
                    self.handing.forget(&principal);
                    self.core.absent(&principal);
                }
                // Servers are always present, other domains while they are linked.
                Command::Present(Hop::Server(_) | Hop::Peer(_))
                | Command::Absent(Hop::Server(_) | Hop::Peer(_)) => {}
                Command::PeerLinked {
                    peer,
                    ticket,
                    rate_max,
                    outlet,
                } => {
                    self.peers.insert(peer.clone(), outlet);
                    let seed = self.seed.wrapping_add(ticket);
                    self.core.linked(peer, rate_max, seed);
                }
                Command::PeerParted { peer, ticket } => {
                    // A newer link may have taken its place.
                    if self
                        .peers
                        .get(&peer)
                        .is_some_and(|outlet| outlet.ticket == ticket)
                    {
                        self.peers.remove(&peer);
                        self.core.parted(&peer);
                    }
                }
                Command::PeerSaid { peer, said, permit } => self.on_peer_frame(&peer, said, permit),
                Command::Answered {
                    hop,
                    id,
                    answer,
                    teller,
                } => {
                    let sent_at = self.core.sent_at(&hop, id);
                    answers.push(PrincipalAnswer {
                        hop,
                        id,
                        answer,
                        sent_at,
                        teller,
                    });
                }
                Command::Ask {
                    server,
                    token,
                    question,
                } => {
                    let from = self.server;
                    self.outgoing.push(
                        server,
                        &Item::Ask {
                            from,
                            token,
                            question,
                        },
                    );
                }
                Command::SentAt { hop, id, tell } => {
                    // Whoever has stopped waiting misses nothing.
                    let _gone = tell.send(self.core.sent_at(&hop, id));
                }
            }
        }
        self.store_answers(answers);
    }

    fn store_answers(&mut self, answers: Vec<PrincipalAnswer>) {
        if !answers.is_empty() {
            let job = jobs::Answered {
                answers,
                failures_max: self.failures_max,
                results: Vec::new(),
                events: self.report.clone(),
            };
            self.write(job);
        }
    }

    pub(super) fn on_incoming(&mut self, incoming: Incoming, now: Now) {
        match incoming {
            Incoming::Frame(frame) => self.on_frame(frame, now),
            Incoming::Attached => {
                self.greet();
                let own = self.server;
                for server in Server::ALL.into_iter().filter(|server| *server != own) {
                    self.core.heard(server, now);
                }
            }
        }
    }

    fn on_frame(&mut self, mut frame: Bytes, now: Now) {
        self.metrics.frames_received.inc();
        let (mut delivered, mut answers) = (Vec::new(), Vec::new());
        loop {
            match frame::read(&mut frame) {
                Ok(Some(Item::Hello { from })) => self.core.heard(from, now),
                Ok(Some(Item::Deliver {
                    from,
                    place,
                    envelope,
                })) => delivered.push(Delivered {
                    from: Origin::Server(from),
                    place,
                    envelope,
                }),
                Ok(Some(Item::Answer {
                    from,
                    id,
                    status,
                    answer,
                    cause,
                })) => {
                    let hop = Hop::Server(from);
                    answers.push(ServerAnswer {
                        sent_at: self.core.sent_at(&hop, id),
                        hop,
                        id,
                        status,
                        answer,
                        cause,
                    });
                }
                Ok(Some(Item::Ask {
                    from,
                    token,
                    question,
                })) => self.on_question(from, token, question),
                Ok(Some(Item::Reply { token, reply })) => self.work.push_back(Work::Replied { token, reply }),
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "the rest of a frame is not understood");
                    break;
                }
            }
        }
        if delivered.is_empty() && answers.is_empty() {
            return;
        }
        self.frames_under_way += 1;
        self.store_frame(delivered, answers, None);
    }

    fn on_peer_frame(&mut self, peer: &Domain, said: PeerFrame, permit: OwnedSemaphorePermit) {
        self.metrics.frames_received.inc();
        let hop = Hop::Peer(peer.clone());
        let answers = said.answers.into_iter().map(|told| ServerAnswer {
            sent_at: self.core.sent_at(&hop, told.id),
            hop: hop.clone(),
            id: told.id,
            status: told.status,
            answer: told.answer,
            cause: told.cause,
        });
        let answers = answers.collect();
        let delivered = said.delivered.into_iter().map(|(place, envelope)| Delivered {
            from: Origin::Peer(peer.clone()),
            place,
            envelope,
        });
        self.store_frame(delivered.collect(), answers, Some(permit));
    }

    fn store_frame(
        &mut self,
        delivered: Vec<Delivered>,
        answers: Vec<ServerAnswer>,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        let job = Frame {
            role: Arc::clone(&self.role),
            delivered,
            verdicts: Vec::new(),
            answers,
            stale: Vec::new(),
            failures_max: self.failures_max,
            permit,
            events: self.report.clone(),
        };
        self.write(job);
    }

    fn on_question(&mut self, from: Server, token: u64, question: Question) {
        if self.questions_under_way >= QUESTIONS_MAX {
            let reply = Reply::Unanswered(Status::UNAVAILABLE);
            self.outgoing.push(from, &Item::Reply { token, reply });
            return;
        }
        self.questions_under_way += 1;
        self.work.push_back(Work::Question {
            from,
            token,
            question,
        });
    }

    /// What became of a question; without a reply whoever asked asks again.
    pub(super) fn on_reply(&mut self, reply: Option<(Server, u64, Reply)>) {
        self.questions_under_way -= 1;
        if let Some((to, token, reply)) = reply {
            self.outgoing.push(to, &Item::Reply { token, reply });
        }
    }

    pub(super) fn on_loaded(&mut self, loaded: Loaded, now: Now) {
        self.reading.clear();
        for (load, page) in loaded {
            match page {
                Ok(page) => {
                    if page.rest == Rest::Expired {
                        self.write(jobs::SweepHop {
                            hop: load.hop.clone(),
                        });
                    }
                    self.core.loaded(&load, page.rows, page.rest, now);
                }
                Err(error) => {
                    tracing::error!(hop = %load.hop, %error, "what waits for a hop could not be read");
                    self.core.load_failed(&load, now);
                }
            }
        }
    }

    /// The read under way came to nothing.
    pub(super) fn on_read_failed(&mut self, now: Now) {
        for load in std::mem::take(&mut self.reading) {
            self.core.load_failed(&load, now);
        }
    }

    /// Does what the core has decided.
    fn act(&mut self) {
        self.metrics.sent_again.inc_by(self.core.take_sent_again());
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::Send {
                    hop: Hop::Server(server),
                    sendings,
                } => {
                    let from = self.server;
                    for Sending { place, envelope } in sendings {
                        self.outgoing.deliver(server, from, place, &envelope);
                    }
                }
                Action::Send {
                    hop: Hop::Peer(peer),
                    sendings,
                } => {
                    if let Some(outlet) = self.peers.get_mut(&peer) {
                        for Sending { place, envelope } in sendings {
                            outlet.deliver(place, &envelope, &self.metrics);
                        }
                    }
                }
                Action::Send {
                    hop: Hop::Principal(principal),
                    sendings,
                } => {
                    let envelopes = sendings.into_iter().map(|sending| sending.envelope).collect();
                    if let Some(step) = self.handing.send(&principal, envelopes) {
                        self.step(&principal, step);
                    }
                }
                Action::Load(load) => self.loads.push(load),
                Action::Remember { sent } => {
                    let job = Remember { sent };
                    self.write(job);
                }
            }
        }
        if self.reading.is_empty() && !self.loads.is_empty() {
            let hops = self.loads.len().min(loader::HOPS_MAX);
            self.reading = self.loads.drain(..hops).collect();
            self.work.push_back(Work::Read(self.reading.clone()));
        }
    }

    fn write(&mut self, job: impl Job + 'static) {
        self.work.push_back(Work::Write(Box::new(job)));
    }
}

/// The random part of a fresh id.
fn random(id: MessageId) -> u64 {
    let [.., a, b, c, d, e, f, g, h] = *id.as_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}
