//! A device's books and its conversation: what it sends when, what it hears, what is sent again.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use irsp_protocol::topic::Branch;
use irsp_protocol::{Address, Principal, Topic};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep, sleep_until};

use crate::ledger::{Lane, Told};
use crate::message::{self, Of};
use crate::mqtt::{self, Broken, Client, Events, Heard, Session};
use crate::progress::Progress;

use super::{Arrival, Device, End, First, Outcome, Plan, Statuses};

/// Attempts at the first connection before a device counts as unreachable.
const FIRST_ATTEMPTS: u32 = 5;
/// How long a goodbye may take.
const LEAVE_WAIT: Duration = Duration::from_secs(3);

/// The device's books, shared between what it hears and what it sends. Both run in the device's own task, so the lock
/// is never waited for.
pub(super) struct Desk<'a> {
    device: &'a Device,
    status_topic: String,
    up_topic: String,
    state: Mutex<State>,
}

struct State {
    /// Asked of the client, not gone out yet.
    order: VecDeque<u64>,
    /// Gone out, not answered, by packet id.
    under_way: HashMap<u16, u64>,
    /// To be published again.
    again: VecDeque<u64>,
    /// How many of its uploads the device has begun.
    begun: u64,
    plan: Option<Arc<Plan>>,
    arrival: Option<mpsc::Sender<Arrival>>,
    standing: bool,
    outcome: Outcome,
}

