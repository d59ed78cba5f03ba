//! What is forgotten in time: old lines of the audit log, requests under an Idempotency-Key and the answers kept for them,
//! logins and reset codes that have expired, operations that every follower has answered.

use std::sync::Arc;
use std::time::Duration;

use irsp_courier::store::{StoreError, Tx};
use tracing::{debug, warn};

use crate::account::Account;
use crate::settings::Kept;
use crate::store::{audit as audit_log, login, operation, repeat};

/// Between two looks for what is old. Nothing depends on it being quick: what is too old is not used before it is gone.
const EVERY: Duration = Duration::from_secs(600);

/// Runs until its task is dropped.
pub(crate) async fn keep(account: Arc<Account>, kept: Kept) {
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        ticks.tick().await;
        if let Err(error) = forget(&account, kept).await {
            warn!(%error, "what is old cannot be forgotten now; tried again");
        }
    }
}

async fn forget(account: &Account, kept: Kept) -> Result<(), StoreError> {
    let courier = &account.courier;
    courier.write(|tx| repeat::forget(tx.sql(), tx.now())).await?;
    courier.write(|tx| login::forget(tx.sql(), tx.now())).await?;
    let Kept { audit, operations } = kept;
    let part = move |tx: &mut Tx<'_>| audit_log::forget(tx.sql(), tx.now().minus(audit));
    while !audit.is_zero() && courier.write(part).await? {}
    let part = move |tx: &mut Tx<'_>| operation::forget(tx.sql(), tx.now(), tx.now().minus(operations));
    loop {
        let gone = courier.write(part).await?;
        if gone == 0 {
            return Ok(());
        }
        account.metrics.operations_forgotten.inc_by(gone);
        debug!(operations = gone, "forgotten");
    }
}
