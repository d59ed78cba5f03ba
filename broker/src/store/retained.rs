//! Retained messages on disk: the last of each live topic [MQTT-3.3.1-5].

use bytestring::ByteString;
use irsp_courier::store::StoreError;
use irsp_protocol::Principal;
use irsp_session::Publish;
use rusqlite::{Connection, params};

use super::number;
use super::publish::{self, COLUMNS, Moment};
use crate::sessions::publisher::Publisher;

/// Puts a stored message in place of its topic's last.
pub(super) fn replace(
    sql: &Connection,
    topic: &str,
    id: u64,
    publisher: Publisher,
) -> Result<(), StoreError> {
    forget(sql, topic)?;
    sql.prepare_cached("INSERT INTO retained (topic, publish, publisher) VALUES (?1, ?2, ?3)")?
        .execute(params![topic, number(id), publisher.number()])?;
    Ok(())
}

/// Forgets a topic [MQTT-3.3.1-6].
pub(super) fn forget(sql: &Connection, topic: &str) -> Result<(), StoreError> {
    sql.prepare_cached("DELETE FROM retained WHERE topic = ?1")?
        .execute([topic])?;
    Ok(())
}

/// Forgets what is retained on the live topics of a principal that is gone.
pub(crate) fn forget_of(sql: &Connection, owner: &Principal) -> Result<(), StoreError> {
    // '0' is what follows '/'.
    let (from, below) = (format!("v1/{owner}/live/"), format!("v1/{owner}/live0"));
    sql.prepare_cached("DELETE FROM retained WHERE topic >= ?1 AND topic < ?2")?
        .execute([from, below])?;
    Ok(())
}

/// Forgets what has expired.
pub(crate) fn sweep(sql: &Connection, moment: Moment) -> Result<(), StoreError> {
    sql.execute(
        "DELETE FROM retained WHERE publish IN (SELECT id FROM stored_publish WHERE expires_ms <= ?1)",
        [moment.wall.as_millis()],
    )?;
    Ok(())
}

/// Forgets what has expired on these topics, unless something else was retained there meanwhile.
pub(crate) fn forget_expired(
    sql: &Connection,
    topics: &[ByteString],
    moment: Moment,
) -> Result<(), StoreError> {
    let mut forget = sql.prepare_cached(
        "DELETE FROM retained WHERE topic = ?1
         AND (SELECT expires_ms FROM stored_publish WHERE id = retained.publish) <= ?2",
    )?;
    for topic in topics {
        forget.execute(params![&**topic, moment.wall.as_millis()])?;
    }
    Ok(())
}

/// Gives every retained message that has not expired, and whose it is, if that is known.
pub(crate) fn load(
    sql: &Connection,
    moment: Moment,
    mut each: impl FnMut(Publish, Option<Publisher>),
) -> Result<(), StoreError> {
    let mut statement = sql.prepare(&format!(
        "SELECT r.publisher, {COLUMNS} FROM retained r JOIN stored_publish p ON p.id = r.publish
         WHERE p.expires_ms IS NULL OR p.expires_ms > ?1"
    ))?;
    let mut rows = statement.query([moment.wall.as_millis()])?;
    while let Some(row) = rows.next()? {
        let publisher: Option<i64> = row.get(0)?;
        each(
            publish::read(row, 1, moment)?,
            publisher.and_then(Publisher::from_number),
        );
    }
    Ok(())
}
