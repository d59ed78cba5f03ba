//! One present hop: what is under way to it, how far it has been served from disk, and whether more waits there.
//!
//! ```text
//! slots: under way, at most a window | ahead: stored behind them, still in memory | disk
//! ```
//!
//! What is stored for a server whose window is full goes *ahead*: it waits in memory, so that a steady load of several
//! windows is not read back from the disk it was just written to.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use irsp_protocol::frame::Place;
use irsp_protocol::{Envelope, MessageId, Timestamp};

use super::pace::Pace;
use super::retry::Retry;
use super::{Leaving, Load, Rest, Sending, Window};
use crate::clock::Now;
use crate::hop::Hop;

/// Envelopes that wait in memory for a place in a server's window, in windows; their data take two windows' bytes at most.
const AHEAD_WINDOWS: usize = 8;
const AHEAD_WINDOWS_BYTES: usize = 2;

pub(super) struct Lane {
    ticket: u64,
    window: Window,
    /// The greatest sequence number sent: everything up to it is under way or has left.
    cursor: i64,
    /// What was stored next, in order and without a gap; only lanes to servers have it.
    ahead: VecDeque<(i64, Arc<Envelope>)>,
    /// Data of it.
    ahead_bytes: usize,
    disk: Disk,
    slots: HashMap<MessageId, Slot>,
    /// The slots' sequence numbers.
    order: BTreeSet<i64>,
    /// Data under way.
    bytes: usize,
    /// Servers only: a principal's session keeps what it was given until it answers or goes.
    retry: Option<Retry>,
    /// Of lanes that may not send as fast as they can.
    pace: Option<Pace>,
    /// First sent in an earlier life of the lane.
    sent_before: HashMap<MessageId, Timestamp>,
}

/// What the lane knows of the disk behind its cursor and what is ahead.
enum Disk {
    /// Nothing waits there.
    CaughtUp,
    /// Something may wait there.
    Behind,
    /// It is being read. `missed`: something was stored meanwhile and is not ahead, so page and ahead may not be all.
    /// `left`: left meanwhile, so the page may hold what is no longer to be sent: each below the number it was stored under
    /// anew, if it was.
    Loading {
        missed: bool,
        left: HashMap<MessageId, i64>,
    },
}

struct Slot {
    seq: i64,
    size: usize,
    sent_at: Timestamp,
    /// The last time.
    tried_at: Instant,
    /// Kept for sending again, by lanes that do.
    envelope: Option<Arc<Envelope>>,
}

/// What became of a message just stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    Taken(Sending),
    /// It waits for a place.
    Ahead,
    LeftOnDisk,
}

impl Lane {
    pub(super) fn to_principal(ticket: u64, window: Window) -> Lane {
        Lane {
            ticket,
            window,
            cursor: 0,
            ahead: VecDeque::new(),
            ahead_bytes: 0,
            disk: Disk::Behind,
            slots: HashMap::new(),
            order: BTreeSet::new(),
            bytes: 0,
            retry: None,
            pace: None,
            sent_before: HashMap::new(),
        }
    }

    pub(super) fn to_server(ticket: u64, window: Window, min: Duration, max: Duration, seed: u64) -> Lane {
        let mut lane = Lane::to_principal(ticket, window);
        lane.retry = Some(Retry::new(min, max, seed));
        lane
    }

    /// From now on it sends no more than so many a second. What is sent again does not count.
    pub(super) fn keep_pace(&mut self, per_second: NonZeroU32) {
        self.pace = Some(Pace::new(per_second));
    }

    pub(super) fn ticket(&self) -> u64 {
        self.ticket
    }

    /// A message was stored: it goes out at once if nothing waits before it and the window has room.
    pub(super) fn offer(&mut self, seq: i64, envelope: &Arc<Envelope>, now: Now) -> Offer {
        self.refresh(now);
        let last = self.ahead.back().map_or(self.cursor, |(seq, _)| *seq);
        if seq <= last {
            return Offer::LeftOnDisk;
        }
        if let Disk::Loading { left, .. } = &mut self.disk
            && let Some(anew) = left.get_mut(&envelope.id)
        {
            *anew = seq;
        }
        let goes_now = self.ahead.is_empty() && self.has_room();
        let goes_ahead = self.has_room_ahead();
        match &mut self.disk {
            Disk::CaughtUp if goes_now => return Offer::Taken(self.occupy(seq, envelope, now)),
            Disk::CaughtUp if goes_ahead => {}
            Disk::CaughtUp | Disk::Behind => {
                self.disk = Disk::Behind;
                return Offer::LeftOnDisk;
            }
            Disk::Loading { missed, .. } if *missed || !goes_ahead => {
                *missed = true;
                return Offer::LeftOnDisk;
            }
            Disk::Loading { .. } => {}
        }
        self.ahead_bytes += envelope.data.len();
        self.ahead.push_back((seq, Arc::clone(envelope)));
        Offer::Ahead
    }

