//! What waits for one session: deliveries, results of its own publishes, and orders to end.
//!
//! A mailbox belongs to a session, not to a connection: subscriptions point at it, and what arrives while the client
//! is away waits in it. It is bounded, and says so to whoever fills it instead of forgetting anything in silence.
//! What waits for a durable session is on disk first (`super::keeper`) and comes here only while it is connected.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytestring::ByteString;
use irsp_courier::{AcceptSink, Accepted};
use irsp_directory::Credential;
use irsp_protocol::{MessageId, Principal, Status, Timestamp};
use irsp_session::Delivery;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::SessionKey;
use super::given::{ForWhom, Given};
use super::kept::{Bounds, Kept, Reached, Unread};
use super::mail::Mail;
use super::orders::{End, Orders};
use super::publisher::Publisher;
use super::room::Room;
use super::tag::{Tag, push_tag, stored_seq};
use crate::access;
use crate::store::session::{Queued, SessionId};

/// A publish of this client is settled: on disk, or refused.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) token: u64,
    /// What the courier has accepted, or nothing more than that a durable session's change is stored.
    pub(crate) result: Result<Option<Accepted>, Status>,
}

/// A push, or work, as a session is given it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gift {
    pub(crate) tag: u64,
    /// Whether the client may have been sent it before the restart.
    pub(crate) dup: bool,
}

/// How much more of what it observes a session may hold while it catches up, in times of the usual bound.
const CATCHING_UP_FACTOR: u64 = 8;

/// A session's mailbox.
pub(crate) struct Mailbox {
    owner: Principal,
    publisher: Publisher,
    /// Names the session on disk, if it outlives the server.
    session: Option<SessionId>,
    bounds: Bounds,
    connected: AtomicBool,
    /// The session was ended before its time: another began in its place.
    replaced: AtomicBool,
    /// How many connections there have been.
    connections: AtomicU64,
    last_token: AtomicU64,
    contents: Mutex<Contents>,
    arrived: Notify,
    room: Room,
    /// Grows with all that its client takes.
    taken: AtomicU64,
    /// Its client took nothing more when it was last to be given something.
    held_up: AtomicBool,
}

#[derive(Default)]
struct Contents {
    mail: Mail,
    settled: Vec<Settled>,
    orders: Orders,
    /// When the oldest change was made that takes something from the session and is not yet carried out.
    changed: Option<Timestamp>,
    /// The session was ended for good: no connection goes on with it.
    revoked: bool,
    /// What its connection has logged in with.
    opened_with: Option<Credential>,
    /// Messages for the session that found no room.
    missed: u64,
    /// The session reads what waited for it, or what was retained before its subscriptions: it may hold more meanwhile.
    catching_up: bool,
    /// Filters this session is subscribed to, as the client wrote them.
    filters: Vec<ByteString>,
    /// Pushes, or the work of an attached application.
    given: Given,
    kept: Kept,
}

impl Mailbox {
    pub(crate) fn new(key: &SessionKey, bounds: Bounds) -> Arc<Mailbox> {
        Arc::new(Mailbox::with(key, bounds, None))
    }

    /// The mailbox of a session that outlives the server; `queued` is what it has on disk, `reached` how far it had come
    /// when the server ended.
    pub(crate) fn durable(
        key: &SessionKey,
        bounds: Bounds,
        session: SessionId,
        queued: Queued,
        reached: Option<Reached>,
    ) -> Arc<Mailbox> {
        let mut mailbox = Mailbox::with(key, bounds, Some(session));
        let contents = mailbox.contents.get_mut().unwrap_or_else(PoisonError::into_inner);
        contents.kept = Kept::restored(queued, reached);
        Arc::new(mailbox)
    }

    fn with(key: &SessionKey, bounds: Bounds, session: Option<SessionId>) -> Mailbox {
        Mailbox {
            owner: key.principal.clone(),
            publisher: Publisher::of(key),
            session,
            bounds,
            connected: AtomicBool::new(false),
            replaced: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            last_token: AtomicU64::new(0),
            contents: Mutex::default(),
            arrived: Notify::new(),
            room: Room::default(),
            taken: AtomicU64::new(0),
            held_up: AtomicBool::new(false),
        }
    }

    #[cfg(test)]
    pub(crate) fn for_tests(owner: &str) -> Arc<Mailbox> {
        let key = SessionKey::new(owner.parse().expect("a principal"), &"tests".into());
        Mailbox::new(&key, Bounds::messages(4))
    }

