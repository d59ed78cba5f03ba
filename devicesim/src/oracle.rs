//! The oracles: each knows one way in which a platform can break its word, and finds every message or device for which
//! it did. Pure: a story in, findings out.

mod corrupted;
mod duplicated;
mod expiry;
mod lost;
mod misdelivered;
pub mod presence;
mod reordered;
mod revocation;
mod status;

use irsp_protocol::MessageId;

use crate::observation::{Moment, Number, Party};
use crate::story::{Message, Story};

/// One broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Name of the oracle.
    pub oracle: &'static str,
    /// In words.
    pub what: String,
    pub device: Party,
    pub at: Moment,
    pub message: Option<Number>,
    pub mid: Option<MessageId>,
}

/// Finds what one oracle knows of.
type Find = fn(&Story<'_>) -> Vec<Finding>;

/// All oracles, by name.
pub const ORACLES: &[(&str, Find)] = &[
    (lost::NAME, lost::find),
    (duplicated::NAME, duplicated::find),
    (reordered::NAME, reordered::find),
    (misdelivered::NAME, misdelivered::find),
    (corrupted::NAME, corrupted::find),
    (status::NAME, status::find),
    (expiry::NAME, expiry::find),
    (presence::NAME, presence::find),
    (revocation::NAME, revocation::find),
];

/// What all oracles find, in the order of time.
pub fn ask(story: &Story<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = ORACLES.iter().flat_map(|(_, find)| find(story)).collect();
    findings.sort_by_key(|finding| finding.at);
    findings
}

impl Finding {
    fn of(oracle: &'static str, message: &Message, at: Moment, what: impl Into<String>) -> Finding {
        Finding {
            oracle,
            what: what.into(),
            device: message.device(),
            at,
            message: Some(message.number),
            mid: message.mid,
        }
    }
}

/// A length of time for a person.
fn ms(micros: Moment) -> String {
    format!("{:.1} ms", micros as f64 / 1000.0)
}

#[cfg(test)]
mod tests;
