//! A server as its operator sees it.

use prometheus_client::registry::Registry;

use crate::service::Courier;

/// What a running server shows to whoever watches it. It holds nothing that keeps the server from stopping.
pub trait Observed: Send + Sync {
    fn courier(&self) -> &Courier;

    /// The server's own instruments; its courier's stand beside them.
    fn instruments(&self) -> &Registry;

    /// Reads the figures that are not counted as they happen. Called before each scrape.
    fn refresh(&self);

    /// The number of the last change of its directory, 0 before the first; `None` for a server without a copy.
    fn directory(&self) -> Option<u64>;
}