    pub(crate) fn owner(&self) -> &Principal {
        &self.owner
    }

    /// Whose the session's publishes are.
    pub(crate) fn publisher(&self) -> Publisher {
        self.publisher
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }

    /// Whether the session was ended for good.
    pub(crate) fn is_revoked(&self) -> bool {
        self.contents().revoked
    }

    /// A connection takes the mailbox. An order that its predecessor did not live to hear is not for it.
    pub(crate) fn connect(&self) {
        let mut contents = self.contents();
        contents.orders.end = None;
        contents.changed = None;
        contents.given.connect();
        contents.catching_up = !contents.mail.is_empty() || contents.kept.is_full(self.bounds);
        drop(contents);
        self.held_up.store(false, Ordering::Relaxed);
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.connected.store(true, Ordering::Release);
    }

    /// Notes what its connection has logged in with, so that it ends with that.
    pub(crate) fn opened_with(&self, credential: Credential) {
        self.contents().opened_with = Some(credential);
    }

    pub(crate) fn was_opened_with(&self, credential: &Credential) -> bool {
        self.contents().opened_with.as_ref() == Some(credential)
    }

    /// How many connections the session has had since the server started.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// The connection is over; what arrives from now on waits for the next.
    pub(crate) fn disconnect(&self) {
        self.contents().kept.disconnect();
        self.connected.store(false, Ordering::Release);
        // A publisher that waits for room here waits for nothing.
        self.room.open();
    }

    /// Another session has begun in the place of this one, which is over.
    pub(crate) fn replace(&self) {
        self.replaced.store(true, Ordering::SeqCst);
        self.room.open();
    }

    /// Completes when another session has begun in the place of this one.
    pub(crate) async fn replaced(&self) {
        let replaced = || self.replaced.load(Ordering::SeqCst);
        while !replaced() {
            self.room.wait(replaced).await;
        }
    }

