//! What befalls a message between its sending and its end beyond answers: the next server fails at it, an operator
//! sends a dead letter again or discards it, and the next server has taken it after all.

use std::sync::Arc;

use bytes::Bytes;
use irsp_protocol::inquiry::Operated;
use irsp_protocol::{Envelope, MessageId, State, Status, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::effects::Stored;
use super::error::StoreError;
use super::message::End;
use super::text;
use super::tx::Tx;
use crate::hop::Hop;

/// What a failure has made of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// It waits for another try, after so many that failed.
    Waits { failures: u32 },
    /// That was the last one.
    Ended,
    /// It had its answer before.
    Past,
}

/// The row of a dead letter.
struct Dead {
    head: String,
    hop: Hop,
    status: Status,
}

impl Tx<'_> {
    /// Whoever is next has failed at a message that it may yet take. After `failures_max` times it ends with that code.
    pub(crate) fn failed(
        &mut self,
        id: MessageId,
        hop: &Hop,
        end: &End,
        failures_max: u32,
    ) -> Result<Failed, StoreError> {
        let failures: Option<u32> = self
            .sql()
            .prepare_cached(
                "UPDATE message SET failures = failures + 1
                 WHERE id = ?1 AND hop = ?2 AND ended_at IS NULL AND answered_at IS NULL RETURNING failures",
            )?
            .query_row(params![id.as_bytes(), text::hop(hop)], |row| row.get(0))
            .optional()?;
        match failures {
            Some(failures) if failures < failures_max => Ok(Failed::Waits { failures }),
            Some(_) if self.end_with(id, Some(hop), end)? => Ok(Failed::Ended),
            Some(_) | None => Ok(Failed::Past),
        }
    }

    /// Sends a dead letter again, behind all that waits now. Its end is taken back: it is in flight, and counted so.
    pub(crate) fn retry_dead(
        &mut self,
        id: MessageId,
        expires: Option<Timestamp>,
    ) -> Result<Operated, StoreError> {
        let Some(dead) = self.dead(id)? else {
            return standing(self.sql(), id, State::InFlight);
        };
        let mut envelope: Envelope = serde_json::from_str(&dead.head)?;
        envelope.expires = expires.unwrap_or(envelope.expires);
        if envelope.expires <= self.now() {
            return Ok(Operated::Expired);
        }
        self.revive(envelope, dead)?;
        Ok(Operated::Done)
    }

    /// The next server has spoken of a message that had its end here. If that was a dead letter, and this is no further
    /// failure, a late copy has been taken after all: the letter is in flight again, for the answer to end it. A copy that
    /// came too late, or found no room, leaves the letter to the operator. Says whether it is in flight.
    pub(crate) fn heard_of_dead(
        &mut self,
        id: MessageId,
        hop: &Hop,
        said: Status,
    ) -> Result<bool, StoreError> {
        if matches!(
            State::of(said),
            State::Undeliverable | State::Expired | State::OverQuota
        ) {
            return Ok(false);
        }
        let Some(dead) = self.dead(id)?.filter(|dead| dead.hop == *hop) else {
            return Ok(false);
        };
        let envelope: Envelope = serde_json::from_str(&dead.head)?;
        tracing::info!(%id, %hop, status = %said, "a dead letter was taken after all");
        self.revive(envelope, dead)?;
        Ok(true)
    }

    /// Takes the end of a dead letter back.
    fn revive(&mut self, mut envelope: Envelope, dead: Dead) -> Result<(), StoreError> {
        let id = envelope.id;
        envelope.data = self
            .sql()
            .prepare_cached("DELETE FROM dead_letter WHERE id = ?1 RETURNING data")?
            .query_row([id.as_bytes()], |row| Ok(Bytes::from(row.get::<_, Vec<u8>>(0)?)))?;
        let (seq, bytes) = self.reopen(&envelope)?;
        let stored = Stored {
            seq,
            hop: dead.hop,
            envelope: Arc::new(envelope),
            reopens: Some(dead.status),
        };
        self.reopened(stored, bytes);
        Ok(())
    }

    /// Drops a dead letter's data; its end and its receipt stay.
    pub(crate) fn discard_dead(&mut self, id: MessageId) -> Result<Operated, StoreError> {
        let dropped = self
            .sql()
            .prepare_cached("DELETE FROM dead_letter WHERE id = ?1")?
            .execute([id.as_bytes()])?;
        if dropped == 1 {
            return Ok(Operated::Done);
        }
        standing(self.sql(), id, State::Undeliverable)
    }

    fn dead(&self, id: MessageId) -> Result<Option<Dead>, StoreError> {
        self.sql()
            .prepare_cached(
                "SELECT head, hop, status FROM message WHERE id = ?1 AND id IN (SELECT id FROM dead_letter)",
            )?
            .query_row([id.as_bytes()], |row| {
                let columns: (String, String, u16) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok(columns)
            })
            .optional()?
            .map(|(head, hop, status)| {
                Ok(Dead {
                    head,
                    hop: text::read_hop(&hop)?,
                    status: text::read_status(status)?,
                })
            })
            .transpose()
    }

    /// Makes the row one that waits, with a new number: a lane has passed its old one and would not look there again.
    /// Gives the number and the bytes it counts for.
    fn reopen(&self, envelope: &Envelope) -> Result<(i64, u64), StoreError> {
        let head = serde_json::to_string(envelope)?;
        let bytes = (head.len() + envelope.data.len()) as u64;
        let seq: i64 = self
            .sql()
            .prepare_cached("UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'message' RETURNING seq")?
            .query_row([], |row| row.get(0))?;
        self.sql()
            .prepare_cached(
                "UPDATE message SET seq = ?2, head = ?3, data = ?4, expires_at = ?5, due_at = ?5, failures = 0,
                     sent_at = NULL, answered_at = NULL, answered = NULL, ended_at = NULL, status = NULL, answer = NULL,
                     cause = NULL, size = ?6, young = NULL
                 WHERE id = ?1",
            )?
            .execute(params![
                envelope.id.as_bytes(),
                seq,
                head,
                &envelope.data[..],
                envelope.expires.as_millis(),
                i64::try_from(bytes).unwrap_or(i64::MAX),
            ])?;
        Ok((seq, bytes))
    }
}

/// What is said of a message that is no dead letter: `Done` if it is already as it was to become.
fn standing(sql: &Connection, id: MessageId, wanted: State) -> Result<Operated, StoreError> {
    let status: Option<Option<u16>> = sql
        .prepare_cached("SELECT status FROM message WHERE id = ?1")?
        .query_row([id.as_bytes()], |row| row.get(0))
        .optional()?;
    let Some(status) = status else {
        return Ok(Operated::Unknown);
    };
    let status = status.map_or(Ok(Status::QUEUED), text::read_status)?;
    Ok(if State::of(status) == wanted {
        Operated::Done
    } else {
        Operated::NotDead(status)
    })
}
