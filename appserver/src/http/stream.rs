//! Live streams over a numbered log: everything beyond a number, first from the store, then live, without a
//! gap and without a repeat. They are server-sent events, whose `id:` is the number, so
//! that a client resumes with `Last-Event-ID`; or messages of a WebSocket.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use futures_util::{StreamExt as _, stream};
use irsp_courier::store::{Store, StoreError};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::caller::Warrant;
use super::state::Api;
use super::told::{self, Ready, Told};
use super::websocket::Upgrade;
use crate::live::{Batch, Log, read_on};

/// Keeps proxies from closing an idle stream, and finds clients that are gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Whether and how one entry is shown to this stream's caller; `None` if it is not for it.
pub(super) type Show<E> = Arc<dyn Fn(&E) -> Option<Result<Told, serde_json::Error>> + Send + Sync>;

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

/// What the stream does next.
enum Phase {
    /// Reads what it has not seen from the store.
    Replay,
    Live,
    Closed,
}

/// A stream that is told, however it travels.
struct State<L: Log> {
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
        let told = stream::unfold(state, |mut state| async move {
            let ready = state.next().await?;
            Some((ready, state))
        });
        match upgrade {
            Some(upgrade) => upgrade.respond(api, told.boxed()),
            None => told::sse(told),
        }
    }
}

impl<L: Log> State<L> {
    /// What goes out next; `None` at the end. One that is dropped while it waits has lost nothing.
    async fn next(&mut self) -> Option<Ready> {
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
