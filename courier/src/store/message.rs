//! Rows of the table `message`: in at acceptance, out in order for their hop, and their two ways of leaving it.

use std::sync::Arc;

use bytes::Bytes;
use irsp_protocol::receipt::{Answer, Cause};
use irsp_protocol::{Address, Envelope, MessageId, MessageKind, Status, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::effects::{EndedRow, Left};
use super::error::StoreError;
use super::text;
use super::young;
use crate::core::Rest;
use crate::hop::{Hop, Origin};

/// How a message ends.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) status: Status,
    pub(crate) answer: Option<Answer>,
    /// The next hop said so, in contrast to expiry, deletion and the like.
    pub(crate) answered: bool,
    /// When it was first sent, if known.
    pub(crate) sent_at: Option<Timestamp>,
    pub(crate) cause: Option<Cause>,
}

/// A message about to be put in.
pub(super) struct New<'a> {
    pub(super) envelope: &'a Envelope,
    pub(super) source: &'a str,
    pub(super) hop: &'a Hop,
    /// The envelope without its data, as JSON.
    pub(super) head: &'a str,
    /// Who handed it to us.
    pub(super) origin: Option<&'a Origin>,
    /// When it ends with 408 if nothing is heard.
    pub(super) due: Timestamp,
    /// See `repeat`.
    pub(super) fingerprint: Option<&'a [u8]>,
}

impl New<'_> {
    /// What it counts for in quotas.
    pub(super) fn size(&self) -> u64 {
        (self.head.len() + self.envelope.data.len()) as u64
    }
}

/// A message waits no more, or has given its data away: what it counted for.
pub(super) struct Freed {
    pub(super) left: Left,
    pub(super) source: String,
    pub(super) hop: String,
    pub(super) kind: MessageKind,
    pub(super) bytes: u64,
}

/// What a message takes the place of others by.
pub(super) fn supersede_key(envelope: &Envelope, hop: &Hop) -> Option<String> {
    match hop {
        Hop::Principal(_) => {
            let key = envelope.options.supersede_key.as_ref();
            key.map(|key| key.as_str().to_owned())
        }
        Hop::Peer(_) => (envelope.kind == MessageKind::Presence).then(|| envelope.destination.to_string()),
        Hop::Server(_) => None,
    }
}

/// Puts a message in; `None` if its id or its sender's id is there already.
pub(super) fn insert(sql: &Connection, new: &New<'_>, now: Timestamp) -> Result<Option<i64>, StoreError> {
    let envelope = new.envelope;
    let put = sql
        .prepare_cached(
            "INSERT INTO message (id, kind, hop, source, sender_id, head, data, origin, accepted_at, expires_at, due_at,
                 size, fingerprint, supersede_key, young)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            envelope.id.as_bytes(),
            envelope.kind.as_str(),
            text::hop(new.hop),
            new.source,
            envelope.sender_id,
            new.head,
            &envelope.data[..],
            new.origin.map(Origin::to_string),
            now.as_millis(),
            envelope.expires.as_millis(),
            new.due.as_millis(),
            i64::try_from(new.size()).unwrap_or(i64::MAX),
            new.fingerprint,
            supersede_key(envelope, new.hop),
            young::starts(new.hop),
        ])?;
    Ok((put == 1).then(|| sql.last_insert_rowid()))
}

/// Ends a message, if it is there, not ended, and waits for `hop` (any, if `None`). Its data are dropped.
pub(super) fn end(
    sql: &Connection,
    id: MessageId,
    hop: Option<&Hop>,
    end: &End,
    now: Timestamp,
) -> Result<Option<Freed>, StoreError> {
    // Read first and written by its number: an UPDATE with RETURNING makes SQLite copy every page it touches.
    let mut select = sql.prepare_cached(
        "SELECT seq, hop, kind, head, origin, source, size, answered, expires_at FROM message
         WHERE id = ?1 AND ended_at IS NULL",
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
    // Of what is in another server's custody the bytes are counted there.
    let in_custody = row.get::<_, Option<u16>>(7)? == Some(Status::QUEUED.code());
    let bytes: i64 = if in_custody { 0 } else { row.get(6)? };
    let kind = text::read_kind(text_of(2)?)?;
    let freed = Freed {
        kind,
        source: text_of(5)?.to_owned(),
        hop: text_of(1)?.to_owned(),
        bytes: bytes.cast_unsigned(),
        left: Left {
            id,
            hop: of,
            end: Some(EndedRow {
                kind,
                head: text_of(3)?.to_owned(),
                origin: origin.map(text::read_origin).transpose()?,
                expires: Timestamp::from_millis(row.get(8)?),
                status: end.status,
                answered: end.answered,
                answer: end.answer.clone(),
                cause: end.cause,
                at: now,
            }),
        },
    };
    drop(found);
    let answered = end.answered.then(|| (now.as_millis(), end.status.code()));
    sql.prepare_cached(
        "UPDATE message SET ended_at = ?2, status = ?3, answer = ?4, data = NULL, sent_at = coalesce(sent_at, ?5),
             answered_at = coalesce(answered_at, ?6), answered = coalesce(answered, ?7), cause = ?8
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
        text::cause(end.cause)?,
    ])?;
    Ok(Some(freed))
}

