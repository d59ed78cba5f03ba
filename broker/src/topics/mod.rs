//! Topics of the edge: who is subscribed to what, what is retained, and how a publish reaches mailboxes.
//!
//! Three promises differ by the kind of publish:
//! - `live`: held for every present subscriber; one that is full holds the publisher back ([`Topics::publish`]).
//! - observed (uploads, presence, status): the message is safe elsewhere, so nobody waits for an observer; one that
//!   cannot follow is disconnected rather than lied to ([`Topics::observe`]).
//! - pushes: the courier keeps them until they are answered ([`Topics::push`]).
//!
//! What a durable session hears at QoS 1 or 2 goes to disk first; pushes do not, the courier has them there.

mod catch_up;
mod hearer;
mod index;
mod retained;
mod tally;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use bytestring::ByteString;
use irsp_protocol::topic::Branch;
use irsp_protocol::{Address, Envelope, MessageId, Principal, Topic};
use irsp_session::{Delivery, Publish, PublishProperties, QoS, RetainHandling, SubscribeFilter, filter};
use serde::Serialize;

pub(crate) use self::hearer::{Durable, Hearer, Slow};
use self::hearer::{Hearers, hearers};
use self::index::{Index, Options, Subscription};
use self::retained::Retained;
pub(crate) use self::retained::RetainedFull;
use self::tally::Tally;
use crate::metrics::{Limit, Metrics};
use crate::sessions::backlog::CatchUp;
use crate::sessions::given::ForWhom;
use crate::sessions::keeper::Keeper;
use crate::sessions::kept::Bounds;
use crate::sessions::mailbox::Mailbox;
use crate::sessions::orders::End;
use crate::sessions::publisher::Publisher;
use crate::sessions::tag::Tag;

/// The attributes under which an envelope carries MQTT's Response Topic and Correlation Data (base64).
pub(crate) const RESPONSE_TOPIC: &str = "responsetopic";
pub(crate) const CORRELATION_DATA: &str = "correlationdata";

/// The subscriptions and retained messages of all sessions.
#[derive(Debug)]
pub(crate) struct Topics {
    index: RwLock<Index>,
    retained: RwLock<Retained>,
    keeper: Arc<Keeper>,
    metrics: Arc<Metrics>,
}

/// Why nobody is given a publish.
#[derive(Debug)]
pub(crate) enum Unheard {
    /// This subscriber's mailbox is full: try again when it has room.
    Full(Slow),
    /// What is stored for all sessions together leaves no room for another message.
    NoRoom,
    /// It is to be retained, and there is no room for another.
    Retained,
}

/// A subscription that has begun.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) is_new: bool,
    /// What it is to hear of what is retained, if it wants that.
    pub(crate) catch_up: Option<CatchUp>,
}

impl Topics {
    pub(crate) fn new(retained: Bounds, keeper: Arc<Keeper>, metrics: Arc<Metrics>) -> Topics {
        Topics {
            index: RwLock::default(),
            retained: RwLock::new(Retained::new(retained)),
            keeper,
            metrics,
        }
    }

    /// Adds or replaces a subscription.
    pub(crate) fn subscribe(
        &self,
        mailbox: &Arc<Mailbox>,
        wanted: &SubscribeFilter,
        id: Option<u32>,
    ) -> Begun {
        let (group, plain) = split_share(&wanted.filter);
        let options = Options {
            qos: wanted.qos,
            no_local: wanted.no_local,
            retain_as_published: wanted.retain_as_published,
            id,
        };
        mailbox.subscribed(&wanted.filter);
        // What is kept from here on finds the subscription: it is heard as it comes, and not again as retained.
        self.index_mut(|index| {
            let subscription = Subscription {
                mailbox: Arc::clone(mailbox),
                options,
            };
            let is_new = index.insert(group, plain, subscription);
            let wants_retained = match wanted.retain_handling {
                RetainHandling::Send => group.is_none(),
                RetainHandling::SendIfNew => group.is_none() && is_new,
                RetainHandling::DoNotSend => false,
            };
            let catch_up = wants_retained.then(|| self.catch_up(mailbox, wanted, id));
            Begun { is_new, catch_up }
        })
    }

    /// Removes a subscription; `true` if there was one.
    pub(crate) fn unsubscribe(&self, mailbox: &Mailbox, wanted: &str) -> bool {
        let (group, plain) = split_share(wanted);
        mailbox.unsubscribed(wanted);
        self.index_mut(|index| index.remove(group, plain, mailbox))
    }

    /// Removes all subscriptions of a session.
    pub(crate) fn forget(&self, mailbox: &Mailbox) {
        for filter in mailbox.filters() {
            self.unsubscribe(mailbox, &filter);
        }
    }

