//! The report: every count of the run, the latencies, and the verdict with its reasons.
//!
//! PASS means: nothing that was promised is missing, as far as was looked. What was not looked at is said in a note.

mod table;

use std::collections::BTreeMap;

use hdrhistogram::{CreationError, Histogram};
use irsp_protocol::Status;
use serde::Serialize;

use crate::device::{First, Outcome};
use crate::fleet::{Course, Ran};
use crate::ledger::{self, Account, Lane, Repeats, StoreAccount};
use crate::options::{MqttVersion, Options, Qos};

/// The part of the rate asked for that must have been sent while it was due: a load that was not made measures nothing.
const RATE_REACHED_MIN: f64 = 0.95;

#[derive(Debug, Serialize)]
pub struct Report {
    pub run: String,
    pub asked: Asked,
    pub devices: Devices,
    pub uploads: Uploads,
    pub statuses: Option<Statuses>,
    pub store: Option<StoreAccount>,
    /// Why the store could not be read although it was to be.
    pub store_error: Option<String>,
    pub latency_ms: Latencies,
    pub verdict: Verdict,
}

/// The load that was asked for.
#[derive(Debug, Serialize)]
pub struct Asked {
    pub server: String,
    pub mqtt: MqttVersion,
    pub app: String,
    pub channel: String,
    pub qos: u8,
    pub rate: f64,
    pub duration_s: f64,
    pub payload_size: usize,
    pub seed: u64,
}

#[derive(Debug, Default, Serialize)]
pub struct Devices {
    pub planned: u64,
    pub connected: u64,
    /// CONNACK refusals by code.
    pub refused: BTreeMap<String, u64>,
    /// Never connected, by cause.
    pub unreachable: BTreeMap<String, u64>,
    /// Subscriptions to the own status topic that were refused, by code.
    pub subscriptions_refused: BTreeMap<String, u64>,
    /// Connections that broke after they stood, by cause.
    pub broken: BTreeMap<String, u64>,
    pub reconnected: u64,
}

#[derive(Debug, Serialize)]
pub struct Uploads {
    pub planned: u64,
    pub sent: u64,
    pub unsent: u64,
    /// Publishes repeated because no acknowledgement had come.
    pub resent: u64,
    pub acknowledged: u64,
    pub unacknowledged: u64,
    /// Refused publishes by reason code.
    pub refused: BTreeMap<String, u64>,
    /// Uploads sent a second, over the whole time the fleet was uploading and settling.
    pub sent_per_second: f64,
    /// Uploads sent a second while they were due.
    pub rate_reached: f64,
}

#[derive(Debug, Serialize)]
pub struct Statuses {
    /// Final statuses by code and name.
    pub received: BTreeMap<String, u64>,
    /// Acknowledged uploads without one.
    pub missing: u64,
    /// Statuses nothing was waiting for.
    pub surplus: u64,
    /// Statuses of earlier runs.
    pub stale: u64,
    /// Messages on the status topic that are no status.
    pub unreadable: u64,
}

#[derive(Debug, Serialize)]
pub struct Latencies {
    /// From the start of the connecting to CONNACK.
    pub connect: Option<Latency>,
    /// From when an upload was due to PUBACK or PUBCOMP.
    pub acknowledged: Option<Latency>,
    /// From when an upload was due to its final status.
    pub status: Option<Latency>,
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    pub count: u64,
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

#[derive(Debug, Serialize)]
pub struct Verdict {
    pub pass: bool,
    /// Why it is not a PASS.
    pub reasons: Vec<String>,
    /// What one has to know to read it.
    pub notes: Vec<String>,
}

impl Report {
    /// Draws up the account of a run. `notes` stand before the report's own.
    pub fn new(
        options: &Options,
        run: String,
        mut ran: Ran,
        notes: Vec<String>,
    ) -> Result<Report, CreationError> {
        let lanes: Vec<Lane> = ran.outcomes.iter_mut().filter_map(|o| o.lane.take()).collect();
        let (shelf, store_error) = match &ran.shelf {
            None => (None, None),
            Some(Ok(shelf)) => (Some(shelf), None),
            Some(Err(error)) => (None, Some(error.to_string())),
        };
        let repeats = match (options.qos, options.mqtt) {
            (Qos::AtLeastOnce, MqttVersion::V311) => Repeats::Allowed,
            (Qos::AtMostOnce | Qos::ExactlyOnce, _) | (Qos::AtLeastOnce, MqttVersion::V5) => {
                Repeats::Forbidden
            }
        };
        let account = ledger::settle(&lanes, shelf, repeats)?;
        let mut report = Report {
            run,
            asked: Asked::new(options),
            devices: devices(&ran.outcomes),
            uploads: uploads(&ran, &account, options.duration.as_secs_f64()),
            statuses: (!options.no_status).then(|| statuses(&ran.outcomes, &account)),
            latency_ms: Latencies {
                connect: latency(&connects(&ran.outcomes)?),
                acknowledged: latency(&account.to_acknowledged),
                status: latency(&account.to_status),
            },
            store: account.store,
            store_error,
            verdict: Verdict {
                pass: false,
                reasons: Vec::new(),
                notes,
            },
        };
        report.judge(options, ran.course);
        Ok(report)
    }

