//! *Will*: it is heard by every owner who is there when its device goes without a goodbye, and by nobody otherwise: not
//! after a goodbye, and not while the device is there.

use super::live::repeated;
use super::{Finding, owners_there};
use crate::observation::{Ending, Moment, Number, Party};
use crate::story::{Connection, Story, Word};

pub(super) const NAME: &str = "will";
/// The server may see a connection end before its device notes it.
const NOTED: Moment = 1_000_000;

pub(super) fn find(story: &Story<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (device, life) in &story.lives {
        for span in &life.spans {
            if let Some((will, word)) = span.will.and_then(|will| story.words.get_key_value(&will)) {
                judge(story, (*device, *will), span, word, &mut findings);
            }
        }
    }
    for (number, word) in story.words.iter().filter(|(_, word)| word.is_will) {
        repeated(story, NAME, *number, word, &mut findings);
    }
    findings.sort_by_key(|finding| (finding.at, finding.device));
    findings
}

fn judge(
    story: &Story<'_>,
    (device, will): (Party, Number),
    span: &Connection,
    word: &Word,
    findings: &mut Vec<Finding>,
) {
    let first = word.heard.iter().map(|heard| heard.at).min();
    // Their goodbye waits for their reading, so it may not have gone out.
    let slow = story.rules.slow.contains(&device);
    let early = |end: Moment| first.filter(|at| at.saturating_add(NOTED) < end);
    let (end, due) = match span.to {
        Some((_, Ending::Goodbye)) if slow => return,
        Some((_, Ending::ByServer(_))) => return,
        Some((_, Ending::Goodbye)) => {
            let what = "its will was heard, although it said goodbye";
            findings.extend(first.map(|at| Finding::said(NAME, will, at, what)));
            return;
        }
        None => (story.quiet, None),
        Some((end, Ending::Broken)) => (end, Some(end)),
        Some((end, Ending::Silent { until })) => (end, Some(until.max(end))),
    };
    if let Some(at) = early(end) {
        findings.push(Finding::said(
            NAME,
            will,
            at,
            "its will was heard while it was there",
        ));
    }
    let Some(due) = due else {
        return;
    };
    let bound = due.saturating_add(story.rules.tolerance.presence.as_micros());
    // What waits for a device that goes on is not said within the run, or the server has ended it.
    if bound > story.quiet || story.revoked_between(device, span.from, bound) {
        return;
    }
    for owner in owners_there(story, device, end, bound) {
        if !word.heard.iter().any(|heard| heard.by == owner) {
            let owner = story.cast.name(owner);
            let what =
                format!("it went without a goodbye, and {owner}, who was there, did not hear its will");
            findings.push(Finding::said(NAME, will, due, what));
        }
    }
}
