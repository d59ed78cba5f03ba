//! Latencies of each stage, as histograms that can be merged.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Stages of which latencies are kept, in the order of a message's way. All but `connect` and `answered` count from when
/// the message was due, so that a slow platform shows its slowness instead of slowing the question.
pub const STAGES: [&str; 8] = [
    "connect",
    "acknowledged",
    "application",
    "status",
    "accepted",
    "delivered",
    "answered",
    "ended",
];

/// Significant digits of the histograms: 0.1 %.
const DIGITS: u8 = 3;
/// Highest latency a histogram can hold, in microseconds: a day.
const HIGHEST: u64 = 86_400_000_000;

/// Latencies by stage, in microseconds.
#[derive(Clone, Debug, Default)]
pub struct Latencies(pub BTreeMap<String, Histogram<u64>>);

impl Latencies {
    pub fn add(&mut self, stage: &str, us: u64) {
        self.add_n(stage, us, 1);
    }

    fn add_n(&mut self, stage: &str, us: u64, count: u64) {
        if !self.0.contains_key(stage) {
            // The bounds are right by construction; without a histogram the stage has no figure.
            let Ok(histogram) = Histogram::new_with_bounds(1, HIGHEST, DIGITS) else {
                return;
            };
            self.0.insert(stage.to_owned(), histogram);
        }
        if let Some(histogram) = self.0.get_mut(stage) {
            histogram.saturating_record_n(us.max(1), count);
        }
    }

    pub fn merge(&mut self, other: &Latencies) {
        for (stage, histogram) in &other.0 {
            for value in histogram.iter_recorded() {
                self.add_n(stage, value.value_iterated_to(), value.count_at_value());
            }
        }
    }

    pub fn quantile(&self, stage: &str, quantile: f64) -> Option<u64> {
        let histogram = self.0.get(stage).filter(|histogram| !histogram.is_empty())?;
        Some(if quantile >= 1.0 {
            histogram.max()
        } else {
            histogram.value_at_quantile(quantile)
        })
    }
}

/// A stage in the report: percentiles for people, and all of the histogram, so that parts can be merged.
#[derive(Serialize, Deserialize)]
struct Told {
    count: u64,
    mean_ms: f64,
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    max_ms: f64,
    /// Microseconds and how often.
    histogram_us: Vec<(u64, u64)>,
}

impl Serialize for Latencies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ms = |us: u64| us as f64 / 1000.0;
        serializer.collect_map(self.0.iter().filter(|(_, histogram)| !histogram.is_empty()).map(
            |(stage, of)| {
                let told = Told {
                    count: of.len(),
                    mean_ms: of.mean() / 1000.0,
                    p50_ms: ms(of.value_at_quantile(0.5)),
                    p90_ms: ms(of.value_at_quantile(0.9)),
                    p99_ms: ms(of.value_at_quantile(0.99)),
                    p999_ms: ms(of.value_at_quantile(0.999)),
                    max_ms: ms(of.max()),
                    histogram_us: of
                        .iter_recorded()
                        .map(|value| (value.value_iterated_to(), value.count_at_value()))
                        .collect(),
                };
                (stage, told)
            },
        ))
    }
}

impl<'de> Deserialize<'de> for Latencies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Latencies, D::Error> {
        let told = BTreeMap::<String, Told>::deserialize(deserializer)?;
        let mut latencies = Latencies::default();
        for (stage, told) in told {
            for (us, count) in told.histogram_us {
                latencies.add_n(&stage, us, count);
            }
        }
        Ok(latencies)
    }
}
