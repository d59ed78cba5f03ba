//! Service-level objectives: what a scenario expects of a platform beside the truth.

use serde::{Deserialize, Serialize};

use crate::figures::counts::Counts;
use crate::figures::latencies::{Latencies, STAGES};
use crate::scenario::span::Span;

/// Objectives of a scenario. What is not named is not asked for; that everybody connects and every message ends well is
/// always asked for, unless a lower fraction is named.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Slo {
    /// From the attempt to CONNACK.
    pub connect: Option<Percentiles>,
    /// From when an upload was due to its PUBACK or PUBCOMP.
    pub acknowledged: Option<Percentiles>,
    /// ... to the application.
    pub application: Option<Percentiles>,
    /// ... to its final status.
    pub status: Option<Percentiles>,
    /// From when a push was due to when it was accepted.
    pub accepted: Option<Percentiles>,
    /// ... to its device.
    pub delivered: Option<Percentiles>,
    /// From a push's arrival at its device to when its answer was taken.
    pub answered: Option<Percentiles>,
    /// From when a push was due to its final status.
    pub ended: Option<Percentiles>,
    /// Fraction of the members that connect.
    pub connected_min: Option<f64>,
    /// Fraction of the uploads sent, and not refused, that are done.
    pub uploads_done_min: Option<f64>,
    /// Fraction of the pushes sent, and not refused, that are delivered.
    pub pushes_delivered_min: Option<f64>,
    /// ... that are done: ended with 200.
    pub pushes_done_min: Option<f64>,
    /// Fraction of all messages that may be refused.
    pub refused_max: Option<f64>,
    /// Uploads a second that are acknowledged.
    pub uploads_per_second_min: Option<f64>,
}

/// Upper bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Percentiles {
    pub p50: Option<Span>,
    pub p90: Option<Span>,
    pub p99: Option<Span>,
    pub p999: Option<Span>,
    pub max: Option<Span>,
}

/// One objective and what was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    pub objective: String,
    pub found: String,
    pub met: bool,
}

impl Slo {
    /// The first objective that nothing can meet, or that everything does: its name and why.
    pub fn impossible(&self) -> Option<(String, String)> {
        let fractions = [
            ("connected_min", self.connected_min),
            ("uploads_done_min", self.uploads_done_min),
            ("pushes_delivered_min", self.pushes_delivered_min),
            ("pushes_done_min", self.pushes_done_min),
            ("refused_max", self.refused_max),
        ];
        for (name, fraction) in fractions {
            if let Some(fraction) = fraction.filter(|fraction| !(0.0..=1.0).contains(fraction)) {
                return Some((
                    format!("slo.{name}"),
                    format!("{fraction} is not between 0 and 1"),
                ));
            }
        }
        if let Some(rate) = self
            .uploads_per_second_min
            .filter(|rate| !(0.0..=1e6).contains(rate))
        {
            let what = format!("{rate} is not between 0 and 1000000");
            return Some(("slo.uploads_per_second_min".to_owned(), what));
        }
        for (stage, wanted) in STAGES.iter().zip(self.stages()) {
            let Some(wanted) = wanted else { continue };
            let bounds = [
                ("p50", wanted.p50),
                ("p90", wanted.p90),
                ("p99", wanted.p99),
                ("p999", wanted.p999),
                ("max", wanted.max),
            ];
            let zero = bounds.iter().find(|(_, bound)| *bound == Some(Span::default()));
            if let Some((name, _)) = zero {
                return Some((
                    format!("slo.{stage}.{name}"),
                    "expected a time above 0".to_owned(),
                ));
            }
        }
        None
    }

    fn stages(&self) -> [Option<Percentiles>; 8] {
        [
            self.connect,
            self.acknowledged,
            self.application,
            self.status,
            self.accepted,
            self.delivered,
            self.answered,
            self.ended,
        ]
    }

    /// Holds the figures against every objective that was named.
    pub fn check(&self, counts: &Counts, latencies: &Latencies, work_s: f64) -> Vec<Check> {
        let mut checks = Vec::new();
        for (stage, wanted) in STAGES.iter().zip(self.stages()) {
            let Some(wanted) = wanted else {
                continue;
            };
            let bounds = [
                ("p50", 0.5, wanted.p50),
                ("p90", 0.9, wanted.p90),
                ("p99", 0.99, wanted.p99),
                ("p999", 0.999, wanted.p999),
                ("max", 1.0, wanted.max),
            ];
            for (name, quantile, bound) in bounds {
                let Some(bound) = bound else {
                    continue;
                };
                let found = latencies.quantile(stage, quantile);
                checks.push(Check {
                    objective: format!("{stage} {name} <= {bound}"),
                    found: found.map_or_else(
                        || "nothing measured".to_owned(),
                        |us| format!("{:.1} ms", us as f64 / 1000.0),
                    ),
                    // What was not measured has not been shown to be met.
                    met: found.is_some_and(|us| us <= bound.as_micros()),
                });
            }
        }
        checks.extend(self.fractions(counts, work_s));
        checks
    }

