//! The message server, with a directory of pairs and an application server that takes what it is told.

use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use irsp_broker::{Discovery, Federation, Limits, Listeners, MessageServer, Settings};
use irsp_courier::store::{Store, StoreError, Tx};
use irsp_courier::{Courier, Ended, Received, ReplyFuture, Role};
use irsp_directory::HashKey;
use irsp_protocol::change::{Answers, Binding, Cause, Change, Device, Entity, Rights, User};
use irsp_protocol::credential::Code;
use irsp_protocol::frame::{Question, Reply};
use irsp_protocol::{Domain, Envelope, Expiry, Id, Principal, Server, Status, Timestamp};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::io::DuplexStream;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::pair::{device, secret, user};

/// How long the server may take to stop.
const STOP: Duration = Duration::from_secs(60);
/// Looks in a row that find nothing in flight before it counts as quiet.
const QUIET_LOOKS: u32 = 3;

/// A stream and the address it is said to come from.
pub(crate) type Arrival = (DuplexStream, SocketAddr);

/// A running message server that takes streams.
pub(crate) struct House {
    door: mpsc::UnboundedSender<Arrival>,
    /// What the message server has accepted and not ended.
    in_flight: watch::Receiver<u64>,
    host: JoinHandle<()>,
    _folder: TempDir,
}

impl House {
    pub(crate) fn open(runtime: &Runtime, pairs: usize) -> Result<House, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        // The first start makes the database that the directory is put into.
        runtime.block_on(async {
            let empty = MessageServer::start(settings(folder.path())?).await?;
            empty.stop(STOP).await;
            Ok::<(), Box<dyn Error>>(())
        })?;
        fill(folder.path(), pairs)?;
        let (door, mut arrivals) = mpsc::unbounded_channel::<Arrival>();
        let (tell, in_flight) = watch::channel(0);
        let host = runtime.block_on(async {
            let message = MessageServer::start(settings(folder.path())?).await?;
            let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
            let app = Courier::start(
                Server::App,
                Domain::new("home.example")?,
                Store::open(&folder.path().join("app.db"), &[])?,
                message.attach(Server::App)?,
                Arc::new(TakesAll),
                irsp_courier::Settings::default(),
                stop.clone(),
                &tasks,
            )?;
            let serve = async move {
                let mut look = tokio::time::interval(Duration::from_secs(1));
                loop {
                    tokio::select! {
                        arrival = arrivals.recv() => match arrival {
                            Some((stream, peer)) => message.serve(stream, peer),
                            None => break,
                        },
                        _ = look.tick() => if let Ok(ledger) = message.ledger().await {
                            tell.send_replace(ledger.in_flight());
                        },
                    }
                }
                message.stop(STOP).await;
                app.close().await;
                stop.cancel();
            };
            Ok::<_, Box<dyn Error>>(runtime.spawn(serve))
        })?;
        Ok(House {
            door,
            in_flight,
            host,
            _folder: folder,
        })
    }

    /// Where clients connect.
    pub(crate) fn door(&self) -> mpsc::UnboundedSender<Arrival> {
        self.door.clone()
    }

    /// Waits until what logins have set in motion has come to rest: the news of their presence.
    pub(crate) async fn settle(&mut self, within: Duration) -> Result<(), Box<dyn Error>> {
        tokio::time::timeout(within, async {
            let mut quiet = 0;
            while quiet < QUIET_LOOKS && self.in_flight.changed().await.is_ok() {
                quiet = match *self.in_flight.borrow_and_update() {
                    0 => quiet + 1,
                    _ => 0,
                };
            }
        })
        .await?;
        Ok(())
    }

    /// Stops the server; every client is told.
    pub(crate) fn close(self, runtime: &Runtime) -> Result<(), Box<dyn Error>> {
        drop(self.door);
        Ok(runtime.block_on(self.host)?)
    }
}

/// An application server that is content with everything.
struct TakesAll;

