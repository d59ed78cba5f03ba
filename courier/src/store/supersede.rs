//! Supersede keys: of one sender's undelivered pushes to one receiver with one key only the newest waits.
//!
//! A push is undelivered until the transaction that writes down its handing over ([`Tx::hand`]). One that was handed over
//! and is unanswered keeps its place, through reconnections too: its receiver may have acted on it, and its answer
//! is its end.
//!
//! So it is with presence told to another domain, by principal and hearer: it is a state, so the newest takes the place of
//! any that has not ended, sent or not. A domain that takes nothing is owed one of each.

use irsp_protocol::receipt::Cause;
use irsp_protocol::{Envelope, MessageId, MessageKind, Principal, Status, Timestamp};
use rusqlite::params;

use super::error::StoreError;
use super::message::{self, End};
use super::text;
use super::tx::Tx;
use crate::hop::Hop;
use crate::role::Role;

impl Tx<'_> {
    /// Ends what the push takes the place of.
    pub(super) fn supersede(&mut self, envelope: &Envelope, hop: &Hop) -> Result<(), StoreError> {
        let Some(key) = message::supersede_key(envelope, hop) else {
            return Ok(());
        };
        let end = End {
            cause: Some(Cause::Superseded { by: envelope.id }),
            ..End::by_us(Status::CONFLICT, None)
        };
        for older in self.undelivered(envelope, hop, &key)? {
            self.end_with(older, Some(hop), &end)?;
        }
        Ok(())
    }

    /// What waits with the key and was not handed over; of a state what has not ended.
    fn undelivered(&self, envelope: &Envelope, hop: &Hop, key: &str) -> Result<Vec<MessageId>, StoreError> {
        let mut rows = self.sql().prepare_cached(
            "SELECT id FROM message
             WHERE hop = ?1 AND source = ?2 AND supersede_key = ?3 AND ended_at IS NULL
                 AND (sent_at IS NULL OR ?5) AND id <> ?4 ORDER BY seq",
        )?;
        let source = envelope.source.to_string();
        let is_state = envelope.kind == MessageKind::Presence;
        let wanted = params![text::hop(hop), source, key, envelope.id.as_bytes(), is_state];
        let ids = rows.query_map(wanted, |row| Ok(text::read_id(row.get(0)?)))?;
        Ok(ids.collect::<Result<_, _>>()?)
    }

    /// Writes down that a push with options goes to its receiver now; from here on nothing takes its place. `false`: it
    /// has ended, or ends here because it was for another epoch.
    pub(crate) fn hand(
        &mut self,
        role: &dyn Role,
        to: &Principal,
        envelope: &Envelope,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        if let Some(wanted) = envelope.options.only_if_epoch {
            let epoch = role.epoch(self, to)?.unwrap_or(0);
            if epoch != wanted.get() {
                let end = End {
                    cause: Some(Cause::EpochChanged { epoch }),
                    ..End::by_us(Status::CONFLICT, None)
                };
                self.end_with(envelope.id, Some(&Hop::Principal(to.clone())), &end)?;
                return Ok(false);
            }
        }
        message::hand(self.sql(), envelope.id, now)
    }
}
