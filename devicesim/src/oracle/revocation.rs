//! *Revocation too late*: once a reset or deletion is in effect, the old login does nothing any more: no connection, no
//! acknowledgement, no delivery.

use super::{Finding, ms};
use crate::observation::{Moment, Party, Revocation};
use crate::story::{Revoked, Story};

pub(super) const NAME: &str = "revocation";

pub(super) fn find(story: &Story<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = story
        .revoked
        .iter()
        .flat_map(|(device, revoked)| of(story, *device, revoked))
        .collect();
    findings.sort_by_key(|finding| (finding.at, finding.device));
    findings
}

fn of(story: &Story<'_>, device: Party, revoked: &Revoked) -> Vec<Finding> {
    let how = match revoked.how {
        Revocation::Reset => "reset",
        Revocation::Deleted => "deletion",
    };
    let finding = |at, what| Finding::on(NAME, device, at, what);
    let Some(effective) = revoked.effective else {
        return vec![finding(
            revoked.asked,
            format!("the {how} did not come into effect"),
        )];
    };
    let until = match revoked.how {
        Revocation::Reset => revoked.restored.unwrap_or(story.quiet),
        Revocation::Deleted => story.quiet,
    };
    let bound = effective.saturating_add(story.rules.tolerance.revocation.as_micros());
    let late = |at: Moment| at > bound && at < until;
    let mut findings = Vec::new();
    let spans = story
        .lives
        .get(&device)
        .map(|life| &life.spans[..])
        .unwrap_or_default();
    for span in spans {
        let to = span.to.map_or(until, |(to, _)| to);
        if span.from <= bound && to > bound && bound < until {
            let what = format!(
                "its connection still stood {} after the {how} was in effect",
                ms(to.min(until) - effective)
            );
            findings.push(finding(bound, what));
        } else if late(span.from) {
            let what = format!(
                "it logged in with the old code {} after the {how} was in effect",
                ms(span.from - effective)
            );
            findings.push(finding(span.from, what));
        }
    }
    for message in story.messages.values() {
        let mut note = |at: Option<Moment>, what: &str| {
            if let Some(at) = at.filter(|at| late(*at)) {
                let what = format!("{what} {} after the {how} was in effect", ms(at - effective));
                findings.push(Finding::of(NAME, message, at, what));
            }
        };
        if message.number.sender() == device {
            note(message.acknowledged, "its upload was acknowledged");
        }
        if message.facts.to == device {
            note(
                message
                    .pushed
                    .iter()
                    .map(|delivery| delivery.at)
                    .find(|at| late(*at)),
                "a push was delivered to it",
            );
        }
    }
    findings
}
