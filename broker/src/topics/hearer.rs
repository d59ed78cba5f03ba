//! Who hears a publish: one session with all its matching subscriptions, what it is given, and one that others wait for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use irsp_session::{Delivery, Publish, QoS, SubscriptionIds};
use smallvec::SmallVec;

use super::index::{Index, Subscription};
use crate::metrics::Dropped;
use crate::sessions::mailbox::{Gift, Mailbox};
use crate::sessions::orders::End;

/// The durable sessions that hear a publish, which is to be stored for them.
pub(crate) type Durable = Vec<(Arc<Mailbox>, Delivery)>;

/// All who hear a publish: mostly few, who need no allocation.
pub(super) type Hearers = SmallVec<[Hearer; 2]>;

/// One session that hears a publish, with what its matching subscriptions say together.
#[derive(Debug)]
pub(crate) struct Hearer {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) qos: QoS,
    retain_as_published: bool,
    pub(super) ids: SubscriptionIds,
}

/// A subscriber for which a publish waits.
#[derive(Clone, Debug)]
pub(crate) struct Slow {
    mailbox: Arc<Mailbox>,
    /// Of QoS 1 or 2; what it hears at QoS 0 waits only while its client takes what it is given.
    must_hear: bool,
    /// Since when a publish waits for it, and what it had taken by then.
    since: Instant,
    taken: u64,
}

impl Slow {
    pub(super) fn new(mailbox: &Arc<Mailbox>, must_hear: bool, since: Instant) -> Slow {
        Slow {
            mailbox: Arc::clone(mailbox),
            must_hear,
            since,
            taken: mailbox.taken(),
        }
    }

    /// The one of the two that a publish has waited for longer, if both are the same subscriber.
    pub(crate) fn or_longer(self, before: Slow) -> Slow {
        match Arc::ptr_eq(&self.mailbox, &before.mailbox) {
            true => before,
            false => self,
        }
    }

    /// Whether it has taken nothing for so long.
    pub(crate) fn is_stuck(&self, now: Instant, patience: Duration) -> bool {
        now >= self.since + patience && self.mailbox.taken() == self.taken
    }

    /// Ends its connection: nobody waits for it any longer.
    pub(crate) fn give_up(&self) {
        self.mailbox.end(End::Overrun);
    }

    /// Whether it is worth another try.
    pub(crate) fn has_room(&self) -> bool {
        !keeps_waiting(&self.mailbox, self.must_hear)
    }

    /// Completes when it is worth another try.
    pub(crate) async fn room(&self) {
        self.mailbox.room(|| self.has_room()).await;
    }
}

/// Whether a publish waits for this subscriber.
pub(super) fn keeps_waiting(mailbox: &Mailbox, must_hear: bool) -> bool {
    mailbox.is_connected()
        && match must_hear {
            true => mailbox.is_full(),
            false => !mailbox.is_held_up() && mailbox.is_behind(),
        }
}

/// The sessions that hear a topic, each once, with the greatest QoS and all subscription identifiers of its
/// matching subscriptions [MQTT-3.3.4-2..3].
pub(super) fn hearers(index: &Index, topic: &str, from: Option<&Mailbox>) -> Hearers {
    let mut hearers = Hearers::new();
    index.matches(topic, &mut |found| {
        let local = from.is_some_and(|from| std::ptr::eq(from, &*found.mailbox));
        // [MQTT-3.8.3-3]
        if !(found.options.no_local && local) {
            hearers.push(Hearer::of(found));
        }
    });
    if hearers.len() > 1 {
        hearers.sort_by_key(|hearer| Arc::as_ptr(&hearer.mailbox).cast::<()>() as usize);
        hearers.dedup_by(|next, kept| {
            let same = Arc::ptr_eq(&next.mailbox, &kept.mailbox);
            if same {
                kept.qos = kept.qos.max(next.qos);
                kept.retain_as_published |= next.retain_as_published;
                next.ids.as_slice().iter().for_each(|id| kept.ids.push(*id));
            }
            same
        });
    }
    hearers
}

impl Hearer {
    pub(super) fn of(subscription: &Subscription) -> Hearer {
        let Subscription { mailbox, options } = subscription;
        Hearer {
            mailbox: Arc::clone(mailbox),
            qos: options.qos,
            retain_as_published: options.retain_as_published,
            ids: options.id.into(),
        }
    }

    pub(crate) fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    /// Whether this is a message that goes to disk before its session.
    pub(super) fn stores(&self, publish: &Publish) -> bool {
        self.mailbox.session().is_some() && self.qos.min(publish.qos) > QoS::AtMostOnce
    }

    pub(super) fn give(&self, publish: &Arc<Publish>, durable: &mut Durable) -> Result<QoS, Dropped> {
        if self.stores(publish) {
            durable.push((Arc::clone(&self.mailbox), self.delivery(publish)));
            Ok(self.qos.min(publish.qos))
        } else {
            self.deliver(publish)
        }
    }

    pub(super) fn deliver(&self, publish: &Arc<Publish>) -> Result<QoS, Dropped> {
        self.put(self.delivery(publish))
    }

    /// Delivers what the session was given.
    pub(super) fn deliver_gift(&self, publish: &Arc<Publish>, gift: Gift) -> Result<QoS, Dropped> {
        self.put(Delivery {
            tag: Some(gift.tag),
            dup: gift.dup,
            ..self.delivery(publish)
        })
    }

    /// Notes a message that a session would have kept, had there been room.
    pub(super) fn miss(&self, publish: &Publish) -> Dropped {
        if self.qos.min(publish.qos) == QoS::AtMostOnce {
            return Dropped::Qos0Full;
        }
        tracing::debug!(owner = %self.mailbox.owner(), topic = %publish.topic, "no room in a session");
        self.mailbox.miss();
        match self.mailbox.is_connected() {
            true => Dropped::Overrun,
            false => Dropped::AwayFull,
        }
    }

    /// Puts a delivery into the session's queue; says at which QoS.
    fn put(&self, delivery: Delivery) -> Result<QoS, Dropped> {
        let qos = delivery.qos;
        if qos == QoS::AtMostOnce && !self.mailbox.is_connected() {
            return Err(Dropped::Qos0Away);
        }
        self.mailbox.deliver(delivery);
        Ok(qos)
    }

    fn delivery(&self, publish: &Arc<Publish>) -> Delivery {
        Delivery {
            publish: Arc::clone(publish),
            qos: self.qos.min(publish.qos),
            retain: publish.retain && self.retain_as_published,
            subscription_ids: self.ids.clone(),
            tag: None,
            dup: false,
        }
    }
}
