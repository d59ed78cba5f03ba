//! The report of a run for a person.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Latency, Report, total};

impl Report {
    /// The report for a person.
    pub fn table(&self) -> String {
        let mut table = Table::default();
        let (devices, uploads) = (&self.devices, &self.uploads);
        table.line(
            "devices",
            &format!("{} of {} connected", devices.connected, devices.planned),
        );
        table.counts("  refused", &devices.refused);
        table.counts("  unreachable", &devices.unreachable);
        table.counts("  no status allowed", &devices.subscriptions_refused);
        table.counts("  broken", &devices.broken);
        table.line("  reconnected", &devices.reconnected.to_string());
        table.line("uploads planned", &uploads.planned.to_string());
        table.line(
            "  sent",
            &format!("{} ({:.0}/s)", uploads.sent, uploads.sent_per_second),
        );
        table.line("  sent again", &uploads.resent.to_string());
        table.line("  acknowledged", &uploads.acknowledged.to_string());
        table.line("  unacknowledged", &uploads.unacknowledged.to_string());
        table.counts("  refused", &uploads.refused);
        if let Some(statuses) = &self.statuses {
            table.line("statuses", &total(&statuses.received).to_string());
            table.counts("  ", &statuses.received);
            table.line("  missing", &statuses.missing.to_string());
        }
        match &self.store {
            Some(store) => {
                table.line("stored", &store.stored.to_string());
                table.line("  lost", &store.lost.to_string());
                table.line("  duplicated", &store.duplicated.to_string());
                table.line("  never sent", &store.invented.to_string());
                for finding in &store.findings {
                    let device = finding.device.as_deref().unwrap_or("no device");
                    let text = format!(
                        "n={} of {device}, sent {} times, stored {} times",
                        finding.n, finding.sent, finding.stored
                    );
                    table.line(&format!("    {}", finding.fault.as_str()), &text);
                }
            }
            None => table.line("stored", "not looked at"),
        }
        table.latency("connect", self.latency_ms.connect);
        table.latency("to acknowledged", self.latency_ms.acknowledged);
        table.latency("to status", self.latency_ms.status);
        for note in &self.verdict.notes {
            table.line("note", note);
        }
        for reason in &self.verdict.reasons {
            table.line("reason", reason);
        }
        table.line("verdict", if self.verdict.pass { "PASS" } else { "FAIL" });
        table.0
    }
}

/// Lines of a name and a value. Writing to a string cannot fail, so the results say nothing.
#[derive(Default)]
struct Table(String);

impl Table {
    fn line(&mut self, name: &str, value: &str) {
        let _ = writeln!(self.0, "{name:22}{value}");
    }

    fn counts(&mut self, name: &str, counts: &BTreeMap<String, u64>) {
        for (key, count) in counts {
            self.line(name, &format!("{count}  {key}"));
        }
    }

    fn latency(&mut self, name: &str, latency: Option<Latency>) {
        if let Some(l) = latency {
            self.line(
                name,
                &format!(
                    "p50 {:.1}  p90 {:.1}  p99 {:.1}  p99.9 {:.1}  max {:.1} ms",
                    l.p50, l.p90, l.p99, l.p999, l.max
                ),
            );
        }
    }
}
