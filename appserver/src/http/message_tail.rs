//! `GET /v1/messages/stream`: the stages that messages pass, as they pass them, from every server of the domain.
//!
//! ```text
//! server ──what has happened since your mark?──▶ its recorder ┐
//! server ──────────── the same ────────────────▶              ├─▶ filter ─▶ events
//! server ──────────── the same ────────────────▶              ┘
//! ```
//!
//! The tail is live: nothing is stored for it. An event's id says how far each server has been heard; a reader that comes
//! back with it soon is told what has happened since, as far as the servers still have it in memory. What a reader was
//! too slow for, and a server that did not answer meanwhile, are told as `event: missed`.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State as Shared;
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use irsp_protocol::api::Problem;
use irsp_protocol::api::operator::{MissedView, TailView};
use irsp_protocol::inquiry::{Filter, Finding, Inquiry, Tail, TailMark};
use irsp_protocol::{Server, Status};
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::caller::{Caller, Warrant};
use super::input::Params;
use super::message_list::Wanted;
use super::messages::may_see;
use super::refusal::Refusal;
use super::state::Api;
use super::told::{self, Mark, Ready, Told, no_mark, resume_text};
use super::websocket::Asked;
use crate::inquire::ask;

/// Keeps proxies from closing an idle stream, and finds clients that are gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// After a server was silent.
const SILENCE_PAUSE: Duration = Duration::from_secs(1);

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TailQuery {
    /// Its sender or the one it is for, such as `dev/lamp-1`.
    principal: Option<String>,
    /// Where it stands: `in-flight`, `done`, ...; several with commas between.
    state: Option<String>,
    /// `upload`, `push` or `message`; for operators also `status`, `presence` and `directory`.
    kind: Option<String>,
    /// The id of an event: what has happened since is told, too, as far as it is still in memory.
    after: Option<String>,
}

/// The stages messages pass from now on, as server-sent events or, with `Upgrade: websocket`, as messages of a WebSocket:
/// `event: receipt`, and `event: missed` where some are missing. Resumes behind the id of an event for a short while.
#[utoipa::path(get, path = "/v1/messages/stream", tag = "messages",
    params(TailQuery, ("last-event-id" = Option<String>, Header, description = "Resume behind this event")),
    responses(
        (status = 200, body = TailView, content_type = "text/event-stream"),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 401, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn stream_messages(
    Shared(api): Shared<Api>,
    caller: Caller,
    Params(query): Params<TailQuery>,
    headers: HeaderMap,
    Asked(upgrade): Asked,
) -> Result<Response, Refusal> {
    let resumed = resume_text(&headers, query.after)?;
    let resumed = resumed.map(|text| Marks::parse(&text).ok_or_else(no_mark));
    let resumed = resumed.transpose()?.unwrap_or_default();
    let wanted = Wanted {
        principal: query.principal,
        state: query.state,
        kind: query.kind,
    };
    let filter = wanted.filter(&api, &caller)?;
    let place = (api.place()?, api.tail_place()?);
    // Asked before the answer begins: whatever happens from here on is told.
    let heard = ask(&api.courier, caller.reach(), &Inquiry::Tail { after: None }).await?;
    let mut marks = Marks::default();
    let sources: Vec<_> = (caller.reach().iter())
        .map(|server| {
            let found = heard.found.iter().find(|(by, _)| by == server);
            let now = found.and_then(|(_, finding)| mark(finding));
            let mark = resumed.0.get(server).copied().or(now);
            marks.0.extend(mark.map(|mark| (*server, mark)));
            source(api.clone(), *server, mark)
        })
        .collect();
    let mut beat = tokio::time::interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let unheard = caller
        .reach()
        .iter()
        .filter(|server| !marks.0.contains_key(server));
    let unheard: Vec<Server> = unheard.copied().collect();
    let mut state = State {
        news: stream::select_all(sources).boxed(),
        ready: VecDeque::from([Ready::Open]),
        marks,
        closed: false,
        beat,
        warrant: Warrant::new(&api, &caller, Arc::new(|_: &Caller| Ok(()))),
        stop: api.stop.clone(),
        filter,
        caller,
        api,
        _place: place,
    };
    for server in unheard {
        // Whatever happens before it answers is not told.
        state.missed(MissedView { server, count: None });
    }
    let stops = state.api.clone();
    let told = stream::unfold(state, |mut state| async move {
        let ready = state.next().await?;
        Some((ready, state))
    });
    Ok(match upgrade {
        Some(upgrade) => upgrade.respond(&stops, told.boxed()),
        None => told::sse(told),
    })
}

/// How far each server has been heard: `message:{life}:{number},app:{life}:{number}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Marks(BTreeMap<Server, TailMark>);

impl Marks {
    fn parse(text: &str) -> Option<Marks> {
        let one = |part: &str| {
            let mut words = part.split(':');
            let server = Server::parse(words.next()?)?;
            let mark = TailMark {
                life: words.next()?.parse().ok()?,
                number: words.next()?.parse().ok()?,
            };
            words.next().is_none().then_some((server, mark))
        };
        text.split(',').map(one).collect::<Option<_>>().map(Marks)
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (server, mark) in &self.0 {
            let comma = if text.is_empty() { "" } else { "," };
            // Writing to a String cannot fail.
            let _ = write!(text, "{comma}{}:{}:{}", server.as_str(), mark.life, mark.number);
        }
        text
    }
}

/// What a server has told, or that it was silent.
type News = (Server, Option<Tail>);

/// One server's tail from a mark on.
fn source(api: Api, server: Server, mark: Option<TailMark>) -> BoxStream<'static, News> {
    let asking = stream::unfold((api, mark, false), move |(api, mark, was_silent)| async move {
        if was_silent {
            tokio::time::sleep(SILENCE_PAUSE).await;
        }
        let inquiry = Inquiry::Tail { after: mark };
        let heard = ask(&api.courier, &[server], &inquiry).await;
        let found = heard
            .inspect_err(|error| tracing::warn!(%error, "the tail cannot be read"))
            .ok()
            .and_then(|heard| heard.found.into_iter().next());
        match found {
            Some((_, Finding::Tail(tail))) => {
                let mark = Some(tail.mark);
                Some(((server, Some(tail)), (api, mark, false)))
            }
            Some(_) | None => Some(((server, None), (api, mark, true))),
        }
    });
    asking.boxed()
}

