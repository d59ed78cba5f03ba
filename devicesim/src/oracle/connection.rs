//! *Connection*: a member that the run lets be keeps its connection and its subscriptions.

use super::Finding;
use crate::observation::{Ending, Moment, Party};
use crate::story::{Connection, Life, Story};

pub(super) const NAME: &str = "connection";
/// A server may go away and come back; who is ended so often is not served.
const AGAIN_AND_AGAIN: usize = 3;

pub(super) fn find(story: &Story<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = story
        .lives
        .iter()
        .flat_map(|(party, life)| {
            let found = [ended(story, *party, life), unsubscribed(story, *party, life)];
            found.into_iter().flatten()
        })
        .collect();
    findings.sort_by_key(|finding| (finding.at, finding.device));
    findings
}

/// The server ends its connections, one after the other, or ends one and lets nobody in again.
fn ended(story: &Story<'_>, party: Party, life: &Life) -> Option<Finding> {
    if story.rules.slow.contains(&party) {
        return None;
    }
    let ends: Vec<Moment> = life
        .spans
        .iter()
        .filter_map(|span| by_server(story, party, span))
        .collect();
    let at = *ends.first()?;
    if ends.len() >= AGAIN_AND_AGAIN {
        let what = format!("the server has ended its connections {} times", ends.len());
        return Some(Finding::on(NAME, party, at, what));
    }
    let last = life.spans.last()?;
    let at = by_server(story, party, last)?;
    let long = at.saturating_add(story.rules.patience) <= story.quiet;
    long.then(|| {
        let what = "the server has ended its connection, and it was not let in again";
        Finding::on(NAME, party, at, what)
    })
}

/// When the server ended it, for no reason that the run gave.
fn by_server(story: &Story<'_>, party: Party, span: &Connection) -> Option<Moment> {
    let (at, ending) = span.to?;
    let known = !matches!(ending, Ending::ByServer(_)) || story.revoked_between(party, span.from, at);
    (!known && at <= story.quiet).then_some(at)
}

/// Its subscriptions went out and were neither granted nor refused.
fn unsubscribed(story: &Story<'_>, party: Party, life: &Life) -> Option<Finding> {
    let silent = |span: &&Connection| {
        let asked = span.subscribing.filter(|_| span.subscribed.is_none());
        asked.is_some_and(|asked| story.waited(party, asked))
    };
    let asked = life.spans.iter().find(silent)?.subscribing?;
    let revoked = story.revoked_between(party, asked, story.quiet);
    (!revoked).then(|| Finding::on(NAME, party, asked, "its subscriptions were never answered"))
}
