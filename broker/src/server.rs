//! Starting and stopping the message server: every task has an owner that cancels and awaits it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use irsp_courier::bus::Link;
use irsp_courier::store::{Store, StoreError, Tx};
use irsp_courier::{Courier, Ledger, Observed};
use irsp_directory::{Directory, HashKey};
use irsp_protocol::Server;
use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attached::Attached;
use crate::bus::{Bus, BusError};
use crate::directory::{self, Enforcer};
use crate::edge::{self, Admission, Edge, ListenError, Reload, UnderWay};
use crate::federation::links::Links;
use crate::federation::{self, Abroad, Discovery, DiscoveryError, Federation};
use crate::heritage;
use crate::logbook::{self, Logbook};
use crate::metrics::Metrics;
use crate::observed::Observer;
use crate::presence::{Announcer, Table, Unstored};
use crate::restore::restore;
use crate::role::{FromPeers, MessageRole};
use crate::sessions::Parked;
use crate::sessions::Sessions;
use crate::sessions::keeper::Keeper;
use crate::sessions::orders::End;
use crate::settings::{Limits, Settings};
use crate::store::{self, publish::Moment, queue, retained, session, will};
use crate::topics;
use crate::topics::Topics;

/// How often parked sessions and retained messages are looked through for expired ones.
const SWEEP: Duration = Duration::from_secs(30);

/// Largest packet of a server that runs apart, bytes: a frame holds one envelope of the largest size beside others.
const BUS_FRAME_MAX: u32 = 16 << 20;

/// Why the message server cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{path}: the hash key cannot be read or made: {reason}")]
    HashKey { path: PathBuf, reason: io::Error },
    #[error("the embedded bus: {0}")]
    Bus(String),
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
}

impl From<BusError> for StartError {
    fn from(error: BusError) -> StartError {
        StartError::Bus(error.to_string())
    }
}

