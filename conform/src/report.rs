//! What was tried and what came of it.

use std::fmt::{self, Write as _};

use serde::Serialize;

/// A row of a clause table: its number and its heading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Clause {
    pub number: &'static str,
    pub heading: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", content = "because", rename_all = "kebab-case")]
pub enum Verdict {
    Pass,
    Fail(String),
    /// What it takes to look was not there; says what.
    NotTried(String),
}

/// One check of one clause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub clause: &'static str,
    pub check: &'static str,
    #[serde(flatten)]
    pub verdict: Verdict,
    pub took_ms: u64,
}

/// All findings, in the order of the clauses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What was under test.
    pub subject: String,
    pub pass: bool,
    pub clauses: Vec<Clause>,
    pub findings: Vec<Finding>,
    /// What does not count for the verdict, such as something that could not be cleaned up.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Report {
    pub fn new(subject: String, clauses: &[Clause], findings: Vec<Finding>, notes: Vec<String>) -> Report {
        Report {
            subject,
            pass: !findings.iter().any(|finding| finding.verdict.is_fail()),
            clauses: clauses.to_vec(),
            findings,
            notes,
        }
    }

    fn of(&self, clause: &str) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(move |finding| finding.clause == clause)
    }

    /// How a clause stands: it fails with one check, and passes when one passes and none fails.
    pub fn clause(&self, number: &str) -> &'static str {
        let any = |is: fn(&Verdict) -> bool| self.of(number).any(|finding| is(&finding.verdict));
        if any(Verdict::is_fail) {
            "FAIL"
        } else if any(|verdict| *verdict == Verdict::Pass) {
            "pass"
        } else {
            "-"
        }
    }

    /// The numbers of the clauses that fail.
    pub fn failing(&self) -> Vec<&'static str> {
        let numbers = self.clauses.iter().map(|clause| clause.number);
        numbers.filter(|number| self.clause(number) == "FAIL").collect()
    }
}

impl Verdict {
    pub fn is_fail(&self) -> bool {
        matches!(self, Verdict::Fail(_))
    }
}

/// For people: each clause with its checks, then one line with the sum.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.subject)?;
        for clause in &self.clauses {
            let stands = self.clause(clause.number);
            writeln!(f, "\n{stands:<4}  {:<7}{}", clause.number, clause.heading)?;
            for finding in self.of(clause.number) {
                let (word, because) = match &finding.verdict {
                    Verdict::Pass => ("pass", None),
                    Verdict::Fail(because) => ("FAIL", Some(because)),
                    Verdict::NotTried(because) => ("-", Some(because)),
                };
                writeln!(f, "      {word:<5}{} ({} ms)", finding.check, finding.took_ms)?;
                if let Some(because) = because {
                    writeln!(f, "           {because}")?;
                }
            }
        }
        for note in &self.notes {
            writeln!(f, "\nnote: {note}")?;
        }
        f.write_char('\n')?;
        let count = |stands: &str| {
            let clauses = self.clauses.iter();
            clauses
                .filter(|clause| self.clause(clause.number) == stands)
                .count()
        };
        let verdict = if self.pass { "PASS" } else { "FAIL" };
        write!(
            f,
            "{verdict}: {} clauses pass, {} fail, {} were not tried",
            count("pass"),
            count("FAIL"),
            count("-")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(verdicts: &[(&'static str, Verdict)]) -> Report {
        let clause = |number| Clause {
            number,
            heading: "something",
        };
        let finding = |(clause, verdict): &(&'static str, Verdict)| Finding {
            clause,
            check: "it works",
            verdict: verdict.clone(),
            took_ms: 7,
        };
        let findings = verdicts.iter().map(finding).collect();
        Report::new(
            "x".into(),
            &[clause("1"), clause("2"), clause("3")],
            findings,
            Vec::new(),
        )
    }

    #[test]
    fn one_failing_check_fails_its_clause_and_the_report() {
        let fail = || Verdict::Fail("expected 1, found 2".into());
        let not = || Verdict::NotTried("no hook".into());
        let told = report(&[
            ("1", Verdict::Pass),
            ("1", fail()),
            ("2", Verdict::Pass),
            ("2", not()),
        ]);
        assert!(!told.pass);
        assert_eq!(told.failing(), ["1"]);
        assert_eq!((told.clause("2"), told.clause("3")), ("pass", "-"));
        let text = told.to_string();
        assert!(
            text.contains("expected 1, found 2") && text.contains("no hook"),
            "{text}"
        );
        assert!(
            text.ends_with("FAIL: 1 clauses pass, 1 fail, 1 were not tried"),
            "{text}"
        );
        assert!(report(&[("1", Verdict::Pass), ("2", not())]).pass);
    }

    #[test]
    fn json_has_the_verdict_as_a_word_and_its_reason_beside_it() {
        let told = report(&[("1", Verdict::Fail("why".into()))]);
        let json = serde_json::to_value(&told).unwrap();
        assert_eq!(json["findings"][0]["verdict"], "fail");
        assert_eq!(json["findings"][0]["because"], "why");
        assert_eq!(json["pass"], false);
    }
}