    /// How many subscriptions there are.
    pub(crate) fn subscriptions(&self) -> usize {
        self.index().len()
    }

    /// How many messages are retained.
    pub(crate) fn retained_len(&self) -> usize {
        self.retained().len()
    }

    /// Keeps a retained message.
    fn keep(&self, publish: &Arc<Publish>, publisher: Option<Publisher>) -> Result<(), RetainedFull> {
        self.retained
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .keep(publish, publisher, Instant::now())
    }

    /// Forgets what was retained until now; gives the topics of what has expired since the last time.
    pub(crate) fn sweep(&self, now: Instant) -> Vec<ByteString> {
        let mut retained = self.retained.write().unwrap_or_else(PoisonError::into_inner);
        retained.sweep(now);
        retained.take_expired()
    }

    /// Forgets what is retained on the live topics of a principal that is gone.
    pub(crate) fn forget_live(&self, owner: &Principal) {
        let below = format!("v1/{owner}/live/");
        self.retained
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .forget_below(&below);
    }

    /// Puts back what was retained before the start.
    pub(crate) fn restore(&self, publish: Publish, publisher: Option<Publisher>) {
        let publish = Arc::new(publish);
        if self.keep(&publish, publisher).is_err() {
            tracing::warn!(topic = %publish.topic, "more is retained on disk than mqtt.retained_max or retained_bytes_max allows: not heard");
        }
    }

    /// Gives a publish to every subscriber, and keeps it if it is retained, or neither and says why. Who is away keeps it
    /// if it fits. Durable sessions are given back: it is theirs when it is stored. `waits`: what is heard at QoS 0 may wait
    /// too, for a subscriber that only its publishers are ahead of.
    pub(crate) fn publish(
        &self,
        publish: &Arc<Publish>,
        from: &Mailbox,
        waits: bool,
    ) -> Result<Durable, Unheard> {
        let index = self.index();
        let hearers = hearers(&index, &publish.topic, Some(from));
        for hearer in &hearers {
            let must_hear = hearer.qos.min(publish.qos) > QoS::AtMostOnce;
            if (must_hear || waits) && hearer::keeps_waiting(&hearer.mailbox, must_hear) {
                return Err(Unheard::Full(Slow::new(
                    &hearer.mailbox,
                    must_hear,
                    Instant::now(),
                )));
            }
        }
        if hearers.iter().any(|hearer| hearer.stores(publish)) && !self.keeper.has_room() {
            return Err(Unheard::NoRoom);
        }
        if publish.retain {
            self.keep(publish, Some(from.publisher()))
                .map_err(|RetainedFull| Unheard::Retained)?;
        }
        drop(index);
        let mut durable = Durable::new();
        let mut tally = Tally::new(&self.metrics, publish);
        for hearer in hearers {
            // QoS 0, or away: best effort within the bound.
            let must_hear = hearer.qos.min(publish.qos) > QoS::AtMostOnce;
            let has_room = match must_hear {
                true => hearer.mailbox.is_connected() || !hearer.mailbox.is_full(),
                false => !hearer.mailbox.is_behind(),
            };
            if has_room {
                tally.count(hearer.give(publish, &mut durable));
            } else {
                tally.count(Err(hearer.miss(publish)));
            }
        }
        Ok(durable)
    }

    /// Gives a publish to every subscriber without waiting for any. Durable sessions are given back: it is theirs when it
    /// is stored.
    pub(crate) fn observe(&self, publish: &Arc<Publish>) -> Durable {
        self.show(publish, self.hearers(&publish.topic))
    }

    /// Keeps a publish as its topic's last, if there is room, and gives it as [`Topics::observe`] does.
    fn keep_and_observe(
        &self,
        publish: &Arc<Publish>,
        publisher: Option<Publisher>,
    ) -> (Result<(), RetainedFull>, Durable) {
        let index = self.index();
        let hearers = hearers(&index, &publish.topic, None);
        let kept = self.keep(publish, publisher);
        drop(index);
        (kept, self.show(publish, hearers))
    }

    fn show(&self, publish: &Arc<Publish>, hearers: Hearers) -> Durable {
        let mut durable = Durable::new();
        let mut tally = Tally::new(&self.metrics, publish);
        for hearer in hearers {
            let present = hearer.mailbox.is_connected();
            let full = if present {
                hearer.mailbox.is_overrun()
            } else {
                hearer.mailbox.is_full()
            };
            if !full && (!hearer.stores(publish) || self.keeper.has_room()) {
                tally.count(hearer.give(publish, &mut durable));
            } else {
                if present && hearer.qos.min(publish.qos) > QoS::AtMostOnce {
                    self.metrics.limit(Limit::QueueMessagesMax);
                    hearer.mailbox.end(End::Overrun);
                }
                tally.count(Err(hearer.miss(publish)));
            }
        }
        durable
    }

