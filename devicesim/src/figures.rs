//! The figures of a story: counts, latencies of each stage, a line for each second. Pure.

pub(crate) mod counts;
pub(crate) mod latencies;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cast::Role;
use crate::observation::{Door, Kind, Moment};
use crate::oracle::presence::divergences;
use crate::story::{Message, Story};
use crate::usage::Usage;

pub use counts::Counts;
pub use latencies::{Latencies, STAGES};

/// Microseconds in a second.
const SECOND: Moment = 1_000_000;

/// One second of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Second {
    pub sent: u64,
    pub acknowledged: u64,
    pub ended: u64,
    pub delivered: u64,
    pub refused: u64,
    pub connected: u64,
    /// Connections made.
    pub connects: u64,
    /// Observers and devices that disagree, most at once.
    pub diverging: u64,
    /// To PUBACK, of what was due in this second, in milliseconds; the greatest of merged parts.
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// Of the server's process: seconds of CPU in this second, and resident bytes.
    pub server_cpu: f64,
    pub server_resident: u64,
}

/// All figures.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    pub counts: Counts,
    pub latencies: Latencies,
    /// From moment zero on.
    pub seconds: Vec<Second>,
    /// Final statuses and refusals by code.
    pub statuses: BTreeMap<String, u64>,
    pub refusals: BTreeMap<String, u64>,
}

impl Figures {
    pub fn of(story: &Story<'_>, usage: &[(Moment, Usage)]) -> Figures {
        let mut figures = Figures {
            seconds: vec![Second::default(); (story.quiet / SECOND) as usize + 1],
            ..Figures::default()
        };
        figures.connections(story);
        let mut acknowledged: Vec<Vec<u64>> = vec![Vec::new(); figures.seconds.len()];
        for message in story.messages.values() {
            figures.message(story, message);
            if let Some(at) = message
                .acknowledged
                .filter(|_| message.facts.kind == Kind::Upload)
                && let Some(latencies) = acknowledged.get_mut((message.facts.due / SECOND) as usize)
            {
                latencies.push(at.saturating_sub(message.facts.due));
            }
        }
        for (second, mut latencies) in figures.seconds.iter_mut().zip(acknowledged) {
            latencies.sort_unstable();
            let at = |quantile: f64| {
                let index =
                    ((latencies.len() as f64 * quantile) as usize).min(latencies.len().saturating_sub(1));
                latencies.get(index).map_or(0.0, |us| *us as f64 / 1000.0)
            };
            (second.p50_ms, second.p99_ms) = (at(0.5), at(0.99));
        }
        for divergence in divergences(story) {
            for second in divergence.from / SECOND..=divergence.to / SECOND {
                if let Some(second) = figures.seconds.get_mut(second as usize) {
                    second.diverging += 1;
                }
            }
        }
        for pair in usage.windows(2) {
            let ((from, before), (to, after)) = (pair[0], pair[1]);
            let length = to.saturating_sub(from).max(1) as f64 / SECOND as f64;
            if let Some(second) = figures.seconds.get_mut((to / SECOND) as usize) {
                second.server_cpu = (after.cpu_s - before.cpu_s) / length;
                second.server_resident = after.resident;
            }
        }
        figures
    }

    fn connections(&mut self, story: &Story<'_>) {
        let connects = &story.connects;
        self.counts.members = story.cast.parties().count() as u64;
        let devices = story
            .cast
            .parties()
            .filter(|(party, _)| story.lives.get(party).is_some_and(|life| !life.spans.is_empty()));
        self.counts.connected = devices.count() as u64;
        // An application that stays quiet is no member that failed to come.
        let quiet = |role: &Role| *role == Role::App;
        if story
            .cast
            .parties()
            .any(|(party, member)| quiet(&member.role) && !story.lives.contains_key(&party))
        {
            self.counts.members -= 1;
        }
        self.counts.connections = connects.took.len() as u64;
        self.counts.connections_refused = connects.refused.len() as u64;
        self.counts.connections_failed = connects.unreachable.len() as u64;
        self.counts.connections_ended_by_server = connects.ended_by_server.len() as u64;
        self.counts.subscriptions_refused = connects.subscriptions_refused;
        self.counts.statuses_unknown = connects.unknown_statuses;
        for (at, took) in &connects.took {
            self.latencies.add("connect", *took);
            self.second(*at, |second| second.connects += 1);
        }
        // As it stands at the end of each second: whoever comes back within one is there once.
        for life in story.lives.values() {
            for span in &life.spans {
                let to = span.to.map_or(Moment::MAX, |(to, _)| to);
                let all = (0u64..).zip(&mut self.seconds);
                for (_, second) in all.filter(|(n, _)| (span.from..to).contains(&((n + 1) * SECOND))) {
                    second.connected += 1;
                }
            }
        }
    }

