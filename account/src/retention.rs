//! What is forgotten in time: requests under an Idempotency-Key, and the answers kept for them.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use crate::account::Account;
use crate::store::repeat;

/// Between two looks for what is old. Nothing depends on it being quick: what is too old is not used before it is gone.
const EVERY: Duration = Duration::from_secs(600);

/// Runs until its task is dropped.
pub(crate) async fn keep(account: Arc<Account>) {
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        ticks.tick().await;
        if let Err(error) = account
            .courier
            .write(|tx| repeat::forget(tx.sql(), tx.now()))
            .await
        {
            warn!(%error, "what is old cannot be forgotten now; tried again");
        }
    }
}
