//! One device: connects, hears its statuses, uploads when each upload is due, comes back when its connection breaks.
//!
//! ```text
//! connect --CONNACK--> subscribe --SUBACK--> [arrived] --plan--> upload ... --leave--> DISCONNECT
//!    ^                                                             |
//!    +---------------------- back-off <------- broken -------------+
//! ```
//! An upload stands in exactly one place: not due yet, under way with a packet id, to be published again, or answered. When
//! the server has kept the session, what is under way goes out again under its packet id [MQTT-4.4.0-1]; when it has not,
//! the device publishes it again with the same number. All that is due at once is written at once.
//!
//! The session is persistent (3.1.1: clean session 0; 5.0: clean start only the first time, then resumed), so that
//! statuses wait for a device that comes back.

mod desk;
mod flights;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use irsp_protocol::{Channel, Id, Principal};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::creds::Credential;
use crate::ledger::Lane;
use crate::link::{Broken, Close, Dialer, Welcome};
use crate::options::{MqttVersion, Qos};
use crate::peer::Peer;
use crate::progress::Progress;
use crate::schedule::Schedule;
use crate::wire::{self, Frame};

use desk::Desk;

/// First pause before connecting again; it doubles up to the longest, half of it random.
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Seconds.
const KEEP_ALIVE: u16 = 60;
/// TCP, TLS, WebSocket and CONNACK together.
const OPEN_WAIT: Duration = Duration::from_secs(20);
/// How long the server is asked to keep the session of a device that is away.
const SESSION_EXPIRY_S: u32 = 3600;

/// What every device of the fleet is told.
#[derive(Debug)]
pub struct Errand {
    pub dialer: Dialer,
    pub version: MqttVersion,
    pub run: String,
    pub app: Id,
    pub channel: Channel,
    pub qos: Qos,
    pub payload_size: usize,
    pub statuses: Statuses,
    pub progress: Progress,
    /// Filled once every device has arrived.
    pub plan: watch::Receiver<Option<Arc<Plan>>>,
    /// No upload after this.
    pub cease: CancellationToken,
    /// Disconnect.
    pub leave: CancellationToken,
}

/// Whether the server sends statuses of uploads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statuses {
    Expected,
    None,
}

/// When the uploads begin, and which are whose.
#[derive(Debug)]
pub struct Plan {
    pub start: Instant,
    pub schedule: Schedule,
    /// By device index: its position in the schedule, if it has arrived.
    pub positions: Vec<Option<u64>>,
}

/// One device of the fleet.
#[derive(Debug)]
pub struct Device {
    pub index: usize,
    pub credential: Credential,
    pub errand: Arc<Errand>,
    /// When it connects.
    pub opens: Instant,
    /// Told once: connected and subscribed, or not at all.
    pub arrival: mpsc::Sender<Arrival>,
}

/// A device's first answer to the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub index: usize,
    pub arrived: bool,
}

/// What one device has to tell at the end.
#[derive(Debug)]
pub struct Outcome {
    pub first: First,
    pub lane: Option<Lane>,
    /// Connections that broke, by cause.
    pub broken: BTreeMap<String, u64>,
    /// Connections made again.
    pub reconnected: u64,
    /// Refused publishes by reason code.
    pub refusals: BTreeMap<String, u64>,
    /// Why the subscription to its statuses was refused.
    pub subscription_refused: Option<String>,
    /// Statuses of what was not sent in this run.
    pub stale_statuses: u64,
    /// Messages on the status topic that are no status.
    pub unreadable_statuses: u64,
}

/// How the first connection went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum First {
    Connected(Duration),
    Refused(String),
    Unreachable(String),
}

/// Why a conversation is over.
enum End {
    Left,
    Broken(Broken),
}

impl Device {
    pub async fn run(self) -> Outcome {
        let mut desk = Desk::new(&self);
        let leave = self.errand.leave.clone();
        tokio::select! {
            () = sleep_until(self.opens) => {}
            () = leave.cancelled() => return desk.close(),
        }
        let began = Instant::now();
        let mut backoff = Backoff::default();
        loop {
            let opened = tokio::select! {
                opened = self.open(desk.was_here()) => opened,
                () = leave.cancelled() => break,
            };
            let broken = match opened {
                Ok(opened) => {
                    backoff = Backoff::default();
                    match desk.converse(opened, began.elapsed()).await {
                        End::Left => break,
                        End::Broken(broken) => broken,
                    }
                }
                Err(broken) => broken,
            };
            if !desk.goes_on(broken, backoff.attempts) {
                break;
            }
            tokio::select! {
                () = sleep(backoff.next()) => {}
                () = leave.cancelled() => break,
            }
        }
        desk.close()
    }

    /// Connects. `again` says whether there may be a session to be resumed.
    async fn open(&self, again: bool) -> Result<Opened, Broken> {
        let errand = &self.errand;
        let username = Principal::device(self.credential.device.clone()).to_string();
        let with = wire::Connect {
            version: errand.version,
            client_id: &self.credential.client_id,
            username: Some(&username),
            password: Some(self.credential.code.expose()),
            keep_alive: KEEP_ALIVE,
            clean: errand.version == MqttVersion::V5 && !again,
            session_expiry: SESSION_EXPIRY_S,
            receive_max: 0,
            will: None,
        };
        let opened = Peer::open(&errand.dialer, &with, None, Close::Orderly);
        let (peer, welcome, early) = match timeout(OPEN_WAIT, opened).await {
            Ok(opened) => opened?,
            Err(_) => return Err(Broken::Lost("no CONNACK in time".to_owned())),
        };
        Ok(Opened { peer, welcome, early })
    }
}

/// A connection that was accepted, and what came right behind CONNACK.
struct Opened {
    peer: Peer,
    welcome: Welcome,
    early: Vec<Frame>,
}

/// Pauses between attempts.
#[derive(Debug, Default)]
struct Backoff {
    attempts: u32,
}

impl Backoff {
    fn next(&mut self) -> Duration {
        let full = BACKOFF_FIRST
            .saturating_mul(1 << self.attempts.min(10))
            .min(BACKOFF_MAX);
        self.attempts += 1;
        full.mul_f64(0.5 + rand::random::<f64>() / 2.0)
    }
}
