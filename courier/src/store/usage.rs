//! What is in flight, counted per principal and in all, so that a message is refused before it is accepted and never
//! dropped later.
//!
//! ```text
//! accept: + 1 message, + its bytes     custody given away: - its bytes     end: - 1 message, - what is left of its bytes
//! ```
//!
//! A message counts for its sender and, if it waits for a principal, for that one. What the servers tell each other is
//! counted in all and for nobody who sends, and never refused: refusing the news of an end would make room for nothing.
//!
//! So what another domain sends is owed an end: it counts for that domain from its acceptance, and the news of its end does
//! until the domain has taken it. Presence and news of accounts do not, because the domain has no part in how much of them
//! there is. A domain that is owed as much as it may be is refused what it sends. The counters stand
//! in memory, change with each transaction and with its undoing, and are read from the disk once after a start.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};

use irsp_protocol::{Domain, Kind, MessageKind, Status};
use rusqlite::Connection;

use super::error::StoreError;
use super::text;
use crate::quota::{Bounds, Held, InFlight, Quota};

/// Whose a message is, as its row has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parties<'a> {
    pub(super) source: &'a str,
    pub(super) hop: &'a str,
    pub(super) kind: MessageKind,
}

/// The counters of one server.
pub(crate) struct Usage {
    bounds: Bounds,
    in_flight: InFlight,
    /// By hash of a principal and its part in it: a million principals cost megabytes and not their names. Who has
    /// nothing in flight has no entry.
    held: HashMap<u64, Held>,
    hasher: RandomState,
    /// Changes of the open transaction.
    open: Vec<Change>,
    /// What it has refused: one that is abandoned runs again, and refuses again.
    open_refused: Refused,
    /// Whether the disk has been read.
    known: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    Sender,
    Receiver,
    /// Another domain: what it has sent, and the news of ends that wait for it.
    Owed,
}

#[derive(Clone, Copy, Default)]
struct Refused {
    over_quota: u64,
    full: u64,
}

#[derive(Clone, Copy)]
struct Change {
    sender: Option<u64>,
    receiver: Option<u64>,
    owed: Option<u64>,
    messages: i64,
    bytes: i64,
}

impl Usage {
    pub(crate) fn new(bounds: Bounds) -> Usage {
        Usage {
            bounds,
            in_flight: InFlight {
                all: bounds.all,
                ..InFlight::default()
            },
            held: HashMap::new(),
            hasher: RandomState::new(),
            open: Vec::new(),
            open_refused: Refused::default(),
            known: false,
        }
    }

    pub(crate) fn in_flight(&self) -> InFlight {
        self.in_flight
    }

    /// [Counts](Usage::count), unless that was done.
    pub(super) fn learn(&mut self, sql: &Connection) -> Result<(), StoreError> {
        if !self.known {
            self.count(sql)?;
        }
        Ok(())
    }

    /// Counts what the disk holds, and says how much that is of each kind. A scan of what is in flight and nothing else, in
    /// one snapshot.
    pub(crate) fn count(&mut self, sql: &Connection) -> Result<BTreeMap<MessageKind, u64>, StoreError> {
        let mut rows = sql.prepare(
            "SELECT source, hop, CASE WHEN answered_at IS NULL THEN size ELSE 0 END, kind FROM message
             WHERE ended_at IS NULL AND young IS NULL
             UNION ALL
             SELECT source, hop, CASE WHEN answered_at IS NULL THEN size ELSE 0 END, kind FROM message
             WHERE ended_at IS NULL AND young = 1 AND seq > (SELECT after FROM young)",
        )?;
        let mut rows = rows.query([])?;
        let mut kinds: BTreeMap<MessageKind, u64> = BTreeMap::new();
        let (mut held, mut all) = (HashMap::new(), Held::default());
        while let Some(row) = rows.next()? {
            let column = |n| row.get_ref(n)?.as_str().map_err(rusqlite::Error::from);
            let parties = Parties {
                source: column(0)?,
                hop: column(1)?,
                kind: text::read_kind(column(3)?)?,
            };
            *kinds.entry(parties.kind).or_default() += 1;
            let change = self.change(parties, 1, row.get(2)?);
            apply(&mut held, &mut all, change);
        }
        self.held = held;
        self.in_flight.held = all;
        self.known = true;
        Ok(kinds)
    }

    /// Counts a message in, or says no.
    pub(super) fn admit(&mut self, parties: Parties<'_>, bytes: u64) -> Result<(), StoreError> {
        let change = self.change(parties, 1, signed(bytes));
        if let Some((status, reason)) = self.refuses(parties, change, bytes) {
            self.open_refused.count(status);
            return Err(StoreError::refused(status, reason));
        }
        self.record(change);
        Ok(())
    }

    /// Whether a message that nothing makes room for would be refused as things stand, so that it need not be tried: one
    /// that says no in a shared transaction makes all of it run again. Counted as refused, if so.
    pub(crate) fn refuses_early(
        &mut self,
        source: &str,
        hop: &str,
        kind: MessageKind,
        bytes: u64,
    ) -> Option<Status> {
        if !self.known {
            return None;
        }
        let parties = Parties { source, hop, kind };
        let change = self.change(parties, 1, signed(bytes));
        let (status, _) = self.refuses(parties, change, bytes)?;
        let mut refused = Refused::default();
        refused.count(status);
        self.in_flight.refused_over_quota += refused.over_quota;
        self.in_flight.refused_full += refused.full;
        Some(status)
    }

