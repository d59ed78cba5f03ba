//! *Reordered*: what one sender sent first comes after what it sent later. Pushes, by sender and receiver, as they are
//! first delivered; uploads, by device, as they stand in the store and as an observer hears them in one connection. What had to be sent again keeps no order.

use std::collections::BTreeMap;

use super::Finding;
use crate::observation::{Door, Kind, Moment, Number, Party};
use crate::story::{Message, Story};

pub(super) const NAME: &str = "reordered";

/// A message, its place in the order in which it came, and when that was.
type Placed<'a> = (u64, &'a Message, Moment);

pub(super) fn find(story: &Story<'_>) -> Vec<Finding> {
    let mut lanes: BTreeMap<(Party, Party), Vec<Placed<'_>>> = BTreeMap::new();
    for message in story.messages.values() {
        if message.sends.len() != 1 || message.facts.door == Door::Http || message.facts.qos == 0 {
            continue;
        }
        let to = message.facts.to;
        let place = match message.facts.kind {
            Kind::Push => message
                .pushed
                .iter()
                .find(|delivery| delivery.by == to)
                .map(|delivery| (delivery.at, delivery.at)),
            Kind::Upload => message
                .stored
                .first()
                .map(|stored| (stored.seq, message.acknowledged.unwrap_or(story.quiet))),
        };
        if let Some((place, at)) = place {
            lanes
                .entry((message.number.sender(), to))
                .or_default()
                .push((place, message, at));
        }
    }
    let copies = copies(story);
    lanes
        .into_values()
        .map(|lane| (lane, None))
        .chain(copies.into_iter().map(|((_, by, _), lane)| (lane, Some(by))))
        .flat_map(|(lane, by)| descents(lane, by, story))
        .collect()
}

/// What each observer heard of each device in each of its connections.
fn copies<'a>(story: &'a Story<'_>) -> BTreeMap<(Party, Party, Moment), Vec<Placed<'a>>> {
    let mut lanes: BTreeMap<(Party, Party, Moment), Vec<Placed<'_>>> = BTreeMap::new();
    for message in story.messages.values() {
        if message.sends.len() != 1 || message.facts.qos == 0 {
            continue;
        }
        let mut heard: Vec<Party> = Vec::new();
        for copy in &message.copies {
            if heard.contains(&copy.by) {
                continue;
            }
            heard.push(copy.by);
            let span = story.lives.get(&copy.by).and_then(|life| life.at(copy.at));
            if let (Some(span), false) = (span, copy.dup) {
                lanes
                    .entry((message.number.sender(), copy.by, span.from))
                    .or_default()
                    .push((copy.at, message, copy.at));
            }
        }
    }
    lanes
}

fn descents(mut lane: Vec<Placed<'_>>, by: Option<Party>, story: &Story<'_>) -> Vec<Finding> {
    // A stable sort: what arrived within one microsecond stays in the order of its numbers.
    lane.sort_by_key(|(place, ..)| *place);
    let mut findings = Vec::new();
    let mut last: Option<Number> = None;
    for (_, message, at) in lane {
        match last {
            Some(last) if message.number < last => {
                let what = format!(
                    "sent before message {} and {} after it",
                    last.0,
                    match (by, message.facts.kind) {
                        (Some(by), _) => format!("heard by {}", story.cast.name(by)),
                        (None, Kind::Push) => "delivered".to_owned(),
                        (None, Kind::Upload) => "stored".to_owned(),
                    }
                );
                findings.push(Finding::of(NAME, message, at.min(story.quiet), what));
            }
            Some(_) | None => last = Some(message.number),
        }
    }
    findings
}
