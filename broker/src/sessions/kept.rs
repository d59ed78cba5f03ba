//! What a durable session has on disk, in figures: which of it is in memory, too, and how much it is.
//!
//! ```text
//! seq:    ... acknowledged | in flight | waits in memory | waits on disk only ... next
//!                                        ^ a connection's load ends where its own arrivals begin
//! ```
//!
//! An entry is given to memory or left to the next load, never both and never neither: arrivals are numbered, and
//! connections begin and end, under one lock.

use std::ops::Range;

use irsp_protocol::{MessageId, Timestamp};

use crate::store::session::Queued;

/// The bounds of one session's queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) messages_max: u64,
    pub(crate) bytes_max: u64,
}

impl Bounds {
    /// So many messages, of any size.
    pub(crate) fn messages(messages_max: u64) -> Bounds {
        Bounds {
            messages_max,
            bytes_max: u64::MAX,
        }
    }

    /// So many times these bounds.
    pub(super) fn times(self, times: u64) -> Bounds {
        Bounds {
            messages_max: self.messages_max.saturating_mul(times),
            bytes_max: self.bytes_max.saturating_mul(times),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Kept {
    messages: u64,
    bytes: u64,
    last: u64,
    /// A connection takes arrivals from here on; `None` while nobody is connected.
    arrivals_from: Option<u64>,
    /// What arrived last at this connection, and one.
    arrived_below: u64,
    /// From here on nothing is in memory.
    disk_from: u64,
    /// Since a restart, until a connection has left.
    reached: Option<Reached>,
}

/// How far a session had come when the server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    /// What was stored with a lower seq may have been sent.
    pub(crate) sent_below: u64,
    /// What the platform had accepted by then may have been given to it, and sent.
    pub(crate) at: Timestamp,
}

/// What a connection has to read from disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unread {
    pub(crate) seqs: Range<u64>,
    /// At the session's first connection since the server started.
    pub(crate) reached: Option<Reached>,
}

impl Unread {
    /// Whether an entry may have been sent before the restart.
    pub(crate) fn may_have_been_sent(&self, seq: u64) -> bool {
        self.reached.is_some_and(|reached| seq < reached.sent_below)
    }
}

impl Kept {
    pub(super) fn restored(queued: Queued, reached: Option<Reached>) -> Kept {
        Kept {
            messages: queued.messages,
            bytes: queued.bytes,
            last: queued.last,
            reached,
            ..Kept::default()
        }
    }

    pub(super) fn is_full(&self, bounds: Bounds) -> bool {
        self.messages >= bounds.messages_max || self.bytes >= bounds.bytes_max
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    pub(super) fn figures(&self) -> Queued {
        Queued {
            messages: self.messages,
            bytes: self.bytes,
            last: self.last,
        }
    }

    /// Numbers an entry that is to be stored.
    pub(super) fn number(&mut self, bytes: u64) -> u64 {
        self.messages += 1;
        self.bytes += bytes;
        self.last += 1;
        self.last
    }

    /// An entry is stored; whether the connection takes it at once.
    pub(super) fn arrives(&mut self, seq: u64) -> bool {
        let takes = self.arrivals_from.is_some_and(|from| seq >= from);
        if takes {
            self.arrived_below = seq + 1;
        }
        takes
    }

    /// An entry is gone from disk, or never came there.
    pub(super) fn gone(&mut self, bytes: u64) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// A connection begins: it reads what was numbered before, and takes what is numbered from now on.
    pub(super) fn connect(&mut self) -> Unread {
        let unread = self.unread();
        self.arrivals_from = Some(unread.seqs.end);
        self.arrived_below = unread.seqs.end;
        unread
    }

    /// What is on disk only.
    pub(super) fn unread(&self) -> Unread {
        Unread {
            seqs: self.disk_from..self.last + 1,
            reached: self.reached,
        }
    }

    /// Whether a push may have been sent before the restart.
    pub(super) fn may_have_given(&self, id: MessageId) -> bool {
        self.reached.is_some_and(|reached| id.made_at() <= reached.at)
    }

    pub(super) fn disconnect(&mut self) {
        self.arrivals_from = None;
    }

    /// The connection leaves the session: `waiting` is the first in memory that was never sent, which goes from there
    /// with all behind it. Returns where that is.
    pub(super) fn leave(&mut self, waiting: Option<u64>) -> u64 {
        self.disk_from = waiting.unwrap_or(self.arrived_below).min(self.arrived_below);
        self.reached = None;
        self.disk_from
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unread(kept: &mut Kept) -> Range<u64> {
        kept.connect().seqs
    }

    #[test]
    fn what_arrives_while_away_is_read_by_the_next_connection() {
        let mut kept = Kept::default();
        let one = kept.number(5);
        assert!(!kept.arrives(one));
        let seqs = unread(&mut kept);
        assert!(seqs.contains(&one));
        let two = kept.number(5);
        assert!(!seqs.contains(&two) && kept.arrives(two), "in memory, not read");
    }

    #[test]
    fn what_is_numbered_before_and_stored_after_the_connection_began_is_read() {
        let mut kept = Kept::default();
        let one = kept.number(5);
        let seqs = unread(&mut kept);
        assert!(!kept.arrives(one) && seqs.contains(&one));
    }

    #[test]
    fn what_was_not_sent_is_read_again_and_what_was_is_not() {
        let mut kept = Kept::default();
        kept.connect();
        let seqs: Vec<u64> = (0..4).map(|_| kept.number(1)).collect();
        // the last one is stored only after the connection has ended
        assert!(seqs[..3].iter().all(|seq| kept.arrives(*seq)));
        kept.disconnect();
        assert!(!kept.arrives(seqs[3]));
        assert_eq!(kept.leave(Some(seqs[2])), seqs[2]);
        assert_eq!(unread(&mut kept), seqs[2]..seqs[3] + 1);
        kept.disconnect();
        // all that was read was sent
        assert_eq!(kept.leave(None), seqs[3] + 1);
        assert!(unread(&mut kept).is_empty());
    }

    #[test]
    fn after_a_restart_what_was_there_before_may_have_been_sent_until_a_connection_has_left() {
        let id = |millis: u64| MessageId::from_bytes((u128::from(millis) << 80).to_be_bytes());
        let reached = Reached {
            sent_below: 2,
            at: Timestamp::from_millis(1_000),
        };
        let mut kept = Kept::restored(Queued::default(), Some(reached));
        let unread = kept.connect();
        assert!(unread.may_have_been_sent(1) && !unread.may_have_been_sent(2));
        assert!(kept.may_have_given(id(1_000)) && !kept.may_have_given(id(1_001)));
        kept.leave(None);
        assert!(
            !kept.may_have_given(id(1_000)),
            "the session knows itself what it has sent"
        );
        assert_eq!(kept.unread().reached, None);
    }

    #[test]
    fn bounds_count_messages_and_bytes() {
        let bounds = Bounds {
            messages_max: 2,
            bytes_max: 10,
        };
        let mut kept = Kept::default();
        kept.number(10);
        assert!(kept.is_full(bounds), "bytes");
        kept.gone(10);
        kept.number(1);
        kept.number(1);
        assert!(kept.is_full(bounds), "messages");
        kept.gone(1);
        assert!(!kept.is_full(bounds));
    }
}
