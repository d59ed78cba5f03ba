//! The application server as its operator sees it.

use std::sync::Arc;

use irsp_courier::{Courier, Observed};
use irsp_directory::Directory;
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;

use crate::metrics::Metrics;

/// What a running application server shows.
#[derive(Clone)]
pub(crate) struct Observer {
    pub(crate) courier: Courier,
    pub(crate) directory: Arc<Directory>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) instruments: Arc<Registry>,
    /// The places of live streams, and how many there are in all.
    pub(crate) places: Arc<Semaphore>,
    pub(crate) streams_max: usize,
}

impl Observed for Observer {
    fn courier(&self) -> &Courier {
        &self.courier
    }

    fn instruments(&self) -> &Registry {
        &self.instruments
    }

    fn refresh(&self) {
        let open = self.streams_max.saturating_sub(self.places.available_permits());
        self.metrics.streams.set(i64::try_from(open).unwrap_or(i64::MAX));
    }

    fn directory(&self) -> Option<u64> {
        Some(self.directory.applied())
    }
}
