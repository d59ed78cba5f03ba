//! *Wrong status*: a message ends with a code that does not say what happened to it, with two codes, with an answer its
//! receiver did not give, or with none; or it is refused without a reason, or refused and done all the same.

use std::collections::HashMap;

use super::{Finding, ms};
use crate::observation::{Door, Kind, Moment, Party};
use crate::story::{End, Message, Story, Stray};

pub(super) const NAME: &str = "status";
/// How long a sender must have been there before the end for a missing status to count.
const THERE: u64 = 1_000_000;
/// What a server may answer that cannot take more now: unspecified, busy, over a quota or out of room.
const BUSY: [u16; 3] = [0x80, 0x83, 0x97];
/// What a session could not keep for who was away.
const QUEUE_FULL: u16 = 507;
const BUSY_HTTP: [u16; 5] = [429, 500, 503, 504, 507];

pub(super) fn find(story: &Story<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = story
        .messages
        .values()
        .flat_map(|message| of(story, message))
        .collect();
    findings.extend(strays(story));
    findings
}

/// Statuses of nothing. A repeat without an id has one that cannot be told from the first one's, a refusal one that
/// says why, and who was away is told how much it has missed.
fn strays(story: &Story<'_>) -> Vec<Finding> {
    let mut nameless: HashMap<Party, usize> = HashMap::new();
    for message in story.messages.values() {
        let repeats = if message.facts.named {
            0
        } else {
            message.sends.len().saturating_sub(1)
        };
        let refused = usize::from(message.rejected.is_some());
        *nameless.entry(message.number.sender()).or_default() += repeats + refused;
    }
    let mut findings = Vec::new();
    for (at, by, stray) in &story.strays {
        let what = match stray {
            Stray::UnreadableStatus => "a status that cannot be read".to_owned(),
            Stray::StatusOfNothing(code) => {
                let left = nameless.entry(*by).or_default();
                if *left > 0 {
                    *left -= 1;
                    continue;
                }
                if *code == QUEUE_FULL && was_away(story, *by, *at) {
                    continue;
                }
                format!("a status {code} of what it has not sent")
            }
            Stray::Unreadable(_) | Stray::StatusOf(_) => continue,
        };
        findings.push(Finding::on(NAME, *by, *at, what));
    }
    findings
}

fn was_away(story: &Story<'_>, party: Party, before: Moment) -> bool {
    let life = story.lives.get(&party);
    life.is_some_and(|life| {
        let mut ends = life.spans.iter().filter_map(|span| span.to);
        ends.any(|(at, _)| at <= before)
    })
}

fn of(story: &Story<'_>, message: &Message) -> Vec<Finding> {
    let mut findings = Vec::new();
    // The status of a repeat may come before or after the one of what it repeats.
    let mut own = message.ends.iter().filter(|end| !repeat(message, end.code));
    if let Some(first) = own.next() {
        if let Some(other) = own.find(|end| end.code != first.code) {
            let what = format!("ended with {}, then with {}", first.code, other.code);
            findings.push(Finding::of(NAME, message, other.at, what));
        }
        if let Some(what) = wrong(story, message, first) {
            findings.push(Finding::of(NAME, message, first.at, what));
        }
    }
    findings.extend(twice(story, message));
    if message.ends.is_empty() && missing(story, message) {
        let at = message.acknowledged.unwrap_or(story.quiet);
        findings.push(Finding::of(NAME, message, at, "no status has come"));
    }
    let unended = open(story, message);
    findings.extend(unended.map(|what| Finding::of(NAME, message, story.quiet, what)));
    findings.extend(refusal(story, message));
    findings.extend(answer_refused(story, message));
    findings
}

/// A status comes again only where the connection has broken, or the message was sent again.
fn twice(story: &Story<'_>, message: &Message) -> Option<Finding> {
    let life = story.lives.get(&message.number.sender())?;
    let again = message
        .ends
        .windows(2)
        .find(|pair| pair[0].code == pair[1].code && life.began(pair[0].at, pair[1].at).next().is_none())?;
    let once = message.sends.len() == 1 && message.has_status_topic();
    once.then(|| {
        let what = format!("its status {} was told twice in one connection", again[1].code);
        Finding::of(NAME, message, again[1].at, what)
    })
}

/// A message that was refused is not done, and there is a reason for it.
fn refusal(story: &Story<'_>, message: &Message) -> Option<Finding> {
    let (at, code) = message.rejected?;
    // Of what was sent twice, the one may be taken and the other refused.
    if message.sends.len() > 1 {
        return None;
    }
    let done = if !message.stored.is_empty() {
        Some("in the store")
    } else if !message.pushed.is_empty() {
        Some("delivered")
    } else if message.ends.iter().any(|end| end.code == 200) {
        Some("ended with 200")
    } else {
        None
    };
    if let Some(done) = done {
        let what = format!("refused with {}, and {done} all the same", refused(message, code));
        return Some(Finding::of(NAME, message, at, what));
    }
    let revoked = story.revoked_between(message.device(), message.facts.due, at)
        || story.revoked_between(message.number.sender(), message.facts.due, at);
    let busy = match message.facts.door {
        Door::Mqtt => BUSY.contains(&code),
        Door::Http => BUSY_HTTP.contains(&code),
    };
    (!busy && !revoked).then(|| {
        let what = format!(
            "refused with {}, for which there is no reason",
            refused(message, code)
        );
        Finding::of(NAME, message, at, what)
    })
}

