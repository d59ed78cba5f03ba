//! Retained messages that a session's new subscriptions are still to hear.
//!
//! Held here is where each subscription stands, and never more than the next few messages: a subscription to
//! everything costs as little as one to a single topic, however slowly its client reads. What is retained after the
//! subscription began comes as any later message does, so it is passed over here. So is what was stored for a durable
//! session when it subscribed.

use std::collections::VecDeque;
use std::sync::Arc;

use bytestring::ByteString;
use irsp_session::{Delivery, Publish, QoS, SubscriptionIds};

use super::publisher::Publisher;

/// What a session is still to hear, subscription by subscription in the order of their SUBSCRIBE.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    subscriptions: VecDeque<CatchUp>,
}

/// One subscription that reads what was retained before it.
#[derive(Debug)]
pub(crate) struct CatchUp {
    pub(crate) filter: ByteString,
    pub(crate) qos: QoS,
    /// Whose messages it does not hear: its own client's, with No Local.
    pub(crate) not_of: Option<Publisher>,
    /// The subscription identifier.
    pub(crate) id: Option<u32>,
    /// The retained store's count when the subscription began.
    pub(crate) until: u64,
    /// The last topic that was looked at; topics are read in their order.
    pub(crate) after: Option<ByteString>,
    /// Whether every topic was looked at.
    pub(crate) at_end: bool,
    /// Read and not yet sent.
    pub(crate) ready: VecDeque<Arc<Publish>>,
}

impl CatchUp {
    /// A message on its way to the subscription as what was retained before it.
    pub(crate) fn delivery(&self, publish: Arc<Publish>) -> Delivery {
        Delivery {
            qos: self.qos.min(publish.qos),
            publish,
            retain: true,
            subscription_ids: SubscriptionIds::from(self.id),
            tag: None,
            dup: false,
        }
    }
}

impl Backlog {
    pub(crate) fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
    }

    /// Begins with a subscription; one with the same filter begins again [MQTT-3.8.4-3].
    pub(crate) fn add(&mut self, subscription: CatchUp) {
        self.remove(&subscription.filter);
        self.subscriptions.push_back(subscription);
    }

    /// Forgets subscriptions whose filter `keep` denies.
    pub(crate) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.subscriptions.retain(|held| keep(&held.filter));
    }

    /// Forgets a subscription that has ended.
    pub(crate) fn remove(&mut self, filter: &str) {
        self.subscriptions.retain(|held| held.filter != filter);
    }

    /// The subscription whose turn it is.
    pub(crate) fn first(&mut self) -> Option<&mut CatchUp> {
        self.subscriptions.front_mut()
    }

    /// The subscription whose turn it was has heard everything.
    pub(crate) fn first_is_done(&mut self) {
        self.subscriptions.pop_front();
        if self.subscriptions.is_empty() {
            // An idle session holds no buffer.
            self.subscriptions = VecDeque::new();
        }
    }
}
