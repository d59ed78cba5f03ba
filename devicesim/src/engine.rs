//! The plain MQTT load engine: publishers and subscribers that cost little, so that two cores can ask more of a server than
//! it can do. One task and one socket for each connection, no buffer while nothing passes, packets written in batches.
//!
//! A message carries the instant at which it was to be sent, so that every latency counts from there (open loop at a
//! steady rate; at saturation, from when it was written). MQTT 3.1.1 or 5.0, over whatever the server's address says.

mod books;
mod publisher;
mod reset;
mod subscriber;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::link::{Broken, Close, Dialer};
use crate::options::MqttVersion;
use crate::peer::Peer;
use crate::usage::Usage;
use crate::wire;

use books::Books;
pub use books::Measured;

/// Connections opened at once.
const OPEN_AT_ONCE: usize = 128;
/// How long one connection may take to log in, and as long again to subscribe.
const OPEN_WAIT: Duration = Duration::from_secs(20);
/// How long the last messages may take.
const DRAIN: Duration = Duration::from_secs(5);
/// Between two looks whether all has come.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long a goodbye may take, of all together.
const LEAVE: Duration = Duration::from_secs(5);

/// How long a new client may wait after all others were reset.
const SERVED: Duration = Duration::from_secs(60);

/// Who logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub client_id: String,
    pub username: Option<String>,
    pub password: Option<String>,
}

/// Seconds.
const KEEP_ALIVE: u16 = 120;

impl Login {
    fn with(&self, version: MqttVersion) -> wire::Connect<'_> {
        wire::Connect {
            version,
            client_id: &self.client_id,
            username: self.username.as_deref(),
            password: self.password.as_deref(),
            keep_alive: KEEP_ALIVE,
            clean: true,
            session_expiry: 0,
            receive_max: 0,
            will: None,
        }
    }
}

/// What one connection does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Publishes to this topic.
    Publish(String),
    /// Subscribes to this filter.
    Subscribe(String),
    /// Nothing.
    Rest,
}

/// How much is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As much as the server takes.
    Saturated,
    /// Messages a second, of all publishers together.
    Steady(f64),
}

/// One load.
#[derive(Clone, Debug)]
pub struct Load {
    pub connections: Vec<(Login, Work)>,
    pub version: MqttVersion,
    pub pace: Pace,
    pub qos: u8,
    /// Bytes, at least the eight of the instant.
    pub payload: usize,
    /// How many subscribers hear each message.
    pub copies: u64,
    pub warm_up: Duration,
    pub length: Duration,
    pub pid: Option<u32>,
}