    /// The same for what nobody waits for.
    pub(crate) fn observe_now(&self, publish: &Arc<Publish>) {
        self.keeper.put_ignored(publish, self.observe(publish), None);
    }

    /// Publishes a live message that nobody waits for: a will.
    pub(crate) fn bequeath(&self, publish: &Arc<Publish>, from: &Mailbox) {
        if !publish.retain {
            return self.observe_now(publish);
        }
        let publisher = Some(from.publisher());
        let (kept, durable) = self.keep_and_observe(publish, publisher);
        if kept.is_err() {
            tracing::warn!(topic = %publish.topic, "no room for a retained will");
        }
        let retained = publisher.filter(|_| kept.is_ok());
        self.keeper.put_ignored(publish, durable, retained);
    }

    /// A member of these share groups is gone for good: what its client has not acknowledged goes to other members, in order
    /// (4.8.2). Pushes and work are the courier's to give anew.
    pub(crate) fn hand_over(&self, shared: &[ByteString], rest: impl IntoIterator<Item = Delivery>) {
        let is_ours = |delivery: &Delivery| !matches!(delivery.tag.map(Tag::of), Some(Tag::Push(_)));
        for Delivery { publish, .. } in rest.into_iter().filter(is_ours) {
            let mut members = Vec::new();
            self.index().members_of(shared, &publish.topic, &mut |member| {
                members.push(Hearer::of(member));
            });
            let mut durable = Durable::new();
            let mut tally = Tally::new(&self.metrics, &publish);
            for member in members {
                let has_room = member.mailbox.is_connected() || !member.mailbox.is_full();
                tally.count(
                    match has_room && (!member.stores(&publish) || self.keeper.has_room()) {
                        true => member.give(&publish, &mut durable),
                        false => Err(member.miss(&publish)),
                    },
                );
            }
            self.keeper.put_ignored(&publish, durable, None);
        }
    }

    /// Sets a state that those who were there have heard before this start: it is retained for whoever subscribes.
    pub(crate) fn restate(&self, topic: &Topic, body: Bytes) {
        let mut publish = Publish::new(topic.to_string(), body, QoS::AtLeastOnce);
        publish.retain = true;
        if self.keep(&Arc::new(publish), None).is_err() {
            tracing::warn!(%topic, "no room for another retained message");
        }
    }

    /// Publishes platform news, retained if it is a state.
    pub(crate) fn announce(&self, topic: &Topic, body: Bytes, retain: bool) {
        let mut publish = Publish::new(topic.to_string(), body, QoS::AtLeastOnce);
        publish.retain = retain;
        let publish = Arc::new(publish);
        if !retain {
            return self.observe_now(&publish);
        }
        let (kept, durable) = self.keep_and_observe(&publish, None);
        if kept.is_err() {
            tracing::warn!(topic = %publish.topic, "no room for another retained message");
        }
        // News are not stored as retained: who keeps them tells them again after a start.
        self.keeper.put_ignored(&publish, durable, None);
    }

    /// Tells a principal how something it sent has ended, if it listens.
    pub(crate) fn tell_status(&self, principal: &Principal, body: &impl Serialize) {
        let topic = Topic {
            owner: Address::local(principal.clone()),
            branch: Branch::Status,
        };
        match serde_json::to_vec(body) {
            Ok(body) => self.announce(&topic, Bytes::from(body), false),
            Err(error) => tracing::error!(%principal, %error, "a status cannot be written"),
        }
    }

    /// Tells one session something on its principal's status topic, whatever else waits for it.
    pub(crate) fn tell_session(&self, mailbox: &Mailbox, body: &serde_json::Value) {
        let topic = Topic {
            owner: Address::local(mailbox.owner().clone()),
            branch: Branch::Status,
        };
        let publish = Publish::new(topic.to_string(), Bytes::from(body.to_string()), QoS::AtLeastOnce);
        let publish = Arc::new(publish);
        let mut tally = Tally::new(&self.metrics, &publish);
        for hearer in self.hearers(&publish.topic) {
            if std::ptr::eq(&*hearer.mailbox, mailbox) {
                tally.count(hearer.deliver(&publish));
            }
        }
    }

