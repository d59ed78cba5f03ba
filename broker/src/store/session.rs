//! Sessions on disk and their subscriptions. A change of a session that is gone changes nothing: it may have been
//! ended in the transaction that deleted its principal.

use std::time::Duration;

use bytestring::ByteString;
use irsp_courier::store::StoreError;
use irsp_protocol::{Principal, Timestamp};
use irsp_session::{RetainHandling, SubscribeFilter, Will};
use rusqlite::{Connection, params};

pub(crate) use super::id::SessionId;
use super::id::WillId;
use super::publish::{Moment, qos};
use super::will;
use super::{millis, number, unsigned};
use crate::sessions::kept::Reached;

/// A session that begins or goes on.
#[derive(Clone, Debug)]
pub(crate) struct Begun {
    pub(crate) id: SessionId,
    pub(crate) principal: Principal,
    pub(crate) client_id: Option<ByteString>,
    pub(crate) expiry: Duration,
    pub(crate) will: Option<(WillId, Will)>,
}

/// A session without a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Left {
    pub(crate) id: SessionId,
    /// When its connection ended.
    pub(crate) at: Timestamp,
    pub(crate) expiry: Duration,
    /// The first that has not been sent.
    pub(crate) sent_below: u64,
}

/// A subscription as the client asked for it.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) filter: SubscribeFilter,
    pub(crate) subscription_id: Option<u32>,
}

/// A session as it is found at the start; what waits for it stays on disk until its client comes.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) id: SessionId,
    pub(crate) principal: Principal,
    pub(crate) client_id: Option<ByteString>,
    pub(crate) ends: Timestamp,
    pub(crate) reached: Reached,
    pub(crate) queued: Queued,
    pub(crate) subscriptions: Vec<Wanted>,
}

/// What waits for a session, in figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Queued {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// The greatest `seq`; 0 if nothing waits.
    pub(crate) last: u64,
}

/// Above every `seq`: while a session is connected, everything may have been sent.
const EVERYTHING: i64 = i64::MAX;

/// Stores that a session has a connection, and its will.
pub(crate) fn begin(sql: &Connection, begun: &Begun, moment: Moment) -> Result<(), StoreError> {
    will::replace(sql, begun.id, &begun.principal, begun.will.as_ref(), moment)?;
    sql.prepare_cached(
        "INSERT INTO session (id, principal, client_id, expiry_ms, ends_ms, sent_below)
         VALUES (?1, ?2, ?3, ?4, NULL, ?5)
         ON CONFLICT (id) DO UPDATE SET expiry_ms = excluded.expiry_ms, ends_ms = NULL, sent_below = excluded.sent_below",
    )?
    .execute(params![
        number(begun.id.0),
        begun.principal.to_string(),
        begun.client_id.as_deref(),
        millis(begun.expiry),
        EVERYTHING,
    ])?;
    Ok(())
}

/// Stores that a session's connection has ended.
pub(crate) fn leave(sql: &Connection, left: &Left) -> Result<(), StoreError> {
    sql.prepare_cached("UPDATE session SET expiry_ms = ?2, ends_ms = ?3, sent_below = ?4 WHERE id = ?1")?
        .execute(params![
            number(left.id.0),
            millis(left.expiry),
            left.at.plus(left.expiry).as_millis(),
            number(left.sent_below),
        ])?;
    Ok(())
}

/// Ends a session with all that belongs to it.
pub(crate) fn end(sql: &Connection, id: SessionId) -> Result<(), StoreError> {
    sql.prepare_cached("DELETE FROM session WHERE id = ?1")?
        .execute([number(id.0)])?;
    Ok(())
}

/// Ends all sessions of a principal, and discards their wills.
pub(crate) fn end_of(sql: &Connection, principal: &Principal) -> Result<(), StoreError> {
    will::end_of(sql, principal)?;
    sql.prepare_cached("DELETE FROM session WHERE principal = ?1")?
        .execute([principal.to_string()])?;
    Ok(())
}

/// The server starts: a session whose connection was cut by its last end expires from now on.
pub(crate) fn leave_all(sql: &Connection, now: Timestamp) -> Result<(), StoreError> {
    sql.execute(
        "UPDATE session SET ends_ms = ?1 + expiry_ms WHERE ends_ms IS NULL",
        [now.as_millis()],
    )?;
    Ok(())
}

pub(crate) fn subscribe(sql: &Connection, id: SessionId, wanted: &Wanted) -> Result<(), StoreError> {
    let filter = &wanted.filter;
    sql.prepare_cached(
        "INSERT OR REPLACE INTO subscription (session, filter, qos, no_local, retain_as_published, subscription_id)
         SELECT id, ?2, ?3, ?4, ?5, ?6 FROM session WHERE id = ?1",
    )?
    .execute(params![
        number(id.0),
        &*filter.filter,
        filter.qos as u8,
        filter.no_local,
        filter.retain_as_published,
        wanted.subscription_id,
    ])?;
    Ok(())
}

pub(crate) fn unsubscribe(sql: &Connection, id: SessionId, filter: &str) -> Result<(), StoreError> {
    sql.prepare_cached("DELETE FROM subscription WHERE session = ?1 AND filter = ?2")?
        .execute(params![number(id.0), filter])?;
    Ok(())
}

/// All sessions, for the start. A session that was connected when the server ended counts from `now`.
pub(crate) fn load(sql: &Connection, now: Timestamp) -> Result<Vec<Found>, StoreError> {
    let mut sessions = sql.prepare(
        "SELECT s.id, s.principal, s.client_id, coalesce(s.ends_ms, ?1 + s.expiry_ms), s.sent_below,
                coalesce(s.ends_ms - s.expiry_ms, ?1), coalesce(q.messages, 0), coalesce(q.bytes, 0), coalesce(q.last, 0)
         FROM session s LEFT JOIN
              (SELECT session, count(*) messages, sum(bytes) bytes, max(seq) last FROM queued GROUP BY session) q
              ON q.session = s.id",
    )?;
    let mut subscriptions = sql.prepare(
        "SELECT filter, qos, no_local, retain_as_published, subscription_id FROM subscription WHERE session = ?1",
    )?;
    let mut rows = sessions.query([now.as_millis()])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let principal: String = row.get(1)?;
        let principal = principal
            .parse()
            .map_err(|_| StoreError::Corrupt(format!("the principal {principal:?} of a session")))?;
        let id: i64 = row.get(0)?;
        let mut theirs = subscriptions.query([id])?;
        let mut wanted = Vec::new();
        while let Some(row) = theirs.next()? {
            let filter = SubscribeFilter {
                filter: ByteString::from(row.get::<_, String>(0)?),
                qos: qos(row.get(1)?)?,
                no_local: row.get(2)?,
                retain_as_published: row.get(3)?,
                retain_handling: RetainHandling::DoNotSend,
            };
            wanted.push(Wanted {
                filter,
                subscription_id: row.get(4)?,
            });
        }
        found.push(Found {
            id: SessionId(unsigned(id)),
            principal,
            client_id: row.get::<_, Option<String>>(2)?.map(ByteString::from),
            ends: Timestamp::from_millis(row.get(3)?),
            reached: Reached {
                sent_below: unsigned(row.get(4)?),
                at: Timestamp::from_millis(row.get(5)?),
            },
            queued: Queued {
                messages: unsigned(row.get(6)?),
                bytes: unsigned(row.get(7)?),
                last: unsigned(row.get(8)?),
            },
            subscriptions: wanted,
        });
    }
    Ok(found)
}
