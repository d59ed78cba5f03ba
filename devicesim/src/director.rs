//! Plays a scenario: registers the cast, lets everybody connect, work and settle, makes things happen meanwhile, and
//! brings home the logs and what the platform says itself.
//!
//! ```text
//! provision   connect        work, events           settle                 ask          leave
//! |-----------|--ramp--------|--duration------------|--at most settle------|--store-----|
//! zero                       begin                  cease                  quiet
//! ```

mod ask;
mod pusher;
mod revoke;
mod roles;
mod timeline;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use irsp_protocol::{AddressError, Secret, Timestamp};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at};

use crate::actor::{Actor, Order, Stage};
use crate::cast::{APP, Cast, Part};
use crate::link::{Broken, Dialer, DialerError};
use crate::live::{Live, View};
use crate::observation::{Log, Moment, Party, Stored};
use crate::options::{DEVICES_MAX, OptionsError, check_open_files};
use crate::platform::{Api, ApiError};
use crate::scenario::Scenario;
use crate::target::Target;
use crate::usage::Usage;

use timeline::Act;

/// How often the live view moves and the director looks whether all is quiet.
const TICK: Duration = Duration::from_millis(200);
/// Time for everybody to be at work before the first message is due.
const LEAD: Duration = Duration::from_millis(200);
/// Beyond the ramp, how long the last member may take to connect.
const CONNECT_WAIT: Duration = Duration::from_secs(30);
/// Between two samples of the server's process.
const SAMPLE: Duration = Duration::from_secs(1);

/// What a run is given.
#[derive(Clone, Debug)]
pub struct Play {
    pub scenario: Scenario,
    pub seed: u64,
    /// Part of every id, so that runs on one platform do not meet.
    pub name: String,
    pub part: Part,
    pub target: Target,
    pub ca: Option<PathBuf>,
    /// HTTP of the account server, and of the application server where it is another.
    pub http: String,
    pub app_http: Option<String>,
    pub token: Secret,
    /// The server's process.
    pub pid: Option<u32>,
    /// Parts begin their work together at this time.
    pub start_at: Option<SystemTime>,
    /// Deletes the cast at the end.
    pub clean: bool,
}

