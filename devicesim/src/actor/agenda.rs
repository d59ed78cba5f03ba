//! What a member does when: timers in the order of their instants.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::outgoing::Answer;

/// Something to be done.
#[derive(Clone, Debug)]
pub(super) enum Timer {
    Connect,
    /// The next message of this source.
    Send(usize),
    Ping,
    /// Bytes that go out late: an acknowledgement.
    Late(Vec<u8>),
    /// An answer to a push that goes out late.
    Answer(Answer),
    /// Read again.
    Read,
    Flap,
    Roam,
}

#[derive(Debug, Default)]
pub(super) struct Agenda {
    timers: BTreeMap<(Instant, u64), Timer>,
    added: u64,
}

impl Agenda {
    pub(super) fn add(&mut self, at: Instant, timer: Timer) {
        self.added += 1;
        self.timers.insert((at, self.added), timer);
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.timers.keys().next().map(|(at, _)| *at)
    }

    /// Takes the earliest.
    pub(super) fn take(&mut self) -> Option<Timer> {
        self.timers.pop_first().map(|(_, timer)| timer)
    }

    pub(super) fn forget(&mut self, which: impl Fn(&Timer) -> bool) {
        self.timers.retain(|_, timer| !which(timer));
    }
}
