//! One member of the cast at work: a device, a user or the application on its own connection.
//!
//! ```text
//!            orders (begin, power, new code, cease, leave)
//!                v
//! agenda --due--> [away] --CONNACK--> [here] --packets--> desk --> log
//!                   ^                   |
//!                   +---- broken, cut --+
//! ```
//! All of it runs in one task: nothing is locked, and the log is handed over at the end.

mod agenda;
mod desk;
mod hear;
mod outgoing;
mod part;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use irsp_protocol::Secret;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::cast::Cast;
use crate::link::{Broken, Dialer, Link, Login};
use crate::live::Live;
use crate::observation::{Ending, Log, Moment, What};
use crate::scenario::Cut;
use crate::wire;

use agenda::{Agenda, Timer};
use desk::Desk;
pub use part::{Part, Says, Source};

/// First pause before connecting again; it doubles up to the longest, half of it random.
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// How long the server is asked to keep the session of a member that is away.
const SESSION_EXPIRY_S: u32 = 3600;
/// How long a goodbye may take.
const GOODBYE_WAIT: Duration = Duration::from_secs(2);
/// Receive buffer of a slow reader, so that its slowness reaches the server.
const SLOW_BUFFER: u32 = 4096;

/// What everybody shares.
pub struct Stage {
    pub dialer: Dialer,
    pub cast: Cast,
    /// Distinguishes this run's payloads.
    pub run: String,
    /// Moment zero.
    pub zero: Instant,
    /// The same by this machine's clock, in milliseconds.
    pub zero_ms: i64,
    pub live: Live,
    /// More than one address to connect from: the server is on this machine.
    pub many_addresses: bool,
    /// Connections that broke or did not come about, by cause.
    pub troubles: Mutex<BTreeMap<String, u64>>,
}

impl Stage {
    fn trouble(&self, broken: &Broken) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        *troubles.entry(broken.to_string()).or_default() += 1;
    }

    pub fn now(&self) -> Moment {
        self.moment(Instant::now())
    }

    pub fn moment(&self, instant: Instant) -> Moment {
        u64::try_from(instant.saturating_duration_since(self.zero).as_micros()).unwrap_or(u64::MAX)
    }
}

/// What a member is told.
#[derive(Clone, Debug)]
pub enum Order {
    /// The work begins at this instant.
    Begin(Instant),
    /// The power is gone until the next `PowerOn`.
    PowerOff(Cut),
    PowerOn,
    /// The code that is valid from now on.
    NewCode(Secret),
    /// Deleted: do not try any more.
    GiveUp,
    /// Send nothing new; come back if away, and stay.
    Cease,
    /// Say goodbye and end.
    Leave,
}

/// A member at work.
pub struct Actor {
    stage: Arc<Stage>,
    orders: mpsc::UnboundedReceiver<Order>,
    part: Part,
    username: String,
    desk: Desk,
    agenda: Agenda,
    link: Option<Link>,
    /// A socket that is left open and silent.
    silent: Option<Link>,
    begin: Option<Instant>,
    power: bool,
    ceased: bool,
    given_up: bool,
    reads: bool,
    attempts: u32,
    arrived: bool,
    address: u8,
}

impl Actor {
    pub fn new(stage: Arc<Stage>, part: Part, orders: mpsc::UnboundedReceiver<Order>) -> Actor {
        let username = stage.cast.name(part.party);
        let mut agenda = Agenda::default();
        agenda.add(part.opens, Timer::Connect);
        let desk = Desk::new(Arc::clone(&stage), &part);
        Actor {
            stage,
            orders,
            username,
            desk,
            agenda,
            link: None,
            silent: None,
            begin: None,
            power: true,
            ceased: false,
            given_up: false,
            reads: true,
            attempts: 0,
            arrived: false,
            address: (part.party.0 % 250) as u8,
            part,
        }
    }

