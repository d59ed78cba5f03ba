//! The wills of durable sessions on disk, from CONNECT until they are published or discarded [MQTT-3.1.2-8].

use std::time::Duration;

use irsp_courier::store::StoreError;
use irsp_protocol::{Principal, Timestamp};
use irsp_session::Will;
use rusqlite::{Connection, params};

use super::id::SessionId;
pub(crate) use super::id::WillId;
use super::publish::{self, COLUMNS, Moment};
use super::{millis, number, unsigned};

/// A will as it is found at the start.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) id: WillId,
    pub(crate) session: SessionId,
    pub(crate) principal: Principal,
    pub(crate) will: Will,
    /// `None` if its session was connected when the server ended.
    pub(crate) due: Option<Timestamp>,
}

/// A session begins with this will, or without one; the one before is discarded [MQTT-3.1.3-9].
pub(super) fn replace(
    sql: &Connection,
    session: SessionId,
    principal: &Principal,
    will: Option<&(WillId, Will)>,
    moment: Moment,
) -> Result<(), StoreError> {
    sql.prepare_cached("DELETE FROM will WHERE session = ?1")?
        .execute([number(session.0)])?;
    let Some((id, will)) = will else {
        return Ok(());
    };
    publish::put(sql, id.0, &will.publish, 0, moment)?;
    sql.prepare_cached(
        "INSERT INTO will (publish, session, principal, delay_ms, expiry_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        number(id.0),
        number(session.0),
        principal.to_string(),
        millis(will.delay),
        will.expiry.map(millis),
    ])?;
    Ok(())
}

/// The session's connection has ended: its will is published then, unless its client comes back before.
pub(crate) fn due(sql: &Connection, id: WillId, at: Timestamp) -> Result<(), StoreError> {
    sql.prepare_cached("UPDATE will SET due_ms = ?2 WHERE publish = ?1")?
        .execute(params![number(id.0), at.as_millis()])?;
    Ok(())
}

/// A will is published or discarded.
pub(crate) fn done(sql: &Connection, id: WillId) -> Result<(), StoreError> {
    sql.prepare_cached("DELETE FROM will WHERE publish = ?1")?
        .execute([number(id.0)])?;
    Ok(())
}

/// Discards the wills of a principal that is gone or was reset.
pub(super) fn end_of(sql: &Connection, principal: &Principal) -> Result<(), StoreError> {
    sql.prepare_cached("DELETE FROM will WHERE principal = ?1")?
        .execute([principal.to_string()])?;
    Ok(())
}

/// All wills, for the start.
pub(crate) fn load(sql: &Connection, moment: Moment) -> Result<Vec<Left>, StoreError> {
    let mut statement = sql.prepare(&format!(
        "SELECT w.publish, w.session, w.principal, w.delay_ms, w.expiry_ms, w.due_ms, {COLUMNS}
         FROM will w JOIN stored_publish p ON p.id = w.publish"
    ))?;
    let mut rows = statement.query(())?;
    let mut wills = Vec::new();
    while let Some(row) = rows.next()? {
        let principal: String = row.get(2)?;
        let principal = principal
            .parse()
            .map_err(|_| StoreError::Corrupt(format!("the principal {principal:?} of a will")))?;
        let time = |ms: i64| Duration::from_millis(unsigned(ms));
        let will = Will {
            publish: publish::read(row, 6, moment)?,
            delay: time(row.get(3)?),
            expiry: row.get::<_, Option<i64>>(4)?.map(time),
        };
        wills.push(Left {
            id: WillId(unsigned(row.get(0)?)),
            session: SessionId(unsigned(row.get(1)?)),
            principal,
            will,
            due: row.get::<_, Option<i64>>(5)?.map(Timestamp::from_millis),
        });
    }
    Ok(wills)
}