    /// A token for something given to the courier. It outlives the connection, so a late result is never taken for
    /// another's.
    pub(crate) fn next_token(&self) -> u64 {
        self.last_token.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// How many deliveries wait in memory.
    pub(crate) fn waiting(&self) -> usize {
        self.contents().mail.len()
    }

    /// Whether no more may wait in memory, whatever is on disk: what bounds QoS 0.
    pub(crate) fn is_behind(&self) -> bool {
        self.contents().mail.is_full(self.bounds)
    }

    pub(crate) fn is_full(&self) -> bool {
        let contents = self.contents();
        contents.mail.is_full(self.bounds) || (self.session.is_some() && contents.kept.is_full(self.bounds))
    }

    /// Names the session on disk, if it outlives the server.
    pub(crate) fn session(&self) -> Option<SessionId> {
        self.session
    }

    /// A connection begins: what it has to read, and what it takes from now on.
    pub(super) fn begin(&self) -> Unread {
        self.contents().kept.connect()
    }

    /// What the next connection would have to read.
    pub(crate) fn unread(&self) -> Unread {
        self.contents().kept.unread()
    }

    /// Numbers what is to be stored for this session.
    pub(super) fn number(&self, bytes: u64) -> u64 {
        self.contents().kept.number(bytes)
    }

    /// An entry is stored: it is delivered, or left on disk if nobody is connected.
    pub(super) fn arrives(&self, seq: u64, delivery: &Delivery) {
        let mut contents = self.contents();
        if contents.kept.arrives(seq) {
            contents.mail.push(delivery.clone());
            self.arrived.notify_one();
        }
    }

    /// An entry is gone from disk, or never came there.
    pub(super) fn gone(&self, bytes: u64) {
        let mut contents = self.contents();
        contents.kept.gone(bytes);
        let is_empty = contents.kept.is_empty();
        drop(contents);
        self.has_room(1, is_empty);
    }

    /// What the session has on disk, which is no longer its own.
    pub(super) fn end_kept(&self) -> Queued {
        std::mem::take(&mut self.contents().kept).figures()
    }

    /// The connection leaves: what is stored and was never sent, from `waiting` on, is on disk only. Returns where that
    /// begins.
    pub(crate) fn leave(&self, waiting: Option<u64>) -> u64 {
        let mut contents = self.contents();
        let first = contents.mail.iter().find_map(stored_seq);
        contents.mail.retain(|delivery| stored_seq(delivery).is_none());
        contents.kept.leave(waiting.or(first))
    }

    /// The connection could not begin: what came for it meanwhile is on disk, and stays unread.
    pub(crate) fn abandon(&self) {
        self.disconnect();
        let mut contents = self.contents();
        contents.mail.retain(|delivery| stored_seq(delivery).is_none());
    }

    /// A change of this durable session is stored, or refused.
    pub(super) fn stored(&self, token: u64, result: Result<(), Status>) {
        let result = result.map(|()| None);
        self.contents().settled.push(Settled { token, result });
        self.arrived.notify_one();
    }

    /// Whether an observer cannot follow. One that has just come back, or reads what is retained, is given more time.
    pub(crate) fn is_overrun(&self) -> bool {
        let contents = self.contents();
        let times = if contents.catching_up {
            CATCHING_UP_FACTOR
        } else {
            1
        };
        let bounds = self.bounds.times(times);
        contents.mail.is_full(bounds) || (self.session.is_some() && contents.kept.is_full(bounds))
    }

    /// What arrives now waits until the session has read what is retained.
    pub(crate) fn catches_up(&self) {
        self.contents().catching_up = true;
    }

    /// Adds a delivery. A few publishers at once may pass the bound by one each.
    pub(crate) fn deliver(&self, delivery: Delivery) {
        self.contents().mail.push(delivery);
        self.arrived.notify_one();
    }

    /// Gives a push to this session; `None` if its connection has been given it, or brings it along.
    pub(crate) fn give_push(&self, id: MessageId) -> Option<Gift> {
        let mut contents = self.contents();
        let number = contents.given.push(id)?;
        Some(contents.gift(number, id))
    }

    /// Whether the connection may have a push at QoS 0, which it has not been given.
    pub(crate) fn takes_push_at_qos_0(&self, id: MessageId) -> bool {
        self.contents().given.push_at_qos_0(id)
    }

    /// Gives work to this session; `None` if it holds it already, unacknowledged.
    pub(crate) fn give_work(&self, id: MessageId, for_whom: ForWhom) -> Option<Gift> {
        let mut contents = self.contents();
        let number = contents.given.work(id, for_whom)?;
        Some(contents.gift(number, id))
    }

    /// Takes back the work of an attached application that this session was given and its client never sent: it has gone to
    /// another, or comes again. `unsent` are the numbers of what the session itself had waiting.
    pub(crate) fn withdraw_work(&self, unsent: &[u64]) {
        let mut contents = self.contents();
        let Contents { mail, given, .. } = &mut *contents;
        mail.retain(|delivery| match delivery.tag.map(Tag::of) {
            Some(Tag::Push(number)) => {
                given.dropped(number);
                false
            }
            Some(Tag::Stored(_)) | None => true,
        });
        for number in unsent {
            given.dropped(*number);
        }
    }

    /// The client has acknowledged the delivery of this number. Gives its message, unless that is over.
    pub(crate) fn acknowledged(&self, number: u64) -> Option<MessageId> {
        self.contents().given.acknowledged(number)
    }

    /// The delivery of this number was not sent. Gives its message, unless that is over.
    pub(crate) fn not_sent(&self, number: u64) -> Option<MessageId> {
        self.contents().given.dropped(number)
    }

    /// The client was told that its answer is on disk: the message does not come to it again.
    pub(crate) fn answered(&self, id: MessageId) {
        let mut contents = self.contents();
        contents.orders.over |= contents.given.answered(id);
    }

    /// A message for the session's owner has ended.
    pub(crate) fn ended(&self, id: MessageId) {
        let mut contents = self.contents();
        if contents.given.ended(id) {
            contents.orders.over = true;
            self.arrived.notify_one();
        }
    }

    /// Whether what is under this tag is still to be delivered: a push that has ended, or was answered, is not.
    pub(crate) fn is_wanted(&self, tag: Option<u64>) -> bool {
        self.contents().wants(tag)
    }

    /// The work of this number that the session holds for a group, and only for that.
    pub(crate) fn held_for_group(&self, number: u64) -> Option<MessageId> {
        self.contents().given.held_for_group(number)
    }

    /// Orders the connection to end; the first order counts.
    pub(crate) fn end(&self, end: End) {
        let mut contents = self.contents();
        contents.orders.end.get_or_insert(end);
        contents.revoked |= end == End::Revoked;
        drop(contents);
        self.arrived.notify_one();
    }

    /// Orders the connection, or the next, to look through what waits: rights were taken.
    pub(crate) fn recheck(&self) {
        self.contents().orders.recheck = true;
        self.arrived.notify_one();
    }

    /// Notes when the change was made that an order comes from.
    pub(crate) fn changed(&self, at: Option<Timestamp>) {
        let mut contents = self.contents();
        contents.changed = contents.changed.or(at);
    }

    /// When the change was made whose orders are now carried out.
    pub(crate) fn take_changed(&self) -> Option<Timestamp> {
        self.contents().changed.take()
    }

    /// Takes the results that have arrived, and the orders.
    pub(crate) fn take_orders(&self, settled: &mut Vec<Settled>) -> Orders {
        let mut contents = self.contents();
        settled.append(&mut contents.settled);
        std::mem::take(&mut contents.orders)
    }

    /// Takes out what waits and `keep` denies.
    pub(crate) fn retain_deliveries(&self, keep: impl FnMut(&Delivery) -> bool) {
        let mut contents = self.contents();
        let removed = contents.mail.retain(keep);
        let is_empty = contents.mail.is_empty();
        drop(contents);
        self.has_room(removed, is_empty);
    }

    /// Takes the oldest deliveries that are still wanted: at most `max`, and no further one once they have `bytes_max` bytes
    /// of payload. `true` if that kept some back.
    pub(crate) fn take_deliveries(&self, max: usize, bytes_max: usize, into: &mut Vec<Delivery>) -> bool {
        let mut contents = self.contents();
        let (mut count, mut bytes) = (0, 0);
        into.reserve(max.min(contents.mail.len()));
        while count < max
            && bytes < bytes_max
            && let Some(delivery) = contents.mail.pop()
        {
            count += 1;
            if contents.wants(delivery.tag) {
                bytes += delivery.publish.payload.len();
                into.push(delivery);
            }
        }
        let more = !contents.mail.is_empty();
        if !more {
            contents.catching_up = contents.catching_up && contents.kept.is_full(self.bounds);
        }
        drop(contents);
        self.has_room(count, !more);
        more
    }

    /// Its client takes nothing more for now: its output is full, or its window closed. Who may pass it over does not wait.
    pub(crate) fn hold_up(&self) {
        if !self.held_up.swap(true, Ordering::SeqCst) {
            self.room.open();
        }
    }

    /// Its client takes what it is given.
    pub(crate) fn goes_on(&self) {
        self.held_up.store(false, Ordering::Relaxed);
    }

    pub(crate) fn is_held_up(&self) -> bool {
        self.held_up.load(Ordering::SeqCst)
    }

    /// Its client has taken something, however little: read on, or acknowledged.
    pub(crate) fn takes(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
    }

    fn has_room(&self, places: usize, is_empty: bool) {
        self.taken.fetch_add(places as u64, Ordering::Relaxed);
        if is_empty {
            self.room.open();
        } else {
            self.room.freed(places);
        }
    }

    /// Counts a message that found no room.
    pub(crate) fn miss(&self) {
        self.contents().missed += 1;
    }

    /// How many messages found no room; told once.
    pub(crate) fn take_missed(&self) -> u64 {
        std::mem::take(&mut self.contents().missed)
    }

    /// Completes when something has arrived since it was last waited for.
    pub(crate) fn arrived(&self) -> Notified<'_> {
        self.arrived.notified()
    }

    /// As long as this stays the same, its client has taken nothing.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Completes when a full mailbox may have room again; `has_room` looks.
    pub(crate) async fn room(&self, has_room: impl Fn() -> bool) {
        self.room.wait(has_room).await;
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

    /// Whether the session is subscribed to pushes to its owner.
    pub(crate) fn hears_pushes(&self) -> bool {
        let contents = self.contents();
        contents
            .filters
            .iter()
            .any(|filter| access::hears_pushes(&self.owner, filter))
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        // A panic of another holder leaves a queue that is still whole: each change is a single step.
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contents {
    fn gift(&self, number: u64, id: MessageId) -> Gift {
        Gift {
            tag: push_tag(number, id),
            dup: self.kept.may_have_given(id),
        }
    }

    fn wants(&self, tag: Option<u64>) -> bool {
        match tag.map(Tag::of) {
            Some(Tag::Push(number)) => self.given.held(number).is_some(),
            Some(Tag::Stored(_)) | None => true,
        }
    }
}

impl AcceptSink for Mailbox {
    fn settled(&self, token: u64, result: Result<Accepted, Status>) {
        let result = result.map(Some);
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
