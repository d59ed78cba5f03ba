//! Keeps durable sessions on disk: one queue of changes in the order of their causes, and one task that stores what
//! has come together in one transaction of the message server's writer.
//!
//! ```text
//! publish -> numbered per session, queued -> one transaction -> mailboxes of the connected -> PUBACK
//! ```
//!
//! Nobody hears a stored message before it is on disk: what was heard and then lost would come twice. A change that
//! somebody waits for fails when the disk says no. One that only follows what has happened, such as an
//! acknowledgement, is tried again until it is stored.

mod change;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytestring::ByteString;
use irsp_courier::Courier;
use irsp_courier::store::StoreError;
use irsp_protocol::{Status, Timestamp};
use irsp_session::{Delivery, Publish};
use tokio::sync::{Notify, oneshot};

use self::change::{Change, write};
use super::kept::Unread;
use super::mailbox::Mailbox;
use super::publisher::Publisher;
use super::tag::stored_tag;
use crate::store::publish::weight;
use crate::store::queue::Entry;
use crate::store::session::{Begun, Left, SessionId, Wanted};
use crate::store::will::WillId;

/// Changes that may wait for the disk before publishes are refused; what only follows is always taken.
const CHANGES_MAX: usize = 65_536;
/// Changes stored in one transaction.
const BATCH_MAX: usize = 4_096;
/// How long to wait after the disk refused.
const RETRY: Duration = Duration::from_millis(500);

/// What all sessions may have on disk together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Totals {
    pub(crate) messages_max: u64,
    pub(crate) bytes_max: u64,
}

/// The way to the disk for everything that belongs to durable sessions.
#[derive(Debug)]
pub(crate) struct Keeper {
    totals: Totals,
    messages: AtomicU64,
    bytes: AtomicU64,
    last_session: AtomicU64,
    last_publish: AtomicU64,
    queue: Mutex<Queue>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    works: VecDeque<Work>,
    closing: bool,
}

#[derive(Debug)]
struct Work {
    change: Arc<Change>,
    done: Done,
}

/// A message for the durable sessions that hear it.
#[derive(Debug)]
pub(crate) struct Put {
    pub(crate) publish: Arc<Publish>,
    pub(crate) hearers: Vec<(Arc<Mailbox>, Delivery)>,
    /// Whose it is, if it is its topic's last from now on.
    pub(crate) retained: Option<Publisher>,
    /// The incoming QoS 2 identifier it came with, if its publisher's session is durable.
    pub(crate) taken: Option<(SessionId, u16)>,
}

/// Who waits for a change to be on disk.
#[derive(Debug)]
pub(crate) enum Done {
    /// Nobody; it is tried again until it is stored.
    Follows,
    /// Nobody; it is given up when the disk refuses.
    Ignored,
    /// The connection of this mailbox.
    Settles(Arc<Mailbox>, u64),
    Tells(oneshot::Sender<Result<(), Status>>),
}

impl Keeper {
    pub(crate) fn new(totals: Totals, (last_session, last_publish): (u64, u64)) -> Keeper {
        Keeper {
            totals,
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            last_session: AtomicU64::new(last_session),
            last_publish: AtomicU64::new(last_publish),
            queue: Mutex::default(),
            wake: Notify::new(),
        }
    }

