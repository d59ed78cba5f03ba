//! The pump under the runtime: one task that never waits for the writer or for the bus alone, so neither can stop the
//! other; and with nothing under way and nothing due it sleeps.

use std::sync::Arc;
use std::time::Instant;

use irsp_protocol::Server;
use irsp_protocol::frame::{Question, Reply};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::events::{Command, Event};
use super::inquiry;
use super::loader::{self, Loaded};
use super::pump::{Pump, Work};
use super::shared::Shared;
use crate::bus::Incoming;
use crate::role::Role;
use crate::store::{Admission, StoreError};

/// Commands and events handled before the actions they cause.
const BATCH_MAX: usize = 256;

/// The pump, and what does its work.
pub(super) struct Runner {
    pub(super) shared: Arc<Shared>,
    pub(super) role: Arc<dyn Role>,
    pub(super) pump: Pump,
}

/// What the pump listens to.
pub(super) struct Inlets {
    pub(super) bus: mpsc::Receiver<Incoming>,
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) commands: mpsc::UnboundedReceiver<Command>,
}

/// Work that is waited for.
#[derive(Default)]
struct Tasks {
    reading: JoinSet<Result<Loaded, StoreError>>,
    questions: JoinSet<(Server, u64, Reply)>,
}

impl Runner {
    pub(super) async fn run(mut self, mut inlets: Inlets, stop: CancellationToken) {
        let (mut events, mut commands) = (Vec::new(), Vec::new());
        let mut tasks = Tasks::default();
        let mut bus_open = true;
        let clock = Arc::clone(&self.shared.clock);
        loop {
            while let Some(work) = self.pump.poll_work() {
                self.work(work, &mut tasks);
            }
            let blocked = self.pump.flush();
            let wake = self.pump.next_wake(clock.now());
            tokio::select! {
                () = stop.cancelled() => break,
                count = inlets.events.recv_many(&mut events, BATCH_MAX) => {
                    if count == 0 {
                        break;
                    }
                    let now = clock.now();
                    for event in events.drain(..) {
                        self.pump.on_event(event, now);
                    }
                }
                count = inlets.commands.recv_many(&mut commands, BATCH_MAX) => {
                    if count == 0 {
                        break;
                    }
                    self.pump.on_commands(commands.drain(..));
                }
                incoming = inlets.bus.recv(), if bus_open && self.pump.takes_frames() => match incoming {
                    Some(incoming) => self.pump.on_incoming(incoming, clock.now()),
                    None => bus_open = false,
                },
                () = self.pump.room(), if blocked => {}
                Some(read) = tasks.reading.join_next() => match read {
                    Ok(Ok(loaded)) => self.pump.on_loaded(loaded, clock.now()),
                    Ok(Err(error)) => {
                        tracing::error!(%error, "what waits on disk could not be read");
                        self.pump.on_read_failed(clock.now());
                    }
                    Err(error) => {
                        tracing::error!(%error, "a read was broken off");
                        self.pump.on_read_failed(clock.now());
                    }
                },
                Some(found) = tasks.questions.join_next() => {
                    if let Err(error) = &found {
                        tracing::error!(%error, "a question was not answered");
                    }
                    self.pump.on_reply(found.ok());
                }
                () = sleep_until(wake), if wake.is_some() => self.pump.on_timer(clock.now()),
            }
        }
        // What is ready may still go; what the bus does not take is sent again after the next start.
        self.pump.flush();
    }

    fn work(&self, work: Work, tasks: &mut Tasks) {
        match work {
            Work::Write(job) => self.shared.writer.submit(job, Admission::Own),
            Work::Read(batch) => {
                let shared = Arc::clone(&self.shared);
                tasks.reading.spawn(async move {
                    let wall = shared.clock.now().wall;
                    let reading = shared.store.read(move |sql| Ok(loader::read(sql, batch, wall)));
                    reading.await
                });
            }
            Work::Question {
                from,
                token,
                question,
            } => {
                let (shared, role) = (Arc::clone(&self.shared), Arc::clone(&self.role));
                tasks.questions.spawn(async move {
                    let reply = match question {
                        Question::Courier(inquiry) => match inquiry::answer(&shared, inquiry).await {
                            Ok(finding) => Reply::Courier(finding),
                            Err(error) => Reply::Unanswered(error.status()),
                        },
                        other
                        @ (Question::Directory { .. } | Question::Presence { .. } | Question::Peers) => {
                            role.answer(other).await
                        }
                    };
                    (from, token, reply)
                });
            }
            Work::Replied { token, reply } => self.shared.replied(token, reply),
        }
    }
}

async fn sleep_until(wake: Option<Instant>) {
    if let Some(wake) = wake {
        tokio::time::sleep_until(wake.into()).await;
    }
}
