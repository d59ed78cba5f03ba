//! What an operator sees of a courier.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use irsp_protocol::Server;

use super::Courier;
use crate::metrics::Metrics;
use crate::store::{StoreError, oldest, probe, read_ledger};

impl Courier {
    /// Whose courier this is.
    pub fn server(&self) -> Server {
        self.shared.server
    }

    /// What this courier counts; the ledger's figures are those of the last [`observe`](Courier::observe).
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.shared.metrics)
    }

    /// Reads the figures that are not counted as they happen: the ledger, the oldest message, what waits.
    pub async fn observe(&self) -> Result<(), StoreError> {
        let shared = &self.shared;
        let (waiting, overflows) = shared.writer.waiting();
        shared
            .metrics
            .writes_waiting
            .set(i64::try_from(waiting).unwrap_or(i64::MAX));
        shared
            .metrics
            .overflows
            .inner()
            .store(overflows, Ordering::Relaxed);
        let read = shared
            .store
            .read(|sql| Ok((read_ledger(sql)?, oldest(sql)?)))
            .await;
        let (ledger, oldest) = read.inspect_err(|error| shared.metrics.store_error(error.status()))?;
        let age = oldest.map_or(Duration::ZERO, |oldest| self.now().since(oldest));
        shared.metrics.keep_books(ledger, age, self.in_flight());
        Ok(())
    }

    /// Whether the database can be written, found out by writing.
    pub async fn probe(&self) -> Result<(), StoreError> {
        self.write(|tx| probe(tx)).await
    }
}
