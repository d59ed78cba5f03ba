//! Which device has registered which certificate. The states of the devices say it too; this table keeps one
//! certificate from standing for two devices.

use irsp_courier::store::StoreError;
use irsp_protocol::Id;
use irsp_protocol::credential::Certificate;
use rusqlite::{Connection, OptionalExtension};

use crate::refusal::Refusal;

/// Sets the certificates of a device. One that another device has is refused.
pub(super) fn set(sql: &Connection, device: &Id, certificates: &[Certificate]) -> Result<(), StoreError> {
    sql.prepare_cached("DELETE FROM account_certificate WHERE device = ?1")?
        .execute([device.as_str()])?;
    for certificate in certificates {
        let identity = certificate.to_string();
        let held: Option<String> = sql
            .prepare_cached("SELECT device FROM account_certificate WHERE identity = ?1")?
            .query_row([&identity], |row| row.get(0))
            .optional()?;
        if let Some(device) = held {
            return Err(Refusal::CertificateUsed { identity, device }.into());
        }
        sql.prepare_cached("INSERT INTO account_certificate (identity, device) VALUES (?1, ?2)")?
            .execute((identity, device.as_str()))?;
    }
    Ok(())
}
