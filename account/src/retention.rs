//! What is forgotten in time: old lines of the audit log, requests under an Idempotency-Key and the answers kept for them,
//! logins and reset codes that have expired.

use std::sync::Arc;
use std::time::Duration;

use irsp_courier::store::StoreError;
use tracing::warn;

use crate::account::Account;
use crate::store::{audit, login, repeat};

/// Between two looks for what is old. Nothing depends on it being quick: what is too old is not used before it is gone.
const EVERY: Duration = Duration::from_secs(600);

/// Runs until its task is dropped. An `audit_retention` of zero keeps the audit log for ever.
pub(crate) async fn keep(account: Arc<Account>, audit_retention: Duration) {
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        ticks.tick().await;
        if let Err(error) = forget(&account, audit_retention).await {
            warn!(%error, "what is old cannot be forgotten now; tried again");
        }
    }
}

async fn forget(account: &Account, audit_retention: Duration) -> Result<(), StoreError> {
    let courier = &account.courier;
    courier.write(|tx| repeat::forget(tx.sql(), tx.now())).await?;
    courier.write(|tx| login::forget(tx.sql(), tx.now())).await?;
    let keeps_all = audit_retention.is_zero();
    let part = move |tx: &mut irsp_courier::store::Tx<'_>| {
        let before = tx.now().minus(audit_retention);
        audit::forget(tx.sql(), before)
    };
    while !keeps_all && courier.write(part).await? {}
    Ok(())
}