/// The next server has custody (202): nothing is sent any more, and the end is waited for `grace` beyond expiry.
pub(super) fn hand_over(
    sql: &Connection,
    id: MessageId,
    hop: &Hop,
    sent_at: Option<Timestamp>,
    now: Timestamp,
    grace_ms: i64,
) -> Result<Option<Freed>, StoreError> {
    let hop_text = text::hop(hop);
    let found = sql
        .prepare_cached(
            "SELECT seq, source, size, kind FROM message
             WHERE id = ?1 AND hop = ?2 AND ended_at IS NULL AND answered_at IS NULL",
        )?
        .query_row(params![id.as_bytes(), hop_text], |row| {
            let columns: (i64, String, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            Ok(columns)
        })
        .optional()?;
    let Some((seq, source, bytes, kind)) = found else {
        return Ok(None);
    };
    sql.prepare_cached(
        "UPDATE message SET answered_at = ?2, answered = ?3, sent_at = coalesce(sent_at, ?4), data = NULL,
             due_at = expires_at + ?5, young = NULL
         WHERE seq = ?1",
    )?
    .execute(params![
        seq,
        now.as_millis(),
        Status::QUEUED.code(),
        sent_at.map(Timestamp::as_millis),
        grace_ms,
    ])?;
    Ok(Some(Freed {
        left: Left {
            id,
            hop: hop.clone(),
            end: None,
        },
        source,
        hop: hop_text,
        kind: text::read_kind(&kind)?,
        bytes: bytes.cast_unsigned(),
    }))
}

/// Writes down that a message goes to its receiver now; `false` if it waits no more.
pub(super) fn hand(sql: &Connection, id: MessageId, now: Timestamp) -> Result<bool, StoreError> {
    let handed = sql
        .prepare_cached(
            "UPDATE message SET sent_at = coalesce(sent_at, ?2)
             WHERE id = ?1 AND ended_at IS NULL AND answered_at IS NULL",
        )?
        .execute(params![id.as_bytes(), now.as_millis()])?;
    Ok(handed == 1)
}

/// Why a message ended as it did.
pub(crate) fn cause(sql: &Connection, id: MessageId) -> Result<Option<Cause>, StoreError> {
    let found: Option<Option<String>> = sql
        .prepare_cached("SELECT cause FROM message WHERE id = ?1")?
        .query_row([id.as_bytes()], |row| row.get(0))
        .optional()?;
    text::read_cause(found.flatten().as_deref())
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

/// Whether a message, ended or not, was handed to us by `from`.
pub(super) fn is_from(sql: &Connection, id: MessageId, from: &Origin) -> Result<bool, StoreError> {
    let found = sql
        .prepare_cached("SELECT 1 FROM message WHERE id = ?1 AND origin = ?2")?
        .exists(params![id.as_bytes(), from.to_string()])?;
    Ok(found)
}

/// How many messages wait for a hop, and when the oldest of them was accepted.
pub(crate) fn queue(sql: &Connection, hop: &Hop) -> Result<(u64, Option<Timestamp>), StoreError> {
    let waits = waits(hop, "accepted_at", "true");
    let (count, oldest): (i64, Option<i64>) = sql
        .prepare_cached(&format!("SELECT count(*), min(accepted_at) FROM ({waits})"))?
        .query_row([text::hop(hop)], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((count.cast_unsigned(), oldest.map(Timestamp::from_millis)))
}

/// Selects what waits for a hop, `?1`, as far as `condition` holds: from the index and, if some of it may be young, from
/// behind it. One half after the other, unless they are sorted.
fn waits(hop: &Hop, columns: &str, condition: &str) -> String {
    let waiting = format!("hop = ?1 AND ended_at IS NULL AND answered_at IS NULL AND {condition}");
    let old = format!("SELECT {columns} FROM message WHERE young IS NULL AND {waiting}");
    match young::starts(hop) {
        None => old,
        Some(_) => format!(
            "{old} UNION ALL SELECT {columns} FROM message
             WHERE young = 1 AND seq > (SELECT after FROM young) AND {waiting}"
        ),
    }
}

/// The ids of all messages that wait for a hop, in order.
pub(super) fn waiting(sql: &Connection, hop: &Hop) -> Result<Vec<MessageId>, StoreError> {
    let mut rows = sql.prepare_cached(&format!("{} ORDER BY seq", waits(hop, "id, seq", "true")))?;
    let ids = rows.query_map([text::hop(hop)], |row| Ok(text::read_id(row.get(0)?)))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

/// The same of one sender and, if it is named, to one receiver.
pub(super) fn waiting_from(
    sql: &Connection,
    hop: &Hop,
    from: &Address,
    to: Option<&Address>,
) -> Result<Vec<MessageId>, StoreError> {
    let between = "source = ?2 AND (?3 IS NULL OR head ->> '$.destination' = ?3)";
    let mut rows = sql.prepare_cached(&format!("{} ORDER BY seq", waits(hop, "id, seq", between)))?;
    let ids = rows.query_map(
        params![text::hop(hop), from.to_string(), to.map(Address::to_string)],
        |row| Ok(text::read_id(row.get(0)?)),
    )?;
    Ok(ids.collect::<Result<_, _>>()?)
}

/// The same of one kind.
pub(super) fn waiting_of(
    sql: &Connection,
    hop: &Hop,
    kind: MessageKind,
) -> Result<Vec<MessageId>, StoreError> {
    let of_kind = waits(hop, "id, seq", "kind = ?2");
    let mut rows = sql.prepare_cached(&format!("{of_kind} ORDER BY seq"))?;
    let ids = rows.query_map(params![text::hop(hop), kind.as_str()], |row| {
        Ok(text::read_id(row.get(0)?))
    })?;
    Ok(ids.collect::<Result<_, _>>()?)
}

/// What waits for a hop and has expired, in order, at most `limit`.
pub(super) fn expired(
    sql: &Connection,
    hop: &Hop,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<MessageId>, StoreError> {
    let expired = waits(hop, "id, seq", "expires_at <= ?2");
    let mut rows = sql.prepare_cached(&format!("{expired} ORDER BY seq LIMIT ?3"))?;
    let ids = rows.query_map(params![text::hop(hop), now.as_millis(), limit], |row| {
        Ok(text::read_id(row.get(0)?))
    })?;
    Ok(ids.collect::<Result<_, _>>()?)
}

/// How many messages wait for a hop.
pub(super) fn count_waiting(sql: &Connection, hop: &Hop) -> Result<u64, StoreError> {
    let waits = waits(hop, "seq", "true");
    let count: i64 = sql
        .prepare_cached(&format!("SELECT count(*) FROM ({waits})"))?
        .query_row([text::hop(hop)], |row| row.get(0))?;
    Ok(count.cast_unsigned())
}

/// What waits for a hop, read in order.
pub(crate) struct Page {
    pub(crate) rows: Vec<(i64, Arc<Envelope>)>,
    pub(crate) rest: Rest,
}

/// Reads what waits for `hop` behind `after`: at most `count` messages and, beyond the first, `bytes` of data.
/// Stops at what has expired if `hop` is a principal, because a clock that jumps back would bring it to life behind what
/// has passed it; a server is still asked, for it may have taken it before.
pub(crate) fn load(
    sql: &Connection,
    hop: &Hop,
    after: i64,
    count: usize,
    bytes: usize,
    now: Timestamp,
) -> Result<Page, StoreError> {
    let waits = waits(hop, "seq, head, data, expires_at", "seq > ?2");
    let mut select = sql.prepare_cached(&format!("{waits} ORDER BY seq"))?;
    let expired = match hop {
        Hop::Principal(_) => now.as_millis(),
        Hop::Server(_) | Hop::Peer(_) => i64::MIN,
    };
    let mut found = select.query(params![text::hop(hop), after])?;
    let (mut rows, mut size) = (Vec::new(), 0);
    while let Some(row) = found.next()? {
        if rows.len() >= count || (size >= bytes && !rows.is_empty()) {
            let rest = Rest::More;
            return Ok(Page { rows, rest });
        }
        if row.get::<_, i64>(3)? <= expired {
            let rest = Rest::Expired;
            return Ok(Page { rows, rest });
        }
        match envelope(row) {
            Ok((seq, envelope)) => {
                size += envelope.data.len();
                rows.push((seq, Arc::new(envelope)));
            }
            Err(error) => tracing::error!(%hop, %error, "a stored message cannot be read and is passed over"),
        }
    }
    let rest = Rest::Nothing;
    Ok(Page { rows, rest })
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