    /// Whether a domain is owed as much as it may be. Then what it sends is refused, whatever kind it is of.
    pub(super) fn refuses_from(&mut self, domain: &Domain, bytes: u64) -> bool {
        let owed = self.held.get(&self.owed(domain.as_str()));
        let owed = owed.copied().unwrap_or_default();
        let refuses = self.bounds.application.refuses(owed, bytes).is_some();
        if refuses {
            self.open_refused.count(Status::OVER_QUOTA);
        }
        refuses
    }

    fn refuses(&self, parties: Parties<'_>, change: Change, bytes: u64) -> Option<(Status, String)> {
        for (name, part) in [(parties.source, change.sender), (parties.hop, change.receiver)] {
            let (Some(key), Some(quota)) = (part, self.quota(name)) else {
                continue;
            };
            let held = self.held.get(&key).copied().unwrap_or_default();
            if let Some(reason) = quota.refuses(held, bytes) {
                return Some((Status::OVER_QUOTA, format!("{name} has {reason}")));
            }
        }
        let reason = self.bounds.all.refuses(self.in_flight.held, bytes)?;
        Some((Status::QUEUE_FULL, format!("this server has {reason}")))
    }

    /// Counts a message in that is not refused.
    pub(super) fn take(&mut self, parties: Parties<'_>, bytes: u64) {
        let change = self.change(parties, 1, signed(bytes));
        self.record(change);
    }

    /// A message has ended, or only its bytes are held by another server now.
    pub(super) fn release(&mut self, parties: Parties<'_>, messages: u64, bytes: u64) {
        let change = self.change(parties, -signed(messages), -signed(bytes));
        self.record(change);
    }

    /// How many changes the open transaction has made.
    pub(super) fn mark(&self) -> usize {
        self.open.len()
    }

    /// Takes back the changes behind a mark: they are rolled back.
    pub(super) fn undo(&mut self, mark: usize) {
        while self.open.len() > mark
            && let Some(change) = self.open.pop()
        {
            let inverse = Change {
                messages: -change.messages,
                bytes: -change.bytes,
                ..change
            };
            apply(&mut self.held, &mut self.in_flight.held, inverse);
        }
    }

    /// The transaction is on disk.
    pub(super) fn keep(&mut self) {
        self.open.clear();
        let refused = std::mem::take(&mut self.open_refused);
        self.in_flight.refused_over_quota += refused.over_quota;
        self.in_flight.refused_full += refused.full;
    }

    /// The transaction is rolled back as a whole.
    pub(super) fn abandon(&mut self) {
        self.undo(0);
        self.open_refused = Refused::default();
    }

    fn record(&mut self, change: Change) {
        apply(&mut self.held, &mut self.in_flight.held, change);
        self.open.push(change);
    }

    fn change(&self, parties: Parties<'_>, messages: i64, bytes: i64) -> Change {
        let key = |name: &str, part: Part| self.quota(name).map(|_| self.hasher.hash_one((part, name)));
        let counts = !is_news(parties.kind);
        Change {
            sender: key(parties.source, Part::Sender).filter(|_| counts),
            receiver: key(parties.hop, Part::Receiver).filter(|_| counts),
            owed: owed_to(parties).map(|domain| self.owed(domain)),
            messages,
            bytes,
        }
    }

    fn owed(&self, domain: &str) -> u64 {
        self.hasher.hash_one((Part::Owed, domain))
    }

    /// The quota of a principal, as `dev/lamp-1` is written; servers have none.
    fn quota(&self, name: &str) -> Option<&Quota> {
        let kind = name.split('/').next().and_then(Kind::parse)?;
        match kind {
            Kind::Device | Kind::User => Some(&self.bounds.principal),
            Kind::Application | Kind::External | Kind::Peer => Some(&self.bounds.application),
            Kind::Server => None,
        }
    }
}

/// What the servers tell each other, and nobody has sent.
pub(super) fn is_news(kind: MessageKind) -> bool {
    match kind {
        MessageKind::Status | MessageKind::Presence | MessageKind::Directory => true,
        MessageKind::Upload | MessageKind::Push | MessageKind::Message => false,
    }
}

/// The domain that is owed the end of a message it has sent, or the news of it.
fn owed_to<'a>(parties: Parties<'a>) -> Option<&'a str> {
    let sent_by = parties.source.split_once('@').map(|(_, domain)| domain);
    let hop = parties
        .hop
        .split_once('/')
        .filter(|_| parties.kind == MessageKind::Status);
    let waits_for = hop.filter(|(kind, _)| Kind::parse(kind) == Some(Kind::Peer));
    waits_for.map(|(_, domain)| domain).or(sent_by)
}

impl Refused {
    fn count(&mut self, status: Status) {
        match status {
            Status::QUEUE_FULL => self.full += 1,
            _ => self.over_quota += 1,
        }
    }
}

impl Quota {
    /// Why one message more does not fit.
    fn refuses(&self, held: Held, bytes: u64) -> Option<String> {
        if held.messages >= self.messages_max {
            Some(format!(
                "{} messages in flight and may have {}",
                held.messages, self.messages_max
            ))
        } else if held.bytes.saturating_add(bytes) > self.bytes_max {
            Some(format!(
                "{} bytes in flight and may have {}",
                held.bytes, self.bytes_max
            ))
        } else {
            None
        }
    }
}

fn apply(held: &mut HashMap<u64, Held>, all: &mut Held, change: Change) {
    all.add(change);
    for key in [change.sender, change.receiver, change.owed]
        .into_iter()
        .flatten()
    {
        let entry = held.entry(key).or_default();
        entry.add(change);
        if entry.messages == 0 {
            held.remove(&key);
        }
    }
}

impl Held {
    fn add(&mut self, change: Change) {
        self.messages = self.messages.saturating_add_signed(change.messages);
        self.bytes = self.bytes.saturating_add_signed(change.bytes);
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
