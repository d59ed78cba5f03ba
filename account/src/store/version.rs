//! Versions of records: what If-Match is compared with.

use irsp_courier::store::StoreError;
use irsp_protocol::Kind;
use irsp_protocol::change::EntityKey;
use rusqlite::{Connection, OptionalExtension};

use super::{entity, number, stored};

/// Gives every record with a count of its own a version above those that were given, be it meanwhile or in a store that
/// was lost.
pub(super) fn leap(sql: &Connection, first: u64) -> Result<(), StoreError> {
    for table in ["account_user", "account_device", "account_application"] {
        sql.execute(
            &format!("UPDATE {table} SET version = max(version + 1, ?1)"),
            [stored(first)?],
        )?;
    }
    Ok(())
}

/// The version of a record that exists. A binding's, a peer's and a grant's is the number of the change that last
/// touched it, because it may be made again.
pub(crate) fn of(sql: &Connection, key: &EntityKey) -> Result<Option<u64>, StoreError> {
    let principal = match key {
        EntityKey::Principal(principal) => principal,
        EntityKey::Binding { .. } | EntityKey::Peer(_) | EntityKey::Grant { .. } => {
            return Ok(match entity::find(sql, key)? {
                entity::Found::Live { n, .. } => Some(n),
                entity::Found::Deleted { .. } | entity::Found::Never => None,
            });
        }
        EntityKey::TokenKey(_) => return Ok(None),
    };
    let table = match principal.kind {
        Kind::User => "account_user",
        Kind::Device => "account_device",
        Kind::Application => "account_application",
        Kind::External | Kind::Peer | Kind::Server => return Ok(None),
    };
    Ok(sql
        .prepare_cached(&format!("SELECT version FROM {table} WHERE id = ?1"))?
        .query_row([principal.id.as_str()], |row| number(row, 0))
        .optional()?)
}
