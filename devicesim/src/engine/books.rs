//! Counters and histograms of a load, shared by all connections; locked once a batch, in shards.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hdrhistogram::{CreationError, Histogram};
use serde::Serialize;
use tokio::time::Instant;

use super::Load;
use crate::usage::Usage;

const SHARDS: usize = 8;
/// Highest latency kept, in microseconds: ten minutes.
const HIGHEST: u64 = 600_000_000;
const DIGITS: u8 = 3;

pub(super) struct Books {
    pub(super) zero: Instant,
    window: OnceLock<(Instant, Instant)>,
    shards: Vec<Mutex<Shard>>,
    /// All, in the warm-up too.
    sent: AtomicU64,
    received: AtomicU64,
    /// Within the measured time.
    sent_measured: AtomicU64,
    received_measured: AtomicU64,
    acknowledged_measured: AtomicU64,
    broken: AtomicU64,
}

struct Shard {
    connect: Histogram<u64>,
    acknowledged: Histogram<u64>,
    received: Histogram<u64>,
}

/// Percentiles in milliseconds; where nothing was measured, there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    pub count: u64,
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// The figures of one load.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Measured {
    pub connections: u64,
    /// Connections made a second.
    pub connects_per_second: f64,
    pub connect_ms: Option<Percentiles>,
    pub sent_per_second: f64,
    pub acknowledged_per_second: f64,
    pub received_per_second: f64,
    /// Messages that did not come, of all that were sent and were to come.
    pub missing: u64,
    /// Connections the server ended.
    pub broken: u64,
    pub acknowledged_ms: Option<Percentiles>,
    pub received_ms: Option<Percentiles>,
    /// CPU seconds of the server in a second of the load.
    pub server_cpu: Option<f64>,
    /// CPU of the server, a message received (sent, where nobody listens), in microseconds.
    pub server_cpu_us_per_message: Option<f64>,
    pub server_resident_mb: Option<f64>,
    pub server_bytes_per_connection: Option<f64>,
    /// From the end of all connections at once until a message of a new client was heard.
    pub served_ms: Option<f64>,
}

impl Books {
    pub(super) fn new() -> Result<Books, CreationError> {
        let shard = || {
            let histogram = || Histogram::new_with_bounds(1, HIGHEST, DIGITS);
            Ok(Mutex::new(Shard {
                connect: histogram()?,
                acknowledged: histogram()?,
                received: histogram()?,
            }))
        };
        Ok(Books {
            zero: Instant::now(),
            window: OnceLock::new(),
            shards: (0..SHARDS)
                .map(|_| shard())
                .collect::<Result<_, CreationError>>()?,
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent_measured: AtomicU64::new(0),
            received_measured: AtomicU64::new(0),
            acknowledged_measured: AtomicU64::new(0),
            broken: AtomicU64::new(0),
        })
    }

    pub(super) fn measure(&self, begin: Instant, end: Instant) {
        // Set once, by the run that owns these books.
        let _ = self.window.set((begin, end));
    }

    fn measures(&self, at: Instant) -> bool {
        self.window
            .get()
            .is_some_and(|(begin, end)| (*begin..*end).contains(&at))
    }

    /// Microseconds since zero: what a message carries.
    pub(super) fn stamp(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.zero).as_micros()).unwrap_or(u64::MAX)
    }

    fn stamped(&self, stamp: u64) -> Instant {
        self.zero + Duration::from_micros(stamp.min(HIGHEST * 100))
    }

    pub(super) fn connected(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.with(0, |shard| shard.connect.saturating_record(us.max(1)));
    }

    pub(super) fn sent(&self, count: u64, now: Instant) {
        self.sent.fetch_add(count, Ordering::Relaxed);
        if self.measures(now) {
            self.sent_measured.fetch_add(count, Ordering::Relaxed);
        }
    }

    pub(super) fn acknowledged(&self, shard: usize, stamps: &[u64], now: Instant) {
        if self.measures(now) {
            self.acknowledged_measured
                .fetch_add(stamps.len() as u64, Ordering::Relaxed);
        }
        self.record(shard, stamps, now, |shard| &mut shard.acknowledged);
    }

    pub(super) fn received(&self, shard: usize, stamps: &[u64], now: Instant) {
        self.received.fetch_add(stamps.len() as u64, Ordering::Relaxed);
        if self.measures(now) {
            self.received_measured
                .fetch_add(stamps.len() as u64, Ordering::Relaxed);
        }
        self.record(shard, stamps, now, |shard| &mut shard.received);
    }

    /// Latencies of what was to be sent within the measured time, whenever it came.
    fn record(
        &self,
        shard: usize,
        stamps: &[u64],
        now: Instant,
        which: fn(&mut Shard) -> &mut Histogram<u64>,
    ) {
        if stamps.is_empty() {
            return;
        }
        let at = self.stamp(now);
        self.with(shard, |shard| {
            let histogram = which(shard);
            for stamp in stamps.iter().filter(|stamp| self.measures(self.stamped(**stamp))) {
                histogram.saturating_record(at.saturating_sub(*stamp).max(1));
            }
        });
    }

    pub(super) fn broke(&self) {
        self.broken.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether everything that was sent has come to all who hear it.
    pub(super) fn quiet(&self, copies: u64) -> bool {
        self.received.load(Ordering::Relaxed) >= self.sent.load(Ordering::Relaxed) * copies
    }

    fn with(&self, shard: usize, on: impl FnOnce(&mut Shard)) {
        on(&mut self.shards[shard % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner));
    }

    fn percentiles(&self, which: fn(&mut Shard) -> &mut Histogram<u64>) -> Option<Percentiles> {
        let mut all: Option<Histogram<u64>> = None;
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let histogram = which(&mut shard);
            match &mut all {
                None => all = Some(histogram.clone()),
                // The bounds of all shards are the same.
                Some(all) => drop(all.add(&*histogram)),
            }
        }
        let all = all.filter(|all| !all.is_empty())?;
        let ms = |quantile| all.value_at_quantile(quantile) as f64 / 1000.0;
        Some(Percentiles {
            count: all.len(),
            p50: ms(0.5),
            p99: ms(0.99),
            p999: ms(0.999),
            max: all.max() as f64 / 1000.0,
        })
    }

    pub(super) fn close(
        &self,
        load: &Load,
        connect_s: f64,
        used: Option<Usage>,
        per_connection: Option<f64>,
    ) -> Measured {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let length = load.length.as_secs_f64().max(0.001);
        let connections = load.connections.len() as u64;
        let messages = if load.copies > 0 {
            read(&self.received_measured)
        } else {
            read(&self.sent_measured)
        };
        Measured {
            connections,
            connects_per_second: connections as f64 / connect_s.max(0.001),
            connect_ms: self.percentiles(|shard| &mut shard.connect),
            sent_per_second: read(&self.sent_measured) as f64 / length,
            acknowledged_per_second: read(&self.acknowledged_measured) as f64 / length,
            received_per_second: read(&self.received_measured) as f64 / length,
            missing: (read(&self.sent) * load.copies).saturating_sub(read(&self.received)),
            broken: read(&self.broken),
            acknowledged_ms: self.percentiles(|shard| &mut shard.acknowledged),
            received_ms: self.percentiles(|shard| &mut shard.received),
            server_cpu: used.map(|used| used.cpu_s / length),
            server_cpu_us_per_message: used
                .filter(|_| messages > 0)
                .map(|used| used.cpu_s * 1e6 / messages as f64),
            server_resident_mb: used.map(|used| used.resident as f64 / 1e6),
            server_bytes_per_connection: per_connection,
            served_ms: None,
        }
    }
}