impl Role for TakesAll {
    fn receive(&self, _tx: &mut Tx<'_>, _from: Server, _envelope: &Envelope) -> Result<Received, StoreError> {
        Ok(Received::Ended(Status::DONE))
    }
    fn received(&self, _envelope: Envelope, _outcome: &Received) {}
    fn deliver(&self, _to: &Principal, _envelopes: Vec<Arc<Envelope>>) {}
    fn ended(&self, _ended: Ended) {}
    fn answer(&self, _question: Question) -> ReplyFuture<'_> {
        Box::pin(std::future::ready(Reply::Unanswered(Status::NOT_FOUND)))
    }
}

/// Puts devices, their owners and the bindings into the message server's copy of the directory, as changes of an
/// account server that it has followed to the end.
fn fill(folder: &Path, pairs: usize) -> Result<(), Box<dyn Error>> {
    let key = HashKey::read_or_make(&folder.join("hash.key"))?;
    let mut sql = Connection::open(folder.join("message.db"))?;
    let tx = sql.transaction()?;
    let mut n = 0;
    for pair in 0..pairs {
        let (device, user) = (Id::new(&device(pair))?, Id::new(&user(pair))?);
        let hash = key.hash(secret(pair).as_bytes());
        for entity in [
            Entity::Device(Device {
                id: device.clone(),
                codes: vec![Code::lasting(hash)],
                certificates: Vec::new(),
                answers: Answers::default(),
                disabled: false,
                generation: 1,
            }),
            Entity::User(User {
                id: user.clone(),
                role: irsp_protocol::change::Role::User,
                disabled: false,
                tokens_from: Timestamp::from(SystemTime::UNIX_EPOCH),
                tokens: vec![hash],
                ended_logins: Vec::new(),
            }),
            Entity::Binding(Binding {
                device,
                user,
                owner: true,
                rights: Rights::default(),
            }),
        ] {
            n += 1;
            let change = Change {
                n,
                cause: Cause::Register,
                key: entity.key(),
                entity: Some(entity),
            };
            irsp_directory::store::put(&tx, &change)?;
        }
    }
    Ok(tx.commit()?)
}

/// What is shipped, with room for everyone, and no listener.
fn settings(folder: &Path) -> Result<Settings, Box<dyn Error>> {
    Ok(Settings {
        domain: Domain::new("home.example")?,
        data_dir: folder.to_owned(),
        listeners: Listeners {
            tcp: None,
            tls: None,
            ws: None,
            wss: None,
            proxies: Vec::new(),
            ws_path: "/mqtt".to_owned(),
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            server_authorities: PathBuf::new(),
            client_authorities: None,
            revoked: None,
        },
        federation: Federation {
            listen: None,
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            discovery: Discovery::default(),
            push_size_max: 1_000_000,
        },
        limits: Limits {
            connections_max: 1_000_000,
            connections_per_address_max: 1_000_000,
            connections_per_principal_max: 20_000,
            connection_rate_max: 1_000_000,
            login_failures_free: 5,
            login_delay: Duration::from_millis(100),
            login_delay_max: Duration::from_secs(2),
            publish_rate_max: 1_000_000,
            connect_timeout: Duration::from_secs(60),
            packet_size_max: 1 << 20,
            receive_max: 256,
            inflight_max: 64,
            topic_alias_max: 16,
            keep_alive_max: Duration::from_secs(18 * 3600),
            session_expiry_max: Duration::from_secs(7 * 86_400),
            queue_messages_max: 1_000,
            queue_bytes_max: 16 << 20,
            stored_messages_max: 1_000_000,
            stored_bytes_max: 1 << 30,
            subscriptions_max: 100,
            filter_bytes_max: 1_024,
            filter_levels_max: 24,
            retained_max: 1_000_000,
            retained_bytes_max: 1 << 30,
            write_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(5),
        },
        presence_grace: Duration::from_secs(60),
        message_expiry: Expiry::default(),
        courier: irsp_courier::Settings::default(),
    })
}