/// A device's answer is refused where its push has ended, was answered before, or the server has no room.
fn answer_refused(story: &Story<'_>, message: &Message) -> Option<Finding> {
    let (at, code) = message.answer_refused?;
    let tolerance = story.rules.tolerance.expiry.as_micros();
    let expired = message.sends.first().and_then(|sent| message.expires(*sent));
    let over = expired.is_some_and(|expires| expires <= at.saturating_add(tolerance))
        || message.ends.iter().any(|end| end.at <= at)
        || message.answering.len() > 1
        || message.pushed.len() > 1;
    let reason = over || BUSY.contains(&u16::from(code)) || story.taken_away(message);
    (!reason).then(|| {
        let what = format!("its device's answer was refused with 0x{code:02X}, for which there is no reason");
        Finding::of(NAME, message, at, what)
    })
}

fn refused(message: &Message, code: u16) -> String {
    match message.facts.door {
        Door::Mqtt => format!("0x{code:02X}"),
        Door::Http => code.to_string(),
    }
}

/// 208 beside another code, for what was sent twice.
fn repeat(message: &Message, code: u16) -> bool {
    code == 208 && message.sends.len() > 1
}

/// What is wrong with this end.
fn wrong(story: &Story<'_>, message: &Message, end: &End) -> Option<String> {
    let code = end.code;
    let side = message.device();
    if message.facts.kind == Kind::Upload && !matches!(code, 200 | 208) && !message.stored.is_empty() {
        return Some(format!("ended with {code}, and is in the store all the same"));
    }
    let revoked = story.revoked_between(side, message.facts.due, end.at);
    if repeat(message, code) || (revoked && matches!(code, 401 | 403 | 404 | 410)) {
        return None;
    }
    match (message.facts.kind, code) {
        (Kind::Upload, 200) => None,
        (Kind::Push, 200) => answer(story, message, end),
        // Whether it is time, the expiry oracle says.
        (Kind::Push, 408) if message.facts.expiry.is_some() => unused(story, message),
        (_, code) => Some(format!("ended with {code}, for which there is no reason")),
    }
}

/// A push that is done was answered, with the number that its status shows.
fn answer(story: &Story<'_>, message: &Message, end: &End) -> Option<String> {
    if story.rules.by_puback.contains(&message.facts.to) {
        return None;
    }
    let given: Vec<u16> = message.answering.iter().map(|(_, code)| *code).collect();
    match end.answer {
        Some(answer) if given.contains(&answer) => None,
        Some(answer) => Some(format!(
            "its status shows the answer {answer}, the device gave {given:?}"
        )),
        None if given.is_empty() => Some("ended with 200, and its device has not answered".to_owned()),
        None => Some(format!("its status has no answer, the device gave {given:?}")),
    }
}

/// A push that expired although the platform had taken its device's answer.
fn unused(story: &Story<'_>, message: &Message) -> Option<String> {
    let expires = message.expires(*message.sends.first()?)?;
    let answered = taken(story, message)?;
    let in_time = answered.saturating_add(story.rules.tolerance.expiry.as_micros()) <= expires;
    in_time.then(|| {
        format!(
            "ended with 408, and its device's answer was acknowledged {} before the expiry",
            ms(expires - answered)
        )
    })
}

/// When the platform had the answer: it has acknowledged it, or the device's PUBACK is the answer and has had time to come.
fn taken(story: &Story<'_>, message: &Message) -> Option<Moment> {
    let receiver = message.facts.to;
    if !story.rules.by_puback.contains(&receiver) {
        return message.answered;
    }
    let delivery = message.pushed.iter().find(|delivery| delivery.by == receiver)?;
    let there = !story.rules.slow.contains(&receiver) && story.waited(receiver, delivery.at);
    there.then_some(delivery.at.saturating_add(story.rules.patience))
}

/// A receipt that has not ended at the end of the run, although there is nothing left to wait for.
fn open(story: &Story<'_>, message: &Message) -> Option<&'static str> {
    let accepted = message.acknowledged?;
    if !message.receipt?.open || story.taken_away(message) {
        return None;
    }
    let told = story.rules.tolerance.expiry_told.as_micros();
    let overdue = message
        .expires(accepted)
        .is_some_and(|expires| expires.saturating_add(told) <= story.quiet);
    let answered = taken(story, message).is_some_and(|at| at.saturating_add(THERE) <= story.quiet);
    let there = story.present_since(message.facts.to, story.rules.patience)
        && !story.rules.slow.contains(&message.facts.to);
    if answered {
        Some("its device's answer was acknowledged, and its receipt has not ended")
    } else if overdue {
        Some("expired, and its receipt has not ended")
    } else if there && !message.pushed.is_empty() {
        Some("delivered to a device that is there, and its receipt has not ended")
    } else {
        None
    }
}

fn missing(story: &Story<'_>, message: &Message) -> bool {
    let sender = message.number.sender();
    // A repeat without an id has a status of its own, which nobody can tell from the first one's.
    let told_apart = message.facts.named || message.sends.len() == 1;
    let due = match message.facts.kind {
        Kind::Upload => true,
        Kind::Push => {
            let delivered = !message.pushed.is_empty() && story.rules.by_puback.contains(&message.facts.to);
            let since = message
                .answered
                .filter(|at| at.saturating_add(THERE) <= story.quiet);
            since.is_some() || (delivered && message.facts.expiry.is_none())
        }
    };
    message.acknowledged.is_some()
        && due
        && told_apart
        && message.has_status_topic()
        && story.present_since(sender, THERE)
        && !story.revoked_between(sender, message.facts.due, story.quiet)
        && !story.revoked_between(message.device(), message.facts.due, story.quiet)
}
