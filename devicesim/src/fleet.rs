//! The run: all devices connect, upload by one schedule, settle and leave; then the store is read.
//!
//! ```text
//! connect          upload                 settle            store
//! |--connect-rate--|--duration, by plan---|--at most settle--|--at most settle--|
//! ```
//! Every device is a task of one [`JoinSet`]; all have ended when [`Fleet::run`] returns.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::creds::Credential;
use crate::device::{Arrival, Device, Errand, Outcome, Plan, Statuses};
use crate::ledger::Shelf;
use crate::link::Dialer;
use crate::options::{Options, Qos};
use crate::progress::{Line, Progress};
use crate::schedule::Schedule;
use crate::store::{Position, Store, StoreError};

/// How often the live line moves and the fleet looks whether everything has settled.
const TICK: Duration = Duration::from_millis(100);
/// Time for every device to take the plan before the first upload is due.
const LEAD: Duration = Duration::from_millis(200);
/// Pause between two readings of a store that is not complete yet.
const STORE_PAUSE: Duration = Duration::from_millis(200);
/// A complete store is read once more after this: a repeat may come late.
const STORE_QUIET: Duration = Duration::from_millis(500);

/// Why a run was given up.
#[derive(Debug, Error)]
pub enum FleetError {
    #[error("a device task ended abnormally: {0}")]
    Task(#[from] JoinError),
}

/// How the run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    Complete,
    Interrupted,
}

/// What happened.
#[derive(Debug)]
pub struct Ran {
    pub course: Course,
    pub outcomes: Vec<Outcome>,
    pub schedule: Schedule,
    /// From the start of the uploads to the end of the settling.
    pub took: Duration,
    /// Uploads sent while they were due.
    pub on_time: u64,
    /// What the store holds of the run, if it was to be looked at.
    pub shelf: Option<Result<Shelf, StoreError>>,
}

/// All devices of one process.
pub struct Fleet {
    errand: Arc<Errand>,
    plan: watch::Sender<Option<Arc<Plan>>>,
    arrivals: mpsc::Receiver<Arrival>,
    devices: usize,
    tasks: JoinSet<Outcome>,
    line: Line,
    course: Course,
}

impl Fleet {
    /// Starts connecting every device.
    pub fn start(options: &Options, run: String, dialer: Dialer, credentials: Vec<Credential>) -> Fleet {
        let (plan, plans) = watch::channel(None);
        let devices = credentials.len();
        let (arrival, arrivals) = mpsc::channel(devices.max(1));
        let errand = Arc::new(Errand {
            dialer,
            version: options.mqtt,
            run,
            app: options.app.clone(),
            channel: options.channel.clone(),
            qos: options.qos,
            payload_size: options.payload_size,
            statuses: if options.no_status {
                Statuses::None
            } else {
                Statuses::Expected
            },
            progress: Progress::default(),
            plan: plans,
            cease: CancellationToken::new(),
            leave: CancellationToken::new(),
        });
        let now = Instant::now();
        let mut tasks = JoinSet::new();
        for (index, credential) in credentials.into_iter().enumerate() {
            let device = Device {
                index,
                credential,
                errand: Arc::clone(&errand),
                opens: now + Duration::from_secs_f64(index as f64 / options.connect_rate),
                arrival: arrival.clone(),
            };
            tasks.spawn(device.run());
        }
        Fleet {
            errand,
            plan,
            arrivals,
            devices,
            tasks,
            line: Line::new(),
            course: Course::Complete,
        }
    }

    /// The whole run. `store` is read when it is given, from `before`.
    pub async fn run<F>(
        mut self,
        options: &Options,
        store: Option<(Store, Position)>,
        mut interrupt: F,
    ) -> Result<Ran, FleetError>
    where
        F: AsyncFnMut(),
    {
        let positions = self.arrive(&mut interrupt).await;
        let arrived = positions.iter().flatten().count();
        let schedule = Schedule::new(options.seed, options.rate, options.duration, arrived);
        let start = Instant::now() + LEAD;
        let mut on_time = 0;
        if self.course == Course::Complete {
            self.plan.send_replace(Some(Arc::new(Plan {
                start,
                schedule: schedule.clone(),
                positions,
            })));
            self.upload(start + options.duration + TICK, &schedule, &mut interrupt)
                .await;
            on_time = Progress::read(&self.errand.progress.sent);
            self.settle(options.settle, &schedule, &mut interrupt).await;
        }
        let took = start.elapsed();
        self.errand.cease.cancel();
        self.errand.leave.cancel();
        let mut outcomes = Vec::with_capacity(self.devices);
        while let Some(outcome) = self.tasks.join_next().await {
            outcomes.push(outcome?);
        }
        let shelf = match store {
            Some((store, before)) => Some(self.read(&store, before, options.settle).await),
            None => None,
        };
        self.line.clear();
        Ok(Ran {
            course: self.course,
            outcomes,
            schedule,
            took,
            on_time,
            shelf,
        })
    }