    pub(crate) fn new_session(&self) -> SessionId {
        SessionId(self.last_session.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// A will is stored with the session that begins with it, under this name.
    pub(crate) fn new_will(&self) -> WillId {
        WillId(self.last_publish.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// A will is published then, unless its client comes back before.
    pub(crate) fn will_due(&self, id: WillId, at: Timestamp) {
        self.follow(Change::WillDue(id, at));
    }

    /// A will is published or discarded.
    pub(crate) fn will_done(&self, id: WillId) {
        self.follow(Change::WillDone(id));
    }

    /// Counts what a session had on disk when the server started.
    pub(crate) fn count(&self, messages: u64, bytes: u64) {
        self.messages.fetch_add(messages, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How many messages wait on disk for all sessions together, and their bytes.
    pub(crate) fn held(&self) -> (u64, u64) {
        (
            self.messages.load(Ordering::Relaxed),
            self.bytes.load(Ordering::Relaxed),
        )
    }

    /// Whether there is room for a message in all.
    pub(crate) fn has_room(&self) -> bool {
        self.messages.load(Ordering::Relaxed) < self.totals.messages_max
            && self.bytes.load(Ordering::Relaxed) < self.totals.bytes_max
    }

    /// A connection begins: stores it, and tells what its session has to read. In the order of all arrivals, so what
    /// is numbered before is on disk when this is done, and what is numbered later goes to the mailbox.
    pub(crate) fn begin(
        &self,
        begun: Begun,
        mailbox: &Mailbox,
    ) -> (Unread, oneshot::Receiver<Result<(), Status>>) {
        let (tell, told) = oneshot::channel();
        let mut queue = self.queue();
        let unread = mailbox.begin();
        self.push(&mut queue, Change::Begin(begun), Done::Tells(tell));
        (unread, told)
    }

    /// A connection has left its session, which lives for `expiry`.
    pub(crate) fn leave(&self, left: Left) {
        self.follow(Change::Leave(left));
    }

    /// A session is over. Its figures count no more.
    pub(crate) fn end(&self, id: SessionId, mailbox: &Mailbox) {
        let had = mailbox.end_kept();
        self.uncount(had.messages, had.bytes);
        self.follow(Change::End(id));
    }

    /// A session that was found on disk is over.
    pub(crate) fn end_stored(&self, id: SessionId) {
        self.follow(Change::End(id));
    }

    /// A session is over; heard when it is on disk.
    pub(crate) async fn ended(&self, id: SessionId, mailbox: &Mailbox) -> Result<(), Status> {
        let had = mailbox.end_kept();
        self.uncount(had.messages, had.bytes);
        let (tell, told) = oneshot::channel();
        self.submit(Change::End(id), Done::Tells(tell));
        let ended = told.await.unwrap_or(Err(Status::UNAVAILABLE));
        if ended.is_err() {
            self.follow(Change::End(id));
        }
        ended
    }

    pub(crate) fn subscribe(&self, id: SessionId, wanted: Vec<Wanted>, done: Done) {
        self.submit(Change::Subscribe(id, wanted), done);
    }

    pub(crate) fn unsubscribe(&self, id: SessionId, filters: Vec<ByteString>, done: Done) {
        self.submit(Change::Unsubscribe(id, filters), done);
    }

    /// Stores a message for those who hear it, numbering it for each.
    pub(crate) fn put(&self, put: Put, done: Done) {
        let bytes = weight(&put.publish);
        let mut queue = self.queue();
        if queue.closing || queue.works.len() >= CHANGES_MAX {
            drop(queue);
            return done.tell(Err(Status::QUEUE_FULL));
        }
        let mut entries = Vec::with_capacity(put.hearers.len());
        let mut hearers = Vec::with_capacity(put.hearers.len());
        for (mailbox, mut delivery) in put.hearers {
            let Some(session) = mailbox.session() else {
                continue;
            };
            let seq = mailbox.number(bytes);
            delivery.tag = Some(stored_tag(seq));
            entries.push(Entry {
                session,
                seq,
                delivery,
            });
            hearers.push(mailbox);
        }
        self.count(entries.len() as u64, bytes * entries.len() as u64);
        let change = Change::Put {
            id: self.last_publish.fetch_add(1, Ordering::Relaxed) + 1,
            publish: put.publish,
            entries,
            hearers,
            retained: put.retained,
            taken: put.taken,
        };
        self.push(&mut queue, change, done);
    }

    /// Stores a message that nobody waits for.
    pub(crate) fn put_ignored(
        &self,
        publish: &Arc<Publish>,
        hearers: Vec<(Arc<Mailbox>, Delivery)>,
        retained: Option<Publisher>,
    ) {
        if hearers.is_empty() && retained.is_none() {
            return;
        }
        let put = Put {
            publish: Arc::clone(publish),
            hearers,
            retained,
            taken: None,
        };
        self.put(put, Done::Ignored);
    }

    /// A client has acknowledged what was stored for it, or can never take it.
    pub(crate) fn remove(&self, id: SessionId, mailbox: &Arc<Mailbox>, seq: u64) {
        self.follow(Change::Remove(Arc::clone(mailbox), id, seq));
    }

    /// A client has received a QoS 2 delivery.
    pub(crate) fn received(&self, id: SessionId, seq: u64, done: Done) {
        self.submit(Change::Received(id, seq), done);
    }

    /// A client has ended its QoS 2 publish.
    pub(crate) fn complete(&self, id: SessionId, packet_id: u16, done: Done) {
        self.submit(Change::Complete(id, packet_id), done);
    }

    /// Stores what comes until the keeper is closed and everything is stored.
    pub(crate) async fn run(self: Arc<Keeper>, courier: Courier) {
        let mut refused = Vec::new();
        while let Some(mut works) = self.next(&mut refused).await {
            if works.is_empty() {
                continue;
            }
            self.store(&courier, &mut works, &mut refused).await;
            if refused.is_empty() {
                continue;
            }
            if self.queue().closing {
                tracing::error!(
                    changes = refused.len(),
                    "changes of sessions are lost: the disk refuses them"
                );
                return;
            }
        }
    }

    /// Stores what waits; what comes later is refused.
    pub(crate) fn close(&self) {
        self.queue().closing = true;
        self.wake.notify_one();
    }

    /// What is to be stored next: first what the disk refused, then what has come; `None` at the end.
    async fn next(&self, refused: &mut Vec<Work>) -> Option<Vec<Work>> {
        loop {
            {
                let mut queue = self.queue();
                let waits = queue.works.len().min(BATCH_MAX);
                if waits > 0 || (queue.closing && !refused.is_empty()) {
                    let mut works = std::mem::take(refused);
                    works.extend(queue.works.drain(..waits));
                    return Some(works);
                }
                if queue.closing {
                    return None;
                }
            }
            if refused.is_empty() {
                self.wake.notified().await;
            } else if tokio::time::timeout(RETRY, self.wake.notified()).await.is_err() {
                return Some(std::mem::take(refused));
            }
        }
    }

    async fn store(&self, courier: &Courier, works: &mut Vec<Work>, refused: &mut Vec<Work>) {
        let changes: Arc<[Arc<Change>]> = works.iter().map(|work| Arc::clone(&work.change)).collect();
        match write(courier, changes).await {
            Ok(removed) => {
                for (work, removed) in works.drain(..).zip(removed) {
                    self.stored(work, removed);
                }
            }
            Err(error) if works.len() == 1 || is_disk(&error) => {
                tracing::warn!(%error, changes = works.len(), "changes of sessions cannot be stored");
                for work in works.drain(..) {
                    refused.extend(self.refused(work, &error));
                }
            }
            Err(error) => {
                tracing::warn!(%error, changes = works.len(), "changes of sessions are stored one by one");
                for work in works.drain(..) {
                    match write(courier, Arc::new([Arc::clone(&work.change)])).await {
                        Ok(removed) => self.stored(work, removed.first().copied().flatten()),
                        Err(error) => {
                            tracing::error!(%error, change = ?work.change, "a change of a session is not stored");
                            // It would fail for ever: it is dropped unless the disk was the reason.
                            refused.extend(self.refused(work, &error).filter(|_| is_disk(&error)));
                        }
                    }
                }
            }
        }
    }

    fn stored(&self, work: Work, removed: Option<u64>) {
        match &*work.change {
            Change::Put { entries, hearers, .. } => {
                for (mailbox, entry) in hearers.iter().zip(entries) {
                    mailbox.arrives(entry.seq, &entry.delivery);
                }
            }
            Change::Remove(mailbox, ..) => {
                if let Some(bytes) = removed {
                    mailbox.gone(bytes);
                    self.uncount(1, bytes);
                }
            }
            Change::Begin(_)
            | Change::Leave(_)
            | Change::End(_)
            | Change::Subscribe(..)
            | Change::Unsubscribe(..)
            | Change::Received(..)
            | Change::Complete(..)
            | Change::WillDue(..)
            | Change::WillDone(_) => {}
        }
        work.done.tell(Ok(()));
    }

    /// Tells who waits; gives back what is to be tried again.
    fn refused(&self, work: Work, error: &StoreError) -> Option<Work> {
        if matches!(work.done, Done::Follows) {
            return Some(work);
        }
        if let Change::Put { publish, hearers, .. } = &*work.change {
            let bytes = weight(publish);
            hearers.iter().for_each(|mailbox| mailbox.gone(bytes));
            self.uncount(hearers.len() as u64, bytes * hearers.len() as u64);
        }
        work.done.tell(Err(error.status()));
        None
    }

    fn uncount(&self, messages: u64, bytes: u64) {
        let less = |from: &AtomicU64, by: u64| {
            let subtract = |value: u64| Some(value.saturating_sub(by));
            // Always succeeds: the closure always gives a value.
            let _before = from.fetch_update(Ordering::Relaxed, Ordering::Relaxed, subtract);
        };
        less(&self.messages, messages);
        less(&self.bytes, bytes);
    }

    fn follow(&self, change: Change) {
        self.submit(change, Done::Follows);
    }

    fn submit(&self, change: Change, done: Done) {
        let mut queue = self.queue();
        if queue.closing {
            drop(queue);
            return done.tell(Err(Status::UNAVAILABLE));
        }
        self.push(&mut queue, change, done);
    }

    fn push(&self, queue: &mut Queue, change: Change, done: Done) {
        queue.works.push_back(Work {
            change: Arc::new(change),
            done,
        });
        self.wake.notify_one();
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Done {
    fn tell(self, result: Result<(), Status>) {
        match self {
            Done::Follows | Done::Ignored => {}
            Done::Settles(mailbox, token) => mailbox.stored(token, result),
            Done::Tells(tell) => {
                // Whoever has stopped waiting misses nothing.
                let _gone = tell.send(result);
            }
        }
    }
}

/// Whether trying again may help.
fn is_disk(error: &StoreError) -> bool {
    matches!(error.status(), Status::QUEUE_FULL | Status::UNAVAILABLE)
}
