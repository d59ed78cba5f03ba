//! What waits for one session: deliveries, results of its own publishes, and orders to end.
//!
//! A mailbox belongs to a session, not to a connection: subscriptions point at it, and what arrives while the client
//! is away waits in it. It is bounded, and says so to whoever fills it instead of forgetting anything in silence.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytestring::ByteString;
use irsp_courier::{AcceptSink, Accepted};
use irsp_protocol::presence::Reason;
use irsp_protocol::{MessageId, Principal, Status};
use irsp_session::Delivery;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// A publish of this client is settled: on disk, or refused.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) token: u64,
    pub(crate) result: Result<Accepted, Status>,
}

/// Why the server ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Another connection of the same session took its place.
    TakenOver,
    /// Deleted, disabled or its secret was reset.
    Revoked,
    /// Subscribed faster than it reads.
    Overrun,
    /// The server stops.
    Stopping,
}

impl End {
    /// The MQTT 5 reason code of the DISCONNECT.
    pub(crate) const fn reason_code(self) -> u8 {
        match self {
            End::TakenOver => 0x8E,
            End::Revoked => 0x87,
            End::Overrun => 0x97,
            End::Stopping => 0x8B,
        }
    }

    pub(crate) const fn presence_reason(self) -> Reason {
        match self {
            End::TakenOver => Reason::TakenOver,
            End::Revoked => Reason::Revoked,
            End::Overrun => Reason::ProtocolError,
            End::Stopping => Reason::ServerStopped,
        }
    }
}

/// A session's mailbox.
pub(crate) struct Mailbox {
    owner: Principal,
    deliveries_max: usize,
    connected: AtomicBool,
    last_token: AtomicU64,
    contents: Mutex<Contents>,
    arrived: Notify,
    room: Notify,
}

#[derive(Default)]
struct Contents {
    deliveries: VecDeque<Delivery>,
    settled: Vec<Settled>,
    end: Option<End>,
    /// Filters this session is subscribed to, as the client wrote them.
    filters: Vec<ByteString>,
    /// Pushes given to the session and not yet acknowledged by its client, by the tag of the delivery.
    pushes: HashMap<u64, MessageId>,
    next_tag: u64,
}

impl Mailbox {
    pub(crate) fn new(owner: Principal, deliveries_max: usize) -> Arc<Mailbox> {
        Arc::new(Mailbox {
            owner,
            deliveries_max,
            connected: AtomicBool::new(false),
            last_token: AtomicU64::new(0),
            contents: Mutex::default(),
            arrived: Notify::new(),
            room: Notify::new(),
        })
    }

    #[cfg(test)]
    pub(crate) fn for_tests(owner: &str) -> Arc<Mailbox> {
        Mailbox::new(owner.parse().expect("a principal"), 4)
    }

    pub(crate) fn owner(&self) -> &Principal {
        &self.owner
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }

    /// A connection takes the mailbox. An order that its predecessor did not live to hear is not for it.
    pub(crate) fn connect(&self) {
        self.contents().end = None;
        self.connected.store(true, Ordering::Release);
    }

    /// The connection is over; what arrives from now on waits for the next.
    pub(crate) fn disconnect(&self) {
        self.connected.store(false, Ordering::Release);
        // A publisher that waits for room here waits for nothing.
        self.room.notify_waiters();
    }

    /// A token for something given to the courier. It outlives the connection, so a late result is never taken for
    /// another's.
    pub(crate) fn next_token(&self) -> u64 {
        self.last_token.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn is_full(&self) -> bool {
        self.contents().deliveries.len() >= self.deliveries_max
    }

    /// Adds a delivery. A few publishers at once may pass the bound by one each.
    pub(crate) fn deliver(&self, delivery: Delivery) {
        self.contents().deliveries.push_back(delivery);
        self.arrived.notify_one();
    }

    /// Tags a push for this session; `None` if the session holds it already, unacknowledged.
    pub(crate) fn tag_push(&self, id: MessageId) -> Option<u64> {
        let mut contents = self.contents();
        if contents.pushes.values().any(|held| *held == id) {
            return None;
        }
        let tag = contents.next_tag;
        contents.next_tag += 1;
        contents.pushes.insert(tag, id);
        Some(tag)
    }

    /// The push whose delivery carried this tag, which the session now no longer holds.
    pub(crate) fn untag_push(&self, tag: u64) -> Option<MessageId> {
        self.contents().pushes.remove(&tag)
    }

    /// Orders the connection to end; the first order counts.
    pub(crate) fn end(&self, end: End) {
        self.contents().end.get_or_insert(end);
        self.arrived.notify_one();
    }

    /// Takes the results that have arrived, and the order to end if there is one.
    pub(crate) fn take_orders(&self, settled: &mut Vec<Settled>) -> Option<End> {
        let mut contents = self.contents();
        settled.append(&mut contents.settled);
        contents.end.take()
    }

    /// Takes the oldest deliveries, at most `max`.
    pub(crate) fn take_deliveries(&self, max: usize, into: &mut Vec<Delivery>) {
        let mut contents = self.contents();
        let was_full = contents.deliveries.len() >= self.deliveries_max;
        let count = contents.deliveries.len().min(max);
        into.extend(contents.deliveries.drain(..count));
        if contents.deliveries.is_empty() {
            // An idle session holds no buffer.
            contents.deliveries = VecDeque::new();
        }
        drop(contents);
        if was_full && count > 0 {
            self.room.notify_waiters();
        }
    }

    /// Completes when something has arrived since it was last waited for.
    pub(crate) fn arrived(&self) -> Notified<'_> {
        self.arrived.notified()
    }

    /// Completes when a full mailbox has been emptied.
    pub(crate) fn room(&self) -> Notified<'_> {
        self.room.notified()
    }

    pub(crate) fn subscribed(&self, filter: &ByteString) -> usize {
        let mut contents = self.contents();
        if !contents.filters.contains(filter) {
            contents.filters.push(filter.clone());
        }
        contents.filters.len()
    }

    pub(crate) fn unsubscribed(&self, filter: &str) {
        self.contents().filters.retain(|held| held != filter);
    }

    pub(crate) fn filters(&self) -> Vec<ByteString> {
        self.contents().filters.clone()
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        // A panic of another holder leaves a queue that is still whole: each change is a single step.
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AcceptSink for Mailbox {
    fn settled(&self, token: u64, result: Result<Accepted, Status>) {
        self.contents().settled.push(Settled { token, result });
        self.arrived.notify_one();
    }
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox")
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}
