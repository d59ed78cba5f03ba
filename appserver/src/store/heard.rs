//! Which applications of ours hear the presence of principals of other domains, as those domains have told it
//! (clause 8.7).

use irsp_courier::store::StoreError;
use irsp_protocol::{Address, Id};
use rusqlite::Connection;

use super::row;

pub(crate) fn add(conn: &Connection, address: &Address, app: &Id) -> Result<(), StoreError> {
    conn.prepare_cached("INSERT INTO presence_heard (address, app) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute((address.to_string(), app.as_str()))?;
    Ok(())
}

pub(crate) fn remove(conn: &Connection, address: &Address, app: &Id) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM presence_heard WHERE address = ?1 AND app = ?2")?
        .execute((address.to_string(), app.as_str()))?;
    Ok(())
}

/// The applications that hear of a principal.
pub(crate) fn apps(conn: &Connection, address: &Address) -> Result<Vec<Id>, StoreError> {
    let mut statement = conn.prepare_cached("SELECT app FROM presence_heard WHERE address = ?1")?;
    let rows = statement.query_map([address.to_string()], |found| row::parsed(found, "app"))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A principal is deleted: nobody hears it any more.
pub(crate) fn forget(conn: &Connection, address: &Address) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM presence_heard WHERE address = ?1")?
        .execute([address.to_string()])?;
    Ok(())
}

pub(crate) fn all(conn: &Connection) -> Result<Vec<(Address, Id)>, StoreError> {
    let mut statement = conn.prepare("SELECT address, app FROM presence_heard")?;
    let rows = statement.query_map([], |found| {
        Ok((row::parsed(found, "address")?, row::parsed(found, "app")?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