    /// What is refused with a code of its own, or was taken away by the run, is set apart; all else that was sent counts.
    fn fractions(&self, counts: &Counts, work_s: f64) -> Vec<Check> {
        let uploads =
            counts.uploads_sent - (counts.uploads_refused + counts.uploads_excused).min(counts.uploads_sent);
        let pushes =
            counts.pushes_sent - (counts.pushes_refused + counts.pushes_excused).min(counts.pushes_sent);
        let sent = counts.uploads_sent + counts.pushes_sent;
        let refused = counts.uploads_refused + counts.pushes_refused;
        let rate = counts.uploads_accepted as f64 / work_s.max(0.001);
        // Not asked for, and nothing to be done.
        let done = self.uploads_done_min.or((counts.uploads_sent > 0).then_some(1.0));
        [
            least(
                "connected",
                self.connected_min.or(Some(1.0)),
                fraction(counts.connected, counts.members),
            ),
            least("uploads done", done, fraction(counts.uploads_done, uploads)),
            least(
                "pushes delivered",
                self.pushes_delivered_min,
                fraction(counts.pushes_delivered, pushes),
            ),
            least(
                "pushes done",
                self.pushes_done_min,
                fraction(counts.pushes_done, pushes),
            ),
            least("uploads a second", self.uploads_per_second_min, Some(rate)),
            most("refused", self.refused_max, fraction(refused, sent)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

fn fraction(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn least(name: &str, bound: Option<f64>, found: Option<f64>) -> Option<Check> {
    bound.map(|bound| Check {
        objective: format!("{name} >= {bound}"),
        found: told(found),
        // What was not measured has not been shown to be met.
        met: found.is_some_and(|found| found >= bound),
    })
}

fn most(name: &str, bound: Option<f64>, found: Option<f64>) -> Option<Check> {
    bound.map(|bound| Check {
        objective: format!("{name} <= {bound}"),
        found: told(found),
        met: found.is_some_and(|found| found <= bound),
    })
}

fn told(found: Option<f64>) -> String {
    found.map_or_else(
        || "nothing was sent that counts".to_owned(),
        |found| format!("{found:.5}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slo(text: &str) -> Slo {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn what_nothing_can_meet_is_refused() {
        for (text, place) in [
            ("connected_min = 1.5", "slo.connected_min"),
            ("refused_max = -0.1", "slo.refused_max"),
            ("uploads_done_min = nan", "slo.uploads_done_min"),
            ("uploads_per_second_min = inf", "slo.uploads_per_second_min"),
            ("status = { p99 = \"0s\" }", "slo.status.p99"),
        ] {
            assert_eq!(slo(text).impossible().unwrap().0, place);
        }
        assert_eq!(
            slo("connected_min = 1.0\nstatus = { p99 = \"1s\" }").impossible(),
            None
        );
    }

    #[test]
    fn fractions_are_of_what_was_sent_and_not_refused() {
        let asked = slo(
            "uploads_done_min = 0.9\npushes_delivered_min = 0.9\npushes_done_min = 0.9\nrefused_max = 0.5",
        );
        let met = |counts: &Counts| {
            let checks = asked.check(counts, &Latencies::default(), 10.0);
            checks[1..].iter().map(|check| check.met).collect::<Vec<_>>()
        };
        let members = Counts {
            members: 1,
            connected: 1,
            ..Counts::default()
        };
        // Nothing sent, nothing shown.
        assert_eq!(met(&members), [false; 4]);
        let sent = Counts {
            uploads_sent: 100,
            uploads_accepted: 50,
            uploads_done: 50,
            pushes_sent: 100,
            pushes_accepted: 50,
            pushes_delivered: 50,
            pushes_done: 50,
            ..members.clone()
        };
        assert_eq!(met(&sent), [false, false, false, true]);
        let refused = Counts {
            uploads_refused: 50,
            pushes_refused: 30,
            pushes_excused: 20,
            ..sent
        };
        assert_eq!(met(&refused), [true; 4]);
        assert_eq!(slo("").check(&members, &Latencies::default(), 10.0).len(), 1);
    }

    #[test]
    fn each_objective_is_held_against_its_figure() {
        let mut latencies = Latencies::default();
        for us in 1..=1000 {
            latencies.add("acknowledged", us * 100);
        }
        let counts = Counts {
            members: 10,
            connected: 9,
            uploads_sent: 1000,
            uploads_accepted: 1000,
            uploads_done: 990,
            uploads_refused: 2,
            ..Counts::default()
        };
        let checks = slo("acknowledged = { p50 = \"60ms\", p99 = \"90ms\" }\nstatus = { max = \"1s\" }\nuploads_done_min = 0.99\nrefused_max = 0.001")
            .check(&counts, &latencies, 10.0);
        let met: Vec<(&str, bool)> = checks
            .iter()
            .map(|check| (check.objective.as_str(), check.met))
            .collect();
        assert_eq!(
            met,
            [
                ("acknowledged p50 <= 60ms", true),
                ("acknowledged p99 <= 90ms", false),
                ("status max <= 1s", false),
                ("connected >= 1", false),
                ("uploads done >= 0.99", true),
                ("uploads a second >= 0", true),
                ("refused <= 0.001", false),
            ]
            .into_iter()
            .filter(|(name, _)| *name != "uploads a second >= 0")
            .collect::<Vec<_>>()
        );
    }
}