    fn message(&mut self, story: &Story<'_>, message: &Message) {
        let due = message.facts.due;
        let since = |at: Moment| at.saturating_sub(due);
        let Some(sent) = message.sends.first() else {
            return;
        };
        self.second(*sent, |second| second.sent += 1);
        self.counts.resent += message.sends.len() as u64 - 1;
        if let Some(at) = message.acknowledged {
            self.second(at, |second| second.acknowledged += 1);
        }
        if let Some((at, code)) = message.rejected {
            self.second(at, |second| second.refused += 1);
            let door = match message.facts.door {
                Door::Mqtt => format!("0x{code:02X}"),
                Door::Http => format!("HTTP {code}"),
            };
            *self.refusals.entry(door).or_default() += 1;
        }
        let silent = message.acknowledged.is_none() && message.rejected.is_none() && message.facts.qos > 0;
        let excused = u64::from(silent && story.taken_away(message));
        let by_topic = message.has_status_topic();
        for end in &message.ends {
            let name = irsp_protocol::Status::from_code(end.code)
                .map_or("not registered", irsp_protocol::Status::name);
            *self.statuses.entry(format!("{} {name}", end.code)).or_default() += 1;
            if by_topic {
                self.second(end.at, |second| second.ended += 1);
            }
        }
        let done = message.ends.iter().any(|end| matches!(end.code, 200 | 208));
        let end = message.ends.first().filter(|_| by_topic);
        match message.facts.kind {
            Kind::Upload => {
                let accepted =
                    message.acknowledged.is_some() || (message.facts.qos == 0 && message.rejected.is_none());
                self.counts.uploads_sent += 1;
                self.counts.uploads_accepted += u64::from(accepted);
                self.counts.uploads_refused += u64::from(message.rejected.is_some());
                self.counts.uploads_stored += u64::from(!message.stored.is_empty());
                self.counts.uploads_excused += excused;
                self.counts.uploads_done +=
                    u64::from(message.rejected.is_none() && (done || !message.stored.is_empty()));
                for (stage, at) in [
                    ("acknowledged", message.acknowledged),
                    ("application", message.heard),
                    ("status", end.map(|end| end.at)),
                ] {
                    if let Some(at) = at {
                        self.latencies.add(stage, since(at));
                    }
                }
            }
            Kind::Push => {
                let delivered = message
                    .pushed
                    .iter()
                    .find(|delivery| delivery.by == message.facts.to);
                self.counts.pushes_sent += 1;
                self.counts.pushes_accepted += u64::from(message.acknowledged.is_some());
                self.counts.pushes_refused += u64::from(message.rejected.is_some());
                self.counts.pushes_excused += excused;
                self.counts.answers_refused += u64::from(message.answer_refused.is_some());
                self.counts.pushes_delivered += u64::from(delivered.is_some());
                self.counts.pushes_done += u64::from(done);
                self.counts.pushes_expired += u64::from(message.ends.iter().any(|end| end.code == 408));
                if let Some(at) = message.acknowledged {
                    self.latencies.add("accepted", since(at));
                }
                if let Some(end) = end {
                    self.latencies.add("ended", since(end.at));
                }
                if let Some(delivery) = delivered {
                    self.latencies.add("delivered", since(delivery.at));
                    self.second(delivery.at, |second| second.delivered += 1);
                    if let Some(at) = message.answered {
                        self.latencies.add("answered", at.saturating_sub(delivery.at));
                    }
                }
            }
        }
    }

    fn second(&mut self, at: Moment, on: impl FnOnce(&mut Second)) {
        if let Some(second) = self.seconds.get_mut((at / SECOND) as usize) {
            on(second);
        }
    }
}
