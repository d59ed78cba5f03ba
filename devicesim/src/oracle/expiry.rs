//! *Expired too early or too late*: 408 comes not before the expiry, nothing is delivered after it, and what was never
//! delivered is told to be expired within a time.

use super::{Finding, ms};
use crate::observation::Kind;
use crate::story::{Message, Story};

pub(super) const NAME: &str = "expiry";
/// The platform's own code.
const EXPIRED: u16 = 408;

pub(super) fn find(story: &Story<'_>) -> Vec<Finding> {
    let pushes = story
        .messages
        .values()
        .filter(|message| message.facts.kind == Kind::Push);
    pushes.flat_map(|message| of(story, message)).collect()
}

fn of(story: &Story<'_>, message: &Message) -> Vec<Finding> {
    let tolerance = story.rules.tolerance;
    let mut findings = Vec::new();
    // It cannot have been accepted before it was sent, nor after it was acknowledged.
    let (Some(sent), Some(accepted)) = (message.sends.first(), message.acknowledged) else {
        return findings;
    };
    let (Some(earliest), Some(latest)) = (message.expires(*sent), message.expires(accepted)) else {
        return findings;
    };
    if let Some(end) = message.ends.iter().find(|end| end.code == EXPIRED)
        && end.at.saturating_add(tolerance.expiry.as_micros()) < earliest
    {
        let what = format!(
            "too early: told to be expired {} before its expiry",
            ms(earliest - end.at)
        );
        findings.push(Finding::of(NAME, message, end.at, what));
    }
    let on_time = !story.rules.slow.contains(&message.facts.to);
    if let Some(delivery) = message
        .pushed
        .iter()
        .find(|delivery| delivery.by == message.facts.to)
        && on_time
        && delivery.at > latest.saturating_add(tolerance.expiry.as_micros())
    {
        let what = format!(
            "too late: delivered {} after its expiry",
            ms(delivery.at - latest)
        );
        findings.push(Finding::of(NAME, message, delivery.at, what));
    }
    let told_by = latest.saturating_add(tolerance.expiry_told.as_micros());
    let nobody_knows = message.ends.is_empty() && message.pushed.is_empty() && told_by < story.quiet;
    if nobody_knows && story.present_since(message.number.sender(), tolerance.expiry_told.as_micros()) {
        findings.push(Finding::of(
            NAME,
            message,
            latest,
            "too late: expired, and no status has said so",
        ));
    }
    findings
}