fn mark(finding: &Finding) -> Option<TailMark> {
    if let Finding::Tail(tail) = finding {
        Some(tail.mark)
    } else {
        None
    }
}

struct State {
    api: Api,
    caller: Caller,
    filter: Filter,
    news: BoxStream<'static, News>,
    ready: VecDeque<Ready>,
    marks: Marks,
    closed: bool,
    beat: tokio::time::Interval,
    warrant: Warrant,
    stop: CancellationToken,
    /// Given back when the stream is dropped.
    _place: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

impl State {
    async fn next(&mut self) -> Option<Ready> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.closed {
                return None;
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => self.close("closed: the server stops"),
                () = self.warrant.changed() => self.check(),
                _ = self.beat.tick() => {
                    self.ready.push_back(Ready::Beat);
                    self.check();
                }
                Some((server, tail)) = self.news.next() => self.take(server, tail),
            }
        }
    }

    fn take(&mut self, server: Server, tail: Option<Tail>) {
        let Some(tail) = tail else {
            return self.missed(MissedView { server, count: None });
        };
        let before = self.marks.0.get(&server);
        if before.is_some_and(|before| before.life != tail.mark.life) {
            // It has started anew: how much is missing nobody knows.
            self.missed(MissedView { server, count: None });
        } else if tail.missed > 0 {
            let count = Some(tail.missed);
            self.missed(MissedView { server, count });
        }
        let wanted = tail.entries.into_iter().filter(|entry| {
            self.filter.wants(&entry.receipt) && may_see(&self.api, &self.caller, &entry.receipt)
        });
        let mut wanted = wanted.collect::<Vec<_>>().into_iter().peekable();
        while let Some(entry) = wanted.next() {
            if wanted.peek().is_none() {
                // Only behind its last event has all that the server told been told.
                self.marks.0.insert(server, tail.mark);
            }
            let view = TailView::new(entry, &self.api.domain);
            self.push("receipt", &view);
        }
        self.marks.0.insert(server, tail.mark);
    }

    fn missed(&mut self, view: MissedView) {
        self.push("missed", &view);
    }

    fn push(&mut self, name: &'static str, view: &impl serde::Serialize) {
        match serde_json::to_string(view) {
            Ok(data) => self.ready.push_back(Ready::Told(Told {
                mark: Mark::Text(self.marks.text()),
                name,
                data,
            })),
            Err(error) => {
                tracing::error!(%error, "an event cannot be written");
                self.close(&format!("closed: {}", Status::FAILED));
            }
        }
    }

    /// Closes the stream if the caller may not listen any more (a key that was revoked, a token that has expired).
    fn check(&mut self) {
        if let Err(refusal) = self.warrant.check() {
            self.close(&format!("closed: {}", refusal.status()));
        }
    }

    fn close(&mut self, why: &str) {
        self.ready.push_back(Ready::Closed(why.to_owned()));
        self.closed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_read_as_they_are_written() {
        let text =
            "message:01a205d3-8694-739b-aea5-966c26f8ad91:17,app:01a205d3-8694-739b-aea5-966c26f8ad92:0";
        let marks = Marks::parse(text).unwrap();
        assert_eq!(marks.0.len(), 2);
        assert_eq!(Marks::parse(&marks.text()), Some(marks));
        for wrong in [
            "",
            "17",
            "moon:01a205d3-8694-739b-aea5-966c26f8ad91:17",
            "app:x:1",
            "app:01a205d3-8694-739b-aea5-966c26f8ad91:1:2",
        ] {
            assert_eq!(Marks::parse(wrong), None, "{wrong}");
        }
    }
}
