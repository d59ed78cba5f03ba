//! *Corrupted*: what comes out is not what went in. The payload of a push as its device has it, of an upload as it stands
//! in the store and as observers hear it, is the one that was sent.

use super::Finding;
use crate::story::{Message, Story, Stray};

pub(super) const NAME: &str = "corrupted";

pub(super) fn find(story: &Story<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = story
        .messages
        .values()
        .flat_map(|message| of(story, message))
        .collect();
    for (at, by, stray) in &story.strays {
        if let Stray::Unreadable(device) = stray {
            let what = format!("{} heard what nobody can read", story.cast.name(*by));
            findings.push(Finding::on(NAME, *device, *at, what));
        }
    }
    findings
}

fn of(story: &Story<'_>, message: &Message) -> Vec<Finding> {
    let sent = message.facts.print.data;
    let mut findings = Vec::new();
    for delivery in message
        .pushed
        .iter()
        .filter(|delivery| delivery.print.data != sent)
    {
        let what = "delivered with another payload than it was sent with";
        findings.push(Finding::of(NAME, message, delivery.at, what));
    }
    for copy in message.copies.iter().filter(|copy| copy.print.data != sent) {
        let what = format!(
            "heard by {} with another payload than it was sent with",
            story.cast.name(copy.by)
        );
        findings.push(Finding::of(NAME, message, copy.at, what));
    }
    if message.stored.iter().any(|stored| stored.print.data != sent) {
        let at = message.acknowledged.unwrap_or(story.quiet);
        findings.push(Finding::of(
            NAME,
            message,
            at,
            "stored with another payload than it was sent with",
        ));
    }
    findings
}
