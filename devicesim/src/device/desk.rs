//! A device's books and its conversation: what it sends when, what it hears, what is sent again.

use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use irsp_protocol::topic::Branch;
use irsp_protocol::{Address, Principal, Topic};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use crate::ledger::{Lane, Told};
use crate::link::{Broken, Welcome};
use crate::message::{self, Of};
use crate::options::{MqttVersion, Qos};
use crate::peer::{Peer, SUBSCRIBE_ID, Slice};
use crate::progress::{Progress, Raised};
use crate::wire::{self, PublishOut, kind};

use super::flights::{Flight, Flights};
use super::{Arrival, Device, End, Errand, First, KEEP_ALIVE, Opened, Outcome, Plan, Statuses};

/// Attempts at the first connection before a device counts as unreachable.
const FIRST_ATTEMPTS: u32 = 5;
/// How long a goodbye may take.
const LEAVE_WAIT: Duration = Duration::from_secs(3);
/// Bytes written in one go.
const BATCH: usize = 16 << 10;
/// Two of these and no answer: nobody is there.
const PING_EVERY: Duration = Duration::from_secs(KEEP_ALIVE as u64 / 2);

pub(super) struct Desk<'a> {
    device: &'a Device,
    errand: &'a Errand,
    status_topic: String,
    up_topic: String,
    flights: Flights,
    /// To be published again.
    again: VecDeque<u64>,
    /// How many of its uploads the device has begun.
    begun: u64,
    plan: Option<Arc<Plan>>,
    arrival: Option<mpsc::Sender<Arrival>>,
    standing: bool,
    /// A ping is not answered yet.
    pinged: bool,
    /// The reason code of a DISCONNECT.
    dismissed: Option<u8>,
    outcome: Outcome,
}

/// What a device waits for before it sends again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The next upload is due then.
    Due(Instant),
    /// As much is written as goes out at once.
    Batch,
    /// An answer, or a plan.
    Answer,
    /// Nothing is left to be sent.
    Done,
}

