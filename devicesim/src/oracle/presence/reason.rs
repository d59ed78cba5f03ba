//! *Presence, its reason*: whoever is told that a device went is told why, as the device itself knows it.
//!
//! | the device | reason |
//! |---|---|
//! | says goodbye | `disconnected` |
//! | breaks the connection | `connection-lost` |
//! | says nothing any more | `keep-alive-timeout`, or `connection-lost` where the network notices first |
//!
//! Besides them what may cross any of these: the login was taken away, another connection took its place, the server stopped.
//! What the server ended by itself is not judged.

use irsp_protocol::presence::Reason;

use super::NAME;
use crate::observation::{Ending, Moment};
use crate::oracle::Finding;
use crate::story::{Life, Sight, Story};

/// A device notes its end when it has written its goodbye; others may have heard of it by then.
const NOTED: Moment = 1_000_000;

pub(super) fn find(story: &Story<'_>) -> Vec<Finding> {
    story
        .sights
        .iter()
        .filter_map(|sight| judge(story, sight))
        .collect()
}

fn judge(story: &Story<'_>, sight: &Sight) -> Option<Finding> {
    let said = if sight.online { "online" } else { "offline" };
    let right = if sight.online {
        sight.reason == Reason::Connected
    } else {
        offline(story, sight)
    };
    (!right).then(|| {
        let what = format!(
            "{} was told that it is {said} with the reason {}, which is not what it did",
            story.cast.name(sight.by),
            name(sight.reason)
        );
        Finding::on(NAME, sight.of, sight.at, what)
    })
}

fn offline(story: &Story<'_>, sight: &Sight) -> bool {
    let Some(life) = story.lives.get(&sight.of) else {
        return true;
    };
    let since = sight
        .at
        .saturating_sub(story.rules.tolerance.presence.as_micros());
    match sight.reason {
        Reason::Revoked => story.revoked_between(sight.of, 0, sight.at),
        Reason::TakenOver => life.began(since, story.quiet).next().is_some(),
        // The scenario does not know when.
        Reason::ServerStopped | Reason::OutOfSight => true,
        Reason::Connected => false,
        Reason::Disconnected | Reason::ConnectionLost | Reason::KeepAliveTimeout | Reason::ProtocolError => {
            let mut may = endings(life, since, sight.at).peekable();
            // Told before the device itself knew: nothing to hold it against.
            may.peek().is_none() || may.any(|ending| fits(ending, sight.reason))
        }
    }
}

/// How connections ended that this news may be about: the last one before it, and all within the tolerance.
fn endings(life: &Life, since: Moment, at: Moment) -> impl Iterator<Item = Ending> {
    let ended = life.spans.iter().filter_map(|span| span.to);
    let last = ended.clone().rfind(|(to, _)| *to <= since);
    let recent = ended.filter(move |(to, _)| *to > since && *to <= at.saturating_add(NOTED));
    last.into_iter().chain(recent).map(|(_, ending)| ending)
}

fn fits(ending: Ending, reason: Reason) -> bool {
    match ending {
        Ending::Goodbye => reason == Reason::Disconnected,
        Ending::Broken => reason == Reason::ConnectionLost,
        Ending::Silent { .. } => matches!(reason, Reason::KeepAliveTimeout | Reason::ConnectionLost),
        Ending::ByServer(_) => true,
    }
}

fn name(reason: Reason) -> String {
    serde_json::to_value(reason)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}
