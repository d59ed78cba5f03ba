//! The outcome of a scenario: figures, findings with their receipts, verdict. As JSON it can be merged with the outcomes
//! of other parts; JUnit XML, a page and a table are made from it.

mod gather;
mod html;
mod junit;
mod ladder;
mod svg;
mod table;

use std::collections::BTreeMap;

use irsp_protocol::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::figures::{Counts, Latencies, Second};
use crate::oracle::ORACLES;
use crate::slo::{Check, Slo};

pub use gather::Run;
pub use ladder::{Ladder, Rung};

/// Most findings that stand in an outcome one by one; the counts are always complete.
pub const FINDINGS_MAX: usize = 200;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Name of the scenario's file.
    pub scenario: String,
    pub about: String,
    pub server: String,
    pub seed: u64,
    pub runs: Vec<String>,
    /// The parts it has, such as `2/3`.
    pub parts: Vec<String>,
    pub began: Timestamp,
    /// From moment zero to the begin of the work, and its length, in seconds.
    pub begin_s: f64,
    pub work_s: f64,
    pub devices: BTreeMap<String, u64>,
    pub counts: Counts,
    pub statuses: BTreeMap<String, u64>,
    /// Refused publishes and pushes, by reason code or HTTP status.
    pub refusals: BTreeMap<String, u64>,
    /// Connections that broke or did not come about, by cause.
    pub troubles: BTreeMap<String, u64>,
    pub latencies: Latencies,
    pub seconds: Vec<Second>,
    /// How many findings each oracle has.
    pub found: BTreeMap<String, u64>,
    pub findings: Vec<Found>,
    pub ladders: Vec<Ladder>,
    pub objectives: Slo,
    pub checks: Vec<Check>,
    /// What the platform could not be asked.
    pub unasked: Vec<String>,
    pub interrupted: bool,
    pub verdict: Verdict,
}

/// A finding as it is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Found {
    pub oracle: String,
    pub what: String,
    pub device: String,
    /// When, by the simulator's clock.
    pub time: Timestamp,
    /// The message's number in the payload (`n`).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<u64>,
    /// The id its sender gave it: of the run and the number. Over MQTT 3.1.1 it does not travel.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sender_id: Option<String>,
    /// The platform's id of the message.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mid: Option<String>,
    /// As the platform tells it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub receipt: Option<Value>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub no_receipt: Option<String>,
}

impl Found {
    /// The message, by all that is known of it.
    pub fn name(&self) -> String {
        match (&self.mid, &self.sender_id) {
            (Some(mid), Some(id)) => format!("{mid} ({id})"),
            (Some(only), None) | (None, Some(only)) => only.clone(),
            (None, None) => String::new(),
        }
    }

    /// When, at which device, which message.
    fn place(&self) -> String {
        let place = format!("{} {} {}", self.time, self.device, self.name());
        place.trim_end().to_owned()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    pub pass: bool,
    /// Why it is not a PASS.
    pub reasons: Vec<String>,
    /// What one has to know to read it.
    pub notes: Vec<String>,
}

/// Why outcomes cannot be merged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MergeError {
    #[error("there is no outcome to merge")]
    Nothing,
    #[error("{0} and {1} are different scenarios")]
    Scenario(String, String),
    #[error("part {0} stands twice")]
    Part(String),
    #[error("{0} and {1} are parts of different numbers of parts")]
    Parts(String, String),
    #[error("parts are missing: {0}")]
    Missing(String),
    #[error("seed {0} and seed {1} make different fleets")]
    Seed(u64, u64),
}

