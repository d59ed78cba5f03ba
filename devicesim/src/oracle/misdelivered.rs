//! *Misdelivered*: somebody hears what is not for them, a message stands under a wrong name, or one exists that nobody
//! has sent.

use super::Finding;
use crate::observation::Kind;
use crate::story::Story;

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
        let sender = message.number.sender();
        let wrong = |source| message.facts.kind == Kind::Upload && source != sender;
        for stored in message
            .stored
            .iter()
            .filter(|stored| stored.source.is_none_or(wrong))
        {
            let source = stored
                .source
                .map_or_else(|| "a stranger".to_owned(), |source| story.cast.name(source));
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
