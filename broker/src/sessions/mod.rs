//! Which sessions exist, and who holds each: a session belongs to (principal, client id), a device has one whatever
//! client id it sends.
//!
//! A connection holds its session's slot locked for as long as it lives. Whoever connects next orders it to end and
//! waits for the lock, so there are never two connections of one session, and state passes from one to the other.

pub(crate) mod backlog;
pub(crate) mod given;
pub(crate) mod keeper;
pub(crate) mod kept;
mod mail;
pub(crate) mod mailbox;
pub(crate) mod orders;
pub(crate) mod publisher;
mod room;
pub(crate) mod tag;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytestring::ByteString;
use irsp_protocol::{Kind, Principal};
use irsp_session::Session;
use tokio::sync::OwnedMutexGuard;

use self::backlog::Backlog;
use self::mailbox::Mailbox;
use self::orders::End;

/// Names a session. Ordered by principal first, so that a principal's sessions stand together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SessionKey {
    pub(crate) principal: Principal,
    /// `None` for devices: a device has one session.
    client_id: Option<ByteString>,
}

impl SessionKey {
    pub(crate) fn new(principal: Principal, client_id: &ByteString) -> SessionKey {
        let client_id = (principal.kind != Kind::Device).then(|| client_id.clone());
        SessionKey { principal, client_id }
    }

    /// A key as it was stored.
    pub(crate) fn restored(principal: Principal, client_id: Option<ByteString>) -> SessionKey {
        SessionKey { principal, client_id }
    }

    pub(crate) fn client_id(&self) -> Option<&ByteString> {
        self.client_id.as_ref()
    }
}

/// What a session keeps between connections.
#[derive(Debug)]
pub(crate) struct Parked {
    pub(crate) session: Session,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) backlog: Backlog,
    /// After this the session is gone [MQTT-3.1.2-23].
    pub(crate) expires: Instant,
}

/// All sessions, connected or parked.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    slots: Mutex<BTreeMap<SessionKey, Arc<Slot>>>,
}

#[derive(Debug, Default)]
struct Slot {
    /// Locked by the connection that lives; holds what the last one left.
    state: Arc<tokio::sync::Mutex<Option<Parked>>>,
    /// The mailbox of whoever holds or last held the state.
    current: Mutex<Option<Arc<Mailbox>>>,
    /// Connections that ever asked for this slot: only the latest may have it.
    asked: AtomicU64,
}

/// A session's slot, held by one connection.
#[derive(Debug)]
pub(crate) struct Held {
    slot: Arc<Slot>,
    state: OwnedMutexGuard<Option<Parked>>,
    ticket: u64,
}

impl Sessions {
    /// Puts a session back as it was when the server ended; before any connection.
    pub(crate) fn restore(&self, key: SessionKey, parked: Parked) {
        let slot = Slot {
            current: Mutex::new(Some(Arc::clone(&parked.mailbox))),
            state: Arc::new(tokio::sync::Mutex::new(Some(parked))),
            asked: AtomicU64::new(0),
        };
        self.slots().insert(key, Arc::new(slot));
    }

    /// Ends the connection that holds this session and takes its place. `None` if a later connection asked meanwhile.
    pub(crate) async fn claim(&self, key: &SessionKey) -> Option<Held> {
        let slot = Arc::clone(self.slots().entry(key.clone()).or_default());
        let ticket = slot.asked.fetch_add(1, Ordering::AcqRel) + 1;
        if let Some(mailbox) = slot.current().as_ref().filter(|mailbox| mailbox.is_connected()) {
            mailbox.end(End::TakenOver);
        }
        let state = Arc::clone(&slot.state).lock_owned().await;
        let held = Held { slot, state, ticket };
        held.is_latest().then_some(held)
    }

    /// Orders every connection of a principal to end, and forgets its parked sessions.
    pub(crate) fn end_all(&self, principal: &Principal, end: End) -> Vec<Arc<Mailbox>> {
        let mut slots = self.slots();
        let keys: Vec<SessionKey> = of(&slots, principal).map(|(key, _)| key.clone()).collect();
        let mut parked = Vec::new();
        for key in keys {
            let Some(slot) = slots.get(&key) else { continue };
            if let Some(mailbox) = slot.current().as_ref() {
                // Whoever is about to leave this session or to take it over finds the order in the mailbox.
                mailbox.end(end);
                if !mailbox.is_connected() {
                    parked.push(Arc::clone(mailbox));
                }
            }
            if !slot.is_wanted() {
                slots.remove(&key);
            }
        }
        parked
    }

