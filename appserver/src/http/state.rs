//! What the handlers share.

use std::ops::Deref;
use std::sync::Arc;

use irsp_courier::Courier;
use irsp_directory::Directory;
use irsp_protocol::{Address, Domain, Status};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::refusal::Refusal;
use crate::external::External;
use crate::heard::Heard;
use crate::live::Feed;
use crate::metrics::Metrics;
use crate::settings::PushLimits;
use crate::store::presence::Changes;
use crate::store::uploads::Uploads;

#[derive(Clone)]
pub(crate) struct Api(pub(crate) Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) domain: Domain,
    pub(crate) directory: Arc<Directory>,
    pub(crate) courier: Courier,
    pub(crate) uploads: Arc<Feed<Uploads>>,
    pub(crate) presence: Arc<Feed<Changes>>,
    /// Which applications hear principals of other domains.
    pub(crate) heard: Arc<Heard>,
    /// Counts the directory changes that may take a right away.
    pub(crate) rights_changed: watch::Sender<u64>,
    /// The places of live streams.
    pub(crate) places: Arc<Semaphore>,
    /// The places of live tails of receipts: each keeps asking every server.
    pub(crate) tail_places: Arc<Semaphore>,
    pub(crate) push: PushLimits,
    pub(crate) external: Arc<External>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) stop: CancellationToken,
    /// Streams that have left their request behind.
    pub(crate) tasks: TaskTracker,
}

impl Deref for Api {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Api {
    /// A place for one more stream.
    pub(super) fn place(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        self.places.clone().try_acquire_owned().map_err(|_| {
            self.metrics.streams_max.inc();
            Refusal::new(Status::UNAVAILABLE, "too many live streams are open")
        })
    }

    /// A place for one more tail of receipts.
    pub(super) fn tail_place(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        self.tail_places
            .clone()
            .try_acquire_owned()
            .map_err(|_| Refusal::new(Status::UNAVAILABLE, "too many tails of receipts are open"))
    }

    /// An address as it is stored: without our own domain.
    pub(super) fn local(&self, address: Address) -> Address {
        match address.domain {
            Some(domain) if domain == self.domain => Address::local(address.principal),
            Some(_) | None => address,
        }
    }
}
