//! The comparison as a table in Markdown: medians with their spread, and ratios paired by round.

use super::{Compared, Comparison};
use crate::engine::Measured;

/// A figure of a case.
struct Column {
    name: &'static str,
    of: fn(&Measured) -> Option<f64>,
    digits: usize,
}

/// Which figures say something of a case.
fn columns(case: &str) -> Vec<Column> {
    let column = |name, digits, of| Column { name, of, digits };
    let resident = column("server MB", 1, |measured| measured.server_resident_mb);
    if case == "idle" {
        return vec![
            column("bytes a connection", 0, |measured| {
                measured.server_bytes_per_connection
            }),
            column("server CPU", 4, |measured| measured.server_cpu),
            resident,
        ];
    }
    if case == "connect" {
        return vec![
            column("connects/s", 0, |measured| Some(measured.connects_per_second)),
            column("p50 ms", 2, |measured| measured.connect_ms.map(|ms| ms.p50)),
            column("p99 ms", 2, |measured| measured.connect_ms.map(|ms| ms.p99)),
        ];
    }
    if case == "reset" {
        return vec![
            column("new client served after ms", 1, |measured| measured.served_ms),
            column("connects/s", 0, |measured| Some(measured.connects_per_second)),
            resident,
        ];
    }
    let mut columns = vec![
        column("received/s", 0, |measured| Some(measured.received_per_second)),
        column("µs CPU/message", 2, |measured| {
            measured.server_cpu_us_per_message
        }),
    ];
    if !case.ends_with("qos0") {
        columns.extend([
            column("acknowledged/s", 0, |measured| {
                Some(measured.acknowledged_per_second)
            }),
            column("PUBACK p99 ms", 2, |measured| {
                measured.acknowledged_ms.map(|ms| ms.p99)
            }),
        ]);
    }
    columns.extend([
        column("p50 ms", 2, |measured| measured.received_ms.map(|ms| ms.p50)),
        column("p99 ms", 2, |measured| measured.received_ms.map(|ms| ms.p99)),
        column("missing", 0, |measured| Some(measured.missing as f64)),
        column("broken", 0, |measured| Some(measured.broken as f64)),
        resident,
    ]);
    columns
}

impl Comparison {
    pub fn table(&self) -> String {
        let mut text = format!(
            "{} rounds of {} s, {} bytes; median (lowest..highest). Ratio: {} divided by the other, paired by round.\n",
            self.rounds,
            self.seconds,
            self.payload,
            self.targets.first().map_or("", String::as_str)
        );
        for compared in &self.cases {
            text.push_str(&format!("\n{}\n\n", compared.case));
            text.push_str(&self.case(compared));
        }
        for trouble in &self.troubles {
            text.push_str(&format!("\n{trouble}\n"));
        }
        text
    }

    fn case(&self, compared: &Compared) -> String {
        let columns = columns(&compared.case);
        let mut head = vec!["server".to_owned()];
        head.extend(columns.iter().map(|column| column.name.to_owned()));
        let mut rows = vec![head];
        let values = |target: &String, column: &Column| -> Vec<Option<f64>> {
            let measured = compared
                .measured
                .get(target)
                .map(Vec::as_slice)
                .unwrap_or_default();
            measured.iter().map(column.of).collect()
        };
        for target in &self.targets {
            let mut row = vec![target.clone()];
            row.extend(
                columns
                    .iter()
                    .map(|column| spread(&known(&values(target, column)), column.digits)),
            );
            rows.push(row);
        }
        if let Some((first, others)) = self.targets.split_first() {
            for other in others {
                let mut row = vec![format!("{first} / {other}")];
                row.extend(columns.iter().map(|column| {
                    let ratios: Vec<f64> = values(first, column)
                        .iter()
                        .zip(values(other, column))
                        .filter_map(|(ours, theirs)| ours.zip(theirs.filter(|theirs| *theirs > 0.0)))
                        .map(|(ours, theirs)| ours / theirs)
                        .collect();
                    spread(&ratios, 2)
                }));
                rows.push(row);
            }
        }
        markdown(&rows)
    }
}

/// Without the rounds that have none.
fn known(values: &[Option<f64>]) -> Vec<f64> {
    values.iter().flatten().copied().collect()
}

/// Median, lowest and highest.
fn spread(values: &[f64], digits: usize) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (Some(lowest), Some(highest)) = (sorted.first(), sorted.last()) else {
        return "-".to_owned();
    };
    let middle = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    };
    if lowest == highest {
        return format!("{median:.digits$}");
    }
    format!("{median:.digits$} ({lowest:.digits$}..{highest:.digits$})")
}

fn markdown(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (n, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
        if n == 0 {
            let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            text.push_str(&format!("|-{}-|\n", rule.join("-|-")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn ratios_are_paired_by_round() {
        let measured = |rates: [f64; 3]| {
            rates
                .map(|rate| Measured {
                    received_per_second: rate,
                    ..Measured::default()
                })
                .to_vec()
        };
        let comparison = Comparison {
            targets: vec!["ours".to_owned(), "theirs".to_owned()],
            rounds: 3,
            seconds: 1.0,
            payload: 64,
            troubles: vec!["theirs, x: nothing was received".to_owned()],
            cases: vec![Compared {
                case: "pairs-saturated-qos0".to_owned(),
                measured: HashMap::from([
                    ("ours".to_owned(), measured([200.0, 300.0, 600.0])),
                    ("theirs".to_owned(), measured([100.0, 100.0, 300.0])),
                ]),
            }],
        };
        let table = comparison.table();
        assert!(table.contains("| ours          | 300 (200..600)"), "{table}");
        assert!(table.contains("| ours / theirs | 2.00 (2.00..3.00)"), "{table}");
        // Latencies were not measured.
        assert!(!table.contains("0.00"), "{table}");
        assert!(table.ends_with("nothing was received\n"), "{table}");
        assert_eq!(spread(&[1.0, 2.0], 1), "1.5 (1.0..2.0)");
        assert_eq!(spread(&[], 1), "-");
    }
}
