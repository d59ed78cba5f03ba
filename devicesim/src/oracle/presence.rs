//! *Presence*: what observers are told of a device agrees with what the device does, after a settling time; it never
//! goes back; and no two observers hold different states under the same epoch and sequence.

mod news;
mod reason;

use std::collections::{BTreeMap, HashMap};

use super::{Finding, ms};
use crate::cast::Role;
use crate::observation::{Ending, Moment, Party, Revocation};
use crate::story::{Life, Sight, Story};

pub(super) const NAME: &str = "presence";

/// A time in which an observer's belief and the truth disagreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Divergence {
    pub observer: Party,
    pub device: Party,
    pub from: Moment,
    pub to: Moment,
    /// What the observer believed.
    pub believed: Option<bool>,
}

pub(super) fn find(story: &Story<'_>) -> Vec<Finding> {
    let tolerance = story.rules.tolerance.presence.as_micros();
    let finding = |device, at, what| Finding::on(NAME, device, at, what);
    let mut findings = Vec::new();
    for divergence in divergences(story) {
        let length = divergence.to - divergence.from;
        if length > tolerance {
            let believed = match divergence.believed {
                Some(true) => "online",
                Some(false) => "offline",
                None => "unknown",
            };
            let what = format!(
                "{} took it for {believed} for {} while it was not",
                story.cast.name(divergence.observer),
                ms(length)
            );
            findings.push(finding(divergence.device, divergence.from, what));
        }
    }
    let mut newest: HashMap<(Party, Party), (u64, u64)> = HashMap::new();
    let mut told: HashMap<(Party, u64, u64), bool> = HashMap::new();
    for sight in &story.sights {
        let order = (sight.epoch, sight.seq);
        let before = newest.entry((sight.by, sight.of)).or_insert(order);
        if order < *before {
            let what = format!(
                "{} was told {order:?} after {before:?}",
                story.cast.name(sight.by)
            );
            findings.push(finding(sight.of, sight.at, what));
        }
        *before = order.max(*before);
        if *told
            .entry((sight.of, sight.epoch, sight.seq))
            .or_insert(sight.online)
            != sight.online
        {
            let what = format!(
                "epoch {}, seq {} was told as online and as offline",
                sight.epoch, sight.seq
            );
            findings.push(finding(sight.of, sight.at, what));
        }
    }
    findings.extend(reason::find(story));
    findings.extend(news::find(story));
    for (device, online) in story.online {
        let truth = Truth::of(story.lives.get(device), story.quiet);
        let steady = truth
            .since(story.quiet)
            .is_some_and(|(since, _)| since.saturating_add(tolerance) <= story.quiet);
        let really = truth.at(story.quiet);
        if steady && online.unwrap_or(false) != really.unwrap_or(online.unwrap_or(false)) {
            let said = match online {
                Some(true) => "is online",
                Some(false) => "is offline",
                None => "is not known",
            };
            let what = format!("GET /v1/presence says that it {said} at the end of the run, which is not so");
            findings.push(finding(*device, story.quiet, what));
        }
    }
    findings
}

/// Every disagreement, however short, of every observer who is connected.
pub fn divergences(story: &Story<'_>) -> Vec<Divergence> {
    let mut sights: BTreeMap<(Party, Party), Vec<&Sight>> = BTreeMap::new();
    for (observer, member) in story.cast.parties() {
        let watched: Vec<Party> = match &member.role {
            Role::App => story.cast.devices(None),
            Role::User { devices } => devices.clone(),
            Role::Device { .. } => continue,
        };
        if story.lives.contains_key(&observer) {
            sights.extend(watched.into_iter().map(|device| ((observer, device), Vec::new())));
        }
    }
    for sight in &story.sights {
        sights.entry((sight.by, sight.of)).or_default().push(sight);
    }
    let mut truths: HashMap<Party, Truth> = HashMap::new();
    let mut found = Vec::new();
    for ((observer, device), sights) in sights {
        let truth = truths
            .entry(device)
            .or_insert_with(|| Truth::of(story.lives.get(&device), story.quiet));
        compare(story, observer, device, truth, &sights, &mut found);
    }
    found
}

fn compare(
    story: &Story<'_>,
    observer: Party,
    device: Party,
    truth: &Truth,
    sights: &[&Sight],
    found: &mut Vec<Divergence>,
) {
    let Some(life) = story.lives.get(&observer) else {
        return;
    };
    let watches = watches_until(story, observer, device);
    for span in &life.spans {
        let end = span.to.map_or(story.quiet, |(to, _)| to).min(watches);
        let mut points: Vec<Moment> = truth.steps.iter().map(|(at, _)| *at).collect();
        points.extend(sights.iter().map(|sight| sight.at));
        points.retain(|at| *at > span.from && *at < end);
        points.push(span.from);
        points.push(end);
        points.sort_unstable();
        points.dedup();
        let mut open: Option<Divergence> = None;
        for pair in points.windows(2) {
            let (from, to) = (pair[0], pair[1]);
            let believed = sights
                .iter()
                .rev()
                .find(|sight| sight.at <= from && sight.at >= span.from)
                .map(|sight| sight.online);
            let differs = match (truth.at(from), believed) {
                (Some(really), Some(believed)) => really != believed,
                // Nothing is retained of a device that was never there.
                (Some(really), None) => really,
                (None, _) => false,
            };
            match (&mut open, differs) {
                (Some(divergence), true) if divergence.believed == believed => divergence.to = to,
                (_, true) => {
                    found.extend(open.take());
                    open = Some(Divergence {
                        observer,
                        device,
                        from,
                        to,
                        believed,
                    });
                }
                (_, false) => found.extend(open.take()),
            }
        }
        found.extend(open);
    }
}

/// With a device its bindings are deleted, and with them what a user may hear.
fn watches_until(story: &Story<'_>, observer: Party, device: Party) -> Moment {
    let by_binding = matches!(story.cast.member(observer).role, Role::User { .. });
    let deleted = story
        .revoked
        .get(&device)
        .filter(|revoked| revoked.how == Revocation::Deleted);
    match deleted {
        Some(deleted) if by_binding => deleted.asked.min(story.quiet),
        Some(_) | None => story.quiet,
    }
}

/// Whether a device is online, from each moment on; none where nobody can know.
#[derive(Debug)]
struct Truth {
    steps: Vec<(Moment, Option<bool>)>,
}

impl Truth {
    fn of(life: Option<&Life>, end: Moment) -> Truth {
        let mut steps = vec![(0, Some(false))];
        for span in life.map(|life| &life.spans[..]).unwrap_or_default() {
            steps.retain(|(at, _)| *at < span.from);
            steps.push((span.from, Some(true)));
            match span.to {
                Some((at, Ending::Silent { until })) => {
                    steps.push((at, None));
                    steps.push((until.max(at), Some(false)));
                }
                Some((at, Ending::Goodbye | Ending::Broken | Ending::ByServer(_))) => {
                    steps.push((at, Some(false)))
                }
                None => {}
            }
        }
        steps.retain(|(at, _)| *at <= end);
        Truth { steps }
    }

    fn since(&self, moment: Moment) -> Option<&(Moment, Option<bool>)> {
        self.steps.iter().rev().find(|(at, _)| *at <= moment)
    }

    fn at(&self, moment: Moment) -> Option<bool> {
        self.since(moment).and_then(|(_, online)| *online)
    }
}
