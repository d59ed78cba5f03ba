//! The pump: the one task that owns the core and moves what it says. It never waits for the writer or for the bus
//! alone, so neither can stop the other; and with nothing under way and nothing due it sleeps.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use irsp_protocol::frame::{self, Item, Question, Reply};
use irsp_protocol::{Envelope, MessageId, Server, Status, Timestamp};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::events::{Command, Event};
use super::jobs::{self, Frame, PrincipalAnswer, Remember, ServerAnswer};
use super::loader::{self, Loaded};
use super::outgoing::Outgoing;
use super::upkeep::Upkeep;
use crate::bus::Incoming;
use crate::core::{Action, Core, Load, Now};
use crate::hop::Hop;
use crate::role::{Ended, Received, Role};
use crate::store::{Admission, Effects, EndedRow, Left, Swept, Verdict};

/// Frames read from the bus whose effects are not on disk yet; with more, the bus waits.
const FRAMES_MAX: usize = 64;
/// Commands and events handled before the actions they cause.
const BATCH_MAX: usize = 256;
/// Questions answered at the same time; more are told that we are busy.
const QUESTIONS_MAX: usize = 64;

pub(super) struct Pump {
    pub(super) shared: Arc<Shared>,
    pub(super) role: Arc<dyn Role>,
    pub(super) core: Core,
    pub(super) outgoing: Outgoing,
    pub(super) upkeep: Upkeep,
    /// For the jobs that report back.
    pub(super) report: mpsc::Sender<Event>,
    frames_under_way: usize,
    loads: Vec<Load>,
    loading: JoinSet<Loaded>,
    questions: JoinSet<(Server, u64, Reply)>,
}

/// What the pump listens to.
pub(super) struct Inlets {
    pub(super) bus: mpsc::Receiver<Incoming>,
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) commands: mpsc::UnboundedReceiver<Command>,
}

impl Pump {
    pub(super) fn new(
        shared: Arc<Shared>,
        role: Arc<dyn Role>,
        core: Core,
        outgoing: Outgoing,
        upkeep: Upkeep,
        report: mpsc::Sender<Event>,
    ) -> Pump {
        Pump {
            shared,
            role,
            core,
            outgoing,
            upkeep,
            report,
            frames_under_way: 0,
            loads: Vec::new(),
            loading: JoinSet::new(),
            questions: JoinSet::new(),
        }
    }

    pub(super) async fn run(mut self, mut inlets: Inlets, stop: CancellationToken) {
        let (mut events, mut commands) = (Vec::new(), Vec::new());
        let mut bus_open = true;
        loop {
            self.act();
            let blocked = self.outgoing.flush();
            let wake = self.next_wake();
            tokio::select! {
                () = stop.cancelled() => break,
                count = inlets.events.recv_many(&mut events, BATCH_MAX) => {
                    if count == 0 {
                        break;
                    }
                    for event in events.drain(..) {
                        self.on_event(event);
                    }
                }
                count = inlets.commands.recv_many(&mut commands, BATCH_MAX) => {
                    if count == 0 {
                        break;
                    }
                    self.on_commands(&mut commands);
                }
                incoming = inlets.bus.recv(), if bus_open && self.frames_under_way < FRAMES_MAX => match incoming {
                    Some(Incoming::Frame(frame)) => self.on_frame(frame),
                    Some(Incoming::Attached) => self.on_attached(),
                    None => bus_open = false,
                },
                () = self.outgoing.room(), if blocked => {}
                Some(loaded) = self.loading.join_next() => match loaded {
                    Ok(loaded) => self.on_loaded(loaded),
                    Err(error) => tracing::error!(%error, "a read was broken off"),
                },
                Some(answered) = self.questions.join_next() => match answered {
                    Ok((to, token, reply)) => self.outgoing.push(to, &Item::Reply { token, reply }),
                    Err(error) => tracing::error!(%error, "a question was not answered"),
                },
                () = sleep_until(wake), if wake.is_some() => self.on_timer(),
            }
        }
        // What is ready may still go; what the bus does not take is sent again after the next start.
        self.outgoing.flush();
    }

