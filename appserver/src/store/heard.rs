//! Which applications and users of ours hear the presence of principals of other domains, as those domains have told it
//! (clause 8.7). Each kind has a table of its own, because a program from before users heard anything reads the other.

use irsp_courier::store::StoreError;
use irsp_protocol::{Address, Id, Kind, Principal};
use rusqlite::Connection;

use super::row;

pub(crate) fn add(conn: &Connection, address: &Address, hearer: &Principal) -> Result<(), StoreError> {
    let insert = match hearer.kind == Kind::User {
        true => "INSERT INTO presence_shared (address, user) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        false => "INSERT INTO presence_heard (address, app) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
    };
    conn.prepare_cached(insert)?
        .execute((address.to_string(), hearer.id.as_str()))?;
    Ok(())
}

pub(crate) fn remove(conn: &Connection, address: &Address, hearer: &Principal) -> Result<(), StoreError> {
    let delete = match hearer.kind == Kind::User {
        true => "DELETE FROM presence_shared WHERE address = ?1 AND user = ?2",
        false => "DELETE FROM presence_heard WHERE address = ?1 AND app = ?2",
    };
    conn.prepare_cached(delete)?
        .execute((address.to_string(), hearer.id.as_str()))?;
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
    for table in ["presence_heard", "presence_shared"] {
        conn.prepare_cached(&format!("DELETE FROM {table} WHERE address = ?1"))?
            .execute([address.to_string()])?;
    }
    Ok(())
}

/// A user of ours is deleted, and hears nobody.
pub(crate) fn forget_user(conn: &Connection, user: &Id) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM presence_shared WHERE user = ?1")?
        .execute([user.as_str()])?;
    Ok(())
}

pub(crate) fn all(conn: &Connection) -> Result<Vec<(Address, Principal)>, StoreError> {
    let mut heard = Vec::new();
    for (kind, select) in [
        (Kind::Application, "SELECT address, app AS id FROM presence_heard"),
        (Kind::User, "SELECT address, user AS id FROM presence_shared"),
    ] {
        let mut statement = conn.prepare(select)?;
        let rows = statement.query_map([], |found| {
            let id = row::parsed(found, "id")?;
            Ok((row::parsed(found, "address")?, Principal::new(kind, id)))
        })?;
        for row in rows {
            heard.push(row?);
        }
    }
    Ok(heard)
}
