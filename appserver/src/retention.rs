//! Removes uploads that are no longer kept, a few at a time, so that no write waits long behind it.

use std::time::Duration;

use irsp_courier::Courier;
use irsp_courier::store::StoreError;
use irsp_protocol::Timestamp;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::settings::Retention;
use crate::store::uploads;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(60);
/// Most uploads removed in one transaction.
const CHUNK: u32 = 500;

pub(crate) async fn run(courier: Courier, retention: Retention, stop: CancellationToken) {
    if retention == Retention::default() {
        return;
    }
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = sweep(&courier, retention, &stop).await {
            tracing::warn!(%error, "uploads past their retention cannot be removed just now");
        }
    }
}

async fn sweep(courier: &Courier, retention: Retention, stop: &CancellationToken) -> Result<(), StoreError> {
    while !stop.is_cancelled() {
        let now = courier.now();
        let before = retention.age.map(|age| {
            let ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            Timestamp::from_millis(now.as_millis().saturating_sub(ms))
        });
        let removed = courier
            .write(move |tx| uploads::sweep(tx.sql(), before, retention.count, CHUNK))
            .await?;
        if removed == 0 {
            return Ok(());
        }
        tracing::debug!(removed, "uploads past their retention are removed");
    }
    Ok(())
}
