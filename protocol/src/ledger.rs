//! The ledger: what was accepted, how it ended and what is still under way, per kind of message.
//!
//! `accepted = sum of ended + in flight`; the difference is the residue, and it must be 0 (design 3.1). A dead letter
//! that is sent again is in flight again: its end is taken back, its acceptance stays counted once.

use serde::{Deserialize, Serialize};

use crate::message_kind::MessageKind;
use crate::status::Status;

/// All kinds of which a server ever accepted a message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    pub kinds: Vec<KindLedger>,
}

/// The ledger of one kind of message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindLedger {
    pub kind: MessageKind,
    /// Accepted since the database was made.
    pub accepted: u64,
    /// Ended since the database was made, by final code, in order of the codes.
    pub ended: Vec<(Status, u64)>,
    /// On disk and not ended.
    pub in_flight: u64,
}

impl Ledger {
    /// Accepted less ended less in flight, over all kinds; 0 unless a message was lost or counted twice.
    pub fn residue(&self) -> i64 {
        self.kinds.iter().map(KindLedger::residue).sum()
    }

    /// Whether every kind adds up by itself: a loss in one is not made good by a surplus in another.
    pub fn is_balanced(&self) -> bool {
        self.kinds.iter().all(|kind| kind.residue() == 0)
    }

    pub fn in_flight(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.in_flight).sum()
    }
}

impl KindLedger {
    pub fn residue(&self) -> i64 {
        let ended: u64 = self.ended.iter().map(|(_, count)| count).sum();
        self.accepted.cast_signed() - ended.cast_signed() - self.in_flight.cast_signed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_in_one_kind_is_not_hidden_by_another() {
        let kind = |kind, accepted| KindLedger {
            kind,
            accepted,
            ended: vec![(Status::DONE, 2)],
            in_flight: 1,
        };
        let ledger = |uploads, pushes| Ledger {
            kinds: vec![
                kind(MessageKind::Upload, uploads),
                kind(MessageKind::Push, pushes),
            ],
        };
        assert!(ledger(3, 3).is_balanced());
        assert_eq!((ledger(4, 3).residue(), ledger(3, 2).residue()), (1, -1));
        assert_eq!(ledger(4, 2).residue(), 0);
        assert!(!ledger(4, 2).is_balanced());
    }
}
