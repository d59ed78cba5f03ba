//! The pump: owns the core and moves what it says. Frames, events and commands in with `now`, [`Work`] and frames out;
//! it waits for nothing, so the same pump runs under the runtime and in a simulation.

mod frames;
mod outcome;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use irsp_protocol::frame::{Item, Question, Reply};
use irsp_protocol::{Domain, MessageId, Server};
use tokio::sync::mpsc;

use super::answer::PrincipalAnswer;
use super::events::{Command, Event};
use super::handing::Handing;
use super::jobs::{self, Remember};
use super::loader::{self, Loaded};
use super::outgoing::Outgoing;
use super::peer::Outlet;
use super::settings::Settings;
use super::unstored::Unstored;
use super::upkeep::Upkeep;
use crate::clock::{Clock, Now};
use crate::core::{Action, Core, Load, Rest, Sending};
use crate::hop::Hop;
use crate::metrics::Metrics;
use crate::role::Role;
use crate::store::{Job, Retention, Swept};

/// Frames read from the bus whose effects are not on disk yet; with more, the bus waits.
const FRAMES_MAX: usize = 64;
/// When a slow link is offered again what it had no room for.
const HELD_WAIT: Duration = Duration::from_millis(20);
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
