//! Users' passwords, as they are stored.

use irsp_courier::store::StoreError;
use irsp_protocol::Id;
use rusqlite::{Connection, OptionalExtension};

use crate::password::StoredPassword;

/// The stored password; `None` for an unknown user and for one without a password.
pub(crate) fn of_user(sql: &Connection, id: &Id) -> Result<Option<StoredPassword>, StoreError> {
    let phc: Option<Option<String>> = sql
        .prepare_cached("SELECT password FROM account_user WHERE id = ?1")?
        .query_row([id.as_str()], |row| row.get(0))
        .optional()?;
    Ok(phc.flatten().map(StoredPassword::from_phc))
}
