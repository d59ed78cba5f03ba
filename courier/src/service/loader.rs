//! Reads what waits on disk for hops that have come or have room again, many hops in one go.

use irsp_protocol::Timestamp;
use rusqlite::Connection;

use crate::core::Load;
use crate::store::{Page, StoreError, load};

/// Hops read in one go: with a principal's window each, a bounded amount of memory.
pub(super) const HOPS_MAX: usize = 64;

/// What was read for each request.
pub(super) type Loaded = Vec<(Load, Result<Page, StoreError>)>;

/// Reads what waits for several hops. A failure is each hop's own.
pub(super) fn read(sql: &Connection, batch: Vec<Load>, wall: Timestamp) -> Loaded {
    batch
        .into_iter()
        .map(|ask| {
            let page = load(sql, &ask.hop, ask.after, ask.count, ask.bytes, wall);
            (ask, page)
        })
        .collect()
}