impl<'a> Desk<'a> {
    pub(super) fn new(device: &'a Device) -> Desk<'a> {
        let errand = &*device.errand;
        let principal = Principal::device(device.credential.device.clone());
        let topic = |branch| {
            let owner = Address::local(principal.clone());
            Topic { owner, branch }.to_string()
        };
        let app = Address::local(Principal::application(errand.app.clone()));
        let channel = errand.channel.clone();
        Desk {
            device,
            errand,
            status_topic: topic(Branch::Status),
            up_topic: topic(Branch::Up { app, channel }),
            flights: Flights::new(),
            again: VecDeque::new(),
            begun: 0,
            plan: None,
            arrival: Some(device.arrival.clone()),
            standing: false,
            pinged: false,
            dismissed: None,
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
        }
    }

    /// Whether it was connected before.
    pub(super) fn was_here(&self) -> bool {
        matches!(self.outcome.first, First::Connected(_))
    }

    /// One connection, from its CONNACK to its end.
    pub(super) async fn converse(&mut self, opened: Opened, after: Duration) -> End {
        let Opened {
            mut peer,
            welcome,
            early,
        } = opened;
        let errand = self.errand;
        if errand.statuses == Statuses::Expected {
            let filter = [(self.status_topic.as_str(), 1)];
            wire::subscribe(&mut peer.out, errand.version, SUBSCRIBE_ID, &filter);
        }
        self.connected(welcome, after, &mut peer.out);
        for frame in &early {
            self.hear(Slice::of(errand.version, frame), &mut peer.out);
        }
        Progress::raise(&errand.progress.connected);
        if errand.statuses == Statuses::None {
            self.arrive(true);
        }
        let talked = self.talk(&mut peer).await;
        let end = match talked {
            Ok(()) => self.leave(peer).await,
            Err(broken) => End::Broken(self.dismissed.take().map_or(broken, Broken::Disconnected)),
        };
        Progress::lower(&errand.progress.connected);
        end
    }

    /// Sends and hears until it is time to leave.
    async fn talk(&mut self, peer: &mut Peer) -> Result<(), Broken> {
        let errand = self.errand;
        let mut plans = errand.plan.clone();
        let mut leave = pin!(errand.leave.cancelled());
        let mut uploading: Option<Raised<'_>> = None;
        let mut ping = Instant::now() + PING_EVERY;
        loop {
            if self.plan.is_none() {
                let plan = plans.borrow_and_update().clone();
                self.take_part(plan);
            }
            let ceased = errand.cease.is_cancelled();
            let next = if ceased {
                Next::Done
            } else {
                self.put_due(Instant::now(), &mut peer.out)
            };
            match next {
                Next::Done => uploading = None,
                Next::Due(_) | Next::Batch | Next::Answer if self.plan.is_some() && uploading.is_none() => {
                    uploading = Some(Progress::during(&errand.progress.uploading));
                }
                Next::Due(_) | Next::Batch | Next::Answer => {}
            }
            peer.write().await?;
            if next == Next::Batch && peer.out.is_empty() {
                // The connection takes more: others have their turn first.
                tokio::task::yield_now().await;
                if !errand.leave.is_cancelled() {
                    continue;
                }
            }
            let wake = match next {
                Next::Due(due) => due.min(ping),
                Next::Batch | Next::Answer | Next::Done => ping,
            };
            tokio::select! {
                turned = peer.turn(|packet, out| self.hear(packet, out)) => turned?,
                () = sleep_until(wake) => {
                    if Instant::now() >= ping {
                        if std::mem::replace(&mut self.pinged, true) {
                            return Err(Broken::Lost("no answer to a ping".to_owned()));
                        }
                        wire::ping(&mut peer.out);
                        ping = Instant::now() + PING_EVERY;
                    }
                }
                // A fleet that has ended has told everybody to leave.
                _ = plans.changed(), if self.plan.is_none() => {}
                () = &mut leave => return Ok(()),
            }
        }
    }

    /// Takes the subscription back and says goodbye.
    async fn leave(&self, mut peer: Peer) -> End {
        if self.errand.statuses == Statuses::Expected {
            let filter = [self.status_topic.as_str()];
            wire::unsubscribe(&mut peer.out, self.errand.version, SUBSCRIBE_ID, &filter);
        }
        // Whether the server still hears it makes no difference to who leaves.
        let _ = timeout(LEAVE_WAIT, peer.goodbye()).await;
        End::Left
    }

    /// Writes all that is due and may go out.
    fn put_due(&mut self, now: Instant, out: &mut Vec<u8>) -> Next {
        let Some(plan) = self.plan.clone() else {
            return Next::Answer;
        };
        loop {
            let Some((n, due)) = self.next(&plan) else {
                return Next::Done;
            };
            let due = plan.start + due;
            if due > now {
                return Next::Due(due);
            }
            if self.flights.full() {
                return Next::Answer;
            }
            if out.len() >= BATCH {
                return Next::Batch;
            }
            if self.take(n) {
                Progress::raise(&self.errand.progress.begun);
            }
            let id = match self.errand.qos {
                Qos::AtMostOnce => 0,
                Qos::AtLeastOnce | Qos::ExactlyOnce => self.flights.begin(n),
            };
            self.publish(&plan, n, (id, false), out);
        }
    }

    /// Writes upload `n` under a packet id, with DUP or without.
    fn publish(&mut self, plan: &Plan, n: u64, (id, dup): (u16, bool), out: &mut Vec<u8>) {
        let errand = self.errand;
        let payload = message::payload(&errand.run, n, plan.schedule.value(n), errand.payload_size);
        let name = match errand.version {
            MqttVersion::V311 => String::new(),
            MqttVersion::V5 => message::id(&errand.run, n),
        };
        let publish = PublishOut {
            topic: &self.up_topic,
            payload: &payload,
            qos: errand.qos.level(),
            id,
            dup,
            retain: false,
            expiry_s: None,
            user: &[("id", &name)],
        };
        wire::publish(out, errand.version, &publish);
        if self.outcome.lane.as_mut().map(|lane| lane.sent(n)) == Some(Told::First) {
            Progress::raise(&errand.progress.sent);
        }
    }

    fn hear(&mut self, packet: Slice<'_>, out: &mut Vec<u8>) {
        match packet.kind() {
            kind::PUBLISH => {
                let Some((qos, id, payload)) = packet.publish() else {
                    return;
                };
                self.status(payload);
                match qos {
                    0 => {}
                    1 => wire::ack(out, kind::PUBACK, id),
                    _ => wire::ack(out, kind::PUBREC, id),
                }
            }
            kind::SUBACK => {
                let refused = wire::refuses(packet.last());
                self.outcome.subscription_refused =
                    refused.then(|| wire::reason_name(packet.last()).to_owned());
                self.arrive(true);
            }
            kind::PINGRESP => self.pinged = false,
            kind::DISCONNECT => self.dismissed = Some(packet.last()),
            _ => {
                if let Some(id) = packet.id() {
                    self.answer(packet.kind(), id, packet.code(), out);
                }
            }
        }
    }

    fn answer(&mut self, kind: u8, id: u16, code: u8, out: &mut Vec<u8>) {
        match kind {
            kind::PUBACK | kind::PUBREC if wire::refuses(code) => {
                self.answered(id, Some(wire::reason_name(code)));
            }
            kind::PUBACK | kind::PUBCOMP => self.answered(id, None),
            kind::PUBREC => {
                self.flights.release(id);
                wire::ack(out, kind::PUBREL, id);
            }
            kind::PUBREL => wire::ack(out, kind::PUBCOMP, id),
            _ => {}
        }
    }

    fn answered(&mut self, packet_id: u16, refusal: Option<&str>) {
        let Some(n) = self.flights.end(packet_id) else {
            return;
        };
        let after_due = self.after_due(n);
        let told = match (&mut self.outcome.lane, refusal) {
            (Some(lane), None) => lane.acknowledged(n, after_due),
            (Some(lane), Some(_)) => lane.refused(n),
            (None, _) => Told::Again,
        };
        if let Some(reason) = refusal {
            *self.outcome.refusals.entry(reason.to_owned()).or_default() += 1;
        }
        if told == Told::First {
            Progress::raise(&self.errand.progress.answered);
        }
    }

    fn status(&mut self, payload: &[u8]) {
        let Some(status) = message::status(&self.errand.run, payload) else {
            self.outcome.unreadable_statuses += 1;
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
                self.outcome.stale_statuses += 1;
                return;
            }
        };
        let Some(lane) = &mut self.outcome.lane else {
            self.outcome.stale_statuses += 1;
            return;
        };
        if let Some(n) = lane.status_for(named, status.code) {
            let after_due = self.after_due(n);
            if let Some(lane) = &mut self.outcome.lane {
                lane.ended(n, after_due);
            }
            Progress::raise(&self.errand.progress.ended);
        }
    }