/// A running message server.
pub struct MessageServer {
    addresses: Vec<(&'static str, SocketAddr)>,
    edge: Arc<Edge>,
    reload: Reload,
    instruments: Arc<Registry>,
    /// Listeners and connections; ended first.
    front: (CancellationToken, TaskTracker),
    /// The keeper of durable sessions; ended when it has stored what the front left and what was told of it.
    keeping: TaskTracker,
    /// What tells others of connections; ends behind the last of them.
    telling: TaskTracker,
    /// Courier, bus and housekeeping; ended when the front is gone.
    back: (CancellationToken, TaskTracker),
}

impl MessageServer {
    /// Binds the listeners, opens `message.db`, starts the bus and accepts clients.
    pub async fn start(settings: Settings) -> Result<MessageServer, StartError> {
        let tls = edge::tls_source(&settings.listeners)?;
        let bound = edge::bind(&settings.listeners, tls.as_ref(), &settings.limits).await?;
        let bound_for_peers = federation::bind(settings.federation.listen).await?;
        let discovery = Discovery::new(&settings.federation.discovery)?;
        let hash_key = settings.data_dir.join("hash.key");
        let hash_key = HashKey::read_or_make(&hash_key).map_err(|reason| StartError::HashKey {
            path: hash_key,
            reason,
        })?;
        let store = Store::open(&settings.data_dir.join("message.db"), store::MIGRATIONS)?;
        let directory = Arc::new(Directory::new(hash_key));
        store.read_now(|sql| Ok(irsp_directory::store::load(sql, &directory)?))?;
        let table = Arc::new(Mutex::new(Table::restore(store.read_now(store::load_presences)?)));
        let moment = Moment::at(SystemTime::now().into());
        let found = store.read_now(|sql| session::load(sql, moment.wall))?;
        let wills = store.read_now(|sql| will::load(sql, moment))?;
        let last_ids = store.read_now(queue::last_ids)?;

        let front = (CancellationToken::new(), TaskTracker::new());
        let back = (CancellationToken::new(), TaskTracker::new());
        let mut instruments = Registry::default();
        let metrics = Arc::new(Metrics::new(&mut instruments));
        let keeper = Arc::new(Keeper::new(settings.limits.stored_totals(), last_ids));
        let topics = Arc::new(Topics::new(
            settings.limits.retained_bounds(),
            Arc::clone(&keeper),
            Arc::clone(&metrics),
        ));
        let sessions = Arc::new(Sessions::default());
        let attached = Arc::new(Attached::new(
            Arc::clone(&topics),
            Arc::clone(&sessions),
            back.clone(),
        ));
        let (links, news) = Links::new();
        let enforcer = Enforcer {
            links: Arc::clone(&links),
            directory,
            sessions: Arc::clone(&sessions),
            topics: Arc::clone(&topics),
            keeper,
            metrics: Arc::clone(&metrics),
        };
        restore(&enforcer, found, settings.limits.queue_bounds(), moment);
        store.read_now(|sql| {
            retained::load(sql, moment, |publish, publisher| {
                topics.restore(publish, publisher)
            })
        })?;
        let behind = Arc::new(Notify::new());
        let unstored = Arc::new(Unstored::default());
        let bus = Bus::start(back.1.clone(), back.0.clone());
        let role = MessageRole {
            domain: settings.domain.clone(),
            enforcer: enforcer.clone(),
            attached: Arc::clone(&attached),
            store: store.clone(),
            presence: Arc::clone(&table),
            unstored: Arc::clone(&unstored),
            behind: Arc::clone(&behind),
            from_peers: FromPeers {
                push_bytes_max: settings.federation.push_size_max as usize,
                upload_bytes_max: settings.limits.packet_size_max as usize,
            },
        };
        let courier = Courier::start(
            Server::Message,
            settings.domain.clone(),
            store,
            bus.attach(Server::Message)?,
            Arc::new(role),
            settings.courier.clone(),
            back.0.clone(),
            &back.1,
        )?;
        let begin = move |tx: &mut Tx<'_>| {
            session::leave_all(tx.sql(), tx.now())?;
            retained::sweep(tx.sql(), moment)
        };
        courier.write(begin).await?;
        let keeping = TaskTracker::new();
        keeping.spawn(Arc::clone(&enforcer.keeper).run(courier.clone()));
        keeping.close();
        // A restored copy does not know what it has missed, and hears of it only with the next change.
        if enforcer.directory.applied() == 0 || courier.store().restored()?.is_some() {
            behind.notify_one();
        }
        let follow = directory::catch_up(courier.clone(), enforcer.clone(), behind);
        spawn_until(&back, follow);
        spawn_until(&back, sweep(enforcer.clone(), courier.clone()));
        let directory = Arc::clone(&enforcer.directory);
        let telling = federation::abroad(
            news,
            Arc::clone(&links),
            courier.clone(),
            directory,
            Arc::clone(&table),
        );
        spawn_until(&back, telling);
        let mut addresses: Vec<_> = bound_for_peers.iter().map(federation::Bound::named).collect();
        let federation = Federation {
            domain: settings.domain.clone(),
            directory: Arc::clone(&enforcer.directory),
            courier: courier.clone(),
            links,
            metrics: Arc::new(federation::Metrics::new(&mut instruments)),
            identity: federation::identity(&settings.domain, &settings.federation),
            discovery,
            lifetime_max: settings.message_expiry.max,
        };
        federation::start(federation, bound_for_peers, back.0.clone(), &back.1);
        let abroad = Arc::new(Abroad {
            directory: Arc::clone(&enforcer.directory),
        });
        let reload = Reload::default();
        if let Some(tls) = tls {
            spawn_until(&front, tls.follow(reload.clone(), Arc::clone(&metrics)));
        }
        let (announcer, presences) = Announcer::new(
            table,
            courier.clone(),
            enforcer.clone(),
            Arc::clone(&attached),
            unstored,
            abroad,
            settings.presence_grace,
        );
        let (logbook, lines) = Logbook::new(courier.now(), metrics.refusals_unwritten.clone());
        let telling = TaskTracker::new();
        telling.spawn(announcer.run(back.0.clone()));
        telling.spawn(logbook::carry(lines, courier.clone(), front.0.clone()));
        telling.close();

        let edge = Arc::new(Edge {
            domain: settings.domain,
            session_limits: Arc::new(session_limits(&settings.limits)),
            server_limits: Arc::new(irsp_session::Limits {
                packet_size_max: BUS_FRAME_MAX,
                ..session_limits(&settings.limits)
            }),
            limits: settings.limits,
            message_expiry: settings.message_expiry,
            enforcer,
            metrics,
            courier,
            attached,
            presences,
            logbook,
            under_way: UnderWay::default(),
            bus,
            admission: Admission::new(&settings.limits),
            stop: front.0.clone(),
            tasks: front.1.clone(),
        });
        edge::publish_left(&edge, wills, settings.presence_grace);
        addresses.extend(bound.iter().map(|bound| (bound.setting(), bound.address)));
        for bound in bound {
            front.1.spawn(edge::accept(bound, Arc::clone(&edge)));
        }
        Ok(MessageServer {
            addresses,
            edge,
            reload,
            instruments: Arc::new(instruments),
            front,
            keeping,
            telling,
            back,
        })
    }

