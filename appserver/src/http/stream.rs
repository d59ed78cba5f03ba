//! Live streams over a numbered log: everything beyond a number, first from the store, then live, without a
//! gap and without a repeat. They are server-sent events, whose `id:` is the number, so
//! that a client resumes with `Last-Event-ID`; or messages of a WebSocket.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use irsp_courier::store::{Store, StoreError};
use irsp_protocol::Status;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::caller::Warrant;
use super::refusal::Refusal;
use super::state::Api;
use super::websocket::Upgrade;
use crate::live::{Batch, Log, read_on};

/// Keeps proxies from closing an idle stream, and finds clients that are gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Name of the header with which a client resumes.
pub(super) const LAST_EVENT_ID: &str = "last-event-id";

/// Whether and how one entry is shown to this stream's caller; `None` if it is not for it.
pub(super) type Show<E> = Arc<dyn Fn(&E) -> Option<Result<Told, serde_json::Error>> + Send + Sync>;

/// One entry as it is told.
pub(super) struct Told {
    pub(super) number: u64,
    /// What it is, such as `upload`.
    pub(super) name: &'static str,
    /// JSON in one line.
    pub(super) data: String,
}

/// What goes out next.
pub(super) enum Ready {
    /// The stream is open; sent at once, so that the client sees it.
    Open,
    Told(Told),
    Beat,
    /// It ends, and why.
    Closed(String),
}

impl From<Ready> for Event {
    fn from(ready: Ready) -> Event {
        match ready {
            Ready::Open => Event::default().comment("open"),
            Ready::Beat => Event::default().comment("keep-alive"),
            Ready::Closed(why) => Event::default().comment(why),
            Ready::Told(told) => Event::default()
                .id(told.number.to_string())
                .event(told.name)
                .data(told.data),
        }
    }
}

/// One open stream.
pub(super) struct Listener<L: Log> {
    pub(super) store: Store,
    pub(super) batches: broadcast::Receiver<Batch<L::Entry>>,
    /// What is read from the store; `show` decides again on each entry.
    pub(super) part: L::Part,
    pub(super) show: Show<L::Entry>,
    /// The last number told or passed over.
    pub(super) last: u64,
    pub(super) warrant: Warrant,
    pub(super) stop: CancellationToken,
    /// The place among the streams; given back when the stream is dropped.
    pub(super) _place: OwnedSemaphorePermit,
}

/// The number to resume after: `Last-Event-ID`, else `after`, else none.
pub(super) fn resume_after(headers: &HeaderMap, after: Option<u64>) -> Result<Option<u64>, Refusal> {
    let Some(value) = headers.get(LAST_EVENT_ID) else {
        return Ok(after);
    };
    let number = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    number.map(Some).ok_or_else(|| {
        Refusal::new(
            Status::MALFORMED,
            "Last-Event-ID is the number of an event of this stream",
        )
    })
}

/// What the stream does next.
enum Phase {
    /// Reads what it has not seen from the store.
    Replay,
    Live,
    Closed,
}

/// A stream that is told, however it travels.
pub(super) struct State<L: Log> {
    listener: Listener<L>,
    phase: Phase,
    ready: VecDeque<Ready>,
    beat: tokio::time::Interval,
}

impl<L: Log> Listener<L> {
    /// The response. It ends when the server stops, or when the caller may no longer listen.
    pub(super) fn respond(self, api: &Api, upgrade: Option<Upgrade>) -> Response {
        let mut beat = tokio::time::interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let state = State {
            listener: self,
            phase: Phase::Replay,
            ready: VecDeque::from([Ready::Open]),
            beat,
        };
        if let Some(upgrade) = upgrade {
            return upgrade.respond(api, state);
        }
        let events = stream::unfold(state, |mut state| async move {
            let event = state.next().await?;
            Some((Ok::<_, Infallible>(Event::from(event)), state))
        });
        Sse::new(events).into_response()
    }
}

impl<L: Log> State<L> {
    /// What goes out next; `None` at the end. One that is dropped while it waits has lost nothing.
    pub(super) async fn next(&mut self) -> Option<Ready> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            match self.phase {
                Phase::Closed => return None,
                Phase::Replay => match self.replay().await {
                    Ok(()) => {}
                    Err(error) => {
                        tracing::warn!(%error, "a stream cannot read the store");
                        self.close(&format!("closed: {}; resume with Last-Event-ID", error.status()));
                    }
                },
                Phase::Live => self.listen().await,
            }
        }
    }

    async fn replay(&mut self) -> Result<(), StoreError> {
        if !self.allowed() {
            return Ok(());
        }
        let listener = &self.listener;
        let (page, upto) = read_on::<L>(&listener.store, listener.part.clone(), listener.last).await?;
        if !page.more {
            self.phase = Phase::Live;
        }
        self.take(&page.entries, upto);
        Ok(())
    }

    async fn listen(&mut self) {
        let listener = &mut self.listener;
        tokio::select! {
            biased;
            () = listener.stop.cancelled() => self.close("closed: the server stops; resume with Last-Event-ID"),
            () = listener.warrant.changed() => { self.allowed(); }
            batch = listener.batches.recv() => match batch {
                Ok(batch) if batch.after > listener.last => self.phase = Phase::Replay,
                Ok(batch) => self.take(&batch.entries, batch.upto),
                Err(RecvError::Lagged(_)) => self.phase = Phase::Replay,
                Err(RecvError::Closed) => self.close("closed: the server stops; resume with Last-Event-ID"),
            },
            _ = self.beat.tick() => {
                if self.allowed() {
                    self.ready.push_back(Ready::Beat);
                }
            }
        }
    }

    /// Shows the entries not seen yet; they are all there are up to `upto`.
    fn take(&mut self, entries: &[L::Entry], upto: u64) {
        for entry in entries {
            let number = L::number(entry);
            if number <= self.listener.last {
                continue;
            }
            self.listener.last = number;
            match (self.listener.show)(entry) {
                None => {}
                Some(Ok(told)) => self.ready.push_back(Ready::Told(told)),
                Some(Err(error)) => {
                    tracing::error!(%error, number, "an entry cannot be written as an event");
                    self.close("closed: 500 failed");
                    return;
                }
            }
        }
        self.listener.last = self.listener.last.max(upto);
    }

    /// Looks again whether the caller may listen, and closes the stream if not (a key that was revoked, a token
    /// that has expired).
    fn allowed(&mut self) -> bool {
        match self.listener.warrant.check() {
            Ok(_) => true,
            Err(refusal) => {
                self.close(&format!("closed: {}", refusal.status()));
                false
            }
        }
    }

    fn close(&mut self, why: &str) {
        self.ready.push_back(Ready::Closed(why.to_owned()));
        self.phase = Phase::Closed;
    }
}