    /// What takes the places that have become free, from what is ahead.
    pub(super) fn advance(&mut self, now: Now) -> Vec<Sending> {
        let mut send = Vec::new();
        self.refresh(now);
        // What is read comes before what is ahead.
        if matches!(self.disk, Disk::Loading { .. }) {
            return send;
        }
        while self.has_room()
            && let Some((seq, envelope)) = self.ahead.pop_front()
        {
            self.ahead_bytes -= envelope.data.len();
            send.push(self.occupy(seq, &envelope, now));
        }
        send
    }

    /// What to read next: when something may wait, nothing is ahead and half the window is free, so that reads are few
    /// and large.
    pub(super) fn load(&mut self, hop: &Hop) -> Option<Load> {
        let may_send = self.pace.as_ref().map_or(usize::MAX, Pace::messages);
        if !matches!(self.disk, Disk::Behind)
            || !self.ahead.is_empty()
            || !self.is_half_free()
            || may_send == 0
        {
            return None;
        }
        self.disk = Disk::Loading {
            missed: false,
            left: HashMap::new(),
        };
        Some(Load {
            hop: hop.clone(),
            ticket: self.ticket,
            after: self.cursor,
            count: (self.window.count - self.slots.len()).clamp(1, may_send),
            bytes: (self.window.bytes - self.bytes).max(1),
        })
    }

    /// Takes what was read and says what of it is to be sent.
    pub(super) fn loaded(&mut self, rows: Vec<(i64, Arc<Envelope>)>, rest: Rest, now: Now) -> Vec<Sending> {
        let before = std::mem::replace(&mut self.disk, Disk::Behind);
        let Disk::Loading { missed, left } = before else {
            self.disk = before;
            return Vec::new();
        };
        if rest == Rest::Nothing && !missed {
            self.disk = Disk::CaughtUp;
        }
        let mut send = Vec::with_capacity(rows.len());
        for (seq, envelope) in rows {
            if seq <= self.cursor {
                continue;
            }
            if left.get(&envelope.id).is_some_and(|anew| seq < *anew) {
                self.cursor = seq;
            } else {
                send.push(self.occupy(seq, &envelope, now));
            }
        }
        let read = match rest {
            Rest::Nothing => self.cursor,
            // Between the page and what is ahead something waits on disk.
            Rest::More | Rest::Expired => i64::MAX,
        };
        while let Some((_, envelope)) = self.ahead.pop_front_if(|(seq, _)| *seq <= read) {
            self.ahead_bytes -= envelope.data.len();
        }
        send.extend(self.advance(now));
        send
    }

    pub(super) fn load_failed(&mut self) {
        if matches!(self.disk, Disk::Loading { .. }) {
            self.disk = Disk::Behind;
            self.ahead.clear();
            self.ahead_bytes = 0;
        }
    }

    /// The message waits for this hop no more. Gives its envelope, if it was kept.
    pub(super) fn left(&mut self, id: MessageId, why: Leaving) -> Option<Arc<Envelope>> {
        self.sent_before.remove(&id);
        if let Some(slot) = self.slots.remove(&id) {
            self.order.remove(&slot.seq);
            self.bytes -= slot.size;
            if let Some(retry) = &mut self.retry {
                if why == Leaving::Answered {
                    retry.answered();
                }
                if self.slots.is_empty() {
                    retry.nothing_waits();
                }
            }
            return slot.envelope;
        }
        if let Disk::Loading { left, .. } = &mut self.disk {
            left.insert(id, i64::MAX);
        }
        // What leaves unsent leaves by its age, so it stands near the front.
        let place = self.ahead.iter().position(|(_, envelope)| envelope.id == id)?;
        let (_, envelope) = self.ahead.remove(place)?;
        self.ahead_bytes -= envelope.data.len();
        Some(envelope)
    }

    /// Everything unanswered, in order; the back-off starts anew.
    pub(super) fn send_again(&mut self, now: Now) -> Vec<Sending> {
        let Some(retry) = &mut self.retry else {
            return Vec::new();
        };
        retry.restart();
        let ids = self.slots.keys().copied().collect();
        self.again(ids, now)
    }

