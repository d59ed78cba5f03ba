//! *Reordered*: what one sender sent first comes after what it sent later. Pushes, by sender and receiver, as they are
//! first delivered; uploads, by device, as they stand in the store. What had to be sent again keeps no order.

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
    lanes
        .into_values()
        .flat_map(|lane| descents(lane, story))
        .collect()
}

fn descents(mut lane: Vec<Placed<'_>>, story: &Story<'_>) -> Vec<Finding> {
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
                    match message.facts.kind {
                        Kind::Push => "delivered",
                        Kind::Upload => "stored",
                    }
                );
                findings.push(Finding::of(NAME, message, at.min(story.quiet), what));
            }
            Some(_) | None => last = Some(message.number),
        }
    }
    findings
}
