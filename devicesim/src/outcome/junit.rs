//! The outcome as JUnit XML: each oracle and each objective is a test case, so that a CI shows which one failed.

use std::fmt::Write as _;

use super::Outcome;
use crate::oracle::ORACLES;

impl Outcome {
    pub fn junit(&self) -> String {
        let mut cases = Vec::new();
        for (oracle, _) in ORACLES {
            let found: Vec<String> = self
                .findings
                .iter()
                .filter(|finding| finding.oracle == *oracle)
                .map(|finding| format!("{}: {}", finding.place(), finding.what))
                .collect();
            let count = self.found.get(*oracle).copied().unwrap_or(0);
            let failure = (count > 0).then(|| (format!("{count} found"), found.join("\n")));
            cases.push(("truth", (*oracle).to_owned(), failure));
        }
        for check in &self.checks {
            let failure = (!check.met).then(|| (format!("found {}", check.found), String::new()));
            cases.push(("objective", check.objective.clone(), failure));
        }
        let other: Vec<&String> = self
            .verdict
            .reasons
            .iter()
            .filter(|reason| self.is_other(reason))
            .collect();
        let failure = other.first().map(|first| {
            let all: Vec<&str> = other.iter().map(|reason| reason.as_str()).collect();
            ((*first).clone(), all.join("\n"))
        });
        cases.push(("run", "complete".to_owned(), failure));
        let failures = cases.iter().filter(|(.., failure)| failure.is_some()).count();
        let mut xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" time=\"{:.3}\" timestamp=\"{}\">\n",
            escape(&self.scenario),
            cases.len(),
            self.work_s,
            self.began,
        );
        for (class, name, failure) in cases {
            let head = format!(
                "  <testcase classname=\"{}.{class}\" name=\"{}\"",
                escape(&self.scenario),
                escape(&name)
            );
            // Writing to a String cannot fail.
            let _ = match failure {
                None => writeln!(xml, "{head}/>"),
                Some((message, text)) => writeln!(
                    xml,
                    "{head}>\n    <failure message=\"{}\">{}</failure>\n  </testcase>",
                    escape(&message),
                    escape(&text)
                ),
            };
        }
        xml.push_str("</testsuite>\n");
        xml
    }

    /// Reasons that are no oracle's and no objective's.
    fn is_other(&self, reason: &str) -> bool {
        let oracle = ORACLES
            .iter()
            .any(|(oracle, _)| reason.starts_with(&format!("{oracle}: ")));
        !oracle && !reason.starts_with("objective missed")
    }
}

/// For XML and HTML: text and attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(c),
            // XML 1.0 has no place for other control characters.
            c if c.is_control() => escaped.push('\u{FFFD}'),
            c => escaped.push(c),
        }
    }
    escaped
}
