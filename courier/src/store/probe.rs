//! Whether the database can be written, found out by writing.

use rusqlite::params;

use super::error::StoreError;
use super::tx::Tx;

/// Not the name of a server, so no repeat is ever looked up under it.
const PROBE: &str = "probe";

/// Writes a row and takes it away again: the commit reaches the disk and leaves nothing behind.
pub(crate) fn probe(tx: &Tx<'_>) -> Result<(), StoreError> {
    let sql = tx.sql();
    sql.prepare_cached("INSERT INTO seen (id, origin, at, status) VALUES (x'', ?1, ?2, 200)")?
        .execute(params![PROBE, tx.now().as_millis()])?;
    sql.prepare_cached("DELETE FROM seen WHERE id = x'' AND origin = ?1")?
        .execute([PROBE])?;
    Ok(())
}
