//! The courier's instruments: what each counts, and its name, labels and help as Prometheus shows them.
//!
//! Counting is one atomic addition; histograms are touched once a commit. The ledger's figures are read from the
//! database when they are asked for, in one snapshot, so within one scrape they add up as they do on disk.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use irsp_protocol::{MessageKind, Server, Status};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use crate::lock::lock;
use crate::quota::InFlight;
use irsp_protocol::ledger::{KindLedger, Ledger};

/// Bounds of the commit-time histogram, seconds: from an SSD's cache to a disk in distress.
const COMMIT_SECONDS: [f64; 13] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];

/// The codes a failing database stands for: full, not usable just now, anything else.
const STORE_ERRORS: [Status; 3] = [Status::QUEUE_FULL, Status::UNAVAILABLE, Status::FAILED];

/// What one courier counts.
#[derive(Debug)]
pub struct Metrics {
    pub(crate) sent_again: Counter,
    pub(crate) frames_sent: Counter,
    pub(crate) frames_received: Counter,
    pub(crate) frames_lost: Counter,
    pub(crate) writes_waiting: Gauge,
    /// Set from the writer's own count.
    pub(crate) overflows: Counter,
    commit_writes: Histogram,
    commit_seconds: Histogram,
    /// Writes whose own verdict was no, by its code.
    refused: Mutex<BTreeMap<Status, u64>>,
    /// What the database refused as a whole, by the code it stands for.
    errors: Mutex<BTreeMap<Status, u64>>,
    books: Mutex<Books>,
}

/// The ledger as it was last read.
#[derive(Clone, Debug, Default)]
struct Books {
    ledger: Ledger,
    /// Since the oldest message that has not ended was accepted; 0 if there is none.
    oldest: Duration,
    in_flight: InFlight,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            sent_again: Counter::default(),
            frames_sent: Counter::default(),
            frames_received: Counter::default(),
            frames_lost: Counter::default(),
            writes_waiting: Gauge::default(),
            overflows: Counter::default(),
            commit_writes: Histogram::new(exponential_buckets(1.0, 4.0, 9)),
            commit_seconds: Histogram::new(COMMIT_SECONDS),
            refused: Mutex::default(),
            errors: Mutex::new(STORE_ERRORS.map(|status| (status, 0)).into()),
            books: Mutex::default(),
        }
    }
}

impl Metrics {
    /// One commit is on disk: how many writes shared it, and how long COMMIT took, fsync included.
    pub(crate) fn committed(&self, writes: usize, took: Duration) {
        // More writes than 2^52 never share a commit, so the number is exact.
        self.commit_writes.observe(writes as f64);
        self.commit_seconds.observe(took.as_secs_f64());
    }

    /// The database said no to a transaction as a whole, or could not be read.
    pub(crate) fn store_error(&self, status: Status) {
        *lock(&self.errors).entry(status).or_default() += 1;
    }

    /// The verdict on one write was no.
    pub(crate) fn refused(&self, status: Status) {
        *lock(&self.refused).entry(status).or_default() += 1;
    }

    pub(crate) fn keep_books(&self, ledger: Ledger, oldest: Duration, in_flight: InFlight) {
        *lock(&self.books) = Books {
            ledger,
            oldest,
            in_flight,
        };
    }
}

/// The couriers of a process, told apart by the label `server`.
#[derive(Debug)]
pub struct Couriers(Vec<(Server, Arc<Metrics>)>);

impl FromIterator<(Server, Arc<Metrics>)> for Couriers {
    fn from_iter<I: IntoIterator<Item = (Server, Arc<Metrics>)>>(couriers: I) -> Couriers {
        Couriers(couriers.into_iter().collect())
    }
}

#[derive(Clone, Copy, Debug, EncodeLabelSet)]
struct ByServer {
    server: &'static str,
}

#[derive(Clone, Copy, Debug, EncodeLabelSet)]
struct ByKind {
    server: &'static str,
    kind: &'static str,
}

#[derive(Clone, Copy, Debug, EncodeLabelSet)]
struct ByKindAndCode {
    server: &'static str,
    kind: &'static str,
    code: u16,
}

#[derive(Clone, Copy, Debug, EncodeLabelSet)]
struct ByCode {
    server: &'static str,
    code: u16,
}

impl Collector for Couriers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.ledgers(&mut encoder)?;
        self.counters(&mut encoder)?;
        self.store(&mut encoder)
    }
}

