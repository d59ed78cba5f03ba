//! Rows of the table `message`: in at acceptance, out in order for their hop, and their two ways of leaving it.

use std::sync::Arc;

use bytes::Bytes;
use irsp_protocol::receipt::Answer;
use irsp_protocol::{Envelope, MessageId, Server, Status, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::effects::{EndedRow, Left};
use super::error::StoreError;
use super::text;
use crate::hop::Hop;

/// How a message ends.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) status: Status,
    pub(crate) answer: Option<Answer>,
    /// The next hop said so, in contrast to expiry, deletion and the like.
    pub(crate) answered: bool,
    /// When it was first sent, if known.
    pub(crate) sent_at: Option<Timestamp>,
}

/// Puts a message in; `None` if its id or its sender's id is there already.
pub(super) fn insert(
    sql: &Connection,
    envelope: &Envelope,
    head: &str,
    hop: &Hop,
    origin: Option<Server>,
    now: Timestamp,
    due: Timestamp,
) -> Result<Option<i64>, StoreError> {
    let put = sql
        .prepare_cached(
            "INSERT INTO message (id, kind, hop, source, sender_id, head, data, origin, accepted_at, expires_at, due_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            envelope.id.as_bytes(),
            envelope.kind.as_str(),
            text::hop(hop),
            envelope.source.to_string(),
            envelope.sender_id,
            head,
            &envelope.data[..],
            origin.map(Server::as_str),
            now.as_millis(),
            envelope.expires.as_millis(),
            due.as_millis(),
        ])?;
    Ok((put == 1).then(|| sql.last_insert_rowid()))
}

/// The message that stands in the way of putting this one in.
pub(super) fn original(sql: &Connection, envelope: &Envelope) -> Result<MessageId, StoreError> {
    let id = sql
        .prepare_cached(
            "SELECT id FROM message WHERE id = ?1
             UNION ALL SELECT id FROM message WHERE source = ?2 AND sender_id = ?3 AND origin IS NULL LIMIT 1",
        )?
        .query_row(
            params![envelope.id.as_bytes(), envelope.source.to_string(), envelope.sender_id],
            |row| row.get(0),
        )?;
    Ok(text::read_id(id))
}

/// Ends a message, if it is there, not ended, and waits for `hop` (any, if `None`). Its data are dropped.
pub(super) fn end(
    sql: &Connection,
    id: MessageId,
    hop: Option<&Hop>,
    end: &End,
    now: Timestamp,
) -> Result<Option<Left>, StoreError> {
    // Read first and written by its number: an UPDATE with RETURNING makes SQLite copy every page it touches.
    let mut select = sql.prepare_cached(
        "SELECT seq, hop, kind, head, origin, expires_at FROM message WHERE id = ?1 AND ended_at IS NULL",
    )?;
    let mut found = select.query([id.as_bytes()])?;
    let Some(row) = found.next()? else {
        return Ok(None);
    };
    let seq: i64 = row.get(0)?;
    let text_of = |column: usize| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
    let of = text::read_hop(text_of(1)?)?;
    if hop.is_some_and(|hop| *hop != of) {
        return Ok(None);
    }
    let origin = row.get_ref(4)?.as_str_or_null().map_err(rusqlite::Error::from)?;
    let left = Left {
        id,
        hop: of,
        end: Some(EndedRow {
            kind: text::read_kind(text_of(2)?)?,
            head: text_of(3)?.to_owned(),
            origin: origin.map(text::read_server).transpose()?,
            expires: Timestamp::from_millis(row.get(5)?),
            status: end.status,
            answer: end.answer.clone(),
            at: now,
        }),
    };
    drop(found);
    let answered = end.answered.then(|| (now.as_millis(), end.status.code()));
    sql.prepare_cached(
        "UPDATE message SET ended_at = ?2, status = ?3, answer = ?4, data = NULL, sent_at = coalesce(sent_at, ?5),
             answered_at = coalesce(answered_at, ?6), answered = coalesce(answered, ?7)
         WHERE seq = ?1",
    )?
    .execute(params![
        seq,
        now.as_millis(),
        end.status.code(),
        text::answer(end.answer.as_ref())?,
        end.sent_at.map(Timestamp::as_millis),
        answered.map(|(at, _)| at),
        answered.map(|(_, code)| code),
    ])?;
    Ok(Some(left))
}

/// The next server has custody (202): nothing is sent any more, and the end is waited for `grace` beyond expiry.
pub(super) fn hand_over(
    sql: &Connection,
    id: MessageId,
    hop: &Hop,
    sent_at: Option<Timestamp>,
    now: Timestamp,
    grace_ms: i64,
) -> Result<Option<Left>, StoreError> {
    let changed = sql
        .prepare_cached(
            "UPDATE message SET answered_at = ?3, answered = ?4, sent_at = coalesce(sent_at, ?5), data = NULL,
                 due_at = expires_at + ?6
             WHERE id = ?1 AND hop = ?2 AND ended_at IS NULL AND answered_at IS NULL",
        )?
        .execute(params![
            id.as_bytes(),
            text::hop(hop),
            now.as_millis(),
            Status::QUEUED.code(),
            sent_at.map(Timestamp::as_millis),
            grace_ms,
        ])?;
    Ok((changed == 1).then(|| Left {
        id,
        hop: hop.clone(),
        end: None,
    }))
}

