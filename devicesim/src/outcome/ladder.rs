//! The way of one message, rung by rung: what the simulator saw, and what the platform's receipt says.

use std::collections::BTreeSet;

use irsp_protocol::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::observation::{Kind, Moment};
use crate::oracle::Finding;
use crate::story::{Message, Story};

/// Messages drawn because they were found, and because they were slow.
const FOUND_MAX: usize = 8;
const SLOW_MAX: usize = 3;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ladder {
    pub title: String,
    pub mid: Option<String>,
    /// When it was due, in milliseconds since moment zero.
    pub due_ms: f64,
    pub rungs: Vec<Rung>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rung {
    /// Milliseconds after it was due; by the platform's clock where the platform says so.
    pub at_ms: f64,
    pub what: String,
    /// `simulator`, or a server of the platform.
    pub by: String,
}

impl Ladder {
    /// The messages of the first findings, and the slowest of each kind.
    pub(super) fn worst(story: &Story<'_>, findings: &[Finding]) -> Vec<Ladder> {
        let mut drawn = BTreeSet::new();
        let mut ladders = Vec::new();
        for finding in findings {
            let Some(message) = finding.message.and_then(|number| story.messages.get(&number)) else {
                continue;
            };
            if ladders.len() < FOUND_MAX && drawn.insert(message.number) {
                ladders.push(Ladder::of(
                    story,
                    message,
                    &format!("{}: {}", finding.oracle, finding.what),
                ));
            }
        }
        for (kind, name) in [(Kind::Upload, "slow upload"), (Kind::Push, "slow push")] {
            let mut slow: Vec<(Moment, &Message)> = story
                .messages
                .values()
                .filter(|message| message.facts.kind == kind && !drawn.contains(&message.number))
                .filter_map(|message| {
                    Some((
                        message.ends.first()?.at.saturating_sub(message.facts.due),
                        message,
                    ))
                })
                .collect();
            slow.sort_by_key(|(took, _)| std::cmp::Reverse(*took));
            ladders.extend(
                slow.iter()
                    .take(SLOW_MAX)
                    .map(|(_, message)| Ladder::of(story, message, name)),
            );
        }
        ladders
    }

    fn of(story: &Story<'_>, message: &Message, title: &str) -> Ladder {
        let due = message.facts.due;
        let mut rungs = Vec::new();
        let mut rung = |at: Moment, what: String| {
            rungs.push(Rung {
                at_ms: (at as f64 - due as f64) / 1000.0,
                what,
                by: "simulator".to_owned(),
            });
        };
        rung(due, "due".to_owned());
        for (n, at) in message.sends.iter().enumerate() {
            rung(
                *at,
                if n == 0 {
                    "sent".to_owned()
                } else {
                    "sent again".to_owned()
                },
            );
        }
        let times = [
            (message.acknowledged, "acknowledged to its sender"),
            (message.heard, "heard by the application"),
            (message.answered, "answer taken"),
        ];
        for (at, what) in times {
            if let Some(at) = at {
                rung(at, what.to_owned());
            }
        }
        if let Some((at, code)) = message.rejected {
            rung(at, format!("refused: {code}"));
        }
        for delivery in &message.pushed {
            rung(
                delivery.at,
                format!("delivered to {}", story.cast.name(delivery.by)),
            );
        }
        for (at, code) in &message.answering {
            rung(*at, format!("answers {code}"));
        }
        for end in &message.ends {
            rung(end.at, format!("status {}", end.code));
        }
        let kind = match message.facts.kind {
            Kind::Upload => "upload",
            Kind::Push => "push",
        };
        let mut ladder = Ladder {
            title: format!(
                "{title} ({kind} {} of {})",
                message.number.0,
                story.cast.name(message.device())
            ),
            mid: message.mid.map(|mid| mid.to_string()),
            due_ms: due as f64 / 1000.0,
            rungs,
        };
        ladder.sort();
        ladder
    }

    /// Adds the stages of the receipt; `zero` is moment zero by the clock of day.
    pub(super) fn join(&mut self, receipt: &Value, zero: Timestamp) {
        for stage in receipt["stages"].as_array().into_iter().flatten() {
            let text = |name: &str| stage[name].as_str().unwrap_or_default().to_owned();
            let Ok(time) = text("time").parse::<Timestamp>() else {
                continue;
            };
            let code = stage["code"]
                .as_u64()
                .map(|code| format!(" {code}"))
                .unwrap_or_default();
            self.rungs.push(Rung {
                at_ms: (time.as_millis() - zero.as_millis()) as f64 - self.due_ms,
                what: format!("{}{code}", text("stage")),
                by: text("reporter").split('@').next().unwrap_or_default().to_owned(),
            });
        }
        self.sort();
    }

    fn sort(&mut self) {
        self.rungs.sort_by(|a, b| a.at_ms.total_cmp(&b.at_ms));
    }
}
