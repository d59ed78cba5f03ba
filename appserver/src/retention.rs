//! Removes uploads that are no longer kept, a few at a time, so that no write waits long behind it.

use std::sync::Arc;
use std::time::Duration;

use irsp_courier::Courier;
use irsp_courier::store::StoreError;
use irsp_directory::Directory;
use irsp_protocol::{Id, Timestamp, change};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::settings::Retention;
use crate::store::uploads;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(60);
/// Most uploads removed in one transaction.
const CHUNK: u32 = 500;

pub(crate) async fn run(
    courier: Courier,
    directory: Arc<Directory>,
    retention: Retention,
    stop: CancellationToken,
) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let mut swept = match retention == Retention::default() {
            true => Ok(()),
            false => sweep(&courier, retention, &stop).await,
        };
        for (app, own) in directory.retentions() {
            swept = swept.and(sweep_application(&courier, &app, own, &stop).await);
        }
        if let Err(error) = swept {
            tracing::warn!(%error, "uploads past their retention cannot be removed just now");
        }
    }
}

async fn sweep(courier: &Courier, retention: Retention, stop: &CancellationToken) -> Result<(), StoreError> {
    while !stop.is_cancelled() {
        let now = courier.now();
        let before = retention.age.map(|age| ago(now, age));
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

/// Removes what the application's own retention does not keep.
async fn sweep_application(
    courier: &Courier,
    app: &Id,
    retention: change::Retention,
    stop: &CancellationToken,
) -> Result<(), StoreError> {
    let before = retention.age.map(|age| ago(courier.now(), age.0));
    let name = app.clone();
    let found = courier
        .store()
        .read(move |conn| uploads::beyond(conn, &name, before, retention.bytes))
        .await?;
    let Some(upto) = found else {
        return Ok(());
    };
    while !stop.is_cancelled() {
        let name = app.clone();
        let removed = courier
            .write(move |tx| uploads::remove(tx.sql(), &name, upto, CHUNK))
            .await?;
        if removed == 0 {
            return Ok(());
        }
        tracing::debug!(%app, removed, "uploads past the application's retention are removed");
    }
    Ok(())
}

fn ago(now: Timestamp, age: Duration) -> Timestamp {
    let ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(now.as_millis().saturating_sub(ms))
}
