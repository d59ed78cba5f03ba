//! *Duplicated*: done twice in effect. An upload stands in the store once, unless its sender itself sent it twice at
//! QoS 1 without an id [MQTT-4.3.2]; an observer hears it once in a connection. A push comes once in a connection: what its session before has left unacknowledged
//! and sends again with DUP [MQTT-4.4.0-1] is that one. In a later connection it comes again only until its answer was
//! taken (docs/device-contract.md, rule 3).

use std::collections::HashMap;

use super::Finding;
use crate::observation::{Kind, Moment, Party};
use crate::story::{Message, Story};

pub(super) const NAME: &str = "duplicated";

pub(super) fn find(story: &Story<'_>) -> Vec<Finding> {
    story
        .messages
        .values()
        .flat_map(|message| match message.facts.kind {
            Kind::Upload => upload(story, message)
                .into_iter()
                .chain(copies(story, message))
                .collect(),
            Kind::Push => pushes(story, message),
        })
        .collect()
}

fn upload(story: &Story<'_>, message: &Message) -> Option<Finding> {
    let by_sender = message.facts.qos == 1 && !message.facts.named;
    let allowed = if by_sender { message.sends.len().max(1) } else { 1 };
    let stored = message.stored.len();
    (stored > allowed).then(|| {
        let what = format!("sent {} times, {stored} times in the store", message.sends.len());
        Finding::of(NAME, message, message.acknowledged.unwrap_or(story.quiet), what)
    })
}

/// An observer hears an upload once in a connection, unless it was sent again.
fn copies(story: &Story<'_>, message: &Message) -> Vec<Finding> {
    let mut findings = Vec::new();
    if message.sends.len() > 1 {
        return findings;
    }
    let mut last: HashMap<Party, Moment> = HashMap::new();
    for copy in &message.copies {
        let before = last.insert(copy.by, copy.at);
        let same = |before| {
            let life = story.lives.get(&copy.by)?;
            Some(life.began(before, copy.at).next().is_none())
        };
        if before.and_then(same) == Some(true) {
            let what = format!("heard twice in one connection by {}", story.cast.name(copy.by));
            findings.push(Finding::of(NAME, message, copy.at, what));
        }
    }
    findings
}

fn pushes(story: &Story<'_>, message: &Message) -> Vec<Finding> {
    let receiver = message.facts.to;
    let own: Vec<_> = message
        .pushed
        .iter()
        .filter(|delivery| delivery.by == receiver)
        .collect();
    let Some(life) = story.lives.get(&receiver) else {
        return Vec::new();
    };
    own.windows(2)
        .filter_map(|pair| {
            let (first, second) = (pair[0], pair[1]);
            let Some(session) = life.began(first.at, second.at).last() else {
                let what = format!(
                    "delivered twice in one connection (DUP {}, then {})",
                    first.dup, second.dup
                );
                return Some(Finding::of(NAME, message, second.at, what));
            };
            let taken = message.answered.is_some_and(|answered| answered < session.from);
            taken.then(|| {
                Finding::of(
                    NAME,
                    message,
                    second.at,
                    "delivered again after its answer was taken",
                )
            })
        })
        .collect()
}
