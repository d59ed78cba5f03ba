//! The account server as its operator sees it.

use std::sync::Arc;

use irsp_courier::{Courier, Observed};
use prometheus_client::registry::Registry;

/// What a running account server shows.
pub(crate) struct Observer {
    pub(crate) courier: Courier,
    pub(crate) instruments: Arc<Registry>,
}

impl Observed for Observer {
    fn courier(&self) -> &Courier {
        &self.courier
    }

    fn instruments(&self) -> &Registry {
        &self.instruments
    }

    /// Everything here is counted as it happens.
    fn refresh(&self) {}

    /// It has the directory itself, not a copy that could be behind.
    fn directory(&self) -> Option<u64> {
        None
    }
}
