//! What waits for a third party's HTTP service (`ext/...`): read sender by sender, because a message that has to wait
//! there holds up the later ones of its sender and nobody else's. Such a hop has no lane; its gateway asks for the
//! oldest of a sender and tells what became of it.

use bytes::Bytes;
use irsp_protocol::receipt::Answer;
use irsp_protocol::{Envelope, MessageId, Status, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::error::StoreError;
use super::message::End;
use super::operate::Failed;
use super::text;
use super::tx::Tx;
use crate::hop::Hop;

/// The condition of the index `message_service`, as a query has to repeat it.
macro_rules! waiting_for_services {
    () => {
        "hop >= 'ext/' AND hop < 'ext0' AND ended_at IS NULL AND answered_at IS NULL"
    };
}

/// The oldest message of a sender that waits for a service.
#[derive(Clone, Debug)]
pub struct ServiceHead {
    pub envelope: Envelope,
    /// How often the service has failed at it.
    pub failures: u32,
}

/// What a service said, or that it said nothing.
#[derive(Clone, Debug)]
pub struct ServiceAnswer {
    /// What the message ends with, now or when it is given up.
    pub status: Status,
    /// The service's own code and body; `None` if it did not answer.
    pub answer: Option<Answer>,
    /// When it was asked.
    pub sent_at: Timestamp,
}

/// Every sender that has something waiting for the service.
pub fn service_senders(sql: &Connection, hop: &Hop) -> Result<Vec<String>, StoreError> {
    // One step of the index a sender, however much each has waiting.
    let mut next = sql.prepare_cached(concat!(
        "SELECT source FROM message INDEXED BY message_service WHERE ",
        waiting_for_services!(),
        " AND hop = ?1 AND source > ?2 ORDER BY source LIMIT 1"
    ))?;
    let (hop, mut senders) = (hop.to_string(), Vec::new());
    let mut last = String::new();
    while let Some(sender) = next
        .query_row(params![hop, last], |row| row.get::<_, String>(0))
        .optional()?
    {
        last.clone_from(&sender);
        senders.push(sender);
    }
    Ok(senders)
}

/// The oldest message of `sender` that waits for the service and has not expired.
pub fn service_head(
    sql: &Connection,
    hop: &Hop,
    sender: &str,
    now: Timestamp,
) -> Result<Option<ServiceHead>, StoreError> {
    let found = sql
        .prepare_cached(concat!(
            "SELECT head, data, failures FROM message INDEXED BY message_service WHERE ",
            waiting_for_services!(),
            " AND hop = ?1 AND source = ?2 AND expires_at > ?3 ORDER BY seq LIMIT 1"
        ))?
        .query_row(params![hop.to_string(), sender, now.as_millis()], |row| {
            let columns: (String, Option<Vec<u8>>, u32) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(columns)
        })
        .optional()?;
    let Some((head, data, failures)) = found else {
        return Ok(None);
    };
    let mut envelope: Envelope = serde_json::from_str(&head)?;
    envelope.data = Bytes::from(data.unwrap_or_default());
    Ok(Some(ServiceHead { envelope, failures }))
}

impl Tx<'_> {
    /// The service has answered for good: the message ends with that status. Says whether it had not ended before.
    pub fn service_answered(
        &mut self,
        id: MessageId,
        hop: &Hop,
        told: &ServiceAnswer,
    ) -> Result<bool, StoreError> {
        self.end_with(id, Some(hop), &told.end())
    }

    /// The service has failed at a message that it may yet take. After `failures_max` times it ends; says whether it
    /// waits no more.
    pub fn service_failed(
        &mut self,
        id: MessageId,
        hop: &Hop,
        told: &ServiceAnswer,
        failures_max: u32,
    ) -> Result<bool, StoreError> {
        let failed = self.failed(id, hop, &told.end(), failures_max)?;
        Ok(!matches!(failed, Failed::Waits { .. }))
    }

    /// The dead letters that were for a service, oldest first; `after` is the last one of the page before.
    pub fn service_dead_letters(
        &self,
        hop: &Hop,
        after: Option<MessageId>,
        limit: u16,
    ) -> Result<Vec<MessageId>, StoreError> {
        let after = after.map_or([0; 16], |id| *id.as_bytes());
        let mut select = self.sql().prepare_cached(
            "SELECT d.id FROM dead_letter d JOIN message m ON m.id = d.id
             WHERE d.id > ?1 AND m.hop = ?2 ORDER BY d.id LIMIT ?3",
        )?;
        let ids = select.query_map(params![after, hop.to_string(), limit], |row| {
            Ok(text::read_id(row.get(0)?))
        })?;
        Ok(ids.collect::<Result<_, _>>()?)
    }

    /// Sends a dead letter again, as an operator's retry does. Says whether it was one.
    pub fn replay(&mut self, id: MessageId, expires: Timestamp) -> Result<bool, StoreError> {
        let done = self.retry_dead(id, Some(expires))?;
        Ok(done == irsp_protocol::inquiry::Operated::Done)
    }
}

impl ServiceAnswer {
    fn end(&self) -> End {
        End {
            status: self.status,
            answer: self.answer.clone(),
            answered: true,
            sent_at: Some(self.sent_at),
            cause: None,
        }
    }
}