    /// Where clients connect: the setting's name and the bound address.
    pub fn addresses(&self) -> &[(&'static str, SocketAddr)] {
        &self.addresses
    }

    /// Serves a client of this process over a stream of MQTT bytes, as if it had come from `peer` to `mqtt.tcp`. To be
    /// called within the runtime that the server was started in.
    pub fn serve(&self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, peer: SocketAddr) {
        edge::take(&self.edge, stream, peer);
    }

    /// Reads certificates, authorities and revocation lists again; connections go on.
    pub fn reload_certificates(&self) {
        self.reload.ask();
    }

    /// A link to the bus for another server of this process.
    pub fn attach(&self, server: Server) -> Result<Link, StartError> {
        Ok(self.edge.bus.attach(server)?)
    }

    /// What its operator sees of it.
    pub fn observed(&self) -> impl Observed + use<> {
        Observer {
            courier: self.edge.courier.clone(),
            enforcer: self.edge.enforcer.clone(),
            metrics: Arc::clone(&self.edge.metrics),
            instruments: Arc::clone(&self.instruments),
        }
    }

    /// The ledger of what this server has accepted.
    pub async fn ledger(&self) -> Result<Ledger, StoreError> {
        self.edge.courier.ledger().await
    }

    /// Tells every client to go (MQTT 5: 0x8B), waits for the connections until `deadline` is over, and closes the store
    /// with everything accepted in it.
    pub async fn stop(self, deadline: Duration) {
        self.front.0.cancel();
        self.edge.enforcer.sessions.end_everyone(End::Stopping);
        self.front.1.close();
        if tokio::time::timeout(deadline, self.front.1.wait()).await.is_err() {
            tracing::warn!(
                left = self.front.1.len(),
                "connections are cut: stop.deadline is over"
            );
        }
        let (courier, keeper) = (self.edge.courier.clone(), Arc::clone(&self.edge.enforcer.keeper));
        drop(self.edge);
        if tokio::time::timeout(deadline, self.telling.wait()).await.is_err() {
            tracing::warn!("the last news of connections are not stored: stop.deadline is over");
        }
        keeper.close();
        if tokio::time::timeout(deadline, self.keeping.wait()).await.is_err() {
            tracing::warn!("what sessions left is not stored: stop.deadline is over");
        }
        courier.close().await;
        self.back.0.cancel();
        self.back.1.close();
        if tokio::time::timeout(deadline, self.back.1.wait()).await.is_err() {
            tracing::warn!(left = self.back.1.len(), "tasks are cut: stop.deadline is over");
        }
    }
}

fn spawn_until(
    (stop, tasks): &(CancellationToken, TaskTracker),
    task: impl Future<Output = ()> + Send + 'static,
) {
    let stop = stop.clone();
    tasks.spawn(async move {
        let _ = stop.run_until_cancelled(task).await;
    });
}

/// Forgets sessions and retained messages whose time is over.
async fn sweep(enforcer: Enforcer, courier: Courier) {
    let mut ticks = tokio::time::interval(SWEEP);
    loop {
        ticks.tick().await;
        let expired = enforcer.topics.sweep(Instant::now());
        let moment = Moment::at(courier.now());
        if !expired.is_empty()
            && let Err(error) = courier
                .write(move |tx| retained::forget_expired(tx.sql(), &expired, moment))
                .await
        {
            tracing::warn!(%error, "retained messages that have expired stay on disk until the next start");
        }
        for Parked { session, mailbox, .. } in enforcer.sessions.sweep(Instant::now()) {
            let shared = topics::shared(&mailbox);
            enforcer.topics.forget(&mailbox);
            heritage::hand_over(&enforcer, &courier, &shared, session, &mailbox).await;
            enforcer.forget(&mailbox);
        }
    }
}

fn session_limits(limits: &Limits) -> irsp_session::Limits {
    irsp_session::Limits {
        packet_size_max: limits.packet_size_max,
        receive_max: limits.receive_max,
        topic_alias_max: limits.topic_alias_max,
        keep_alive_max: limits.keep_alive_max,
        session_expiry_max: limits.session_expiry_max,
        inflight_max: limits.inflight_max,
        queue_messages_max: limits.queue_messages_max,
        connect_timeout: limits.connect_timeout,
    }
}
