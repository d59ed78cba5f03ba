//! *Lost*: accepted by the platform, and nowhere. An upload that got its PUBACK stands in the store; a push that was
//! taken reaches a device that is there.

use super::Finding;
use crate::observation::Kind;
use crate::story::{Message, Story};

pub(super) const NAME: &str = "lost";
/// How long a device must have been there before the end for its pushes to count as lost.
const THERE: u64 = 1_000_000;

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
    let open = message.ends.iter().all(|end| end.code == 200);
    let expired = message
        .expires(accepted)
        .is_some_and(|expires| expires <= story.quiet);
    let receiver = message.facts.to;
    let there = story.present_since(receiver, THERE);
    let revoked = story.revoked_between(receiver, message.facts.due, story.quiet);
    (message.pushed.is_empty() && open && !expired && there && !revoked)
        .then_some("taken by the platform, and never delivered to a device that is there")
}
