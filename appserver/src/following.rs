//! Keeps what is read by sender close behind the log of uploads, and brings it up to the log for whoever reads it.

use std::time::Duration;

use irsp_courier::Courier;
use irsp_courier::store::StoreError;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::store::by_source;

/// How long uploads gather before they are taken in: the longer, the more of one sender's share a page, and the more of
/// the log is read by whoever reads by sender.
const PAUSE: Duration = Duration::from_secs(2);
/// Most uploads taken in by one transaction, so that no write waits much longer than a tenth of a second behind it.
const STRETCH: u32 = 16_384;

/// Follows until `stop`. `stored` tells that uploads have come; those of an earlier life are followed at once.
pub(crate) async fn run(courier: Courier, stored: &Notify, stop: CancellationToken) {
    let following = async {
        loop {
            if let Err(error) = bring_up(&courier).await {
                tracing::warn!(%error, "uploads cannot be sorted by sender just now; tried again with the next");
            }
            tokio::time::sleep(PAUSE).await;
            stored.notified().await;
        }
    };
    // Stopped, it is taken up at the next start, or by the next reader.
    let _stopped = stop.run_until_cancelled(following).await;
}

/// Resolves when everything that was stored before is sorted by sender.
pub(crate) async fn bring_up(courier: &Courier) -> Result<(), StoreError> {
    if courier.store().read(by_source::is_behind).await? {
        while courier.write(|tx| by_source::follow(tx.sql(), STRETCH)).await? {}
    }
    Ok(())
}
