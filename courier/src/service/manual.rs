//! A courier moved by hand: the same pump, jobs and tables as [`Courier`](super::Courier), without a thread or a
//! runtime. Its caller says when each step happens and gives the connection for it, so that a simulation can put a
//! crash between any two.
//!
//! ```text
//! calls, frames -> jobs -> commit(sql) -> events -> next_event() -> frames, deliveries, further jobs and reads
//! ```
//!
//! What it holds is what a process holds in memory; dropping it is a crash. What `sql` holds is what is on disk.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use irsp_protocol::ledger::Ledger;
use irsp_protocol::receipt::{Answer, Receipt};
use irsp_protocol::{Address, Domain, Envelope, MessageId, Principal, Server, Timestamp};
use rusqlite::Connection;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::events::{Command, Event};
use super::jobs;
use super::loader::{self, Loaded};
use super::outgoing::Outgoing;
use super::peer::{Outlet, PeerFrame, UNDER_WAY_MAX};
use super::pump::{Pump, Work};
use super::settings::Settings;
use crate::accept::AcceptSink;
use crate::bus::{self, Attachment, Incoming};
use crate::clock::Clock;
use crate::core::Load;
use crate::hop::Hop;
use crate::metrics::Metrics;
use crate::role::Role;
use crate::store::{
    Context, Job, Migration, StoreError, Tx, Usage, migrate, read_ledger, read_receipt, write,
};

/// Events of one commit; nobody takes them away meanwhile, so there is room for all.
const EVENTS_MAX: usize = 1 << 20;

/// A courier whose every step is its caller's.
pub struct Manual {
    /// This server, with its domain.
    reporter: Address,
    pump: Pump,
    context: Context,
    clock: Arc<dyn Clock>,
    jobs: Vec<Box<dyn Job>>,
    events: mpsc::Receiver<Event>,
    to_read: Option<Vec<Load>>,
    read: Option<Loaded>,
    bus: Attachment,
    tickets: u64,
}

/// A link's end of a courier that is moved by hand, as [`PeerPort`](super::PeerPort) is of the other.
pub struct ManualPort {
    peer: Domain,
    ticket: u64,
    frames: mpsc::Receiver<Bytes>,
    under_way: Arc<Semaphore>,
}

impl ManualPort {
    /// Whether the next frame of the peer may come: not too many wait for the disk.
    pub fn takes_frames(&self) -> bool {
        self.under_way.available_permits() > 0
    }
}

impl Manual {
    /// Makes or updates the tables in a database, the courier's own and the role's.
    pub fn prepare(sql: &mut Connection, migrations: &'static [Migration]) -> Result<(), StoreError> {
        migrate(sql, Path::new(":memory:"), migrations)
    }

    /// Takes up what the database holds, as a process that starts does.
    pub fn start(
        server: Server,
        domain: Domain,
        role: Arc<dyn Role>,
        settings: &Settings,
        clock: Arc<dyn Clock>,
    ) -> Manual {
        let (report, events) = mpsc::channel(EVENTS_MAX);
        let (link, bus) = bus::link();
        let metrics = Arc::new(Metrics::default());
        let context = Context {
            server,
            clock: Arc::clone(&clock),
            answer_grace: settings.answer_grace,
            custody_grace: settings.custody_grace,
            usage: Arc::new(Mutex::new(Usage::new(settings.bounds))),
            status_lifetime: settings.receipt_retention,
            metrics: Arc::clone(&metrics),
            committed: {
                let report = report.clone();
                Box::new(move |effects| jobs::report(&report, Event::Committed(effects)))
            },
        };
        let outgoing = Outgoing::new(link.outgoing, Arc::clone(&metrics));
        let pump = Pump::new(server, role, settings, outgoing, metrics, report, clock.as_ref());
        let mut manual = Manual {
            reporter: Address {
                principal: Principal::server(server),
                domain: Some(domain),
            },
            pump,
            context,
            clock,
            jobs: Vec::new(),
            events,
            to_read: None,
            read: None,
            bus,
            tickets: 0,
        };
        manual.turn();
        manual
    }

    /// [`Courier::accept`](super::Courier::accept).
    pub fn accept(&mut self, envelope: Envelope, hop: Hop, sink: Arc<dyn AcceptSink>, token: u64) {
        if let Some(job) = jobs::Accept::new(envelope, hop, sink, token) {
            self.jobs.push(job);
        }
    }

    /// [`Courier::write`](super::Courier::write); the receiver has the result after the commit.
    pub fn write<R: Send + 'static>(
        &mut self,
        f: impl FnMut(&mut Tx<'_>) -> Result<R, StoreError> + Send + 'static,
    ) -> oneshot::Receiver<Result<R, StoreError>> {
        let (tell, done) = oneshot::channel();
        self.jobs.push(Box::new(jobs::Write { f, value: None, tell }));
        done
    }

    /// An operator sends a dead letter again.
    pub fn retry_dead(&mut self, id: MessageId, expires: Timestamp) {
        drop(self.write(move |tx| tx.retry_dead(id, Some(expires))));
    }

    /// An operator discards a dead letter.
    pub fn discard_dead(&mut self, id: MessageId) {
        drop(self.write(move |tx| tx.discard_dead(id)));
    }

