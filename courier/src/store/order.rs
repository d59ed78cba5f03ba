//! How far each sender's envelopes have been taken, so that what a bus has reordered or half lost is taken in the
//! sender's order (design 3.1).
//!
//! ```text
//! sent 5 6 7, 5 is lost:   6 (after 5) and 7 (after 6) are not taken; repeated: 5 (after 0), 6, 7
//! 5 fails (500):           it is held; 6 of the same source to the same destination is held behind it, 7 of another is taken
//! ```
//!
//! A place is told when it is sent, as it is then: `after` is 0 for the oldest that is unanswered, so there is always
//! one that is taken. For the same reason a place proves that what is held between `after` and itself has ended at its
//! sender, whatever became of it here, and holds up nothing any more.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use irsp_protocol::frame::Place;
use irsp_protocol::{Envelope, MessageId};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::error::StoreError;
use super::text;
use super::tx::Tx;
use crate::hop::Origin;

/// Envelopes of one sender that are passed by; with more, what follows waits too. Several windows of an honest sender.
const HELD_MAX: usize = 8_192;

/// What one transaction knows of the senders it hears.
#[derive(Default)]
pub(crate) struct Order {
    senders: BTreeMap<Origin, Sender>,
}

struct Sender {
    reached: i64,
    stored: i64,
    /// What was passed by and will come again, by its place. Empty but after a failure.
    held: BTreeMap<i64, Held>,
}

struct Held {
    id: MessageId,
    source: String,
    destination: String,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Now,
    /// Something before it has not been seen.
    Early,
    /// All before it was seen, but something of the same source for the same destination was not taken.
    Behind,
}

impl Order {
    /// Whether everything before this place that it has to wait for has been taken.
    pub(super) fn turn(
        &mut self,
        tx: &Tx<'_>,
        from: &Origin,
        place: Place,
        envelope: &Envelope,
    ) -> Result<Turn, StoreError> {
        let sender = match self.senders.entry(from.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(Sender::read(tx, from)?),
        };
        if place.after > sender.reached {
            return Ok(Turn::Early);
        }
        if sender.held.is_empty() {
            return Ok(Turn::Now);
        }
        sender.let_go(tx, from, |seq, _| place.after < seq && seq < place.seq)?;
        let (source, destination) = parties(envelope);
        let is_before = |(seq, held): (&i64, &Held)| {
            *seq < place.seq
                && held.id != envelope.id
                && held.source == source
                && held.destination == destination
        };
        Ok(match sender.held.iter().any(is_before) {
            true => Turn::Behind,
            false => Turn::Now,
        })
    }

    /// The envelope is stored, or refused for good.
    pub(super) fn took(
        &mut self,
        tx: &Tx<'_>,
        from: &Origin,
        place: Place,
        id: MessageId,
    ) -> Result<(), StoreError> {
        let Some(sender) = self.senders.get_mut(from) else {
            return Ok(());
        };
        sender.reached = sender.reached.max(place.seq);
        if sender.held.is_empty() {
            return Ok(());
        }
        sender.let_go(tx, from, |_, held| held.id == id)
    }

    /// The envelope comes again: what follows it passes, but not what its source has sent to the same destination.
    pub(super) fn passed_by(
        &mut self,
        tx: &Tx<'_>,
        from: &Origin,
        place: Place,
        envelope: &Envelope,
    ) -> Result<(), StoreError> {
        let Some(sender) = self.senders.get_mut(from) else {
            return Ok(());
        };
        if sender.held.len() >= HELD_MAX {
            return Ok(());
        }
        sender.reached = sender.reached.max(place.seq);
        // Who tells no places is not kept in order.
        if place.seq == 0 || sender.held.contains_key(&place.seq) {
            return Ok(());
        }
        let (source, destination) = parties(envelope);
        tx.sql()
            .prepare_cached(
                "INSERT INTO held (origin, seq, id, source, destination, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                from.to_string(),
                place.seq,
                envelope.id.as_bytes(),
                source,
                destination,
                envelope.expires.as_millis(),
            ])?;
        let held = Held {
            id: envelope.id,
            source,
            destination,
        };
        sender.held.insert(place.seq, held);
        Ok(())
    }

    /// Writes down how far this transaction has come.
    pub(crate) fn store(self, tx: &Tx<'_>) -> Result<(), StoreError> {
        for (from, sender) in self.senders {
            if sender.reached > sender.stored {
                tx.sql()
                    .prepare_cached(
                        "INSERT INTO reached (origin, seq) VALUES (?1, ?2)
                         ON CONFLICT (origin) DO UPDATE SET seq = excluded.seq",
                    )?
                    .execute(params![from.to_string(), sender.reached])?;
            }
        }
        Ok(())
    }
}

impl Sender {
    fn read(tx: &Tx<'_>, from: &Origin) -> Result<Sender, StoreError> {
        let reached: Option<i64> = tx
            .sql()
            .prepare_cached("SELECT seq FROM reached WHERE origin = ?1")?
            .query_row([from.to_string()], |row| row.get(0))
            .optional()?;
        let mut rows = tx
            .sql()
            .prepare_cached("SELECT seq, id, source, destination FROM held WHERE origin = ?1")?;
        let held = rows.query_map([from.to_string()], |row| {
            let held = Held {
                id: text::read_id(row.get(1)?),
                source: row.get(2)?,
                destination: row.get(3)?,
            };
            Ok((row.get(0)?, held))
        })?;
        let reached = reached.unwrap_or(0);
        Ok(Sender {
            reached,
            stored: reached,
            held: held.collect::<Result<_, _>>()?,
        })
    }

    /// Forgets what holds up nothing any more.
    fn let_go(
        &mut self,
        tx: &Tx<'_>,
        from: &Origin,
        is_over: impl Fn(i64, &Held) -> bool,
    ) -> Result<(), StoreError> {
        let over: Vec<i64> = self
            .held
            .iter()
            .filter(|(seq, held)| is_over(**seq, held))
            .map(|(seq, _)| *seq)
            .collect();
        for seq in over {
            tx.sql()
                .prepare_cached("DELETE FROM held WHERE origin = ?1 AND seq = ?2")?
                .execute(params![from.to_string(), seq])?;
            self.held.remove(&seq);
        }
        Ok(())
    }
}

/// Forgets what has expired before `before`: its sender has another database now, or a place would have told its end.
pub(super) fn prune(sql: &Connection, before: i64) -> Result<(), StoreError> {
    sql.prepare_cached("DELETE FROM held WHERE expires_at <= ?1")?
        .execute([before])?;
    Ok(())
}

fn parties(envelope: &Envelope) -> (String, String) {
    (envelope.source.to_string(), envelope.destination.to_string())
}