    /// Hands a push to a principal's own sessions that are subscribed to it. None gets it twice in one connection.
    pub(crate) fn push(
        &self,
        sessions: &[Arc<Mailbox>],
        to: &Principal,
        envelope: &Envelope,
        expires: Instant,
    ) {
        let Some(channel) = envelope.channel.clone() else {
            return;
        };
        let branch = Branch::Down {
            from: envelope.source.clone(),
            id: envelope.id,
            channel,
        };
        let topic = Topic {
            owner: Address::local(to.clone()),
            branch,
        };
        let mut publish = Publish::new(topic.to_string(), envelope.data.clone(), QoS::AtLeastOnce);
        publish.properties = Some(Box::new(properties(envelope)));
        publish.expires = Some(expires);
        let publish = Arc::new(publish);
        let mut tally = Tally::new(&self.metrics, &publish);
        for hearer in self.hearers(&publish.topic) {
            let own = sessions
                .iter()
                .any(|session| Arc::ptr_eq(session, &hearer.mailbox));
            if own && hearer.qos == QoS::AtMostOnce {
                // Nothing will say whether it arrived: it comes again when the client does.
                if hearer.mailbox.takes_push_at_qos_0(envelope.id) {
                    tally.count(hearer.deliver(&publish));
                }
            } else if let Some(gift) = own.then(|| hearer.mailbox.give_push(envelope.id)).flatten() {
                tally.count(hearer.deliver_gift(&publish, gift));
            }
        }
    }

    /// The connected sessions that would hear a topic: each once alone, and once for each of its groups.
    pub(crate) fn candidates(&self, topic: &str) -> Vec<(Option<Arc<str>>, Hearer)> {
        let mut found: Vec<(Option<Arc<str>>, Hearer)> = Vec::new();
        let index = self.index();
        index.candidates(topic, &mut |group, subscription| {
            if !subscription.mailbox.is_connected() {
                return;
            }
            let options = subscription.options;
            let same = |(of, hearer): &&mut (Option<Arc<str>>, Hearer)| {
                of.as_ref() == group && Arc::ptr_eq(&hearer.mailbox, &subscription.mailbox)
            };
            if let Some((_, hearer)) = found.iter_mut().find(same) {
                hearer.qos = hearer.qos.max(options.qos);
                options.id.into_iter().for_each(|id| hearer.ids.push(id));
                return;
            }
            found.push((group.cloned(), Hearer::of(subscription)));
        });
        found
    }

    /// Gives a session of an attached application a part of its work, unless it holds that already, unacknowledged.
    pub(crate) fn give_work(
        &self,
        hearer: &Hearer,
        for_whom: ForWhom,
        id: MessageId,
        publish: &Arc<Publish>,
    ) {
        let mut tally = Tally::new(&self.metrics, publish);
        if hearer.qos == QoS::AtMostOnce {
            tally.count(hearer.deliver(publish));
        } else if let Some(gift) = hearer.mailbox.give_work(id, for_whom) {
            tally.count(hearer.deliver_gift(publish, gift));
        }
    }

    fn hearers(&self, topic: &str) -> Hearers {
        hearers(&self.index(), topic, None)
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn retained(&self) -> RwLockReadGuard<'_, Retained> {
        self.retained.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut<R>(&self, change: impl FnOnce(&mut Index) -> R) -> R {
        change(&mut self.index.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The `$share` filters that a session is subscribed to.
pub(crate) fn shared(mailbox: &Mailbox) -> Vec<ByteString> {
    let mut filters = mailbox.filters();
    filters.retain(|filter| split_share(filter).0.is_some());
    filters
}

/// A filter's share group, if it has one, and the filter itself. The session has checked its form.
pub(crate) fn split_share(wanted: &str) -> (Option<&str>, &str) {
    match filter::parse_shared(wanted) {
        Ok(Some(shared)) => (Some(shared.group), shared.filter),
        Ok(None) | Err(_) => (None, wanted),
    }
}

/// A push's metadata as MQTT 5 properties, under CloudEvents attribute names.
fn properties(envelope: &Envelope) -> PublishProperties {
    let text = |name: &'static str, value: String| (ByteString::from_static(name), ByteString::from(value));
    let mut user_properties = vec![
        text("id", envelope.id.to_string()),
        text("source", envelope.source.to_string()),
        text("time", envelope.time.to_string()),
        text("expirytime", envelope.expires.to_string()),
    ];
    let mut properties = PublishProperties {
        content_type: envelope.content_type.as_deref().map(ByteString::from),
        ..PublishProperties::default()
    };
    for (name, value) in &envelope.attributes {
        match name.as_str() {
            RESPONSE_TOPIC => properties.response_topic = Some(value.as_str().into()),
            CORRELATION_DATA => properties.correlation_data = STANDARD.decode(value).ok().map(Bytes::from),
            name => user_properties.push((name.into(), value.as_str().into())),
        }
    }
    properties.user_properties = user_properties;
    properties
}