    /// [`Courier::answered`](super::Courier::answered).
    pub fn answered(
        &mut self,
        hop: Hop,
        id: MessageId,
        answer: Answer,
        sink: Arc<dyn AcceptSink>,
        token: u64,
    ) {
        self.command(Command::Answered {
            hop,
            id,
            answer,
            teller: Some((sink, token)),
        });
    }

    /// [`Courier::present`](super::Courier::present).
    pub fn present(&mut self, hop: Hop) {
        self.command(Command::Present(hop));
    }

    /// [`Courier::absent`](super::Courier::absent).
    pub fn absent(&mut self, hop: Hop) {
        self.command(Command::Absent(hop));
    }

    /// Whether the next frame may come: not too many wait for the disk.
    pub fn takes_frames(&self) -> bool {
        self.pump.takes_frames()
    }

    /// Something has come over the bus. Questions are not answered.
    pub fn incoming(&mut self, incoming: Incoming) {
        self.pump.on_incoming(incoming, self.clock.now());
        self.turn();
    }

    /// A frame for the bus.
    pub fn next_frame(&mut self) -> Option<(Server, Bytes)> {
        let frame = self.bus.outgoing.try_recv().ok();
        self.pump.flush();
        frame
    }

    /// [`Courier::link_peer`](super::Courier::link_peer).
    pub fn link_peer(&mut self, peer: Domain, rate_max: Option<NonZeroU32>) -> ManualPort {
        self.tickets += 1;
        let ticket = self.tickets;
        let (outlet, frames) = Outlet::open(ticket, self.reporter.clone());
        self.command(Command::PeerLinked {
            peer: peer.clone(),
            ticket,
            rate_max,
            outlet,
        });
        ManualPort {
            peer,
            ticket,
            frames,
            under_way: Arc::new(Semaphore::new(UNDER_WAY_MAX)),
        }
    }

    /// The link is down.
    pub fn part_peer(&mut self, port: ManualPort) {
        let ManualPort { peer, ticket, .. } = port;
        self.command(Command::PeerParted { peer, ticket });
    }

    /// A frame for the peer.
    pub fn next_peer_frame(&mut self, port: &mut ManualPort) -> Option<Bytes> {
        let frame = port.frames.try_recv().ok();
        self.pump.flush();
        frame
    }

    /// A frame of the peer has come, which the port [takes](ManualPort::takes_frames); otherwise it is lost.
    pub fn peer_said(&mut self, port: &ManualPort, said: PeerFrame) {
        if let Ok(permit) = Arc::clone(&port.under_way).try_acquire_owned() {
            let peer = port.peer.clone();
            self.command(Command::PeerSaid { peer, said, permit });
        }
    }

    /// Jobs that wait for [`commit`](Manual::commit).
    pub fn waiting_jobs(&self) -> usize {
        self.jobs.len()
    }

    /// Runs all jobs that wait, in one transaction if it commits, and tells each.
    pub fn commit(&mut self, sql: &Connection) {
        if !self.jobs.is_empty() {
            write(sql, &self.context, std::mem::take(&mut self.jobs));
        }
    }

    /// Acts on the next thing a commit has changed; false if there is none.
    pub fn next_event(&mut self) -> bool {
        let Ok(event) = self.events.try_recv() else {
            return false;
        };
        self.pump.on_event(event, self.clock.now());
        self.turn();
        true
    }

    /// Reads what the pump has asked for, as the disk has it now; false if nothing is to be read.
    pub fn read(&mut self, sql: &Connection) -> bool {
        let Some(batch) = self.to_read.take() else {
            return false;
        };
        self.read = Some(loader::read(sql, batch, self.clock.now().wall));
        true
    }

    /// Acts on what was read; false if nothing was.
    pub fn next_read(&mut self) -> bool {
        let Some(loaded) = self.read.take() else {
            return false;
        };
        self.pump.on_loaded(loaded, self.clock.now());
        self.turn();
        true
    }

    /// When [`timer`](Manual::timer) has something to do.
    pub fn next_wake(&self) -> Option<Instant> {
        self.pump.next_wake(self.clock.now())
    }

    pub fn timer(&mut self) {
        self.pump.on_timer(self.clock.now());
        self.turn();
    }

    /// [`Courier::ledger`](super::Courier::ledger), as the disk has it.
    pub fn ledger(sql: &Connection) -> Result<Ledger, StoreError> {
        read_ledger(sql)
    }

    /// [`Courier::receipt`](super::Courier::receipt), as the disk has it.
    pub fn receipt(
        sql: &Connection,
        id: MessageId,
        reporter: &Address,
    ) -> Result<Option<Receipt>, StoreError> {
        Ok(read_receipt(sql, id, reporter)?.map(|(receipt, _)| receipt))
    }

    fn command(&mut self, command: Command) {
        self.pump.on_commands([command]);
        self.turn();
    }

    fn turn(&mut self) {
        while let Some(work) = self.pump.poll_work() {
            match work {
                Work::Write(job) => self.jobs.push(job),
                Work::Read(batch) => self.to_read = Some(batch),
                Work::Question { .. } => self.pump.on_reply(None),
                Work::Replied { .. } => {}
            }
        }
        self.pump.flush();
    }
}