    /// Takes the plan, once there is one, and the device's part in it.
    fn take_part(&mut self, plan: Option<Arc<Plan>>) {
        let Some(plan) = plan else {
            return;
        };
        if let Some(position) = plan.positions.get(self.device.index).copied().flatten() {
            let device = self.device.credential.device.clone();
            self.outcome.lane = Some(Lane::new(device, &plan.schedule, position));
        }
        self.plan = Some(plan);
    }

    fn arrive(&mut self, arrived: bool) {
        let index = self.device.index;
        if let Some(arrival) = self.arrival.take() {
            // The channel has room for every device; a fleet that no longer listens has given up.
            let _ = arrival.try_send(Arrival { index, arrived });
        }
    }

    /// Books a connection that broke or did not come about; says whether to try again.
    pub(super) fn goes_on(&mut self, broken: Broken, attempts: u32) -> bool {
        let cause = broken.to_string();
        if std::mem::take(&mut self.standing) {
            Progress::raise(&self.errand.progress.broken);
            *self.outcome.broken.entry(cause.clone()).or_default() += 1;
        }
        let for_good = matches!(broken, Broken::Refused(_));
        let goes_on = match (self.was_here(), for_good) {
            (true, true) => {
                let cause = format!("refused: {cause}");
                *self.outcome.broken.entry(cause).or_default() += 1;
                false
            }
            (true, false) => true,
            (false, true) => {
                self.outcome.first = First::Refused(cause);
                false
            }
            (false, false) => {
                self.outcome.first = First::Unreachable(cause);
                attempts + 1 < FIRST_ATTEMPTS
            }
        };
        if !goes_on {
            self.arrive(false);
        }
        goes_on
    }

    pub(super) fn close(mut self) -> Outcome {
        self.arrive(false);
        self.outcome
    }

    /// Books a new connection, and writes again what is under way, if the server has kept the session.
    fn connected(&mut self, welcome: Welcome, after: Duration, out: &mut Vec<u8>) {
        if self.was_here() {
            self.outcome.reconnected += 1;
        } else {
            self.outcome.first = First::Connected(after);
        }
        self.standing = true;
        self.pinged = false;
        self.flights.allow(welcome.receive_max);
        if !welcome.resumed {
            for n in self.flights.forget().into_iter().rev() {
                self.again.push_front(n);
            }
            return;
        }
        let Some(plan) = self.plan.clone() else {
            return;
        };
        for (id, flight) in self.flights.all() {
            match flight {
                Flight::Published(n) => self.publish(&plan, n, (id, true), out),
                Flight::Released(_) => wire::ack(out, kind::PUBREL, id),
            }
        }
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

    /// Takes what [`Desk::next`] has shown; says whether it is taken for the first time.
    fn take(&mut self, n: u64) -> bool {
        let again = self.again.front() == Some(&n);
        if again {
            self.again.pop_front();
        } else {
            self.begun += 1;
        }
        !again
    }

    fn after_due(&self, n: u64) -> Duration {
        self.plan.as_ref().map_or(Duration::ZERO, |plan| {
            Instant::now().saturating_duration_since(plan.start + plan.schedule.due(n))
        })
    }
}
