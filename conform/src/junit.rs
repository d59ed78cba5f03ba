//! A report as JUnit XML: each check is a test case of its clause, so that a CI shows which one failed.

use std::fmt::Write as _;

use crate::report::{Report, Verdict};

/// The whole document.
pub fn junit(report: &Report) -> String {
    let count = |is: fn(&Verdict) -> bool| {
        let findings = report.findings.iter();
        findings.filter(|finding| is(&finding.verdict)).count()
    };
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\">\n",
        escape(&report.subject),
        report.findings.len(),
        count(Verdict::is_fail),
        count(|verdict| matches!(verdict, Verdict::NotTried(_))),
    );
    for finding in &report.findings {
        let inner = match &finding.verdict {
            Verdict::Pass => String::new(),
            Verdict::Fail(because) => format!("<failure message=\"{}\"/>", escape(because)),
            Verdict::NotTried(because) => format!("<skipped message=\"{}\"/>", escape(because)),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            xml,
            "  <testcase classname=\"{}\" name=\"{}\" time=\"{}.{:03}\">{inner}</testcase>",
            escape(finding.clause),
            escape(finding.check),
            finding.took_ms / 1000,
            finding.took_ms % 1000,
        );
    }
    xml.push_str("</testsuite>\n");
    xml
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // XML 1.0 has no place for most control characters.
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Clause, Finding};

    #[test]
    fn each_check_is_a_case_and_texts_are_escaped() {
        let clause = Clause {
            number: "8.3.1",
            heading: "upload",
        };
        let finding = |verdict| Finding {
            clause: "8.3.1",
            check: "stored once",
            verdict,
            took_ms: 1_002,
        };
        let findings = vec![
            finding(Verdict::Pass),
            finding(Verdict::Fail("expected <1>, found \"2\"\u{7}".into())),
            finding(Verdict::NotTried("no & no".into())),
        ];
        let xml = junit(&Report::new("mqtt://h".into(), &[clause], findings, Vec::new()));
        assert!(xml.contains("tests=\"3\" failures=\"1\" skipped=\"1\""), "{xml}");
        assert!(
            xml.contains("<failure message=\"expected &lt;1&gt;, found &quot;2&quot; \"/>"),
            "{xml}"
        );
        assert!(
            xml.contains("classname=\"8.3.1\" name=\"stored once\" time=\"1.002\"></testcase>"),
            "{xml}"
        );
    }
}
