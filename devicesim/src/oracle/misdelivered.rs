//! *Misdelivered*: somebody hears what is not for them, a message stands under a wrong name, or one exists that nobody
//! has sent.

use super::Finding;
use crate::observation::Kind;
use crate::story::{Message, Story, Stray};

pub(super) const NAME: &str = "misdelivered";

pub(super) fn find(story: &Story<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, by, number) in &story.overheard {
        let known = story.messages.get(number);
        let what = match known {
            Some(_) => format!("heard by {}, who may not", story.cast.name(*by)),
            None => format!("seen by {}, and nobody has sent it", story.cast.name(*by)),
        };
        findings.push(Finding {
            oracle: NAME,
            what,
            device: known.map_or(*by, |message| message.device()),
            at: *at,
            message: Some(*number),
            mid: known.and_then(|message| message.mid),
        });
    }
    for (at, by, stray) in &story.strays {
        if let Stray::StatusOf(of) = stray {
            let (by_name, of) = (story.cast.name(*by), story.cast.name_of(*of));
            let what = format!("{by_name} is told how a message of {of} ended");
            findings.push(Finding::on(NAME, *by, *at, what));
        }
    }
    for message in story.messages.values() {
        for delivery in message
            .pushed
            .iter()
            .filter(|delivery| delivery.by != message.facts.to)
        {
            let what = format!(
                "pushed to {}, delivered to {}",
                story.cast.name(message.facts.to),
                story.cast.name(delivery.by)
            );
            findings.push(Finding::of(NAME, message, delivery.at, what));
        }
        findings.extend(elsewhere(story, message));
        findings.extend(misnamed(story, message));
        let other = message
            .ended_for
            .iter()
            .find(|(_, to)| *to != Some(message.facts.to));
        findings.extend(other.map(|(at, to)| {
            let (to, real) = (story.cast.name_of(*to), story.cast.name(message.facts.to));
            let what = format!("its status names {to} as its destination, which is {real}");
            Finding::of(NAME, message, *at, what)
        }));
        let sender = message.number.sender();
        let wrong = |source| message.facts.kind == Kind::Upload && source != sender;
        for stored in message
            .stored
            .iter()
            .filter(|stored| stored.source.is_none_or(wrong))
        {
            let source = story.cast.name_of(stored.source);
            let what = format!("sent by {}, stored as from {source}", story.cast.name(sender));
            findings.push(Finding::of(
                NAME,
                message,
                message.acknowledged.unwrap_or(story.quiet),
                what,
            ));
        }
    }
    findings
}

/// A receipt that names others.
fn misnamed(story: &Story<'_>, message: &Message) -> Vec<Finding> {
    let Some(receipt) = message.receipt else {
        return Vec::new();
    };
    let named = [
        ("source", receipt.source, message.number.sender()),
        ("destination", receipt.to, message.facts.to),
    ];
    let wrong = named.into_iter().filter(|(_, named, real)| *named != Some(*real));
    wrong
        .map(|(what, named, real)| {
            let (named, real) = (story.cast.name_of(named), story.cast.name(real));
            let what = format!("its receipt names {named} as its {what}, which is {real}");
            Finding::of(NAME, message, story.quiet, what)
        })
        .collect()
}

/// Under another channel or sender than it was sent.
fn elsewhere(story: &Story<'_>, message: &Message) -> Vec<Finding> {
    let sender = message.number.sender();
    let channel = message.facts.print.channel;
    let mut findings = Vec::new();
    for delivery in &message.pushed {
        if delivery.from != Some(sender) {
            let from = story.cast.name_of(delivery.from);
            let what = format!("pushed by {}, delivered as from {from}", story.cast.name(sender));
            findings.push(Finding::of(NAME, message, delivery.at, what));
        }
        if delivery.print.channel != channel {
            let what = "delivered on another channel than it was pushed to";
            findings.push(Finding::of(NAME, message, delivery.at, what));
        }
    }
    for copy in message.copies.iter().filter(|copy| copy.print.channel != channel) {
        let what = format!(
            "heard by {} on another channel than it was sent to",
            story.cast.name(copy.by)
        );
        findings.push(Finding::of(NAME, message, copy.at, what));
    }
    if message
        .stored
        .iter()
        .any(|stored| stored.print.channel != channel)
    {
        let at = message.acknowledged.unwrap_or(story.quiet);
        findings.push(Finding::of(
            NAME,
            message,
            at,
            "stored under another channel than it was sent to",
        ));
    }
    findings
}
