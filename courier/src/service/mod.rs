//! The courier as its server sees it: the shell around the core, and the calls into it.

mod answer;
mod events;
mod handing;
mod inquiry;
mod jobs;
mod loader;
mod manual;
mod observe;
mod outgoing;
mod peer;
mod peer_port;
mod pump;
mod run;
mod settings;
mod shared;
mod tail;
mod unstored;
mod upkeep;
mod waiters;

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use irsp_protocol::frame::{Question, Reply};
use irsp_protocol::inquiry::{Finding, Inquiry};
use irsp_protocol::ledger::Ledger;
use irsp_protocol::receipt::{Answer, Cause, Receipt};
use irsp_protocol::{Address, Domain, Envelope, MessageId, Principal, Server, Status, Timestamp};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept::AcceptSink;
use crate::bus::Link;
use crate::clock::{Clock, SystemClock};
use crate::hop::Hop;
use crate::lock::lock;
use crate::metrics::Metrics;
use crate::quota::InFlight;
use crate::role::Role;
use crate::store::{
    Admission, Context, Progress, Store, StoreError, Tx, Usage, count_dead_letters, progress, read_cause,
    read_ledger, with_in_flight,
};
use events::{Command, Event};
use outgoing::Outgoing;
use pump::Pump;
use run::{Inlets, Runner};
use shared::Shared;
use tail::Recorder;
use waiters::Waiters;

pub use manual::{Manual, ManualPort};
pub use peer::{PeerAnswer, PeerFrame};
pub use peer_port::PeerPort;
pub use settings::Settings;
pub use waiters::Until;

/// Commits whose effects wait for the pump; with more, the writer waits for it.
const EVENTS_MAX: usize = 256;
/// After this a question without a reply is asked again: the bus may have lost it.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// A server's courier. Clones are the same courier.
#[derive(Clone)]
pub struct Courier {
    shared: Arc<Shared>,
}

