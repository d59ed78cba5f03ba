//! Reads what waits on disk for hops that have come or have room again, many hops in one go.

use std::sync::Arc;

use super::Shared;
use super::pump::now;
use crate::core::Load;
use crate::store::{Page, StoreError, load};

/// Hops read in one go: with a principal's window each, a bounded amount of memory.
pub(super) const HOPS_MAX: usize = 64;

/// What was read for each request.
pub(super) type Loaded = Vec<(Load, Result<Page, StoreError>)>;

/// Reads what waits for several hops. A failure is each hop's own.
pub(super) async fn read(shared: Arc<Shared>, batch: Vec<Load>) -> Loaded {
    let asked = batch.clone();
    let wall = now().wall;
    let reading = shared.store.read(move |sql| {
        let page = |ask: &Load| load(sql, &ask.hop, ask.after, ask.count, ask.bytes, wall);
        Ok(batch
            .into_iter()
            .map(|ask| {
                let page = page(&ask);
                (ask, page)
            })
            .collect())
    });
    match reading.await {
        Ok(loaded) => loaded,
        Err(error) => {
            let reason = error.to_string();
            asked
                .into_iter()
                .map(|ask| (ask, Err(StoreError::Unavailable(reason.clone()))))
                .collect()
        }
    }
}