    /// Works until it is told to leave.
    pub async fn run(mut self) -> Log {
        loop {
            if let Some(link) = &mut self.link
                && let Err(broken) = link.flush().await
            {
                self.broke(&broken);
                continue;
            }
            let next = self.agenda.next();
            let reads = self.reads;
            tokio::select! {
                biased;
                order = self.orders.recv() => match order {
                    None | Some(Order::Leave) => break,
                    Some(order) => self.obey(order).await,
                },
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    if let Some(timer) = self.agenda.take() {
                        self.on(timer).await;
                    }
                }
                packet = heard(&mut self.link, reads) => match packet {
                    Ok(packet) => {
                        if let Some(pause) = self.part.slow {
                            self.reads = false;
                            self.agenda.add(Instant::now() + pause, Timer::Read);
                        }
                        if let Some(link) = &mut self.link {
                            self.desk.hear(packet, &mut link.out, &mut self.agenda);
                        }
                    }
                    Err(broken) => self.broke(&broken),
                },
            }
        }
        self.cut(Cut::Goodbye).await;
        self.desk.close()
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Begin(begin) => {
                self.begin = Some(begin);
                for source in 0..self.part.sources.len() {
                    self.plan(source);
                }
                if self.part.flap.is_some() {
                    self.plan_flap(begin);
                }
                if let Some(roam) = self.part.roam {
                    let pause = self.part.dice.unit() * roam.every.as_secs_f64();
                    self.agenda
                        .add(begin + Duration::from_secs_f64(pause), Timer::Roam);
                }
            }
            Order::PowerOff(how) => {
                self.power = false;
                self.cut(how).await;
            }
            Order::PowerOn => {
                self.power = true;
                self.come(Instant::now());
            }
            Order::NewCode(code) => {
                self.part.code = code;
                self.attempts = 0;
                if self.link.is_none() && self.power {
                    self.come(Instant::now());
                }
            }
            Order::GiveUp => {
                self.given_up = true;
                self.agenda
                    .forget(|timer| matches!(timer, Timer::Connect | Timer::Send(_)));
            }
            Order::Cease => {
                self.ceased = true;
                self.part.slow = None;
                self.reads = true;
                self.agenda
                    .forget(|timer| matches!(timer, Timer::Send(_) | Timer::Flap | Timer::Roam));
                if self.link.is_none() {
                    self.power = true;
                    self.come(Instant::now());
                }
            }
            Order::Leave => {}
        }
    }

    async fn on(&mut self, timer: Timer) {
        match timer {
            Timer::Connect => {
                if self.link.is_none() && self.power && !self.given_up {
                    self.connect().await;
                }
            }
            Timer::Send(source) => {
                self.desk.due(
                    &mut self.part,
                    source,
                    self.begin,
                    self.link.as_mut().map(|link| &mut link.out),
                );
                self.plan(source);
            }
            Timer::Ping => {
                if let Some(link) = &mut self.link {
                    wire::ping(&mut link.out);
                    self.agenda.add(Instant::now() + self.ping_every(), Timer::Ping);
                }
            }
            Timer::Late(bytes) => {
                if let Some(link) = &mut self.link {
                    link.out.extend_from_slice(&bytes);
                }
            }
            Timer::Answer(answer) => {
                self.desk
                    .answer(answer, self.link.as_mut().map(|link| &mut link.out));
            }
            Timer::Read => self.reads = true,
            Timer::Flap => {
                if let Some(flap) = self.part.flap.clone() {
                    self.cut(flap.how).await;
                    let back = Instant::now() + flap.away.as_duration().mul_f64(0.5 + self.part.dice.unit());
                    self.come(back);
                    self.plan_flap(back);
                }
            }
            Timer::Roam => {
                if let Some(roam) = self.part.roam {
                    self.roam().await;
                    self.agenda
                        .add(Instant::now() + roam.every.as_duration(), Timer::Roam);
                }
            }
        }
    }

    /// The next message of a source goes onto the agenda.
    fn plan(&mut self, source: usize) {
        let (Some(begin), false) = (self.begin, self.ceased || self.given_up) else {
            return;
        };
        if let Some(at) = self.desk.plan(&mut self.part, source) {
            self.agenda.add(begin + at, Timer::Send(source));
        }
    }

    fn plan_flap(&mut self, after: Instant) {
        if let (Some(flap), false) = (&self.part.flap, self.ceased) {
            let pause = flap.every.as_duration().mul_f64(0.5 + self.part.dice.unit());
            self.agenda.add(after + pause, Timer::Flap);
        }
    }

    fn ping_every(&self) -> Duration {
        self.part.keep_alive.mul_f64(0.6)
    }

    fn come(&mut self, at: Instant) {
        self.agenda.forget(|timer| matches!(timer, Timer::Connect));
        if !self.given_up {
            self.agenda.add(at, Timer::Connect);
        }
    }

    async fn connect(&mut self) {
        self.desk.note(What::Connecting);
        let testament = self.part.will.is_some().then(|| self.desk.testament());
        let opened = {
            let login = self.login(testament.as_ref().map(|(_, payload)| &payload[..]));
            self.stage.dialer.open(&login).await
        };
        match opened {
            Ok((link, welcome)) => {
                self.silent = None;
                self.attempts = 0;
                self.arrive();
                self.desk.note(What::Connected);
                if let Some((message, _)) = testament {
                    self.desk.note(What::Testament { message });
                }
                self.stage.live.connected.add(1);
                let link = self.link.insert(link);
                self.reads = true;
                self.agenda
                    .forget(|timer| matches!(timer, Timer::Late(_) | Timer::Ping | Timer::Read));
                self.desk.connected(welcome, &self.part.filters, &mut link.out);
                self.agenda.add(Instant::now() + self.ping_every(), Timer::Ping);
            }
            Err(broken) => {
                self.desk.note(match &broken {
                    Broken::Refused(_) | Broken::NotNow(_) => What::Refused,
                    Broken::Disconnected(_) | Broken::Lost(_) => What::Unreachable,
                });
                self.desk.trouble(&broken);
                if matches!(broken, Broken::Refused(_)) || self.attempts > 2 {
                    self.arrive();
                }
                self.again();
            }
        }
    }

    fn arrive(&mut self) {
        if !std::mem::replace(&mut self.arrived, true) {
            self.stage.live.arrived.raise();
        }
    }

    fn login<'a>(&'a self, testament: Option<&'a [u8]>) -> Login<'a> {
        Login {
            with: wire::Connect {
                version: self.part.version,
                client_id: &self.part.client_id,
                username: Some(&self.username),
                password: Some(self.part.code.expose()),
                keep_alive: u16::try_from(self.part.keep_alive.as_secs()).unwrap_or(u16::MAX),
                clean: false,
                session_expiry: SESSION_EXPIRY_S,
                receive_max: 0,
                will: self
                    .part
                    .will
                    .as_deref()
                    .zip(testament)
                    .map(|(topic, payload)| wire::Will { topic, payload }),
            },
            source: self
                .stage
                .many_addresses
                .then(|| Ipv4Addr::new(127, 0, 0, 2 + self.address)),
            receive_buffer: self.part.slow.map(|_| SLOW_BUFFER),
        }
    }

    fn again(&mut self) {
        let full = BACKOFF_FIRST
            .saturating_mul(1 << self.attempts.min(10))
            .min(BACKOFF_MAX);
        self.attempts += 1;
        let pause = full.mul_f64(0.5 + self.part.dice.unit() / 2.0);
        self.come(Instant::now() + pause);
    }

    fn broke(&mut self, broken: &Broken) {
        if self.link.take().is_none() {
            return;
        }
        self.desk.trouble(broken);
        self.lost(match broken {
            Broken::Disconnected(code) => Ending::ByServer(*code),
            Broken::Refused(_) | Broken::NotNow(_) | Broken::Lost(_) => Ending::ByServer(0),
        });
        self.stage.live.broken.raise();
        self.again();
    }

    fn lost(&mut self, ending: Ending) {
        self.stage.live.connected.add(-1);
        self.desk.note(What::Gone(ending));
    }

    /// Ends the connection from this side.
    async fn cut(&mut self, how: Cut) {
        let Some(link) = self.link.take() else {
            return;
        };
        match how {
            Cut::Broken => {
                drop(link);
                self.lost(Ending::Broken);
            }
            Cut::Goodbye => {
                // Whether the server still hears it makes no difference to who leaves.
                let _ = tokio::time::timeout(GOODBYE_WAIT, link.goodbye()).await;
                self.lost(Ending::Goodbye);
            }
            Cut::Silent => {
                self.silent = Some(link);
                let until = Instant::now() + self.part.keep_alive.mul_f64(1.5);
                let until = self.stage.moment(until);
                self.lost(Ending::Silent { until });
            }
        }
    }

    /// A second connection from another address, while the first still stands.
    async fn roam(&mut self) {
        let Some(old) = self.link.take() else {
            return;
        };
        self.address = (self.address + 1) % 250;
        self.lost(Ending::Broken);
        self.connect().await;
        drop(old);
    }
}

/// The next packet; never, while there is no connection or nothing is read.
async fn heard(link: &mut Option<Link>, reads: bool) -> Result<wire::Packet, Broken> {
    match link {
        Some(link) if reads => link.recv().await,
        Some(_) | None => std::future::pending().await,
    }
}
