//! A sender's own id is an idempotency key: the same id again is the same message, by whichever way it came. A push
//! or message that says something else under it is refused; of an upload the first counts, as CloudEvents has it.

use irsp_protocol::{Envelope, MessageId, MessageKind, Status};
use ring::digest::{SHA256, digest};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::error::StoreError;
use super::text;
use crate::accept::Accepted;

/// Bytes kept of the hash: a sender can only deceive itself.
const FINGERPRINT_LEN: usize = 16;

/// What a push or a message with a sender's id says: receiver, channel, payload and options. When it was sent, how long it may
/// take and how its payload is labelled may differ between two ways or two tries.
pub(super) fn fingerprint(envelope: &Envelope) -> Result<Option<Vec<u8>>, StoreError> {
    let compared = matches!(envelope.kind, MessageKind::Push | MessageKind::Message);
    if !compared || envelope.sender_id.is_none() {
        return Ok(None);
    }
    let said = serde_json::to_vec(&(&envelope.destination, &envelope.channel, &envelope.options))?;
    // The JSON ends where its brackets close, so nothing can move from one part to the other.
    let text = [&said[..], &envelope.data].concat();
    Ok(Some(digest(&SHA256, &text).as_ref()[..FINGERPRINT_LEN].to_vec()))
}

/// What stands in the way of putting this one in: itself, or the message that has its sender's id.
pub(super) fn original(
    sql: &Connection,
    envelope: &Envelope,
    source: &str,
    fingerprint: Option<&[u8]>,
) -> Result<Accepted, StoreError> {
    let itself = sql
        .prepare_cached("SELECT 1 FROM message WHERE id = ?1")?
        .exists([envelope.id.as_bytes()])?;
    if itself {
        return Ok(Accepted {
            id: envelope.id,
            duplicate: true,
        });
    }
    let (id, said) = sql
        .prepare_cached(
            "SELECT id, fingerprint FROM message WHERE source = ?1 AND sender_id = ?2 AND kind = ?3",
        )?
        .query_row(
            params![source, envelope.sender_id, envelope.kind.as_str()],
            |row| {
                let said: Option<Vec<u8>> = row.get(1)?;
                Ok((text::read_id(row.get(0)?), said))
            },
        )?;
    match (said, fingerprint) {
        (Some(said), Some(fingerprint)) if said != fingerprint => Err(StoreError::refused(
            Status::CONFLICT,
            format!("another {} has this id: {id}", envelope.kind.as_str()),
        )),
        _ => Ok(Accepted { id, duplicate: true }),
    }
}

/// The message that has this envelope's sender's id, if it is another one.
pub(super) fn earlier(sql: &Connection, envelope: &Envelope) -> Result<Option<MessageId>, StoreError> {
    let id = sql
        .prepare_cached(
            "SELECT id FROM message WHERE source = ?1 AND sender_id = ?2 AND kind = ?3 AND id <> ?4",
        )?
        .query_row(
            params![
                envelope.source.to_string(),
                envelope.sender_id,
                envelope.kind.as_str(),
                envelope.id.as_bytes()
            ],
            |row| row.get(0),
        )
        .optional()?;
    Ok(id.map(text::read_id))
}
