//! What waits for sessions, on disk: stored once, referred to by each, gone with the acknowledgement.

use std::ops::Range;
use std::sync::Arc;

use irsp_courier::store::StoreError;
use irsp_session::{Delivery, Publish, SubscriptionIds};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::id::SessionId;
use super::publish::{self, COLUMNS, Moment};
use super::retained;
use super::{number, unsigned};
use crate::sessions::publisher::Publisher;

/// One session's share of a message.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) session: SessionId,
    pub(crate) seq: u64,
    pub(crate) delivery: Delivery,
}

/// An entry as it is found.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) seq: u64,
    /// QoS 2: the client has it, only PUBREL is to be sent.
    pub(crate) received: bool,
    pub(crate) delivery: Delivery,
}

/// Stores a message for each session that is still there and, if it is to be `retained`, as its topic's last, whose it is
/// then.
pub(crate) fn put(
    sql: &Connection,
    id: u64,
    message: &Publish,
    entries: &[Entry],
    retained: Option<Publisher>,
    moment: Moment,
) -> Result<(), StoreError> {
    let empty = message.payload.is_empty();
    if retained.is_some() && empty {
        retained::forget(sql, &message.topic)?;
    }
    if entries.is_empty() && (retained.is_none() || empty) {
        return Ok(());
    }
    publish::put(sql, id, message, entries.len(), moment)?;
    if let Some(publisher) = retained.filter(|_| !empty) {
        retained::replace(sql, &message.topic, id, publisher)?;
    }
    let bytes = number(publish::weight(message));
    let mut insert = sql.prepare_cached(
        "INSERT OR FAIL INTO queued (session, seq, publish, bytes, qos, retain, subscription_ids, counted)
         SELECT id, ?2, ?3, ?4, ?5, ?6, ?7, 1 FROM session WHERE id = ?1",
    )?;
    let mut held = 0;
    for entry in entries {
        held += insert.execute(params![
            number(entry.session.0),
            number(entry.seq),
            number(id),
            bytes,
            entry.delivery.qos as u8,
            entry.delivery.retain,
            ids_text(&entry.delivery.subscription_ids),
        ])?;
    }
    if held < entries.len() {
        publish::miss(sql, id, entries.len() - held)?;
    }
    Ok(())
}

/// Forgets an entry; returns its bytes if it was there.
pub(crate) fn remove(sql: &Connection, session: SessionId, seq: u64) -> Result<Option<u64>, StoreError> {
    let key = params![number(session.0), number(seq)];
    // Read first: RETURNING makes SQLite copy every page the statement touches.
    let bytes: Option<i64> = sql
        .prepare_cached("SELECT bytes FROM queued WHERE session = ?1 AND seq = ?2")?
        .query_row(key, |row| row.get(0))
        .optional()?;
    if bytes.is_some() {
        sql.prepare_cached("DELETE FROM queued WHERE session = ?1 AND seq = ?2")?
            .execute(key)?;
    }
    Ok(bytes.map(unsigned))
}

/// The client has received a QoS 2 delivery.
pub(crate) fn received(sql: &Connection, session: SessionId, seq: u64) -> Result<(), StoreError> {
    sql.prepare_cached("UPDATE queued SET received = 1 WHERE session = ?1 AND seq = ?2")?
        .execute(params![number(session.0), number(seq)])?;
    Ok(())
}

/// The message of an incoming QoS 2 publish is taken.
pub(crate) fn take(sql: &Connection, session: SessionId, packet_id: u16) -> Result<(), StoreError> {
    sql.prepare_cached(
        "INSERT OR IGNORE INTO received (session, packet_id) SELECT id, ?2 FROM session WHERE id = ?1",
    )?
    .execute(params![number(session.0), packet_id])?;
    Ok(())
}

/// The client has ended an incoming QoS 2 publish.
pub(crate) fn complete(sql: &Connection, session: SessionId, packet_id: u16) -> Result<(), StoreError> {
    sql.prepare_cached("DELETE FROM received WHERE session = ?1 AND packet_id = ?2")?
        .execute(params![number(session.0), packet_id])?;
    Ok(())
}

/// The incoming QoS 2 identifiers of a session that are in use.
pub(crate) fn taken(sql: &Connection, session: SessionId) -> Result<Vec<u16>, StoreError> {
    let mut statement = sql.prepare_cached("SELECT packet_id FROM received WHERE session = ?1")?;
    let ids = statement.query_map([number(session.0)], |row| row.get(0))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

/// What waits for a session within `seqs`, in order. `tag` names each towards the session rules.
pub(crate) fn load(
    sql: &Connection,
    session: SessionId,
    seqs: &Range<u64>,
    tag: fn(u64) -> u64,
    moment: Moment,
) -> Result<Vec<Waiting>, StoreError> {
    let mut statement = sql.prepare_cached(&format!(
        "SELECT q.seq, q.received, q.qos, q.retain, q.subscription_ids, {COLUMNS}
         FROM queued q JOIN stored_publish p ON p.id = q.publish
         WHERE q.session = ?1 AND q.seq >= ?2 AND q.seq < ?3 ORDER BY q.seq"
    ))?;
    let mut rows = statement.query(params![number(session.0), number(seqs.start), number(seqs.end)])?;
    let mut waiting = Vec::new();
    while let Some(row) = rows.next()? {
        let seq = unsigned(row.get(0)?);
        let ids: String = row.get(4)?;
        let delivery = Delivery {
            publish: Arc::new(publish::read(row, 5, moment)?),
            qos: publish::qos(row.get(2)?)?,
            retain: row.get(3)?,
            subscription_ids: ids_from(&ids)?,
            tag: Some(tag(seq)),
            dup: false,
        };
        waiting.push(Waiting {
            seq,
            received: row.get(1)?,
            delivery,
        });
    }
    Ok(waiting)
}

/// The greatest number given to a session and to a message, for going on from there.
pub(crate) fn last_ids(sql: &Connection) -> Result<(u64, u64), StoreError> {
    let last = |table: &str| {
        let sql_text = format!("SELECT coalesce(max(id), 0) FROM {table}");
        sql.query_row(&sql_text, [], |row| row.get(0)).map(unsigned)
    };
    Ok((last("session")?, last("stored_publish")?))
}

fn ids_text(ids: &SubscriptionIds) -> String {
    let ids: Vec<String> = ids.as_slice().iter().map(ToString::to_string).collect();
    ids.join(" ")
}

fn ids_from(text: &str) -> Result<SubscriptionIds, StoreError> {
    let mut ids = SubscriptionIds::None;
    for id in text.split_ascii_whitespace() {
        let id = id
            .parse()
            .map_err(|_| StoreError::Corrupt(format!("subscription identifiers {text:?}")))?;
        ids.push(id);
    }
    Ok(ids)
}