/// Why a scenario could not be played.
#[derive(Debug, Error)]
pub enum PlayError {
    #[error(transparent)]
    Options(#[from] OptionsError),
    #[error(transparent)]
    Dialer(#[from] DialerError),
    #[error("the name of the run makes no ids: {0}")]
    Name(#[from] AddressError),
    #[error(transparent)]
    Trace(#[from] crate::model::TraceFault),
    #[error(
        "{wanted} connections are more than one process opens ({DEVICES_MAX}): play the scenario in parts, such as --part 1/{parts}"
    )]
    TooMany { wanted: usize, parts: usize },
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("{target} is not reached: {broken}")]
    Unreached { target: Target, broken: Broken },
    #[error("a member's task ended abnormally: {0}")]
    Task(#[from] JoinError),
}

/// All that was seen.
pub struct Played {
    pub cast: Cast,
    pub run: String,
    pub logs: Vec<Log>,
    pub stored: Vec<Stored>,
    /// Devices as the application server takes them, at the end.
    pub online: Vec<(Party, Option<bool>)>,
    pub begin: Moment,
    pub cease: Moment,
    /// When the settling was over.
    pub quiet: Moment,
    pub began_at: SystemTime,
    pub troubles: BTreeMap<String, u64>,
    pub interrupted: bool,
    /// What could not be asked, and why.
    pub unasked: Vec<String>,
    pub usage: Vec<(Moment, Usage)>,
    /// For receipts.
    pub api: Api,
}

struct Director {
    play: Play,
    stage: Arc<Stage>,
    api: Api,
    app_api: Api,
    orders: HashMap<Party, mpsc::UnboundedSender<Order>>,
    actors: JoinSet<Log>,
    side: JoinSet<Log>,
    view: View,
    usage: Vec<(Moment, Usage)>,
    shown: Instant,
    sampled: Option<Instant>,
}

/// Plays it. `interrupt` resolves when the caller wants it to end early.
pub async fn play(play: Play, interrupt: impl Future<Output = ()>) -> Result<Played, PlayError> {
    let cast = Cast::plan(&play.scenario, play.seed, &play.name, play.part)?;
    let wanted = cast.members.len();
    if wanted > DEVICES_MAX {
        return Err(PlayError::TooMany {
            wanted,
            parts: wanted.div_ceil(DEVICES_MAX),
        });
    }
    check_open_files(wanted)?;
    let dialer = Dialer::new(play.target.clone(), play.ca.as_deref()).await?;
    // Before anything is registered: without a message server there is no run.
    if let Err(broken) = dialer.reaches().await {
        let target = play.target.clone();
        return Err(PlayError::Unreached { target, broken });
    }
    let api = Api::new(&play.http, play.app_http.as_deref(), play.token.clone())?;
    let traces = roles::traces(&play.scenario)?;
    let mut secrets = api.provision(&play.scenario, &cast).await?;
    let key = secrets.of.get(&APP).cloned().unwrap_or_else(|| Secret::new(""));
    let run = format!("{:016x}", rand::random::<u64>());
    let stage = Arc::new(Stage {
        many_addresses: dialer.target().is_loopback(),
        dialer,
        cast,
        run,
        zero: Instant::now(),
        zero_ms: Timestamp::from(SystemTime::now()).as_millis(),
        live: Live::default(),
        troubles: Mutex::default(),
    });
    let app_api = api.with(key);
    let mut director = Director {
        stage: Arc::clone(&stage),
        app_api,
        api,
        orders: HashMap::new(),
        actors: JoinSet::new(),
        side: JoinSet::new(),
        view: View::new(),
        usage: Vec::new(),
        shown: Instant::now(),
        sampled: None,
        play,
    };
    let mut opens = director.stage.zero;
    let rate = director.play.scenario.connect_rate / f64::from(director.play.part.of);
    let step = Duration::from_secs_f64(1.0 / rate);
    for (party, _) in stage.cast.parties() {
        let Some(code) = secrets.of.remove(&party) else {
            continue;
        };
        if party == APP && director.play.scenario.app.quiet {
            continue;
        }
        let part = roles::part(&director.play, &stage.cast, &traces, party, code, opens);
        let (order, orders) = mpsc::unbounded_channel();
        director.orders.insert(party, order);
        director
            .actors
            .spawn(Actor::new(Arc::clone(&stage), part, orders).run());
        opens += step;
    }
    director.run(opens, interrupt).await
}

impl Director {
    async fn run(
        mut self,
        opened: Instant,
        interrupt: impl Future<Output = ()>,
    ) -> Result<Played, PlayError> {
        let mut interrupt = pin!(interrupt);
        let mut interrupted = self.connect(opened + CONNECT_WAIT, interrupt.as_mut()).await;
        let begin = self.begin_at();
        let began_at = SystemTime::now() + begin.saturating_duration_since(Instant::now());
        if !interrupted {
            self.all(&Order::Begin(begin));
            self.start_pushers(begin);
            interrupted = self.work(begin, interrupt.as_mut()).await;
        }
        let cease = Instant::now();
        self.all(&Order::Cease);
        let mut logs = self.settle(cease, interrupt.as_mut(), &mut interrupted).await?;
        let quiet = self.stage.now();
        let mut unasked = Vec::new();
        let stored = self.ask_store(&mut unasked).await;
        let online = self.ask_presence(&mut logs, &mut unasked).await;
        self.ask_ends(&mut logs, &mut unasked).await;
        self.all(&Order::Leave);
        while let Some(log) = self.actors.join_next().await {
            logs.push(log?);
        }
        self.view.clear();
        if self.play.clean
            && let Err(error) = self.api.clean(&self.stage.cast).await
        {
            unasked.push(format!("the cast was not deleted: {error}"));
        }
        let troubles = self
            .stage
            .troubles
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        Ok(Played {
            cast: self.stage.cast.clone(),
            run: self.stage.run.clone(),
            logs,
            stored,
            online,
            begin: self.stage.moment(begin),
            cease: self.stage.moment(cease),
            quiet,
            began_at,
            troubles,
            interrupted,
            unasked,
            usage: self.usage,
            api: self.api,
        })
    }

    /// When the work begins: soon, or when all parts begin.
    fn begin_at(&self) -> Instant {
        let soon = Instant::now() + LEAD;
        let agreed = self
            .play
            .start_at
            .and_then(|at| at.duration_since(SystemTime::now()).ok());
        agreed.map_or(soon, |wait| soon.max(Instant::now() + wait))
    }

    fn all(&self, order: &Order) {
        for orders in self.orders.values() {
            // Whoever has ended needs no order.
            let _ = orders.send(order.clone());
        }
    }

    fn tell(&self, party: Party, order: Order) {
        if let Some(orders) = self.orders.get(&party) {
            // As above.
            let _ = orders.send(order);
        }
    }

    /// Waits until everybody is there or has been refused. Says whether it was interrupted.
    async fn connect(&mut self, deadline: Instant, mut interrupt: impl Future<Output = ()> + Unpin) -> bool {
        let all = self.orders.len() as u64;
        self.view.begin("connecting", all);
        let mut tick = ticks();
        while self.stage.live.arrived.read() < all && Instant::now() < deadline {
            tokio::select! {
                _ = tick.tick() => self.show(self.stage.live.arrived.read()),
                () = &mut interrupt => return true,
            }
        }
        false
    }

    /// Lets the scenario happen. Says whether it was interrupted.
    async fn work(&mut self, begin: Instant, mut interrupt: impl Future<Output = ()> + Unpin) -> bool {
        let duration = self.play.scenario.duration.as_duration();
        let end = begin + duration;
        self.view.begin("working", duration.as_millis() as u64);
        let acts = timeline::plan(
            &self.play.scenario,
            &self.stage.cast,
            self.play.seed,
            self.play.part,
        );
        let mut acts = acts.into_iter().peekable();
        let mut tick = ticks();
        while Instant::now() < end {
            let next = acts.peek().map(|(at, _)| begin + *at).filter(|at| *at < end);
            tokio::select! {
                _ = tick.tick() => {
                    let done = Instant::now().saturating_duration_since(begin);
                    self.show(done.as_millis() as u64);
                }
                () = sleep_until(next.unwrap_or(end)) => {
                    if next.is_some() && let Some((_, act)) = acts.next() {
                        self.act(act);
                    }
                }
                () = &mut interrupt => return true,
            }
        }
        false
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Off(device, how) => self.tell(device, Order::PowerOff(how)),
            Act::On(device) => self.tell(device, Order::PowerOn),
            Act::Revoke(device, how) => self.revoke(device, how),
        }
    }

    /// Waits for what is under way, and for presence to come to rest. Returns what the side tasks saw.
    async fn settle(
        &mut self,
        cease: Instant,
        mut interrupt: impl Future<Output = ()> + Unpin,
        interrupted: &mut bool,
    ) -> Result<Vec<Log>, PlayError> {
        let settle = self.play.scenario.settle.as_duration();
        self.view.begin("settling", settle.as_millis() as u64);
        let mut logs = Vec::new();
        let rest = cease + self.play.scenario.tolerance.presence.as_duration();
        let deadline = (cease + settle).max(rest);
        let mut tick = ticks();
        loop {
            let over = Instant::now() >= deadline && self.side.is_empty();
            let live = &self.stage.live;
            let ended = live.open.read() <= 0 && live.under_way.read() <= 0;
            let quiet = self.side.is_empty() && ended && Instant::now() >= rest;
            if over || quiet {
                return Ok(logs);
            }
            tokio::select! {
                _ = tick.tick() => self.show(cease.elapsed().as_millis() as u64),
                Some(log) = self.side.join_next() => logs.push(log?),
                () = &mut interrupt, if !*interrupted => {
                    *interrupted = true;
                    self.side.shutdown().await;
                    return Ok(logs);
                }
            }
        }
    }

    fn show(&mut self, done: u64) {
        let now = Instant::now();
        self.view.show(done, &self.stage.live, now - self.shown);
        self.shown = now;
        if let Some(pid) = self.play.pid
            && self.sampled.is_none_or(|sampled| now - sampled >= SAMPLE)
        {
            self.sampled = Some(now);
            if let Some(usage) = Usage::of(pid) {
                self.usage.push((self.stage.moment(now), usage));
            }
        }
    }
}

fn ticks() -> tokio::time::Interval {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Whether there is still time.
async fn pause_before(deadline: Instant, pause: Duration) -> bool {
    timeout_at(deadline, tokio::time::sleep(pause)).await.is_ok()
}
