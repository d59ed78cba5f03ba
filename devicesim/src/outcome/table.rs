//! The outcome for a person at a terminal.

use super::Outcome;
use crate::figures::STAGES;

/// Findings shown one by one.
const SHOWN: usize = 20;

impl Outcome {
    pub fn table(&self) -> String {
        let mut lines = Vec::new();
        let mut line = |name: &str, value: String| lines.push(format!("{name:<22} {value}"));
        let counts = &self.counts;
        line(
            "scenario",
            format!(
                "{} (seed {}, part {})",
                self.scenario,
                self.seed,
                self.parts.join(" ")
            ),
        );
        let kinds: Vec<String> = self
            .devices
            .iter()
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        line(
            "members",
            format!(
                "{} of {} connected: {}",
                counts.connected,
                counts.members,
                kinds.join(", ")
            ),
        );
        line(
            "connections",
            format!(
                "{} made, {} refused, {} failed, {} ended by the server",
                counts.connections,
                counts.connections_refused,
                counts.connections_failed,
                counts.connections_ended_by_server
            ),
        );
        line(
            "uploads",
            format!(
                "{} sent ({:.0}/s), {} accepted, {} refused, {} done, {} stored",
                counts.uploads_sent,
                counts.uploads_sent as f64 / self.work_s.max(0.001),
                counts.uploads_accepted,
                counts.uploads_refused,
                counts.uploads_done,
                counts.uploads_stored
            ),
        );
        line(
            "pushes",
            format!(
                "{} sent, {} accepted, {} refused, {} delivered, {} done, {} expired",
                counts.pushes_sent,
                counts.pushes_accepted,
                counts.pushes_refused,
                counts.pushes_delivered,
                counts.pushes_done,
                counts.pushes_expired
            ),
        );
        for (title, map) in [
            ("statuses", &self.statuses),
            ("refusals", &self.refusals),
            ("troubles", &self.troubles),
        ] {
            for (name, count) in map {
                line(title, format!("{count} {name}"));
            }
        }
        for stage in STAGES {
            let ms = |quantile| self.latencies.quantile(stage, quantile).unwrap_or(0) as f64 / 1000.0;
            if let Some(count) = self.latencies.0.get(stage).map(hdrhistogram::Histogram::len) {
                line(
                    &format!("{stage} ms"),
                    format!(
                        "p50 {:.1}  p90 {:.1}  p99 {:.1}  p99.9 {:.1}  max {:.1}  of {count}",
                        ms(0.5),
                        ms(0.9),
                        ms(0.99),
                        ms(0.999),
                        ms(1.0)
                    ),
                );
            }
        }
        for finding in self.findings.iter().take(SHOWN) {
            line(
                &format!("found: {}", finding.oracle),
                format!("{}: {}", finding.place(), finding.what),
            );
        }
        for check in &self.checks {
            line(
                if check.met {
                    "objective met"
                } else {
                    "objective MISSED"
                },
                format!("{}: {}", check.objective, check.found),
            );
        }
        for note in &self.verdict.notes {
            line("note", note.clone());
        }
        for reason in &self.verdict.reasons {
            line("reason", reason.clone());
        }
        line(
            "verdict",
            if self.verdict.pass { "PASS" } else { "FAIL" }.to_owned(),
        );
        lines.join("\n") + "\n"
    }
}
