//! What a new subscription hears of what is retained: the first of it is stored for a durable session, the rest is read as its
//! client reads.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use irsp_session::{QoS, SubscribeFilter};

use super::Topics;
use super::tally::Tally;
use crate::sessions::backlog::CatchUp;
use crate::sessions::mailbox::Mailbox;

/// Messages a reader takes at once.
pub(super) const READY_MAX: usize = 32;
/// Messages that are stored for a subscription of a durable session when it begins.
const STORED_AT_ONCE: usize = 256;

impl Topics {
    /// What a subscription that has just begun is to hear of what is retained [MQTT-3.8.4-4]. The first of it waits for a
    /// durable session as any message does, ahead of all that comes later.
    pub(super) fn catch_up(
        &self,
        mailbox: &Arc<Mailbox>,
        wanted: &SubscribeFilter,
        id: Option<u32>,
    ) -> CatchUp {
        let mut reader = CatchUp {
            filter: wanted.filter.clone(),
            qos: wanted.qos,
            not_of: wanted.no_local.then(|| mailbox.publisher()),
            id,
            until: self.retained().count(),
            after: None,
            at_end: false,
            ready: VecDeque::new(),
        };
        if mailbox.session().is_some() && wanted.qos > QoS::AtMostOnce {
            self.store_retained(mailbox, &mut reader);
        }
        reader
    }

    /// Stores what is read first, as far as the session has room. Whoever publishes to it waits meanwhile: it is not much.
    fn store_retained(&self, mailbox: &Arc<Mailbox>, reader: &mut CatchUp) {
        self.retained().read(reader, STORED_AT_ONCE, Instant::now());
        let mut unstored = VecDeque::new();
        while let Some(publish) = reader.ready.pop_front() {
            let delivery = reader.delivery(publish);
            if delivery.qos == QoS::AtMostOnce || mailbox.is_full() || !self.keeper.has_room() {
                unstored.push_back(delivery.publish);
                continue;
            }
            let publish = Arc::clone(&delivery.publish);
            Tally::new(&self.metrics, &publish).count(Ok(delivery.qos));
            self.keeper
                .put_ignored(&publish, vec![(Arc::clone(mailbox), delivery)], None);
        }
        reader.ready = unstored;
    }

    /// Reads on for a subscription that is not at the end.
    pub(crate) fn read_retained(&self, reader: &mut CatchUp, now: Instant) {
        self.retained().read(reader, READY_MAX, now);
    }
}