impl Desk<'_> {
    pub(super) fn new<'a>(device: &'a Device, principal: Principal) -> Desk<'a> {
        let topic = |branch| {
            Topic {
                owner: Address::local(principal.clone()),
                branch,
            }
            .to_string()
        };
        let app = Address::local(Principal::application(device.errand.app.clone()));
        let channel = device.errand.channel.clone();
        Desk {
            device,
            status_topic: topic(Branch::Status),
            up_topic: topic(Branch::Up { app, channel }),
            state: Mutex::new(State {
                order: VecDeque::new(),
                under_way: HashMap::new(),
                again: VecDeque::new(),
                begun: 0,
                plan: None,
                arrival: Some(device.arrival.clone()),
                standing: false,
                outcome: Outcome {
                    first: First::Unreachable("the run ended before it connected".to_owned()),
                    lane: None,
                    broken: BTreeMap::new(),
                    reconnected: 0,
                    refusals: BTreeMap::new(),
                    subscription_refused: None,
                    stale_statuses: 0,
                    unreadable_statuses: 0,
                },
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One connection, from its CONNACK to its end.
    pub(super) async fn converse(
        &self,
        session: Session,
        after: Duration,
        client: &Client,
        events: &mut Events,
    ) -> End {
        let errand = &self.device.errand;
        let window = Semaphore::new(self.state().connected(session, after));
        Progress::raise(&errand.progress.connected);
        if errand.statuses == Statuses::None {
            self.arrive(true);
        }
        let end = tokio::select! {
            end = self.hear_all(events, &window) => end,
            end = self.send_all(client, &window) => end,
            () = async { errand.leave.cancelled().await; sleep(LEAVE_WAIT).await; } => End::Left,
        };
        Progress::lower(&errand.progress.connected);
        end
    }

    async fn hear_all(&self, events: &mut Events, window: &Semaphore) -> End {
        loop {
            match events.heard().await {
                Ok(Heard::Left) => return End::Left,
                Ok(heard) => self.hear(heard, window),
                Err(broken) => return End::Broken(broken),
            }
        }
    }

    fn hear(&self, heard: Heard, window: &Semaphore) {
        match heard {
            Heard::Sent(packet_id) => {
                self.sent(packet_id);
                if packet_id == 0 {
                    window.add_permits(1);
                }
            }
            Heard::Acknowledged(packet_id) => {
                window.add_permits(self.answered(packet_id, None));
            }
            Heard::Refused { packet_id, reason } => {
                window.add_permits(self.answered(packet_id, Some(reason)));
            }
            Heard::Subscribed(answer) => {
                self.state().outcome.subscription_refused = answer.err();
                self.arrive(true);
            }
            Heard::Message(payload) => self.status(&payload),
            Heard::Connected { .. } | Heard::Left | Heard::Other => {}
        }
    }

    fn sent(&self, packet_id: u16) {
        let mut state = self.state();
        let known = state.under_way.get(&packet_id).copied();
        let Some(n) = known.or_else(|| state.order.pop_front()) else {
            return;
        };
        if packet_id != 0 {
            state.under_way.insert(packet_id, n);
        }
        if state.outcome.lane.as_mut().map(|lane| lane.sent(n)) == Some(Told::First) {
            Progress::raise(&self.device.errand.progress.sent);
        }
    }

    /// How many places in the window the answer has freed.
    fn answered(&self, packet_id: u16, refusal: Option<String>) -> usize {
        let mut state = self.state();
        let Some(n) = state.under_way.remove(&packet_id) else {
            return 0;
        };
        let after_due = state.after_due(n);
        let told = match (&mut state.outcome.lane, &refusal) {
            (Some(lane), None) => lane.acknowledged(n, after_due),
            (Some(lane), Some(_)) => lane.refused(n),
            (None, _) => Told::Again,
        };
        if let Some(reason) = refusal {
            *state.outcome.refusals.entry(reason).or_default() += 1;
        }
        if told == Told::First {
            Progress::raise(&self.device.errand.progress.answered);
        }
        1
    }

    fn status(&self, payload: &[u8]) {
        let mut state = self.state();
        let Some(status) = message::status(&self.device.errand.run, payload) else {
            state.outcome.unreadable_statuses += 1;
            return;
        };
        // 202: on its way, the end follows.
        if irsp_protocol::Status::from_code(status.code) == Some(irsp_protocol::Status::QUEUED) {
            return;
        }
        let named = match status.of {
            Of::Upload(n) => Some(n),
            Of::Unnamed => None,
            Of::EarlierRun => {
                state.outcome.stale_statuses += 1;
                return;
            }
        };
        let Some(lane) = &mut state.outcome.lane else {
            state.outcome.stale_statuses += 1;
            return;
        };
        if let Some(n) = lane.status_for(named, status.code) {
            let after_due = state.after_due(n);
            if let Some(lane) = &mut state.outcome.lane {
                lane.ended(n, after_due);
            }
            Progress::raise(&self.device.errand.progress.ended);
        }
    }

    /// Sends until it is time to leave; then says goodbye and waits for the connection's end.
    async fn send_all(&self, client: &Client, window: &Semaphore) -> End {
        let leave = &self.device.errand.leave;
        let sent = tokio::select! {
            sent = self.upload_all(client, window) => sent,
            () = leave.cancelled() => Ok(()),
        };
        if sent.is_ok() {
            leave.cancelled().await;
            if client.leave(&self.status_topic).await.is_ok() {
                return std::future::pending().await;
            }
        }
        End::Broken(Broken::Again("the client has ended".to_owned()))
    }

    async fn upload_all(&self, client: &Client, window: &Semaphore) -> Result<(), mqtt::Ended> {
        let errand = &self.device.errand;
        if errand.statuses == Statuses::Expected {
            client.subscribe(&self.status_topic).await?;
        }
        let Some(plan) = self.plan().await else {
            return Ok(());
        };
        let _uploading = Progress::during(&errand.progress.uploading);
        while let Some((n, due)) = self.next(&plan) {
            tokio::select! {
                biased;
                () = errand.cease.cancelled() => return Ok(()),
                () = sleep_until(plan.start + due) => {}
            }
            let Ok(place) = window.acquire().await else {
                return Ok(());
            };
            place.forget();
            if self.state().take(n) {
                Progress::raise(&errand.progress.begun);
            }
            let payload = message::payload(&errand.run, n, plan.schedule.value(n), errand.payload_size);
            let id = message::id(&errand.run, n);
            client.publish(&self.up_topic, errand.qos, id, payload).await?;
        }
        Ok(())
    }

    fn next(&self, plan: &Plan) -> Option<(u64, Duration)> {
        self.state().next(plan)
    }

    /// The plan, once there is one; `None` when this device has no part in it.
    async fn plan(&self) -> Option<Arc<Plan>> {
        let mut plans = self.device.errand.plan.clone();
        let plan = plans.wait_for(Option::is_some).await.ok()?.clone()?;
        let position = plan.positions.get(self.device.index).copied().flatten()?;
        let mut state = self.state();
        if state.outcome.lane.is_none() {
            let device = self.device.credential.device.clone();
            state.outcome.lane = Some(Lane::new(device, &plan.schedule, position));
            state.plan = Some(Arc::clone(&plan));
        }
        Some(plan)
    }

    fn arrive(&self, arrived: bool) {
        let index = self.device.index;
        if let Some(arrival) = self.state().arrival.take() {
            // The channel has room for every device; a fleet that no longer listens has given up.
            let _ = arrival.try_send(Arrival { index, arrived });
        }
    }

    /// Books a connection that broke or did not come about; says whether to try again.
    pub(super) fn goes_on(&self, broken: Broken, attempts: u32) -> bool {
        let cause = broken.to_string();
        let mut state = self.state();
        if std::mem::take(&mut state.standing) {
            Progress::raise(&self.device.errand.progress.broken);
            *state.outcome.broken.entry(cause.clone()).or_default() += 1;
        }
        if matches!(state.outcome.first, First::Connected(_)) {
            if let Broken::Refused(cause) = broken {
                *state
                    .outcome
                    .broken
                    .entry(format!("refused: {cause}"))
                    .or_default() += 1;
                drop(state);
                self.arrive(false);
                return false;
            }
            return true;
        }
        let goes_on = match broken {
            Broken::Refused(cause) => {
                state.outcome.first = First::Refused(cause);
                false
            }
            Broken::Again(cause) => {
                state.outcome.first = First::Unreachable(cause);
                attempts + 1 < FIRST_ATTEMPTS
            }
        };
        drop(state);
        if !goes_on {
            self.arrive(false);
        }
        goes_on
    }

    pub(super) fn close(self) -> Outcome {
        self.arrive(false);
        self.state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .outcome
    }
}

impl State {
    /// Books a new connection; says how many uploads may go out at once beside those the session resumes.
    fn connected(&mut self, session: Session, after: Duration) -> usize {
        match self.outcome.first {
            First::Connected(_) => self.outcome.reconnected += 1,
            First::Refused(_) | First::Unreachable(_) => self.outcome.first = First::Connected(after),
        }
        self.standing = true;
        let mut again: Vec<u64> = self.order.drain(..).collect();
        if session == Session::New {
            again.extend(self.under_way.drain().map(|(_, n)| n));
        }
        again.sort_unstable();
        for n in again.into_iter().rev() {
            self.again.push_front(n);
        }
        mqtt::WINDOW.saturating_sub(self.under_way.len())
    }

    /// The next upload and when it is due.
    fn next(&self, plan: &Plan) -> Option<(u64, Duration)> {
        if let Some(n) = self.again.front() {
            return Some((*n, Duration::ZERO));
        }
        let lane = self.outcome.lane.as_ref()?;
        let n = plan.schedule.number(lane.position(), self.begun)?;
        Some((n, plan.schedule.due(n)))
    }

    /// Takes what [`State::next`] has shown; says whether it is taken for the first time.
    fn take(&mut self, n: u64) -> bool {
        let again = self.again.front() == Some(&n);
        if again {
            self.again.pop_front();
        } else {
            self.begun += 1;
        }
        self.order.push_back(n);
        !again
    }

    fn after_due(&self, n: u64) -> Duration {
        self.plan.as_ref().map_or(Duration::ZERO, |plan| {
            Instant::now().saturating_duration_since(plan.start + plan.schedule.due(n))
        })
    }
}
