//! From what was seen to the outcome: the story is told, the oracles are asked, receipts are fetched.

use std::collections::BTreeMap;
use std::time::Duration;

use irsp_protocol::{MessageId, Timestamp};

use crate::cast::Role;
use crate::director::Played;
use crate::figures::Figures;
use crate::message;
use crate::observation::{Moment, Number};
use crate::oracle::{self, Finding};
use crate::platform::Api;
use crate::scenario::Scenario;
use crate::story::{Rules, Story};

use super::{FINDINGS_MAX, Found, Ladder, Outcome, Verdict};

/// Receipts fetched for findings, the first ones.
const RECEIPTS_MAX: usize = 100;

/// Which run an outcome is of.
#[derive(Clone, Debug)]
pub struct Run {
    pub scenario: String,
    pub server: String,
    pub seed: u64,
    pub part: String,
}

impl Outcome {
    /// Judges what was seen.
    pub async fn of(run: Run, scenario: &Scenario, played: Played) -> Outcome {
        let store_read = !played.unasked.iter().any(|why| why.contains("store"));
        let rules = Rules::new(scenario, &played.cast, store_read);
        let times = (played.begin, played.cease, played.quiet);
        let story = Story::tell(
            &played.cast,
            &played.logs,
            &played.stored,
            &played.online,
            times,
            rules,
        );
        let findings = oracle::ask(&story);
        let figures = Figures::of(&story, &played.usage);
        let mut found = BTreeMap::new();
        for finding in &findings {
            *found.entry(finding.oracle.to_owned()).or_insert(0) += 1;
        }
        let began = Timestamp::from(played.began_at);
        let time = |at: Moment| {
            let zero = began.as_millis() - (played.begin / 1000) as i64;
            Timestamp::from_millis(zero + (at / 1000) as i64)
        };
        let mut told = Vec::new();
        for (n, finding) in findings.iter().take(FINDINGS_MAX).enumerate() {
            let mut one = Found {
                oracle: finding.oracle.to_owned(),
                what: finding.what.clone(),
                device: played.cast.name(finding.device),
                time: time(finding.at),
                message: finding.message.map(|Number(n)| n),
                sender_id: finding.message.map(|Number(n)| message::id(&played.run, n)),
                mid: finding.mid.map(|mid| mid.to_string()),
                receipt: None,
                no_receipt: None,
            };
            // `live` messages and wills have none.
            let has_receipt = finding
                .message
                .is_none_or(|number| !story.words.contains_key(&number));
            if n < RECEIPTS_MAX && has_receipt {
                receipt(&played.api, &played.run, finding, &mut one).await;
            }
            told.push(one);
        }
        let mut ladders = Ladder::worst(&story, &findings);
        for ladder in &mut ladders {
            if let Some(mid) = &ladder.mid
                && let Ok(receipt) = played.api.receipt(mid).await
            {
                ladder.join(&receipt, time(0));
            }
        }
        let mut devices = BTreeMap::new();
        for (_, member) in played.cast.parties() {
            if let Role::Device { kind } = member.role {
                *devices.entry(scenario.devices[kind].kind.clone()).or_insert(0) += 1;
            }
        }
        let outcome = Outcome {
            scenario: run.scenario,
            about: scenario.about.clone(),
            server: run.server,
            seed: run.seed,
            runs: vec![played.run.clone()],
            parts: vec![run.part],
            began,
            begin_s: played.begin as f64 / 1e6,
            work_s: Duration::from_micros(played.cease - played.begin.min(played.cease)).as_secs_f64(),
            devices,
            counts: figures.counts,
            statuses: figures.statuses,
            refusals: figures.refusals,
            troubles: played.troubles.clone(),
            latencies: figures.latencies,
            seconds: figures.seconds,
            found,
            findings: told,
            ladders,
            objectives: scenario.slo.clone(),
            checks: Vec::new(),
            unasked: played.unasked.clone(),
            interrupted: played.interrupted,
            verdict: Verdict::default(),
        };
        outcome.judge()
    }
}

/// The receipt of a finding's message: by its id, else by the sender's id among the device's newest receipts.
async fn receipt(api: &Api, run: &str, finding: &Finding, found: &mut Found) {
    let asked = match (finding.mid, finding.message) {
        (Some(mid), _) => api.receipt(&mid.to_string()).await.map(Some),
        (None, Some(Number(n))) => {
            let receipts = api.receipts(&found.device).await;
            let id = message::id(run, n);
            receipts.map(|receipts| receipts.into_iter().find(|receipt| receipt["sender_id"] == id))
        }
        (None, None) => return,
    };
    match asked {
        Ok(Some(receipt)) => {
            found.mid = found.mid.take().or_else(|| {
                let id = receipt["id"].as_str()?;
                id.parse::<MessageId>().ok().map(|id| id.to_string())
            });
            found.receipt = Some(receipt);
        }
        Ok(None) => found.no_receipt = Some("the platform has no receipt of it".to_owned()),
        Err(error) => found.no_receipt = Some(error.to_string()),
    }
}
