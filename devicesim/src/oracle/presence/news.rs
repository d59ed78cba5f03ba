//! *Presence, its news*: of one change, everybody is told the same epoch and the same time, the application server included
//! when it is asked; and the time is that of a change the device knows of.

use std::collections::HashMap;

use super::NAME;
use crate::observation::{Ending, Moment, Party};
use crate::oracle::{Finding, ms};
use crate::story::{Life, Story};
use irsp_protocol::presence::Reason;

/// A client notes its connection when it has read CONNACK, and its end when it has written its goodbye.
const NOTED: Moment = 1_000_000;

/// What somebody was told.
#[derive(Clone, Copy)]
struct News {
    at: Moment,
    of: Party,
    /// None: the application server, when it was asked.
    by: Option<Party>,
    epoch: u64,
    seq: u64,
    since: i64,
    online: bool,
    reason: Option<Reason>,
}

pub(super) fn find(story: &Story<'_>) -> Vec<Finding> {
    let told = told(story);
    let mut findings = contradictions(story, &told);
    findings.extend(told.iter().filter_map(|news| untimely(story, news)));
    findings
}

/// All that has a time, in the order in which it was told.
fn told(story: &Story<'_>) -> Vec<News> {
    let sights = story.sights.iter().filter_map(|sight| {
        Some(News {
            at: sight.at,
            of: sight.of,
            by: Some(sight.by),
            epoch: sight.epoch,
            seq: sight.seq,
            since: sight.since?,
            online: sight.online,
            reason: Some(sight.reason),
        })
    });
    let asked = story.asked.iter().filter_map(|asked| {
        Some(News {
            at: asked.at,
            of: asked.of,
            by: None,
            epoch: asked.epoch,
            seq: asked.seq,
            since: asked.since?,
            online: asked.online,
            reason: None,
        })
    });
    sights.chain(asked).collect()
}

/// One change under two epochs or at two times.
fn contradictions(story: &Story<'_>, told: &[News]) -> Vec<Finding> {
    let mut times: HashMap<(Party, u64, u64), i64> = HashMap::new();
    let mut epochs: HashMap<(Party, i64, bool), u64> = HashMap::new();
    let mut findings = Vec::new();
    for news in told {
        let by = name(story, news.by);
        let since = *times.entry((news.of, news.epoch, news.seq)).or_insert(news.since);
        let epoch = *epochs
            .entry((news.of, news.since, news.online))
            .or_insert(news.epoch);
        let what = if since != news.since {
            let apart = ms(news.since.abs_diff(since) * 1000);
            format!(
                "epoch {}, seq {} has two times, {apart} apart; the second by {by}",
                news.epoch, news.seq
            )
        } else if epoch != news.epoch {
            format!(
                "one change has the epochs {epoch} and {}, the second by {by}",
                news.epoch
            )
        } else {
            continue;
        };
        findings.push(Finding::on(NAME, news.of, news.at, what));
    }
    findings
}

fn name(story: &Story<'_>, by: Option<Party>) -> String {
    by.map_or_else(|| "GET /v1/presence".to_owned(), |by| story.cast.name(by))
}

/// A time at which the device did nothing of the kind.
fn untimely(story: &Story<'_>, news: &News) -> Option<Finding> {
    let life = story.lives.get(&news.of)?;
    // Of before it came for the first time, it knows nothing.
    life.spans
        .first()
        .filter(|span| span.from <= news.at.saturating_add(NOTED))?;
    let tolerance = story.rules.tolerance.presence.as_micros().saturating_add(NOTED);
    let near = |from: Moment, to: Moment| {
        let since = i128::from(news.since) * 1000;
        let tolerance = i128::from(tolerance);
        (i128::from(from) - tolerance..=i128::from(to) + tolerance).contains(&since)
    };
    let real = if news.online {
        life.spans.iter().any(|span| near(span.from, span.from))
    } else {
        let any_time = [
            Reason::ServerStopped,
            Reason::OutOfSight,
            Reason::TakenOver,
            Reason::Revoked,
        ];
        news.reason.is_none_or(|reason| any_time.contains(&reason)) || went(life, near)
    };
    (!real).then(|| {
        let state = if news.online { "online" } else { "offline" };
        let what = format!(
            "{} says that it is {state} since a time at which it did not become so, {} into the run",
            name(story, news.by),
            ms(u64::try_from(news.since).unwrap_or(0) * 1000)
        );
        Finding::on(NAME, news.of, news.at, what)
    })
}

fn went(life: &Life, near: impl Fn(Moment, Moment) -> bool) -> bool {
    let mut ends = life.spans.iter().filter_map(|span| span.to);
    ends.any(|(at, ending)| match ending {
        Ending::Silent { until } => near(at, until.max(at)),
        Ending::Goodbye | Ending::Broken | Ending::ByServer(_) => near(at, at),
    })
}
