//! The oracles: each knows one way in which a platform can break its word, and finds every message or device for which
//! it did. Pure: a story in, findings out.

mod connection;
mod corrupted;
mod duplicated;
mod expiry;
mod live;
mod lost;
mod misdelivered;
pub mod presence;
mod reordered;
mod revocation;
mod status;
mod will;

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
    (live::NAME, live::find),
    (will::NAME, will::find),
    (connection::NAME, connection::find),
];

/// What all oracles find, in the order of time.
pub fn ask(story: &Story<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = ORACLES.iter().flat_map(|(_, find)| find(story)).collect();
    findings.sort_by_key(|finding| finding.at);
    findings
}

impl Finding {
    /// About a device and none of its messages.
    fn on(oracle: &'static str, device: Party, at: Moment, what: impl Into<String>) -> Finding {
        Finding {
            oracle,
            what: what.into(),
            device,
            at,
            message: None,
            mid: None,
        }
    }

    /// About a `live` message or a will.
    fn said(oracle: &'static str, number: Number, at: Moment, what: impl Into<String>) -> Finding {
        Finding {
            message: Some(number),
            ..Finding::on(oracle, number.sender(), at, what)
        }
    }

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

/// Users who own a device and are there from before `from` to after `to`.
fn owners_there(story: &Story<'_>, device: Party, from: Moment, to: Moment) -> impl Iterator<Item = Party> {
    let there = move |party: &Party| {
        let span = story.lives.get(party).and_then(|life| life.at(from));
        span.is_some_and(|span| {
            span.from.saturating_add(SUBSCRIBED) <= from && span.to.is_none_or(|(end, _)| end > to)
        })
    };
    story.cast.owners(device).into_iter().filter(there)
}

/// By then whoever has connected has its subscriptions.
const SUBSCRIBED: Moment = 1_000_000;

/// A length of time for a person.
fn ms(micros: Moment) -> String {
    format!("{:.1} ms", micros as f64 / 1000.0)
}

#[cfg(test)]
mod tests;
