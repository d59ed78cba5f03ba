//! `GET /v1/messages/stream`: the stages that messages pass, as they pass them, from every server of the domain.
//!
//! ```text
//! server ──what has happened since your mark?──▶ its recorder ┐
//! server ──────────── the same ────────────────▶              ├─▶ filter ─▶ events
//! server ──────────── the same ────────────────▶              ┘
//! ```
//!
//! The tail is live only: nothing is stored for it and nothing is repeated. What a reader was too slow for, and a server
//! that did not answer meanwhile, are told as `event: missed`.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State as Shared;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
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
}

/// The stages messages pass from now on, as server-sent events: `event: receipt`, and `event: missed` where some are
/// missing. Not stored: it cannot be resumed.
#[utoipa::path(get, path = "/v1/messages/stream", tag = "messages", params(TailQuery),
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
) -> Result<Response, Refusal> {
    let wanted = Wanted {
        principal: query.principal,
        state: query.state,
        kind: query.kind,
    };
    let filter = wanted.filter(&api, &caller)?;
    let place = (api.place()?, api.tail_place()?);
    // Asked before the answer begins: whatever happens from here on is told.
    let heard = ask(&api.courier, caller.reach(), &Inquiry::Tail { after: None }).await?;
    let sources = caller.reach().iter().map(|server| {
        let found = heard.found.iter().find(|(by, _)| by == server);
        let mark = found.and_then(|(_, finding)| mark(finding));
        source(api.clone(), *server, mark)
    });
    let mut beat = tokio::time::interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let state = State {
        news: stream::select_all(sources).boxed(),
        ready: VecDeque::from([Event::default().comment("open")]),
        closed: false,
        beat,
        warrant: Warrant::new(&api, &caller, Arc::new(|_: &Caller| Ok(()))),
        stop: api.stop.clone(),
        filter,
        caller,
        api,
        _place: place,
    };
    let events = stream::unfold(state, |mut state| async move {
        let event = state.next().await?;
        Some((Ok::<_, Infallible>(event), state))
    });
    Ok(Sse::new(events).into_response())
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
    ready: VecDeque<Event>,
    closed: bool,
    beat: tokio::time::Interval,
    warrant: Warrant,
    stop: CancellationToken,
    /// Given back when the stream is dropped.
    _place: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

impl State {
    async fn next(&mut self) -> Option<Event> {
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
                    self.ready.push_back(Event::default().comment("keep-alive"));
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
        if tail.missed > 0 {
            let count = Some(tail.missed);
            self.missed(MissedView { server, count });
        }
        for entry in tail.entries {
            if self.filter.wants(&entry.receipt) && may_see(&self.api, &self.caller, &entry.receipt) {
                let view = TailView::new(entry, &self.api.domain);
                self.push("receipt", &view);
            }
        }
    }

    fn missed(&mut self, view: MissedView) {
        self.push("missed", &view);
    }

    fn push(&mut self, name: &str, view: &impl serde::Serialize) {
        match Event::default().event(name).json_data(view) {
            Ok(event) => self.ready.push_back(event),
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
        self.ready.push_back(Event::default().comment(why));
        self.closed = true;
    }
}
