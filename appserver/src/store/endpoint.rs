//! Endpoints of external applications, and the log of what was delivered there.

use irsp_courier::store::StoreError;
use irsp_protocol::{Id, MessageId, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::row;

/// Tries after which the log is cut: seldom, because finding the cut reads as many entries as are kept.
const CUT_EVERY: i64 = 64;

/// An endpoint as its row has it.
#[derive(Clone, Debug)]
pub(crate) struct StoredEndpoint {
    pub(crate) app: Id,
    pub(crate) url: String,
    pub(crate) mode: String,
    pub(crate) confirmed: Option<Timestamp>,
    pub(crate) paused: bool,
    pub(crate) presence: bool,
    /// Sealed.
    pub(crate) secrets: Vec<u8>,
    pub(crate) created: Timestamp,
    pub(crate) modified: Timestamp,
}

/// One try to deliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) app: Id,
    pub(crate) message: Option<MessageId>,
    pub(crate) kind: String,
    pub(crate) source: String,
    pub(crate) attempt: u32,
    pub(crate) time: Timestamp,
    pub(crate) duration_ms: u64,
    pub(crate) code: Option<u16>,
    pub(crate) outcome: String,
    pub(crate) error: Option<String>,
}

const SELECT: &str =
    "SELECT app, url, mode, confirmed, paused, presence, secrets, created, modified FROM external_endpoint";

pub(crate) fn put(conn: &Connection, endpoint: &StoredEndpoint) -> Result<(), StoreError> {
    conn.prepare_cached(
        "INSERT OR REPLACE INTO external_endpoint (app, url, mode, confirmed, paused, presence, secrets, created, modified)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        endpoint.app.as_str(),
        endpoint.url,
        endpoint.mode,
        endpoint.confirmed.map(Timestamp::as_millis),
        endpoint.paused,
        endpoint.presence,
        endpoint.secrets,
        endpoint.created.as_millis(),
        endpoint.modified.as_millis(),
    ])?;
    Ok(())
}

pub(crate) fn find(conn: &Connection, app: &Id) -> Result<Option<StoredEndpoint>, StoreError> {
    let found = conn
        .prepare_cached(&format!("{SELECT} WHERE app = ?1"))?
        .query_row([app.as_str()], read)
        .optional()?;
    Ok(found)
}

pub(crate) fn all(conn: &Connection) -> Result<Vec<StoredEndpoint>, StoreError> {
    let mut select = conn.prepare_cached(SELECT)?;
    let found = select.query_map([], read)?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// The applications whose endpoints want presence.
pub(crate) fn hearing(conn: &Connection) -> Result<Vec<Id>, StoreError> {
    let mut select = conn.prepare_cached("SELECT app FROM external_endpoint WHERE presence")?;
    let found = select.query_map([], |found| row::parsed(found, "app"))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Removes an endpoint with its log; says whether there was one.
pub(crate) fn remove(conn: &Connection, app: &Id) -> Result<bool, StoreError> {
    conn.prepare_cached("DELETE FROM external_delivery WHERE app = ?1")?
        .execute([app.as_str()])?;
    let removed = conn
        .prepare_cached("DELETE FROM external_endpoint WHERE app = ?1")?
        .execute([app.as_str()])?;
    Ok(removed == 1)
}

/// Writes a try down, and now and then drops what is older than the last `kept` of its application.
pub(crate) fn log(conn: &Connection, delivery: &Delivery, kept: u32) -> Result<(), StoreError> {
    conn.prepare_cached(
        "INSERT INTO external_delivery (app, message, kind, source, attempt, time, duration_ms, code, outcome, error)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute(params![
        delivery.app.as_str(),
        delivery.message.map(|id| *id.as_bytes()),
        delivery.kind,
        delivery.source,
        delivery.attempt,
        delivery.time.as_millis(),
        i64::try_from(delivery.duration_ms).unwrap_or(i64::MAX),
        delivery.code,
        delivery.outcome,
        delivery.error,
    ])?;
    if conn.last_insert_rowid() % CUT_EVERY == 0 {
        conn.prepare_cached(
            "DELETE FROM external_delivery WHERE app = ?1 AND seq <=
                 (SELECT seq FROM external_delivery WHERE app = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2)",
        )?
        .execute(params![delivery.app.as_str(), kept])?;
    }
    Ok(())
}

/// The last tries for an application, the newest first, before `before`.
pub(crate) fn deliveries(
    conn: &Connection,
    app: &Id,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<(u64, Delivery)>, StoreError> {
    let before = before.map_or(i64::MAX, |seq| i64::try_from(seq).unwrap_or(i64::MAX));
    let mut select = conn.prepare_cached(
        "SELECT seq, app, message, kind, source, attempt, time, duration_ms, code, outcome, error
         FROM external_delivery WHERE app = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT ?3",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let found = select.query_map(params![app.as_str(), before, limit], |found| {
        let message: Option<[u8; 16]> = found.get("message")?;
        let delivery = Delivery {
            app: row::parsed(found, "app")?,
            message: message.map(MessageId::from_bytes),
            kind: found.get("kind")?,
            source: found.get("source")?,
            attempt: found.get("attempt")?,
            time: row::time(found, "time")?,
            duration_ms: row::number(found, "duration_ms")?,
            code: found.get("code")?,
            outcome: found.get("outcome")?,
            error: found.get("error")?,
        };
        Ok((row::number(found, "seq")?, delivery))
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn read(found: &Row<'_>) -> rusqlite::Result<StoredEndpoint> {
    Ok(StoredEndpoint {
        app: row::parsed(found, "app")?,
        url: found.get("url")?,
        mode: found.get("mode")?,
        confirmed: found
            .get::<_, Option<i64>>("confirmed")?
            .map(Timestamp::from_millis),
        paused: found.get("paused")?,
        presence: found.get("presence")?,
        secrets: found.get("secrets")?,
        created: row::time(found, "created")?,
        modified: row::time(found, "modified")?,
    })
}