/// Why a load gave no figures.
#[derive(Debug, Error)]
pub enum EngineError {
    #[error("connection {client_id}: {broken}")]
    Open { client_id: String, broken: Broken },
    #[error("a task ended abnormally: {0}")]
    Task(#[from] JoinError),
    #[error("a client that came after all others were reset: {0}")]
    Newcomer(std::io::Error),
    #[error("{clients} connections were reset, and the next client was not served within {SERVED:?}")]
    Unserved { clients: usize },
    #[error("no histogram: {0}")]
    Histogram(#[from] hdrhistogram::CreationError),
}

/// What a connection's task is told.
#[derive(Clone)]
struct Brief {
    version: MqttVersion,
    books: Arc<Books>,
    /// Nothing is sent from here on.
    cease: Instant,
    begin: Instant,
    leave: CancellationToken,
    qos: u8,
    payload: usize,
}

/// Runs a load against one server.
pub async fn run(dialer: &Dialer, load: &Load) -> Result<Measured, EngineError> {
    let before_all = load.pid.and_then(Usage::of);
    let books = Arc::new(Books::new()?);
    let opened = Instant::now();
    let peers = open(dialer, &load.connections, load, Close::Orderly, &books).await?;
    let connect_s = opened.elapsed().as_secs_f64();
    let connected = load.pid.and_then(Usage::of);
    let begin = Instant::now() + load.warm_up;
    let brief = Brief {
        version: load.version,
        books: Arc::clone(&books),
        begin,
        cease: begin + load.length,
        leave: CancellationToken::new(),
        qos: load.qos,
        payload: load.payload.max(8),
    };
    let publishers = peers
        .iter()
        .filter(|(_, work, _)| matches!(work, Work::Publish(_)))
        .count();
    let mut tasks = JoinSet::new();
    books.measure(brief.begin, brief.cease);
    let mut index = 0;
    for (n, (peer, work, receive_max)) in peers.into_iter().enumerate() {
        match work {
            Work::Publish(topic) => {
                tasks.spawn(publisher::run(
                    (peer, receive_max),
                    topic,
                    load.pace,
                    (index, publishers),
                    brief.clone(),
                ));
                index += 1;
            }
            Work::Subscribe(_) | Work::Rest => {
                tasks.spawn(subscriber::run(peer, n, brief.clone()));
            }
        }
    }
    sleep_until(begin).await;
    let before = load.pid.and_then(Usage::of);
    sleep_until(brief.cease).await;
    let after = load.pid.and_then(Usage::of);
    let drained = Instant::now() + DRAIN;
    while !books.quiet(load.copies) && Instant::now() < drained && load.copies > 0 {
        sleep(LOOK_AGAIN).await;
    }
    brief.leave.cancel();
    let left = Instant::now() + LEAVE;
    loop {
        tokio::select! {
            ended = tasks.join_next() => match ended {
                Some(ended) => ended?,
                None => break,
            },
            () = sleep_until(left) => {
                tasks.shutdown().await;
                break;
            }
        }
    }
    let used = before.zip(after).map(|(before, after)| Usage {
        cpu_s: after.cpu_s - before.cpu_s,
        resident: after.resident,
        written: after.written.saturating_sub(before.written),
    });
    let per_connection = before_all.zip(connected).map(|(before, after)| {
        after.resident.saturating_sub(before.resident) as f64 / load.connections.len().max(1) as f64
    });
    Ok(books.close(load, connect_s, used, per_connection))
}

/// Opens all connections that rest, resets them at once, and measures how long a new publisher and a new subscriber
/// then take until a message has passed between them.
pub async fn reset(dialer: &Dialer, load: &Load) -> Result<Measured, EngineError> {
    reset::run(dialer, load).await
}

/// A connection, what it does, and how many publishes the server takes of it at once.
type Opened = (Peer, Work, u16);

/// Opens every connection, subscribers first.
async fn open(
    dialer: &Dialer,
    connections: &[(Login, Work)],
    load: &Load,
    close: Close,
    books: &Arc<Books>,
) -> Result<Vec<Opened>, EngineError> {
    let places = Arc::new(Semaphore::new(OPEN_AT_ONCE));
    let many = dialer.target().is_loopback();
    let mut peers = Vec::with_capacity(connections.len());
    for subscribers in [true, false] {
        let mut tasks = JoinSet::new();
        let some = connections.iter().enumerate();
        for (n, (login, work)) in
            some.filter(|(_, (_, work))| matches!(work, Work::Subscribe(_)) == subscribers)
        {
            let (dialer, login, work) = (dialer.clone(), login.clone(), work.clone());
            let (books, places) = (Arc::clone(books), Arc::clone(&places));
            let (version, qos) = (load.version, load.qos);
            let source = many.then(|| Ipv4Addr::new(127, 0, 0, 2 + (n % 200) as u8));
            tasks.spawn(async move {
                // The semaphore is never closed.
                let _place = places.acquire_owned().await;
                let began = Instant::now();
                let peer = async {
                    let with = login.with(version);
                    let opened = Peer::open(&dialer, &with, source, close);
                    let (mut peer, welcome, _) = in_time(opened, "no CONNACK in time").await?;
                    if let Work::Subscribe(filter) = &work {
                        in_time(peer.subscribe(filter, qos), "no SUBACK in time").await?;
                    }
                    Ok((peer, welcome))
                };
                let peer = peer.await;
                books.connected(began.elapsed());
                match peer {
                    Ok((peer, welcome)) => Ok((peer, work, welcome.receive_max)),
                    Err(broken) => Err(EngineError::Open {
                        client_id: login.client_id,
                        broken,
                    }),
                }
            });
        }
        while let Some(opened) = tasks.join_next().await {
            peers.push(opened??);
        }
    }
    Ok(peers)
}

/// What the server does not answer ends all the same.
async fn in_time<T>(answer: impl Future<Output = Result<T, Broken>>, else_: &str) -> Result<T, Broken> {
    match timeout(OPEN_WAIT, answer).await {
        Ok(answered) => answered,
        Err(_) => Err(Broken::Lost(else_.to_owned())),
    }
}