    fn judge(&mut self, options: &Options, course: Course) {
        let mut reasons = Vec::new();
        let mut reason = |count: u64, text: &str| {
            if count > 0 {
                reasons.push(format!("{count} {text}"));
            }
        };
        let (devices, uploads) = (&self.devices, &self.uploads);
        reason(total(&devices.refused), "devices were refused");
        reason(total(&devices.unreachable), "devices could not connect");
        reason(
            total(&devices.subscriptions_refused),
            "devices may not hear their statuses",
        );
        reason(uploads.unsent, "uploads could not be sent in time");
        reason(total(&uploads.refused), "uploads were refused");
        if options.qos != Qos::AtMostOnce {
            reason(uploads.unacknowledged, "uploads were sent and not acknowledged");
        }
        if let Some(statuses) = &self.statuses {
            for (code, count) in &statuses.received {
                if !is_done(code) {
                    reason(*count, &format!("uploads ended with status {code}"));
                }
            }
            reason(statuses.missing, "acknowledged uploads had no status");
            let unexplained = statuses.surplus.saturating_sub(uploads.resent);
            reason(unexplained, "statuses were for nothing that waited for one");
            reason(statuses.unreadable, "messages on the status topic are no status");
        }
        if let Some(store) = &self.store {
            reason(store.lost, "acknowledged uploads are lost: not in the store");
            let duplicated = store.duplicated - store.duplicated_by_sender;
            reason(duplicated, "uploads are duplicated in the store");
            reason(store.invented, "uploads in the store were never sent");
        }
        let asked = self.asked.rate;
        let short = uploads.planned > 0 && uploads.rate_reached < asked * RATE_REACHED_MIN;
        if course == Course::Complete && short {
            reasons.push(format!(
                "the rate was not reached: {:.1} uploads a second of {asked} were sent while they were due",
                uploads.rate_reached
            ));
        }
        if let Some(error) = &self.store_error {
            reasons.push(format!("the store could not be read: {error}"));
        }
        if devices.connected == 0 {
            reasons.push("no device connected".to_owned());
        }
        if course == Course::Interrupted {
            reasons.push("the run was interrupted".to_owned());
        }
        self.verdict.pass = reasons.is_empty();
        self.verdict.reasons = reasons;
        self.note(options);
    }