    /// Tells the others that we are there, and ends what has expired while we were not, before anything new.
    pub(super) fn greet(&mut self) {
        let own = self.shared.server;
        for server in Server::ALL.into_iter().filter(|server| *server != own) {
            self.outgoing.push(server, &Item::Hello { from: own });
        }
        self.sweep();
    }

    fn next_wake(&self) -> Option<Instant> {
        let upkeep = self.upkeep.next(now());
        [self.core.next_timeout(), upkeep].into_iter().flatten().min()
    }

    fn on_timer(&mut self) {
        let now = now();
        self.core.handle_timeout(now);
        if self.upkeep.is_due(now) {
            self.sweep();
        }
    }

    fn sweep(&mut self) {
        self.upkeep.begin(now());
        let job = jobs::Sweep {
            retention: self.shared.retention,
            swept: Swept::default(),
            events: self.report.clone(),
        };
        self.shared.writer.submit(Box::new(job), Admission::Own);
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Committed(effects) => self.on_committed(effects),
            Event::Received { delivered, settled } => {
                self.frames_under_way -= 1;
                self.on_received(delivered);
                self.on_settled(settled);
            }
            Event::Settled(settled) => self.on_settled(settled),
            Event::Swept(result) => self.upkeep.end(result, now()),
        }
    }

    fn on_committed(&mut self, effects: Effects) {
        let now = now();
        for stored in &effects.stored {
            self.upkeep.expires(stored.envelope.expires);
            self.core.stored(&stored.hop, stored.seq, &stored.envelope, now);
        }
        for Left { id, hop, end } in effects.left {
            self.core.left(&hop, id);
            if let Some(end) = end {
                self.upkeep.wrote(now);
                self.on_ended(hop, end);
            }
        }
    }

    fn on_ended(&mut self, hop: Hop, end: EndedRow) {
        match serde_json::from_str::<Envelope>(&end.head) {
            Ok(envelope) => self.role.ended(Ended {
                envelope: Arc::new(envelope),
                hop,
                origin: end.origin,
                status: end.status,
                answer: end.answer,
                at: end.at,
            }),
            Err(error) => tracing::error!(%hop, %error, "an ended message cannot be read"),
        }
    }

    fn on_received(&mut self, delivered: Vec<((Server, Envelope), Verdict)>) {
        let from = self.shared.server;
        for ((sender, envelope), verdict) in delivered {
            if let Some(status) = verdict.answer {
                self.upkeep.wrote(now());
                self.outgoing.push(
                    sender,
                    &Item::Answer {
                        from,
                        id: envelope.id,
                        status,
                        answer: None,
                    },
                );
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
    fn on_settled(&mut self, settled: Vec<(Hop, MessageId)>) {
        for (hop, id) in settled {
            self.core.left(&hop, id);
        }
    }

    fn on_commands(&mut self, commands: &mut Vec<Command>) {
        let mut answers = Vec::new();
        for command in commands.drain(..) {
            match command {
                Command::Present(Hop::Principal(principal)) => self.core.present(principal),
                Command::Absent(Hop::Principal(principal)) => self.core.absent(&principal),
                // Servers are always present.
                Command::Present(Hop::Server(_)) | Command::Absent(Hop::Server(_)) => {}
                Command::Answered {
                    hop,
                    id,
                    answer,
                    sink,
                    token,
                } => {
                    let sent_at = self.core.sent_at(&hop, id);
                    answers.push(PrincipalAnswer {
                        hop,
                        id,
                        answer,
                        sent_at,
                        sink,
                        token,
                    });
                }
                Command::Ask {
                    server,
                    token,
                    question,
                } => {
                    let from = self.shared.server;
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
        if !answers.is_empty() {
            let job = jobs::Answered {
                answers,
                results: Vec::new(),
                events: self.report.clone(),
            };
            self.shared.writer.submit(Box::new(job), Admission::Own);
        }
    }

    fn on_attached(&mut self) {
        let (own, now) = (self.shared.server, now());
        for server in Server::ALL.into_iter().filter(|server| *server != own) {
            self.outgoing.push(server, &Item::Hello { from: own });
            self.core.heard(server, now);
        }
    }

    fn on_frame(&mut self, mut frame: Bytes) {
        let (mut delivered, mut answers) = (Vec::new(), Vec::new());
        loop {
            match frame::read(&mut frame) {
                Ok(Some(Item::Hello { from })) => self.core.heard(from, now()),
                Ok(Some(Item::Deliver { from, envelope })) => delivered.push((from, envelope)),
                Ok(Some(Item::Answer {
                    from,
                    id,
                    status,
                    answer,
                })) => answers.push(ServerAnswer {
                    from,
                    id,
                    status,
                    answer,
                    sent_at: self.core.sent_at(&Hop::Server(from), id),
                }),
                Ok(Some(Item::Ask {
                    from,
                    token,
                    question,
                })) => self.on_question(from, token, question),
                Ok(Some(Item::Reply { token, reply })) => self.shared.replied(token, reply),
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
        let job = Frame {
            role: Arc::clone(&self.role),
            delivered,
            verdicts: Vec::new(),
            answers,
            events: self.report.clone(),
        };
        self.shared.writer.submit(Box::new(job), Admission::Own);
    }

    fn on_question(&mut self, from: Server, token: u64, question: Question) {
        if self.questions.len() >= QUESTIONS_MAX {
            let reply = Reply::Unanswered(Status::UNAVAILABLE);
            self.outgoing.push(from, &Item::Reply { token, reply });
            return;
        }
        let (shared, role) = (Arc::clone(&self.shared), Arc::clone(&self.role));
        self.questions.spawn(async move {
            let reply = match question {
                Question::Receipt { id } => match shared.receipt(id).await {
                    Ok(receipt) => Reply::Receipt(receipt),
                    Err(error) => Reply::Unanswered(error.status()),
                },
                other @ (Question::Directory { .. } | Question::Presence { .. }) => role.answer(other).await,
            };
            (from, token, reply)
        });
    }

    fn on_loaded(&mut self, loaded: Loaded) {
        let now = now();
        for (load, page) in loaded {
            match page {
                Ok(page) => self.core.loaded(&load, page.rows, page.complete, now),
                Err(error) => {
                    tracing::error!(hop = %load.hop, %error, "what waits for a hop could not be read");
                    self.core.load_failed(&load, now);
                }
            }
        }
    }

    /// Does what the core has decided.
    fn act(&mut self) {
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::Send {
                    hop: Hop::Server(server),
                    envelopes,
                } => {
                    let from = self.shared.server;
                    for envelope in envelopes {
                        let envelope = Envelope::clone(&envelope);
                        self.outgoing.push(server, &Item::Deliver { from, envelope });
                    }
                }
                Action::Send {
                    hop: Hop::Principal(principal),
                    envelopes,
                } => self.role.deliver(&principal, envelopes),
                Action::Load(load) => self.loads.push(load),
                Action::Remember { sent } => {
                    let job = Remember { sent };
                    self.shared.writer.submit(Box::new(job), Admission::Own);
                }
            }
        }
        if self.loading.is_empty() && !self.loads.is_empty() {
            let batch: Vec<Load> = self
                .loads
                .drain(..self.loads.len().min(loader::HOPS_MAX))
                .collect();
            self.loading.spawn(loader::read(Arc::clone(&self.shared), batch));
        }
    }
}

async fn sleep_until(wake: Option<Instant>) {
    if let Some(wake) = wake {
        tokio::time::sleep_until(wake.into()).await;
    }
}

pub(super) fn now() -> Now {
    Now {
        instant: tokio::time::Instant::now().into_std(),
        wall: Timestamp::from(SystemTime::now()),
    }
}