impl Couriers {
    fn ledgers(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let books: Vec<(&'static str, Books)> = self
            .0
            .iter()
            .map(|(server, metrics)| (server.as_str(), lock(&metrics.books).clone()))
            .collect();
        let name = "irsp_courier_accepted";
        let help = "Messages accepted, on disk, since the database was made.";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (server, books) in &books {
            for kind in MessageKind::ALL {
                let count = of_kind(&books.ledger, kind).map_or(0, |ledger| ledger.accepted);
                let labels = ByKind {
                    server,
                    kind: kind.as_str(),
                };
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        let name = "irsp_courier_ended";
        let help = "Messages ended, by their final code, since the database was made.";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (server, books) in &books {
            for ledger in &books.ledger.kinds {
                for (status, count) in &ledger.ended {
                    let labels = ByKindAndCode {
                        server,
                        kind: ledger.kind.as_str(),
                        code: status.code(),
                    };
                    ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        let name = "irsp_courier_in_flight";
        let help = "Messages accepted and not ended.";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (server, books) in &books {
            for kind in MessageKind::ALL {
                let count = of_kind(&books.ledger, kind).map_or(0, |ledger| ledger.in_flight);
                let labels = ByKind {
                    server,
                    kind: kind.as_str(),
                };
                ConstGauge::new(count.cast_signed()).encode(family.encode_family(&labels)?)?;
            }
        }
        type Quotas = fn(&InFlight) -> u64;
        let quotas: [(&str, &str, Quotas); 3] = [
            (
                "irsp_courier_in_flight_bytes",
                "Bytes of what is in flight, heads and data, as quotas count them.",
                |in_flight| in_flight.held.bytes,
            ),
            (
                "irsp_courier_messages_max",
                "Messages that may be in flight; beyond it 507.",
                |in_flight| in_flight.all.messages_max,
            ),
            (
                "irsp_courier_bytes_max",
                "Bytes that may be in flight; beyond it 507.",
                |in_flight| in_flight.all.bytes_max,
            ),
        ];
        for (name, help, of) in quotas {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (server, books) in &books {
                let figure = i64::try_from(of(&books.in_flight)).unwrap_or(i64::MAX);
                ConstGauge::new(figure).encode(family.encode_family(&ByServer { server })?)?;
            }
        }
        let name = "irsp_courier_ledger_residue";
        let help = "Accepted less ended less in flight; anything but 0 is a lost or doubled message.";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (server, books) in &books {
            ConstGauge::new(books.ledger.residue()).encode(family.encode_family(&ByServer { server })?)?;
        }
        let name = "irsp_courier_oldest_seconds";
        let help = "Age of the oldest message that has not ended.";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (server, books) in &books {
            let age = books.oldest.as_secs_f64();
            ConstGauge::new(age).encode(family.encode_family(&ByServer { server })?)?;
        }
        Ok(())
    }

    fn counters(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        type Of = fn(&Metrics) -> &Counter;
        let counters: [(&str, &str, Of); 5] = [
            (
                "irsp_store_overflows",
                "Writes refused with 507 because 65,536 waited.",
                |metrics| &metrics.overflows,
            ),
            (
                "irsp_courier_sent_again",
                "Envelopes sent to another server again, for want of an answer.",
                |metrics| &metrics.sent_again,
            ),
            ("irsp_bus_frames_sent", "Frames given to the bus.", |metrics| {
                &metrics.frames_sent
            }),
            (
                "irsp_bus_frames_received",
                "Frames taken from the bus.",
                |metrics| &metrics.frames_received,
            ),
            (
                "irsp_bus_frames_lost",
                "Frames dropped because the bus did not take them; what they held is sent again.",
                |metrics| &metrics.frames_lost,
            ),
        ];
        for (name, help, of) in counters {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (server, metrics) in &self.0 {
                let server = server.as_str();
                of(metrics).encode(family.encode_family(&ByServer { server })?)?;
            }
        }
        Ok(())
    }

    fn store(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let name = "irsp_store_writes_waiting";
        let help = "Writes that wait for the writer.";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (server, metrics) in &self.0 {
            let server = server.as_str();
            metrics
                .writes_waiting
                .encode(family.encode_family(&ByServer { server })?)?;
        }
        type Of = fn(&Metrics) -> &Histogram;
        let histograms: [(&str, &str, Of); 2] = [
            (
                "irsp_store_commit_writes",
                "Writes that shared one commit.",
                |metrics| &metrics.commit_writes,
            ),
            (
                "irsp_store_commit_seconds",
                "Time of a commit, fsync included.",
                |metrics| &metrics.commit_seconds,
            ),
        ];
        for (name, help, of) in histograms {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
            for (server, metrics) in &self.0 {
                let server = server.as_str();
                of(metrics).encode(family.encode_family(&ByServer { server })?)?;
            }
        }
        type Codes = fn(&Metrics) -> &Mutex<BTreeMap<Status, u64>>;
        let by_code: [(&str, &str, Codes); 2] = [
            (
                "irsp_store_refused",
                "Writes whose own verdict was no, by its code; the others of their commit are on disk.",
                |metrics| &metrics.refused,
            ),
            (
                "irsp_store_errors",
                "Transactions the database refused as a whole, and failed reads of the ledger, by code.",
                |metrics| &metrics.errors,
            ),
        ];
        for (name, help, of) in by_code {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (server, metrics) in &self.0 {
                let server = server.as_str();
                for (status, count) in lock(of(metrics)).iter() {
                    let code = status.code();
                    ConstCounter::new(*count).encode(family.encode_family(&ByCode { server, code })?)?;
                }
            }
        }
        Ok(())
    }
}

fn of_kind(ledger: &Ledger, kind: MessageKind) -> Option<&KindLedger> {
    ledger.kinds.iter().find(|ledger| ledger.kind == kind)
}
