//! Callers that wait until a message has left this server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use irsp_protocol::receipt::Answer;
use irsp_protocol::{MessageId, Status};
use tokio::sync::oneshot;

use crate::lock::lock;
use crate::store::Left;

/// How far [`Courier::outcome`](super::Courier::outcome) waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Ended, or the next server has taken custody (202).
    Custody,
    /// Ended.
    End,
}

pub(super) type Outcome = (Status, Option<Answer>);

#[derive(Clone, Default)]
pub(super) struct Waiters {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    next: u64,
    waiting: HashMap<MessageId, Vec<Entry>>,
}

struct Entry {
    number: u64,
    until: Until,
    tell: oneshot::Sender<Outcome>,
}

/// A place among the waiters; dropping it gives the place up.
pub(super) struct Place {
    waiters: Waiters,
    id: MessageId,
    number: u64,
    pub(super) outcome: oneshot::Receiver<Outcome>,
}

impl Waiters {
    pub(super) fn wait(&self, id: MessageId, until: Until) -> Place {
        let (tell, outcome) = oneshot::channel();
        let mut inner = lock(&self.inner);
        inner.next += 1;
        let number = inner.next;
        inner
            .waiting
            .entry(id)
            .or_default()
            .push(Entry { number, until, tell });
        Place {
            waiters: self.clone(),
            id,
            number,
            outcome,
        }
    }

    /// Tells those who wait for what a commit has changed.
    pub(super) fn tell(&self, left: &[Left]) {
        let mut inner = lock(&self.inner);
        if inner.waiting.is_empty() {
            return;
        }
        for left in left {
            let Some(entries) = inner.waiting.remove(&left.id) else {
                continue;
            };
            for entry in entries {
                let outcome = match (&left.end, entry.until) {
                    (Some(end), _) => (end.status, end.answer.clone()),
                    (None, Until::Custody) => (Status::QUEUED, None),
                    (None, Until::End) => {
                        inner.waiting.entry(left.id).or_default().push(entry);
                        continue;
                    }
                };
                // Whoever has stopped waiting misses nothing.
                let _gone = entry.tell.send(outcome);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = lock(&self.waiters.inner);
        if let Some(entries) = inner.waiting.get_mut(&self.id) {
            entries.retain(|entry| entry.number != self.number);
            if entries.is_empty() {
                inner.waiting.remove(&self.id);
            }
        }
    }
}