    /// The mailboxes of a principal's sessions, connected or parked.
    pub(crate) fn mailboxes(&self, principal: &Principal) -> Vec<Arc<Mailbox>> {
        of(&self.slots(), principal)
            .filter_map(|(_, slot)| slot.current().clone())
            .collect()
    }

    /// Whether a connected session of the principal hears its pushes.
    pub(crate) fn hear_pushes(&self, principal: &Principal) -> bool {
        of(&self.slots(), principal).any(|(_, slot)| {
            let current = slot.current();
            current
                .as_ref()
                .is_some_and(|mailbox| mailbox.is_connected() && mailbox.hears_pushes())
        })
    }

    /// The mailboxes of all sessions, connected or parked.
    pub(crate) fn all(&self) -> Vec<Arc<Mailbox>> {
        let slots = self.slots();
        slots.values().filter_map(|slot| slot.current().clone()).collect()
    }

    /// Orders every connection to end.
    pub(crate) fn end_everyone(&self, end: End) {
        for slot in self.slots().values() {
            if let Some(mailbox) = slot.current().as_ref().filter(|mailbox| mailbox.is_connected()) {
                mailbox.end(end);
            }
        }
    }

    /// Forgets parked sessions that have expired and returns them; their subscriptions end with them.
    pub(crate) fn sweep(&self, now: Instant) -> Vec<Parked> {
        let mut gone = Vec::new();
        self.slots().retain(|_, slot| {
            if slot.is_wanted() {
                return true;
            }
            let Ok(mut state) = slot.state.try_lock() else {
                return true;
            };
            if state.as_ref().is_some_and(|parked| parked.expires > now) {
                return true;
            }
            gone.extend(state.take());
            false
        });
        gone
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<SessionKey, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The slots of one principal.
fn of<'s>(
    slots: &'s BTreeMap<SessionKey, Arc<Slot>>,
    principal: &Principal,
) -> impl Iterator<Item = (&'s SessionKey, &'s Arc<Slot>)> {
    let first = SessionKey {
        principal: principal.clone(),
        client_id: None,
    };
    let principal = principal.clone();
    slots
        .range(first..)
        .take_while(move |(key, _)| key.principal == principal)
}

impl Slot {
    /// Whether a connection holds this slot or waits for it; asked while the map is locked, so nobody can join.
    fn is_wanted(self: &Arc<Slot>) -> bool {
        Arc::strong_count(self) > 1
    }

    fn current(&self) -> MutexGuard<'_, Option<Arc<Mailbox>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// What the last connection left, unless the session was revoked since.
    pub(crate) fn take_parked(&mut self) -> Option<Parked> {
        self.state.take().filter(|parked| !parked.mailbox.is_revoked())
    }

    /// From now on this connection's mailbox is the session's.
    pub(crate) fn occupy(&self, mailbox: &Arc<Mailbox>) {
        // Whoever asks for the session counts itself first and looks at `current` then. So if it looks before this
        // lock, its count is seen below; if after, it finds a connected mailbox and orders it to end.
        let mut current = self.slot.current();
        mailbox.connect();
        *current = Some(Arc::clone(mailbox));
        drop(current);
        if !self.is_latest() {
            // Somebody asked between our turn and this line, and found the mailbox before ours.
            mailbox.end(End::TakenOver);
        }
    }

    /// Leaves the session for the next connection.
    pub(crate) fn park(mut self, parked: Parked) {
        parked.mailbox.disconnect();
        *self.state = Some(parked);
    }

    /// Leaves nothing.
    pub(crate) fn vacate(self, mailbox: &Mailbox) {
        mailbox.disconnect();
        *self.slot.current() = None;
    }

    fn is_latest(&self) -> bool {
        self.slot.asked.load(Ordering::Acquire) == self.ticket
    }
}

#[cfg(test)]
mod tests;
