//! How far each sender's envelopes have been taken, so that what a bus has reordered or half lost is taken in the
//! sender's order (design 3.1).
//!
//! ```text
//! sent 5 6 7, 5 is lost:   6 (after 5) and 7 (after 6) are not taken; repeated: 5 (after 0), 6, 7
//! ```
//!
//! A place is told when it is sent, as it is then: `after` is 0 for the oldest that is unanswered, so there is always
//! one that is taken.

use std::collections::BTreeMap;

use irsp_protocol::frame::Place;
use rusqlite::{OptionalExtension as _, params};

use super::error::StoreError;
use super::tx::Tx;
use crate::hop::Origin;

/// What one transaction knows of the senders it hears.
#[derive(Default)]
pub(crate) struct Order {
    senders: BTreeMap<Origin, Reached>,
}

struct Reached {
    seq: i64,
    stored: i64,
}

impl Order {
    /// Whether everything before this place has been taken.
    pub(super) fn is_next(&mut self, tx: &Tx<'_>, from: &Origin, place: Place) -> Result<bool, StoreError> {
        if let Some(reached) = self.senders.get(from) {
            return Ok(place.after <= reached.seq);
        }
        let stored: Option<i64> = tx
            .sql()
            .prepare_cached("SELECT seq FROM reached WHERE origin = ?1")?
            .query_row([from.to_string()], |row| row.get(0))
            .optional()?;
        let seq = stored.unwrap_or(0);
        self.senders.insert(from.clone(), Reached { seq, stored: seq });
        Ok(place.after <= seq)
    }

    pub(super) fn took(&mut self, from: &Origin, place: Place) {
        if let Some(reached) = self.senders.get_mut(from) {
            reached.seq = reached.seq.max(place.seq);
        }
    }

    /// Writes down what this transaction has taken.
    pub(crate) fn store(self, tx: &Tx<'_>) -> Result<(), StoreError> {
        for (from, reached) in self.senders {
            if reached.seq > reached.stored {
                tx.sql()
                    .prepare_cached(
                        "INSERT INTO reached (origin, seq) VALUES (?1, ?2)
                         ON CONFLICT (origin) DO UPDATE SET seq = excluded.seq",
                    )?
                    .execute(params![from.to_string(), reached.seq])?;
            }
        }
        Ok(())
    }
}