impl Outcome {
    /// Draws the verdict from all that stands in it.
    pub fn judge(mut self) -> Outcome {
        self.checks = self.objectives.check(&self.counts, &self.latencies, self.work_s);
        let mut reasons = Vec::new();
        for (oracle, _) in ORACLES {
            let count = self.found.get(*oracle).copied().unwrap_or(0);
            if count > 0 {
                reasons.push(format!("{oracle}: {count} found"));
            }
        }
        let missed = self.checks.iter().filter(|check| !check.met);
        reasons.extend(
            missed.map(|check| format!("objective missed: {}, found {}", check.objective, check.found)),
        );
        reasons.extend(self.unasked.iter().cloned());
        if self.counts.subscriptions_refused > 0 {
            reasons.push(format!(
                "{} subscriptions were refused",
                self.counts.subscriptions_refused
            ));
        }
        if self.counts.uploads_sent + self.counts.pushes_sent == 0 {
            reasons.push("nothing was sent".to_owned());
        }
        if self.interrupted {
            reasons.push("the run was interrupted".to_owned());
        }
        let mut notes = Vec::new();
        if self.counts.resent > 0 {
            notes.push(format!("{} publishes were sent again", self.counts.resent));
        }
        if self.counts.uploads_refused + self.counts.pushes_refused > 0 {
            notes.push(format!(
                "{} messages were refused",
                self.counts.uploads_refused + self.counts.pushes_refused
            ));
        }
        if self.counts.answers_refused > 0 {
            notes.push(format!(
                "{} answers of devices were refused",
                self.counts.answers_refused
            ));
        }
        let named = self.findings.len() as u64;
        let all: u64 = self.found.values().sum();
        if named < all {
            notes.push(format!("{named} of {all} findings are named one by one"));
        }
        self.verdict = Verdict {
            pass: reasons.is_empty(),
            reasons,
            notes,
        };
        self
    }

    /// Joins the outcomes of parts of one scenario; seconds are joined by the begin of the work.
    pub fn merge(outcomes: Vec<Outcome>) -> Result<Outcome, MergeError> {
        let mut all = outcomes.into_iter();
        let mut sum = all.next().ok_or(MergeError::Nothing)?;
        for other in all {
            if other.scenario != sum.scenario {
                return Err(MergeError::Scenario(sum.scenario, other.scenario));
            }
            if other.seed != sum.seed {
                return Err(MergeError::Seed(sum.seed, other.seed));
            }
            if let Some(part) = other.parts.iter().find(|part| sum.parts.contains(part)) {
                return Err(MergeError::Part(part.clone()));
            }
            sum.add(other);
        }
        complete(&sum.parts)?;
        sum.findings.sort_by_key(|finding| finding.time);
        sum.findings.truncate(FINDINGS_MAX);
        Ok(sum.judge())
    }

    fn add(&mut self, other: Outcome) {
        self.runs.extend(other.runs);
        self.parts.extend(other.parts);
        self.counts.add(&other.counts);
        for (sums, more) in [
            (&mut self.devices, other.devices),
            (&mut self.statuses, other.statuses),
            (&mut self.refusals, other.refusals),
            (&mut self.troubles, other.troubles),
            (&mut self.found, other.found),
        ] {
            for (name, count) in more {
                *sums.entry(name).or_default() += count;
            }
        }
        self.latencies.merge(&other.latencies);
        self.work_s = self.work_s.max(other.work_s);
        let shift = (self.begin_s.floor() - other.begin_s.floor()) as i64;
        for (at, second) in (0i64..).zip(other.seconds) {
            let Ok(at) = usize::try_from(at + shift) else {
                continue;
            };
            if at >= self.seconds.len() {
                self.seconds.resize(at + 1, Second::default());
            }
            self.seconds[at].add(&second);
        }
        self.findings.extend(other.findings);
        self.ladders.extend(other.ladders);
        self.unasked.extend(other.unasked);
        self.interrupted |= other.interrupted;
        self.began = self.began.min(other.began);
    }
}

/// Whether these are all parts there are.
fn complete(parts: &[String]) -> Result<(), MergeError> {
    let of = |part: &String| part.split_once('/').and_then(|(_, of)| of.parse::<u32>().ok());
    let Some(first) = parts.first() else {
        return Ok(());
    };
    if let Some(other) = parts.iter().find(|part| of(part) != of(first)) {
        return Err(MergeError::Parts(first.clone(), other.clone()));
    }
    let all = of(first).unwrap_or(0);
    let missing: Vec<String> = (1..=all)
        .map(|n| format!("{n}/{all}"))
        .filter(|part| !parts.contains(part))
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(MergeError::Missing(missing.join(", ")))
    }
}

impl Second {
    fn add(&mut self, other: &Second) {
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.ended += other.ended;
        self.delivered += other.delivered;
        self.refused += other.refused;
        self.connected += other.connected;
        self.connects += other.connects;
        self.diverging += other.diverging;
        self.p50_ms = self.p50_ms.max(other.p50_ms);
        self.p99_ms = self.p99_ms.max(other.p99_ms);
        // One server, seen by several.
        self.server_cpu = self.server_cpu.max(other.server_cpu);
        self.server_resident = self.server_resident.max(other.server_resident);
    }
}

#[cfg(test)]
mod tests;