    /// Waits until every device is there or has given up; gives the ones that are there their positions.
    async fn arrive(&mut self, interrupt: &mut impl AsyncFnMut()) -> Vec<Option<u64>> {
        self.line.begin("connecting", self.devices as u64);
        let mut positions = vec![None; self.devices];
        let (mut heard, mut arrived) = (0, 0);
        let mut tick = ticks();
        let mut stop = pin!(interrupt());
        while heard < self.devices {
            tokio::select! {
                arrival = self.arrivals.recv() => {
                    let Some(arrival) = arrival else { break };
                    heard += 1;
                    if arrival.arrived {
                        positions[arrival.index] = Some(arrived);
                        arrived += 1;
                    }
                }
                _ = tick.tick() => self.line.show(heard as u64, &self.errand.progress),
                () = &mut stop => {
                    self.course = Course::Interrupted;
                    break;
                }
            }
        }
        positions
    }

    async fn upload(&mut self, end: Instant, schedule: &Schedule, interrupt: &mut impl AsyncFnMut()) {
        self.line.begin("uploading", schedule.total());
        let progress = &self.errand.progress;
        let mut tick = ticks();
        let mut stop = pin!(interrupt());
        while Instant::now() < end && schedule.total() > 0 {
            tokio::select! {
                _ = tick.tick() => self.line.show(Progress::read(&progress.sent), progress),
                () = &mut stop => {
                    self.course = Course::Interrupted;
                    self.errand.cease.cancel();
                    return;
                }
            }
        }
    }

    /// Waits for what is still missing.
    async fn settle(&mut self, wait: Duration, schedule: &Schedule, interrupt: &mut impl AsyncFnMut()) {
        self.line.begin("settling", schedule.total());
        let deadline = Instant::now() + wait;
        let mut tick = ticks();
        let mut stop = pin!(interrupt());
        while Instant::now() < deadline && !self.settled(schedule.total()) {
            tokio::select! {
                _ = tick.tick() => {
                    let progress = &self.errand.progress;
                    self.line.show(Progress::read(&progress.answered), progress);
                }
                () = &mut stop => {
                    self.course = Course::Interrupted;
                    return;
                }
            }
        }
    }

    /// Whether nothing of the `planned` uploads is missing; in an interrupted run, of those that were begun.
    fn settled(&self, planned: u64) -> bool {
        let progress = &self.errand.progress;
        let target = match self.course {
            Course::Complete => planned,
            // A device that has not heard of the interruption may still begin one.
            Course::Interrupted if Progress::read(&progress.uploading) > 0 => return false,
            Course::Interrupted => Progress::read(&progress.begun),
        };
        let reached = |counter: &AtomicU64| Progress::read(counter) >= target;
        reached(&progress.sent)
            && (self.errand.qos == Qos::AtMostOnce || reached(&progress.answered))
            && (self.errand.statuses == Statuses::None || reached(&progress.ended))
    }

    /// Reads the store until it holds as many uploads as were answered (at QoS 0: sent), or time is up.
    async fn read(&self, store: &Store, before: Position, wait: Duration) -> Result<Shelf, StoreError> {
        let progress = &self.errand.progress;
        let target = match self.errand.qos {
            Qos::AtMostOnce => Progress::read(&progress.sent),
            Qos::AtLeastOnce | Qos::ExactlyOnce => Progress::read(&progress.answered),
        };
        self.line.begin("reading", target);
        let deadline = Instant::now() + wait;
        let mut shelf = Shelf::default();
        let mut position = before;
        loop {
            position = store.read(position, &self.errand.run, &mut shelf).await?;
            self.line.show(shelf.distinct(), progress);
            if shelf.distinct() >= target {
                sleep(STORE_QUIET).await;
                store.read(position, &self.errand.run, &mut shelf).await?;
                return Ok(shelf);
            }
            if timeout_at(deadline, sleep(STORE_PAUSE)).await.is_err() {
                return Ok(shelf);
            }
        }
    }
}

fn ticks() -> tokio::time::Interval {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
