//! *Lost*: accepted by the platform, and nowhere. An upload that got its PUBACK stands in the store, and the observers who
//! are there hear it; a push that was
//! taken reaches a device that is there: before its expiry, if it has one. That such a push is told to be expired makes
//! it no better. What a standing connection has carried, and nobody has acknowledged or refused, is lost as well.

use super::{Finding, ms};
use crate::observation::{Door, Kind, Moment, Party};
use crate::story::{Message, Story};

pub(super) const NAME: &str = "lost";
/// How long a device must have been there before the end for its pushes to count as lost.
const THERE: u64 = 1_000_000;
/// How long after an upload's acknowledgement an observer must have stayed.
const HEARD: u64 = 5_000_000;
/// How long it must have been there, without a break, between a push's acceptance and its expiry.
const SETTLED: u64 = 2_000_000;

pub(super) fn find(story: &Story<'_>) -> Vec<Finding> {
    let accepted = story
        .messages
        .values()
        .filter_map(|message| Some((message, message.acknowledged?)));
    let mut findings: Vec<Finding> = accepted
        .flat_map(|(message, at)| {
            let what = match message.facts.kind {
                Kind::Upload => upload(story, message),
                Kind::Push => push(story, message),
            };
            match (what, message.facts.kind) {
                (Some(what), _) => vec![Finding::of(NAME, message, at, what)],
                (None, Kind::Upload) => copies(story, message, at),
                (None, Kind::Push) => Vec::new(),
            }
        })
        .collect();
    findings.extend(
        story
            .messages
            .values()
            .filter_map(|message| silence(story, message)),
    );
    findings.extend(
        story
            .messages
            .values()
            .filter_map(|message| unheard(story, message)),
    );
    findings
}

/// Sent, and neither acknowledged nor refused.
fn silence(story: &Story<'_>, message: &Message) -> Option<Finding> {
    let sent = *message.sends.last()?;
    if !story.unanswered(message) || story.taken_away(message) {
        return None;
    }
    let what = match message.facts.door {
        Door::Mqtt => format!(
            "never acknowledged: last sent {} before the end",
            ms(story.quiet - sent)
        ),
        Door::Http => "never acknowledged: the request got no answer".to_owned(),
    };
    Some(Finding::of(NAME, message, sent, what))
}

/// The same of a device's answer to a push.
fn unheard(story: &Story<'_>, message: &Message) -> Option<Finding> {
    let (sent, _) = *message.answering.last()?;
    let told = message.answered.is_some() || message.answer_refused.is_some();
    if told || !story.waited(message.facts.to, sent) || story.taken_away(message) {
        return None;
    }
    let what = "its device's answer was never acknowledged";
    Some(Finding::of(NAME, message, sent, what))
}

/// What was done is heard by every observer that is there all the while.
fn copies(story: &Story<'_>, message: &Message, accepted: Moment) -> Vec<Finding> {
    let sender = message.number.sender();
    let until = accepted.saturating_add(HEARD);
    let done = message.ends.iter().all(|end| matches!(end.code, 200 | 208));
    let revoked = story.revoked_between(sender, message.facts.due, story.quiet);
    let (Some(sent), Some(observers)) = (message.sends.first(), story.rules.observers.get(&sender)) else {
        return Vec::new();
    };
    if !done || revoked || until > story.quiet {
        return Vec::new();
    }
    let there = |observer: &Party| {
        let span = story.lives.get(observer).and_then(|life| life.at(*sent));
        span.is_some_and(|span| {
            span.from.saturating_add(THERE) <= *sent && span.to.is_none_or(|(to, _)| to >= until)
        })
    };
    observers
        .iter()
        .filter(|observer| there(observer) && message.copies.iter().all(|copy| copy.by != **observer))
        .map(|observer| {
            let what = format!(
                "done, and never heard by {}, who is there",
                story.cast.name(*observer)
            );
            Finding::of(NAME, message, accepted, what)
        })
        .collect()
}

fn upload(story: &Story<'_>, message: &Message) -> Option<&'static str> {
    let kept = message.stored.is_empty() && story.rules.store_read;
    // An end that says why is the status oracle's business.
    let silent = message.ends.iter().all(|end| matches!(end.code, 200 | 208));
    (kept && silent).then_some("acknowledged, and not in the store")
}

fn push(story: &Story<'_>, message: &Message) -> Option<&'static str> {
    let accepted = message.acknowledged?;
    let receiver = message.facts.to;
    let heard = message.pushed.iter().any(|delivery| delivery.by == receiver);
    // An end of another kind is the status oracle's business.
    let silent = message.ends.iter().all(|end| matches!(end.code, 200 | 408));
    let revoked = story.revoked_between(receiver, message.facts.due, story.quiet);
    if heard || !silent || revoked || story.rules.slow.contains(&receiver) {
        return None;
    }
    let expired = message
        .expires(accepted)
        .filter(|expires| *expires <= story.quiet);
    let there = match (expired, message.facts.expiry) {
        (Some(expires), Some(expiry)) => {
            let length = SETTLED.min(expiry / 4 * 3);
            story
                .lives
                .get(&receiver)
                .is_some_and(|life| life.stood(accepted, expires, length))
        }
        _ => story.present_since(receiver, THERE),
    };
    match (there, expired) {
        (false, _) => None,
        (true, None) => Some("taken by the platform, and never delivered to a device that is there"),
        (true, Some(_)) => Some("taken by the platform, and expired before a device that was there"),
    }
}
