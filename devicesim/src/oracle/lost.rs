//! *Lost*: accepted by the platform, and nowhere. An upload that got its PUBACK stands in the store; a push that was
//! taken reaches a device that is there: before its expiry, if it has one. That such a push is told to be expired makes
//! it no better.

use super::Finding;
use crate::observation::Kind;
use crate::story::{Message, Story};

pub(super) const NAME: &str = "lost";
/// How long a device must have been there before the end for its pushes to count as lost.
const THERE: u64 = 1_000_000;
/// How long it must have been there, without a break, between a push's acceptance and its expiry.
const SETTLED: u64 = 2_000_000;

pub(super) fn find(story: &Story<'_>) -> Vec<Finding> {
    let accepted = story
        .messages
        .values()
        .filter_map(|message| Some((message, message.acknowledged?)));
    accepted
        .filter_map(|(message, at)| {
            let what = match message.facts.kind {
                Kind::Upload => upload(story, message)?,
                Kind::Push => push(story, message)?,
            };
            Some(Finding::of(NAME, message, at, what))
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
