//! The ledger: what was accepted, how it ended and what is still under way, per kind.
//!
//! `accepted = sum of ended + in flight`; the difference is the residue, and it must be 0 (design 3.1).

use irsp_protocol::{MessageKind, Status};
use serde::Serialize;

/// All kinds of which a message was ever accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ledger {
    pub kinds: Vec<KindLedger>,
}

/// The ledger of one kind of message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