    /// What has waited for its answer too long, in order.
    pub(super) fn retry(&mut self, now: Now) -> Vec<Sending> {
        let Some(retry) = &mut self.retry else {
            return Vec::new();
        };
        let due = retry.due(now.instant).into_iter().filter_map(|(at, id)| {
            // What has left and was stored anew is due by its new sending alone.
            let slot = self.slots.get(&id)?;
            (slot.tried_at == at).then_some(id)
        });
        let due = due.collect();
        self.again(due, now)
    }

    pub(super) fn next_retry(&self) -> Option<Instant> {
        if self.slots.is_empty() {
            return None;
        }
        self.retry.as_ref().and_then(Retry::next)
    }

    /// When it may send, or read, what waits for nothing but its turn; `None` if nothing does.
    pub(super) fn next_turn(&self) -> Option<Instant> {
        let pace = self.pace.as_ref()?;
        let waits = match self.disk {
            Disk::Loading { .. } => false,
            Disk::Behind if self.ahead.is_empty() => self.is_half_free(),
            Disk::Behind | Disk::CaughtUp => !self.ahead.is_empty() && self.has_place(),
        };
        if waits { pace.next() } else { None }
    }

    fn refresh(&mut self, now: Now) {
        if let Some(pace) = &mut self.pace {
            pace.refresh(now.instant);
        }
    }

    /// What is unanswered, with the time it was first sent.
    pub(super) fn sent(&self) -> Vec<(MessageId, Timestamp)> {
        let slots = self.slots.iter().map(|(id, slot)| (*id, slot.sent_at));
        slots
            .chain(self.sent_before.iter().map(|(id, at)| (*id, *at)))
            .collect()
    }

    pub(super) fn sent_at(&self, id: MessageId) -> Option<Timestamp> {
        let slot = self.slots.get(&id).map(|slot| slot.sent_at);
        slot.or_else(|| self.sent_before.get(&id).copied())
    }

    pub(super) fn inherit_sent(&mut self, before: &Lane) {
        self.sent_before = before.sent().into_iter().collect();
    }

    fn has_room(&self) -> bool {
        self.has_place() && self.pace.as_ref().is_none_or(|pace| pace.messages() > 0)
    }

    fn has_place(&self) -> bool {
        self.slots.is_empty() || (self.slots.len() < self.window.count && self.bytes < self.window.bytes)
    }

    fn is_half_free(&self) -> bool {
        self.slots.len() * 2 <= self.window.count && self.bytes * 2 <= self.window.bytes
    }

    fn has_room_ahead(&self) -> bool {
        self.retry.is_some()
            && self.ahead.len() < self.window.count * AHEAD_WINDOWS
            && self.ahead_bytes < self.window.bytes * AHEAD_WINDOWS_BYTES
    }

    fn occupy(&mut self, seq: i64, envelope: &Arc<Envelope>, now: Now) -> Sending {
        let sent_at = self.sent_before.remove(&envelope.id).unwrap_or(now.wall);
        let size = envelope.data.len();
        self.cursor = seq;
        self.bytes += size;
        if let Some(retry) = &mut self.retry {
            retry.sent(envelope.id, now.instant);
        }
        if let Some(pace) = &mut self.pace {
            pace.sent(now.instant);
        }
        let envelope_kept = self.retry.is_some().then(|| Arc::clone(envelope));
        self.slots.insert(
            envelope.id,
            Slot {
                seq,
                size,
                sent_at,
                tried_at: now.instant,
                envelope: envelope_kept,
            },
        );
        let place = self.place(seq);
        self.order.insert(seq);
        Sending {
            place,
            envelope: Arc::clone(envelope),
        }
    }

    /// Where a message stands among those that are under way.
    fn place(&self, seq: i64) -> Place {
        let after = self.order.range(..seq).next_back().copied().unwrap_or(0);
        Place { seq, after }
    }

    fn again(&mut self, ids: Vec<MessageId>, now: Now) -> Vec<Sending> {
        let mut found: Vec<(i64, MessageId, Arc<Envelope>)> = ids
            .into_iter()
            .filter_map(|id| {
                let slot = self.slots.get(&id)?;
                Some((slot.seq, id, Arc::clone(slot.envelope.as_ref()?)))
            })
            .collect();
        found.sort_unstable_by_key(|(seq, _, _)| *seq);
        if let Some(retry) = &mut self.retry {
            for (_, id, _) in &found {
                retry.sent(*id, now.instant);
                if let Some(slot) = self.slots.get_mut(id) {
                    slot.tried_at = now.instant;
                }
            }
            if !found.is_empty() {
                retry.back_off();
            }
        }
        let sending = |(seq, _, envelope)| Sending {
            place: self.place(seq),
            envelope,
        };
        found.into_iter().map(sending).collect()
    }
}