/// Writes down when messages that are still unanswered were first sent.
pub(super) fn remember_sent(sql: &Connection, id: MessageId, at: Timestamp) -> Result<(), StoreError> {
    sql.prepare_cached("UPDATE message SET sent_at = ?2 WHERE id = ?1 AND sent_at IS NULL")?
        .execute(params![id.as_bytes(), at.as_millis()])?;
    Ok(())
}

/// Whether a message, ended or not, is for this hop.
pub(super) fn is_for(sql: &Connection, id: MessageId, hop: &Hop) -> Result<bool, StoreError> {
    let found = sql
        .prepare_cached("SELECT 1 FROM message WHERE id = ?1 AND hop = ?2")?
        .exists(params![id.as_bytes(), text::hop(hop)])?;
    Ok(found)
}

/// The ids of all messages that wait for a hop, in order.
pub(super) fn waiting(sql: &Connection, hop: &Hop) -> Result<Vec<MessageId>, StoreError> {
    let mut rows = sql.prepare_cached(
        "SELECT id FROM message WHERE hop = ?1 AND ended_at IS NULL AND answered_at IS NULL ORDER BY seq",
    )?;
    let ids = rows.query_map([text::hop(hop)], |row| Ok(text::read_id(row.get(0)?)))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

/// How many messages wait for a hop.
pub(super) fn count_waiting(sql: &Connection, hop: &Hop) -> Result<u64, StoreError> {
    let count: i64 = sql
        .prepare_cached(
            "SELECT count(*) FROM message WHERE hop = ?1 AND ended_at IS NULL AND answered_at IS NULL",
        )?
        .query_row([text::hop(hop)], |row| row.get(0))?;
    Ok(count.cast_unsigned())
}

/// What waits for a hop, read in order.
pub(crate) struct Page {
    pub(crate) rows: Vec<(i64, Arc<Envelope>)>,
    /// Nothing waited behind the last row when this was read.
    pub(crate) complete: bool,
}

/// Reads what waits for `hop` behind `after`: at most `count` messages and, beyond the first, `bytes` of data.
/// What has expired is left out for a principal; a server is still asked, for it may have taken it before.
pub(crate) fn load(
    sql: &Connection,
    hop: &Hop,
    after: i64,
    count: usize,
    bytes: usize,
    now: Timestamp,
) -> Result<Page, StoreError> {
    let mut select = sql.prepare_cached(
        "SELECT seq, head, data FROM message
         WHERE hop = ?1 AND seq > ?2 AND ended_at IS NULL AND answered_at IS NULL AND expires_at > ?3 ORDER BY seq",
    )?;
    let expired = match hop {
        Hop::Principal(_) => now.as_millis(),
        Hop::Server(_) => i64::MIN,
    };
    let mut found = select.query(params![text::hop(hop), after, expired])?;
    let (mut rows, mut size) = (Vec::new(), 0);
    while let Some(row) = found.next()? {
        if rows.len() >= count || (size >= bytes && !rows.is_empty()) {
            return Ok(Page {
                rows,
                complete: false,
            });
        }
        match envelope(row) {
            Ok((seq, envelope)) => {
                size += envelope.data.len();
                rows.push((seq, Arc::new(envelope)));
            }
            Err(error) => tracing::error!(%hop, %error, "a stored message cannot be read and is passed over"),
        }
    }
    Ok(Page { rows, complete: true })
}

fn envelope(row: &Row<'_>) -> Result<(i64, Envelope), StoreError> {
    let seq = row.get(0)?;
    let mut envelope: Envelope =
        serde_json::from_str(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)?;
    let data = row.get_ref(2)?.as_blob_or_null().map_err(rusqlite::Error::from)?;
    envelope.data = data.map(Bytes::copy_from_slice).unwrap_or_default();
    Ok((seq, envelope))
}

/// How far a message has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Unknown,
    Waiting,
    /// Another server has custody.
    HandedOver,
    Ended(Status, Option<Answer>),
}

pub(crate) fn progress(sql: &Connection, id: MessageId) -> Result<Progress, StoreError> {
    let found = sql
        .prepare_cached("SELECT status, answer, answered_at IS NOT NULL FROM message WHERE id = ?1")?
        .query_row([id.as_bytes()], |row| {
            let columns: (Option<u16>, Option<String>, bool) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(columns)
        })
        .optional()?;
    Ok(match found {
        None => Progress::Unknown,
        Some((Some(status), answer, _)) => {
            Progress::Ended(text::read_status(status)?, text::read_answer(answer.as_deref())?)
        }
        Some((None, _, true)) => Progress::HandedOver,
        Some((None, _, false)) => Progress::Waiting,
    })
}
