//! The outcome as one page that needs nothing else: no script, no font, no picture from anywhere.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::junit::escape;
use super::svg::{self, Line, Plot, Scale};
use super::{Outcome, Second};
use crate::figures::STAGES;
use crate::oracle::ORACLES;

const STYLE: &str = "
:root{color-scheme:light}
body{font:15px/1.45 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;color:#1b1f24;background:#fff;margin:0 auto;max-width:940px;padding:24px}
h1{font-size:24px;margin:0 0 4px}h2{font-size:18px;margin:34px 0 8px;border-bottom:1px solid #d8dee4;padding-bottom:4px}h3{font-size:14px;margin:18px 0 4px}
p{margin:4px 0 10px}.lead{color:#57606a}
.verdict{display:inline-block;font-weight:700;padding:4px 14px;border-radius:6px;color:#fff}.pass{background:#1a7f37}.fail{background:#b3261e}
table{border-collapse:collapse;width:100%;font-size:14px}th,td{text-align:left;padding:4px 10px 4px 0;border-bottom:1px solid #eaeef2;vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}th{color:#57606a;font-weight:600}
.bad{color:#b3261e;font-weight:600}.good{color:#1a7f37}code,pre{font:12.5px/1.4 ui-monospace,SFMono-Regular,Menlo,monospace}
pre{background:#f6f8fa;padding:10px;overflow-x:auto;border-radius:6px}svg{width:100%;height:auto;display:block}
svg text{font:12px system-ui,sans-serif;fill:#57606a}svg .axis{fill:#1b1f24}.grid{stroke:#eaeef2}.tick{stroke:#8c959f}.pole{stroke:#d0d7de}.way{stroke:#b6bec7;stroke-dasharray:3 3}
.legend span{display:inline-block;margin-right:18px;font-size:13px}.legend i{display:inline-block;width:14px;height:4px;margin-right:6px;vertical-align:middle;border-radius:2px}
.none{color:#57606a}ul{margin:4px 0 10px;padding-left:20px}td.break{overflow-wrap:anywhere}
";

impl Outcome {
    /// The whole page.
    pub fn html(&self) -> String {
        let mut page = String::new();
        self.head(&mut page);
        self.objectives(&mut page);
        self.truth(&mut page);
        self.latency(&mut page);
        self.over_time(&mut page);
        self.numbers(&mut page);
        self.worst(&mut page);
        page.push_str("</body></html>\n");
        page
    }

    fn head(&self, page: &mut String) {
        let (class, word) = if self.verdict.pass {
            ("pass", "PASS")
        } else {
            ("fail", "FAIL")
        };
        let name = escape(&self.scenario);
        // Writing to a String cannot fail, here and below.
        let _ = write!(
            page,
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
             <title>{word}: {name}</title><style>{STYLE}</style></head><body>\
             <h1>{name} <span class=\"verdict {class}\">{word}</span></h1><p>{}</p>\
             <p class=\"lead\">{} &middot; seed {} &middot; part {} &middot; began {} &middot; {} of work</p>",
            escape(&self.about),
            escape(&self.server),
            self.seed,
            escape(&self.parts.join(", ")),
            self.began,
            time(self.work_s),
        );
        list(page, "Why", &self.verdict.reasons);
        list(page, "Notes", &self.verdict.notes);
    }

    fn objectives(&self, page: &mut String) {
        page.push_str("<h2>Objectives</h2><table><tr><th>objective</th><th class=\"n\">found</th><th class=\"n\">met</th></tr>");
        for check in &self.checks {
            let (class, word) = if check.met { ("good", "yes") } else { ("bad", "no") };
            let _ = write!(
                page,
                "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n {class}\">{word}</td></tr>",
                escape(&check.objective),
                escape(&check.found)
            );
        }
        page.push_str("</table>");
    }

    fn truth(&self, page: &mut String) {
        page.push_str("<h2>Truth</h2><table><tr><th>oracle</th><th class=\"n\">findings</th></tr>");
        for (oracle, _) in ORACLES {
            let count = self.found.get(*oracle).copied().unwrap_or(0);
            let class = if count > 0 { "bad" } else { "good" };
            let _ = write!(
                page,
                "<tr><td>{oracle}</td><td class=\"n {class}\">{count}</td></tr>"
            );
        }
        page.push_str("</table>");
        if self.findings.is_empty() {
            return;
        }
        page.push_str("<h3>Findings</h3><table><tr><th>time</th><th>oracle</th><th>device</th><th>what</th><th>message, receipt</th></tr>");
        for finding in &self.findings {
            let time = finding.time.to_string();
            let clock = time.split('T').nth(1).unwrap_or(&time);
            let receipt = match (&finding.receipt, &finding.no_receipt) {
                (Some(receipt), _) => {
                    let text = serde_json::to_string_pretty(receipt).unwrap_or_default();
                    format!(
                        "<details><summary>receipt</summary><pre>{}</pre></details>",
                        escape(&text)
                    )
                }
                (None, Some(why)) => escape(why),
                (None, None) => String::new(),
            };
            let _ = write!(
                page,
                "<tr><td>{}</td><td class=\"bad\">{}</td><td>{}</td><td>{}</td><td class=\"break\"><code>{}</code> {receipt}</td></tr>",
                escape(clock),
                escape(&finding.oracle),
                escape(&finding.device),
                escape(&finding.what),
                escape(&finding.name()),
            );
        }
        page.push_str("</table>");
    }

    fn latency(&self, page: &mut String) {
        page.push_str("<h2>Latency</h2><p class=\"lead\">Each stage counts from when the message was due; <i>connect</i> from the attempt, <i>answered</i> from the arrival at the device.</p>");
        // One nine more at each step.
        let nines: Vec<f64> = (0..=50).map(|n| f64::from(n) / 10.0).collect();
        let stages = STAGES
            .iter()
            .filter_map(|stage| Some((*stage, self.latencies.0.get(*stage)?)));
        let lines = stages
            .map(|(stage, histogram)| {
                let resolved = (histogram.len().max(1) as f64).log10();
                let at = |nine: f64| histogram.value_at_quantile(1.0 - 10f64.powf(-nine)) as f64 / 1000.0;
                Line {
                    name: stage.to_owned(),
                    points: nines
                        .iter()
                        .filter(|nine| **nine <= resolved + 1e-9)
                        .map(|nine| (*nine, at(*nine)))
                        .collect(),
                }
            })
            .collect();
        let names = ["0", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"];
        let mut x_ticks: Vec<(f64, String)> = names
            .iter()
            .enumerate()
            .map(|(n, name)| (n as f64, (*name).to_owned()))
            .collect();
        x_ticks.push((std::f64::consts::LOG10_2, "50 %".to_owned()));
        let plot = Plot {
            y_name: "milliseconds",
            x_name: "part of the messages that were faster",
            scale: Scale::Log,
            lines,
            x_ticks,
        };
        page.push_str(&plot.draw());
        page.push_str("<table><tr><th>stage</th><th class=\"n\">count</th><th class=\"n\">p50 ms</th><th class=\"n\">p90</th><th class=\"n\">p99</th><th class=\"n\">p99.9</th><th class=\"n\">max</th></tr>");
        for stage in STAGES {
            let Some(histogram) = self.latencies.0.get(stage) else {
                continue;
            };
            let ms = |quantile| self.latencies.quantile(stage, quantile).unwrap_or(0) as f64 / 1000.0;
            let _ = write!(
                page,
                "<tr><td>{stage}</td><td class=\"n\">{}</td>",
                histogram.len()
            );
            for quantile in [0.5, 0.9, 0.99, 0.999, 1.0] {
                let _ = write!(page, "<td class=\"n\">{:.1}</td>", ms(quantile));
            }
            page.push_str("</tr>");
        }
        page.push_str("</table>");
    }

    fn over_time(&self, page: &mut String) {
        let over = |name: &str, of: fn(&Second) -> f64| Line {
            name: name.to_owned(),
            points: (0u32..)
                .zip(&self.seconds)
                .map(|(at, second)| (f64::from(at) - self.begin_s, of(second)))
                .collect(),
        };
        let busy = |name: &str, of: fn(&Second) -> f64| {
            let mut line = over(name, of);
            line.points.retain(|(_, value)| *value > 0.0);
            line
        };
        let x_name = "seconds since the begin of the work";
        let mut draw = |title: &str, y_name: &str, scale: Scale, lines: Vec<Line>| {
            let plot = Plot {
                y_name,
                x_name,
                scale,
                lines,
                x_ticks: Vec::new(),
            };
            let _ = write!(page, "<h2>{title}</h2>{}", plot.draw());
        };
        draw(
            "Throughput",
            "messages a second",
            Scale::Linear,
            vec![
                over("sent", |second| second.sent as f64),
                over("acknowledged", |second| second.acknowledged as f64),
                over("ended", |second| second.ended as f64),
                over("pushes delivered", |second| second.delivered as f64),
                over("refused", |second| second.refused as f64),
            ],
        );
        draw(
            "Time to PUBACK, by second",
            "milliseconds",
            Scale::Log,
            vec![
                busy("p50", |second| second.p50_ms),
                busy("p99", |second| second.p99_ms),
            ],
        );
        draw(
            "Connections",
            "connections",
            Scale::Linear,
            vec![
                over("connected", |second| second.connected as f64),
                over("connects a second", |second| second.connects as f64),
            ],
        );
        draw(
            "Presence divergence",
            "observer and device",
            Scale::Linear,
            vec![over("pairs that disagree within the second", |second| {
                second.diverging as f64
            })],
        );
        if self.seconds.iter().any(|second| second.server_resident > 0) {
            draw(
                "Server's CPU",
                "cores",
                Scale::Linear,
                vec![busy("user and system", |second| second.server_cpu)],
            );
            draw(
                "Server's memory",
                "MB resident",
                Scale::Linear,
                vec![busy("resident", |second| second.server_resident as f64 / 1e6)],
            );
        }
    }

    fn numbers(&self, page: &mut String) {
        let counts = serde_json::to_value(&self.counts).unwrap_or_default();
        let counts: BTreeMap<String, u64> = counts
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, count)| (name.replace('_', " "), count.as_u64().unwrap_or(0)))
            .collect();
        for (title, map) in [
            ("Counts", &counts),
            ("Devices by kind", &self.devices),
            ("Final statuses", &self.statuses),
            ("Refusals by code", &self.refusals),
            ("Connections that broke or did not come about", &self.troubles),
        ] {
            if map.is_empty() {
                continue;
            }
            let _ = write!(page, "<h2>{title}</h2><table>");
            for (name, count) in map {
                let _ = write!(
                    page,
                    "<tr><td>{}</td><td class=\"n\">{count}</td></tr>",
                    escape(name)
                );
            }
            page.push_str("</table>");
        }
    }

    fn worst(&self, page: &mut String) {
        if self.ladders.is_empty() {
            return;
        }
        page.push_str("<h2>Worst cases</h2><p class=\"lead\">The way of a message: times after it was due; the platform's stages by the platform's clock.</p>");
        for ladder in &self.ladders {
            let _ = write!(page, "<h3>{}</h3>", escape(&ladder.title));
            if let Some(mid) = &ladder.mid {
                let _ = write!(page, "<p class=\"lead\"><code>{}</code></p>", escape(mid));
            }
            page.push_str(&svg::ladder(ladder));
        }
    }
}

fn list(page: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let _ = write!(page, "<h3>{title}</h3><ul>");
    for line in lines {
        let _ = write!(page, "<li>{}</li>", escape(line));
    }
    page.push_str("</ul>");
}

fn time(seconds: f64) -> String {
    if seconds < 120.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{:.1} min", seconds / 60.0)
    }
}