impl Courier {
    /// Starts the writer and the pump, which ends when `stop` is cancelled. What the database holds is taken up where
    /// it was left: what is unanswered is sent again, what has expired meanwhile ends.
    #[expect(
        clippy::too_many_arguments,
        reason = "called once per server, with one of each thing it is joined to"
    )]
    pub fn start(
        server: Server,
        domain: Domain,
        store: Store,
        link: Link,
        role: Arc<dyn Role>,
        settings: Settings,
        stop: CancellationToken,
        tasks: &TaskTracker,
    ) -> Result<Courier, StoreError> {
        let mut usage = Usage::new(settings.bounds);
        // What is in flight is walked through once, for the quotas and for the ledger's check.
        let ledger = store.read_now(|sql| with_in_flight(sql, usage.count(sql)?))?;
        inquiry::report_ledger(server, &ledger, store.read_now(count_dead_letters)?);
        let (report, events) = mpsc::channel(EVENTS_MAX);
        let (commands, asked) = mpsc::unbounded_channel();
        let waiters = Waiters::default();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let tail = Arc::new(Recorder::new(clock.new_id()));
        let metrics = Arc::new(Metrics::default());
        let context = Context {
            server,
            clock: Arc::clone(&clock),
            answer_grace: settings.answer_grace,
            custody_grace: settings.custody_grace,
            usage: Arc::new(Mutex::new(usage)),
            status_lifetime: settings.receipt_retention,
            metrics: Arc::clone(&metrics),
            committed: {
                let (report, waiters) = (report.clone(), waiters.clone());
                let (tail, clock) = (Arc::clone(&tail), Arc::clone(&clock));
                Box::new(move |effects| {
                    waiters.tell(&effects.left);
                    tail.committed(&effects, clock.as_ref());
                    jobs::report(&report, Event::Committed(effects));
                })
            },
        };
        let usage = Arc::clone(&context.usage);
        let writer = store.start_writer(context)?;
        let shared = Arc::new(Shared {
            server,
            reporter: Address {
                principal: Principal::server(server),
                domain: Some(domain),
            },
            store,
            writer,
            metrics: Arc::clone(&metrics),
            usage,
            clock: Arc::clone(&clock),
            tail,
            commands,
            waiters,
            questions: Mutex::default(),
            tokens: AtomicU64::new(1),
        });
        let outgoing = Outgoing::new(link.outgoing, Arc::clone(&metrics));
        let pump = Pump::new(
            server,
            Arc::clone(&role),
            &settings,
            outgoing,
            metrics,
            report,
            clock.as_ref(),
        );
        let inlets = Inlets {
            bus: link.incoming,
            events,
            commands: asked,
        };
        let runner = Runner {
            shared: Arc::clone(&shared),
            role,
            pump,
        };
        tasks.spawn(runner.run(inlets, stop));
        Ok(Courier { shared })
    }

    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// An id for a message accepted now.
    pub fn new_id(&self) -> MessageId {
        self.shared.clock.new_id()
    }

    pub fn now(&self) -> Timestamp {
        self.shared.clock.now().wall
    }

    /// Accepts an envelope for a hop. The sink hears of it once it is on disk, or why it is not accepted. Nothing is
    /// waited for here: when too much waits to be written, it is refused with 507.
    pub fn accept(&self, envelope: Envelope, hop: Hop, sink: Arc<dyn AcceptSink>, token: u64) {
        if let Some(job) = self.admitted(envelope, hop, sink, token) {
            self.shared.writer.submit(job, Admission::Bounded);
        }
    }

    /// The same; `also` stores in the same transaction what the caller has to remember of it, such as MQTT's packet
    /// identifier. It may run again, as in [`write`](Courier::write).
    pub fn accept_also(
        &self,
        envelope: Envelope,
        hop: Hop,
        also: impl FnMut(&mut Tx<'_>) -> Result<(), StoreError> + Send + 'static,
        sink: Arc<dyn AcceptSink>,
        token: u64,
    ) {
        if let Some(accept) = self.admitted(envelope, hop, sink, token) {
            let job = jobs::AcceptAlso { accept, also };
            self.shared.writer.submit(Box::new(job), Admission::Bounded);
        }
    }

    /// What is to be tried; `None` if the sink has heard why not.
    fn admitted(
        &self,
        envelope: Envelope,
        hop: Hop,
        sink: Arc<dyn AcceptSink>,
        token: u64,
    ) -> Option<Box<jobs::Accept>> {
        let job = jobs::Accept::new(envelope, hop, sink, token)?;
        job.unless_refused(&self.shared.usage, &self.shared.metrics)
    }

    /// Runs a transaction; resolves when it is on disk. `f` may run again if the commit it shared has failed, so it
    /// changes nothing but the database.
    pub async fn write<R: Send + 'static>(
        &self,
        f: impl FnMut(&mut Tx<'_>) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        self.shared.write(f).await
    }

    /// The principal on `hop` has answered a message, which ends with 200 whatever its own code: that one stands in
    /// the receipt's answer. A repeat is accepted as duplicate; an unknown id, or another hop's, is 404.
    pub fn answered(&self, hop: Hop, id: MessageId, answer: Answer, sink: Arc<dyn AcceptSink>, token: u64) {
        let command = Command::Answered {
            hop,
            id,
            answer,
            teller: Some((sink, token)),
        };
        if let Err(mpsc::error::SendError(Command::Answered {
            teller: Some((sink, token)),
            ..
        })) = self.shared.commands.send(command)
        {
            sink.settled(token, Err(Status::UNAVAILABLE));
        }
    }

    /// The same from a principal that can be told nothing, because its protocol's acknowledgement was its answer: what
    /// the disk refuses is kept in memory and tried again until it is stored.
    pub fn acknowledged(&self, hop: Hop, id: MessageId, answer: Answer) {
        self.shared.command(Command::Answered {
            hop,
            id,
            answer,
            teller: None,
        });
    }

    /// A principal's session has begun: what waits for it is delivered, first of all what was left unanswered.
    pub fn present(&self, hop: Hop) {
        self.shared.command(Command::Present(hop));
    }

    /// A principal's last session has ended.
    pub fn absent(&self, hop: &Hop) {
        self.shared.command(Command::Absent(hop.clone()));
    }

    /// A link to another domain is up: what waits for it is sent in order, no more than `rate_max` a second, if that is
    /// given. The receiver has the frames, to be written to
    /// the link; what came over it is given to the port, whose drop says that the link is down.
    pub fn link_peer(&self, peer: Domain, rate_max: Option<NonZeroU32>) -> (PeerPort, mpsc::Receiver<Bytes>) {
        PeerPort::open(&self.shared, peer, rate_max)
    }

    /// How many messages wait for a hop, and when the oldest of them was accepted.
    pub async fn queue(&self, hop: Hop) -> Result<(u64, Option<Timestamp>), StoreError> {
        self.shared.store.queue(hop).await
    }

    /// Asks another server; `None` if no reply comes within the time.
    pub async fn ask(&self, server: Server, question: Question, within: Duration) -> Option<Reply> {
        let shared = &self.shared;
        let token = shared.tokens.fetch_add(1, Ordering::Relaxed);
        let (tell, mut replied) = oneshot::channel();
        lock(&shared.questions).insert(token, tell);
        let _unasked = Unasked { shared, token };
        let asking = async {
            loop {
                shared.command(Command::Ask {
                    server,
                    token,
                    question: question.clone(),
                });
                if let Ok(reply) = tokio::time::timeout(ASK_AGAIN, &mut replied).await {
                    return reply.ok();
                }
            }
        };
        tokio::time::timeout(within, asking).await.ok().flatten()
    }

    /// What this server knows of a message.
    pub async fn receipt(&self, id: MessageId) -> Result<Option<Receipt>, StoreError> {
        self.shared.receipt(id).await
    }

    /// What was accepted, how it ended and what is under way, per kind.
    pub async fn ledger(&self) -> Result<Ledger, StoreError> {
        self.shared.store.read(read_ledger).await
    }

    /// What an operator asks of this server, as other servers may ask it too.
    pub async fn inquire(&self, inquiry: Inquiry) -> Result<Finding, StoreError> {
        inquiry::answer(&self.shared, inquiry).await
    }

    /// What is in flight here, and how often something was refused for it.
    pub fn in_flight(&self) -> InFlight {
        lock(&self.shared.usage).in_flight()
    }

    /// Why a message ended as it did, where its status does not say it all.
    pub async fn cause(&self, id: MessageId) -> Result<Option<Cause>, StoreError> {
        self.shared.store.read(move |sql| read_cause(sql, id)).await
    }

    /// Waits until a message has left this server; `None` when `within` has passed before.
    pub async fn outcome(
        &self,
        id: MessageId,
        within: Duration,
        until: Until,
    ) -> Option<(Status, Option<Answer>)> {
        let deadline = Instant::now() + within;
        let mut place = self.shared.waiters.wait(id, until);
        // Only what leaves from now on is told to the place; what left before stands in the database.
        match self.shared.store.read(move |sql| progress(sql, id)).await {
            Ok(Progress::Ended(status, answer)) => return Some((status, answer)),
            Ok(Progress::HandedOver) if until == Until::Custody => return Some((Status::QUEUED, None)),
            Ok(Progress::HandedOver | Progress::Waiting | Progress::Unknown) => {}
            Err(error) => tracing::warn!(%id, %error, "how far a message has come cannot be read"),
        }
        tokio::time::timeout_at(deadline, &mut place.outcome)
            .await
            .ok()?
            .ok()
    }

    /// Refuses what comes from now on, finishes what was taken, and empties the write-ahead log.
    pub async fn close(&self) {
        let Some(thread) = self.shared.writer.close() else {
            return;
        };
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the writer has panicked");
        }
    }
}

/// A question that is no longer waited for.
struct Unasked<'a> {
    shared: &'a Shared,
    token: u64,
}

impl Drop for Unasked<'_> {
    fn drop(&mut self) {
        lock(&self.shared.questions).remove(&self.token);
    }
}
