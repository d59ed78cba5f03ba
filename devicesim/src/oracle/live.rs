//! *Live*: what a device says on a `live` topic, and the server has taken, every owner who is there hears once; nobody else
//! hears it, and nobody hears what was not said. A will is `live`, too, for who may hear it.

use super::{Finding, owners_there};
use crate::observation::{Moment, Number};
use crate::story::{Story, Word};

pub(super) const NAME: &str = "live";
/// From the acknowledgement until it counts as lost.
const ON_ITS_WAY: Moment = 2_000_000;

pub(super) fn find(story: &Story<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, word) in &story.words {
        misheard(story, *number, word, &mut findings);
        changed(story, *number, word, &mut findings);
        if !word.is_will {
            silence(story, *number, word, &mut findings);
            lost(story, *number, word, &mut findings);
            repeated(story, NAME, *number, word, &mut findings);
        }
    }
    findings
}

/// By who may not, from another's topic, or without having been said.
fn misheard(story: &Story<'_>, number: Number, word: &Word, findings: &mut Vec<Finding>) {
    let device = number.sender();
    let owners = story.cast.owners(device);
    for heard in &word.heard {
        let by = story.cast.name(heard.by);
        let what = if !word.is_known() {
            format!("heard by {by}, and nobody has said it")
        } else if heard.of != Some(device) {
            format!("heard by {by} as of {}", story.cast.name_of(heard.of))
        } else if !owners.contains(&heard.by) {
            format!("heard by {by}, who may not")
        } else {
            continue;
        };
        findings.push(Finding::said(NAME, number, heard.at, what));
    }
}

/// Heard with another payload.
fn changed(story: &Story<'_>, number: Number, word: &Word, findings: &mut Vec<Finding>) {
    let Some(said) = word.data else {
        return;
    };
    for heard in word.heard.iter().filter(|heard| heard.data != said) {
        let by = story.cast.name(heard.by);
        let what = format!("heard by {by} with another payload than it was said with");
        findings.push(Finding::said(NAME, number, heard.at, what));
    }
}

/// Said, and neither acknowledged nor refused.
fn silence(story: &Story<'_>, number: Number, word: &Word, findings: &mut Vec<Finding>) {
    let device = number.sender();
    let (Some(said), None, false) = (word.said.last(), word.taken, word.refused) else {
        return;
    };
    if story.waited(device, *said) && !story.revoked_between(device, *said, story.quiet) {
        findings.push(Finding::said(NAME, number, *said, "never acknowledged"));
    }
}

fn lost(story: &Story<'_>, number: Number, word: &Word, findings: &mut Vec<Finding>) {
    let device = number.sender();
    let (Some(said), Some(taken)) = (word.said.first(), word.taken) else {
        return;
    };
    let until = taken.saturating_add(ON_ITS_WAY);
    if until > story.quiet || story.revoked_between(device, *said, until) {
        return;
    }
    for owner in owners_there(story, device, *said, until) {
        if !word.heard.iter().any(|heard| heard.by == owner) {
            let owner = story.cast.name(owner);
            let what = format!("taken, and not heard by {owner}, who was there");
            findings.push(Finding::said(NAME, number, taken, what));
        }
    }
}

/// Twice in one connection, although it was said once.
pub(super) fn repeated(
    story: &Story<'_>,
    oracle: &'static str,
    number: Number,
    word: &Word,
    findings: &mut Vec<Finding>,
) {
    if word.said.len() > 1 {
        return;
    }
    for (n, again) in word.heard.iter().enumerate().filter(|(_, heard)| !heard.retained) {
        let Some(life) = story.lives.get(&again.by) else {
            continue;
        };
        let mut before = word.heard[..n].iter().filter(|heard| heard.by == again.by);
        if before.any(|heard| life.began(heard.at, again.at).next().is_none()) {
            let what = format!("heard twice by {} in one connection", story.cast.name(again.by));
            findings.push(Finding::said(oracle, number, again.at, what));
        }
    }
}