    fn note(&mut self, options: &Options) {
        let notes = &mut self.verdict.notes;
        if options.http.is_none() {
            notes.push(format!(
                "the store was not looked at (no --http): the verdict rests on {}",
                match (options.qos, options.no_status) {
                    (Qos::AtMostOnce, true) => "connections alone",
                    (Qos::AtMostOnce, false) => "statuses alone",
                    (_, true) => "acknowledgements alone",
                    (_, false) => "acknowledgements and statuses",
                }
            ));
        }
        if options.qos == Qos::AtMostOnce {
            notes.push("QoS 0 is best effort: what is missing is counted and breaks no promise".to_owned());
        }
        let mut note = |count: u64, text: &str| {
            if count > 0 {
                notes.push(format!("{count} {text}"));
            }
        };
        note(total(&self.devices.broken), "connections broke during the run");
        note(
            self.uploads.resent,
            "uploads were published again with the same number",
        );
        if let Some(store) = &self.store {
            let text = "uploads are in the store twice because the device had to publish them twice (QoS 1 without an id)";
            note(store.duplicated_by_sender, text);
        }
        if let Some(statuses) = &self.statuses {
            note(
                statuses.stale,
                "statuses of earlier runs came and were not counted",
            );
        }
    }
}

impl Asked {
    fn new(options: &Options) -> Asked {
        Asked {
            server: options.url.to_string(),
            mqtt: options.mqtt,
            app: options.app.to_string(),
            channel: options.channel.to_string(),
            qos: options.qos.level(),
            rate: options.rate,
            duration_s: options.duration.as_secs_f64(),
            payload_size: options.payload_size,
            seed: options.seed,
        }
    }
}

fn devices(outcomes: &[Outcome]) -> Devices {
    let mut devices = Devices {
        planned: outcomes.len() as u64,
        ..Devices::default()
    };
    for outcome in outcomes {
        match &outcome.first {
            First::Connected(_) => devices.connected += 1,
            First::Refused(code) => *devices.refused.entry(code.clone()).or_default() += 1,
            First::Unreachable(cause) => *devices.unreachable.entry(cause.clone()).or_default() += 1,
        }
        if let Some(code) = &outcome.subscription_refused {
            *devices.subscriptions_refused.entry(code.clone()).or_default() += 1;
        }
        add(&mut devices.broken, &outcome.broken);
        devices.reconnected += outcome.reconnected;
    }
    devices
}

fn uploads(ran: &Ran, account: &Account, seconds: f64) -> Uploads {
    let mut refused = BTreeMap::new();
    for outcome in &ran.outcomes {
        add(&mut refused, &outcome.refusals);
    }
    let planned = ran.schedule.total();
    Uploads {
        planned,
        sent: account.sent,
        unsent: planned.saturating_sub(account.sent),
        resent: account.resent,
        acknowledged: account.acknowledged,
        unacknowledged: account.unanswered,
        refused,
        rate_reached: ran.on_time as f64 / seconds.max(0.001),
        sent_per_second: account.sent as f64 / ran.took.as_secs_f64().max(0.001),
    }
}

fn statuses(outcomes: &[Outcome], account: &Account) -> Statuses {
    let received = account.statuses.iter().map(|(code, count)| {
        let name = Status::from_code(*code).map_or("not registered", Status::name);
        (format!("{code} {name}"), *count)
    });
    Statuses {
        received: received.collect(),
        missing: account.without_status,
        surplus: account.surplus_statuses,
        stale: outcomes.iter().map(|outcome| outcome.stale_statuses).sum(),
        unreadable: outcomes.iter().map(|outcome| outcome.unreadable_statuses).sum(),
    }
}

/// Whether a status line of the report says that the upload was done: 200, or 208 for one sent twice.
fn is_done(line: &str) -> bool {
    [Status::DONE, Status::DUPLICATE]
        .iter()
        .any(|status| line == status.to_string())
}

fn connects(outcomes: &[Outcome]) -> Result<Histogram<u64>, CreationError> {
    let mut histogram = ledger::latencies()?;
    for outcome in outcomes {
        if let First::Connected(after) = &outcome.first {
            histogram.saturating_record(u64::try_from(after.as_micros()).unwrap_or(u64::MAX));
        }
    }
    Ok(histogram)
}

fn latency(histogram: &Histogram<u64>) -> Option<Latency> {
    let ms = |us: u64| us as f64 / 1000.0;
    (!histogram.is_empty()).then(|| Latency {
        count: histogram.len(),
        mean: histogram.mean() / 1000.0,
        p50: ms(histogram.value_at_quantile(0.5)),
        p90: ms(histogram.value_at_quantile(0.9)),
        p99: ms(histogram.value_at_quantile(0.99)),
        p999: ms(histogram.value_at_quantile(0.999)),
        max: ms(histogram.max()),
    })
}

fn add(sum: &mut BTreeMap<String, u64>, counts: &BTreeMap<String, u64>) {
    for (key, count) in counts {
        *sum.entry(key.clone()).or_default() += count;
    }
}

fn total(counts: &BTreeMap<String, u64>) -> u64 {
    counts.values().sum()
}

#[cfg(test)]
mod tests;
