//! What a connected client's packets do: uploads, pushes, answers, live messages and subscriptions.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytestring::ByteString;
use irsp_courier::Hop;
use irsp_protocol::change::Answers;
use irsp_protocol::receipt::Answer;
use irsp_protocol::topic::Branch;
use irsp_protocol::{Address, Channel, Kind, MessageId, MessageKind, Principal, Server, Status, Topic};
use irsp_session::{
    Action, CloseCause, Connection, Delivery, DropCause, Publish, PublishToken, QoS, RetainHandling,
    SubscribeFilter, SubscribeToken, SubscriptionIds,
};
use serde_json::json;

use super::Edge;
use super::bus_port::BusPort;
use super::envelope::{self, Acceptance};
use crate::access;
use crate::sessions::mailbox::{Mailbox, Settled};
use crate::topics::{Full, split_share};

/// The token of what nobody waits for: an answer given by PUBACK.
const NOBODY: u64 = 0;

/// One connected client and what it has under way.
pub(super) struct Client<'e> {
    edge: &'e Edge,
    principal: Principal,
    mailbox: Arc<Mailbox>,
    bus: Option<BusPort>,
    /// Publishes given to the courier and not yet settled, oldest first.
    pending: VecDeque<Pending>,
    stalled: Option<Stalled>,
}

struct Pending {
    token: u64,
    publish_token: PublishToken,
    publish: Arc<Publish>,
    /// Whether others may hear it once it is accepted.
    observed: bool,
}

/// A live publish that waits for room at a slow subscriber. Nothing is read from the client meanwhile.
pub(super) struct Stalled {
    publish_token: PublishToken,
    publish: Arc<Publish>,
    /// Whose mailbox is full.
    pub(super) slow: Arc<Mailbox>,
    /// After this the publish is refused.
    pub(super) until: Instant,
}

/// A refusal and its reason for a person.
struct Refused(Status, String);

impl From<Status> for Refused {
    fn from(status: Status) -> Refused {
        Refused(status, status.name().to_owned())
    }
}

impl From<envelope::Malformed> for Refused {
    fn from(error: envelope::Malformed) -> Refused {
        Refused(Status::MALFORMED, error.to_string())
    }
}

impl<'e> Client<'e> {
    pub(super) fn new(
        edge: &'e Edge,
        principal: Principal,
        mailbox: Arc<Mailbox>,
        bus: Option<BusPort>,
    ) -> Client<'e> {
        Client {
            edge,
            principal,
            mailbox,
            bus,
            pending: VecDeque::new(),
            stalled: None,
        }
    }

    pub(super) fn stalled(&self) -> Option<&Stalled> {
        self.stalled.as_ref()
    }

    /// How many publishes of this client the courier has not settled yet, of any QoS.
    pub(super) fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// How many it may have before nothing further is read.
    pub(super) fn receive_max(&self) -> u16 {
        self.edge.limits.receive_max
    }

    /// Does what the client's packet asks; returns why to close, if it asks for that.
    pub(super) fn act(
        &mut self,
        connection: &mut Connection,
        action: Action,
        now: Instant,
    ) -> Option<CloseCause> {
        match action {
            Action::Publish { token, publish } => self.publish(connection, token, publish, now),
            Action::Subscribe {
                token,
                filters,
                subscription_id,
            } => {
                self.subscribe(connection, token, &filters, subscription_id, now);
            }
            Action::Unsubscribe { token, filters } => {
                let reasons: Vec<u8> = filters.iter().map(|filter| self.unsubscribe(filter)).collect();
                connection.unsubscribed(token, &reasons);
            }
            Action::Delivered { tag, reason } => self.delivered(tag, reason),
            Action::Dropped { tag, cause } => self.dropped(tag, cause),
            Action::Close { cause } => return Some(cause),
        }
        None
    }

    /// A publish given to the courier is on disk, or refused.
    pub(super) fn settled(&mut self, connection: &mut Connection, settled: Settled, now: Instant) {
        let Some(at) = self
            .pending
            .iter()
            .position(|pending| pending.token == settled.token)
        else {
            return;
        };
        let Some(pending) = self.pending.remove(at) else {
            return;
        };
        match settled.result {
            Ok(accepted) => {
                connection.settle(pending.publish_token, irsp_session::reason::SUCCESS, None);
                if pending.observed && !accepted.duplicate {
                    self.edge.enforcer.topics.observe(&pending.publish);
                }
            }
            Err(status) => {
                self.refuse(
                    connection,
                    pending.publish_token,
                    &pending.publish,
                    &status.into(),
                    now,
                );
            }
        }
    }

    /// Tries a stalled publish again; refuses it when its time is over.
    pub(super) fn retry_stalled(&mut self, connection: &mut Connection, now: Instant) {
        let Some(stalled) = self.stalled.take() else {
            return;
        };
        match self.edge.enforcer.topics.publish(&stalled.publish, &self.mailbox) {
            Ok(()) => connection.settle(stalled.publish_token, irsp_session::reason::SUCCESS, None),
            Err(Full(_)) if now >= stalled.until => {
                let refused = Refused(Status::OVER_QUOTA, "a subscriber cannot follow".to_owned());
                self.refuse(connection, stalled.publish_token, &stalled.publish, &refused, now);
            }
            Err(Full(slow)) => self.stalled = Some(Stalled { slow, ..stalled }),
        }
    }

    fn publish(&mut self, connection: &mut Connection, token: PublishToken, publish: Publish, now: Instant) {
        if let Some(bus) = &self.bus {
            match bus.publish(&publish) {
                Ok(()) => connection.settle(token, irsp_session::reason::SUCCESS, None),
                Err(status) => connection.disconnect(status.disconnect_reason(), None),
            }
            return;
        }
        let publish = Arc::new(publish);
        if let Err(refused) = self.route(connection, token, &publish, now) {
            self.refuse(connection, token, &publish, &refused, now);
        }
    }

    fn route(
        &mut self,
        connection: &mut Connection,
        token: PublishToken,
        publish: &Arc<Publish>,
        now: Instant,
    ) -> Result<(), Refused> {
        let mut topic =
            Topic::parse(&publish.topic).map_err(|error| Refused(Status::FORBIDDEN, error.to_string()))?;
        access::localise(&mut topic, &self.edge.domain);
        access::publish(&self.principal, &topic, &*self.edge.enforcer.directory)?;
        if publish.retain && !matches!(topic.branch, Branch::Live { .. }) {
            return Err(envelope::Malformed::Retained.into());
        }
        match topic.branch {
            Branch::Up { app, channel } => self.accept(
                token,
                publish,
                MessageKind::Upload,
                app,
                Hop::Server(Server::App),
                channel,
                now,
            ),
            Branch::CloudEvent { app } => {
                let acceptance = self.acceptance(MessageKind::Upload, app);
                let envelope = envelope::from_cloud_event(acceptance, &publish.payload)?;
                self.hand_over(token, publish, envelope, Hop::Server(Server::App), true);
                Ok(())
            }
            Branch::To { destination, channel } => {
                let hop = Hop::Principal(destination.principal.clone());
                self.accept(token, publish, MessageKind::Push, destination, hop, channel, now)
            }
            Branch::Ack { id } => {
                let answer = envelope::answer(&publish.payload)?;
                let pending = self.wait_for(token, publish, false);
                self.answered(id, answer, pending);
                Ok(())
            }
            Branch::Live { .. } => self.publish_live(connection, token, publish, now),
            Branch::Status | Branch::Down { .. } | Branch::Presence => Err(Status::FORBIDDEN.into()),
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "what an upload and a push have in common"
    )]
    fn accept(
        &mut self,
        token: PublishToken,
        publish: &Arc<Publish>,
        kind: MessageKind,
        destination: Address,
        hop: Hop,
        channel: Channel,
        now: Instant,
    ) -> Result<(), Refused> {
        let acceptance = self.acceptance(kind, destination);
        let envelope = envelope::from_publish(acceptance, channel, publish, now)?;
        self.hand_over(token, publish, envelope, hop, kind == MessageKind::Upload);
        Ok(())
    }

    fn acceptance(&self, kind: MessageKind, destination: Address) -> Acceptance {
        Acceptance {
            id: self.edge.courier.new_id(),
            kind,
            source: Address::local(self.principal.clone()),
            destination,
            now: self.edge.courier.now(),
            expiry: self.edge.message_expiry,
        }
    }

    fn hand_over(
        &mut self,
        token: PublishToken,
        publish: &Arc<Publish>,
        envelope: irsp_protocol::Envelope,
        hop: Hop,
        observed: bool,
    ) {
        let waiting = self.wait_for(token, publish, observed);
        self.edge
            .courier
            .accept(envelope, hop, self.mailbox.clone(), waiting);
    }

    fn wait_for(&mut self, publish_token: PublishToken, publish: &Arc<Publish>, observed: bool) -> u64 {
        let token = self.mailbox.next_token();
        let publish = Arc::clone(publish);
        self.pending.push_back(Pending {
            token,
            publish_token,
            publish,
            observed,
        });
        token
    }

    fn publish_live(
        &mut self,
        connection: &mut Connection,
        token: PublishToken,
        publish: &Arc<Publish>,
        now: Instant,
    ) -> Result<(), Refused> {
        let topics = &self.edge.enforcer.topics;
        if publish.retain && topics.keep(publish).is_err() {
            return Err(Refused(
                Status::OVER_QUOTA,
                "no room for another retained message".to_owned(),
            ));
        }
        match topics.publish(publish, &self.mailbox) {
            Ok(()) => connection.settle(token, irsp_session::reason::SUCCESS, None),
            Err(Full(slow)) => {
                let until = now + self.edge.limits.stall_timeout;
                self.stalled = Some(Stalled {
                    publish_token: token,
                    publish: Arc::clone(publish),
                    slow,
                    until,
                });
            }
        }
        Ok(())
    }

    /// Tells the client why, in every way its version has. An acknowledgement would say that the message is safe, so
    /// an MQTT 3 client, which cannot be told no, is told on its status topic and disconnected [MQTT-3.3.5-2].
    fn refuse(
        &mut self,
        connection: &mut Connection,
        token: PublishToken,
        publish: &Publish,
        Refused(status, detail): &Refused,
        now: Instant,
    ) {
        tracing::debug!(principal = %self.principal, topic = %publish.topic, %status, detail, "publish refused");
        let body =
            json!({ "topic": &*publish.topic, "code": status, "name": status.name(), "detail": detail });
        self.edge.enforcer.topics.tell_status(&self.principal, &body);
        self.deliver(connection, connection.queue_room(), now);
        let forbidden = matches!(
            *status,
            Status::FORBIDDEN | Status::WRONG_DOMAIN | Status::NOT_FOUND | Status::DELETED
        );
        if publish.qos == QoS::AtMostOnce && forbidden {
            connection.disconnect(status.disconnect_reason(), Some(detail));
        } else {
            connection.settle(token, status.puback_reason(), Some(detail));
        }
    }

    /// Moves waiting deliveries into the connection.
    pub(super) fn deliver(&self, connection: &mut Connection, max: usize, now: Instant) -> usize {
        let mut deliveries = Vec::new();
        self.mailbox.take_deliveries(max, &mut deliveries);
        deliveries
            .iter()
            .for_each(|delivery| connection.deliver(delivery, now));
        deliveries.len()
    }

    fn subscribe(
        &mut self,
        connection: &mut Connection,
        token: SubscribeToken,
        filters: &[SubscribeFilter],
        id: Option<u32>,
        now: Instant,
    ) {
        let mut reasons = Vec::with_capacity(filters.len());
        let mut retained = Vec::new();
        let mut listens = false;
        for wanted in filters {
            match self.subscribe_one(wanted, id) {
                Ok(new) => {
                    reasons.push(wanted.qos as u8);
                    listens |= self.is_down(&wanted.filter);
                    let send = match wanted.retain_handling {
                        RetainHandling::Send => true,
                        RetainHandling::SendIfNew => new,
                        RetainHandling::DoNotSend => false,
                    };
                    if let (None, plain, true) = (split_share(&wanted.filter).0, &wanted.filter, send) {
                        let found = self.edge.enforcer.topics.retained(plain, now);
                        retained.extend(found.into_iter().map(|publish| (wanted.qos, publish)));
                    }
                }
                Err(status) => {
                    tracing::debug!(principal = %self.principal, filter = %wanted.filter, %status, "filter refused");
                    reasons.push(status.suback_reason());
                }
            }
        }
        connection.subscribed(token, &reasons);
        for (qos, publish) in retained {
            let qos = qos.min(publish.qos);
            let subscription_ids = SubscriptionIds::from(id);
            connection.deliver(
                &Delivery {
                    publish,
                    qos,
                    retain: true,
                    subscription_ids,
                    tag: None,
                },
                now,
            );
        }
        if listens {
            self.listens();
        }
    }

    fn subscribe_one(&mut self, wanted: &SubscribeFilter, id: Option<u32>) -> Result<bool, Status> {
        if let Some(bus) = &mut self.bus {
            return bus
                .subscribe(&wanted.filter, &self.mailbox, &self.edge.tasks)
                .map(|()| true);
        }
        let held = self.mailbox.filters();
        if held.len() >= self.edge.limits.subscriptions_max && !held.contains(&wanted.filter) {
            return Err(Status::OVER_QUOTA);
        }
        let (_, plain) = split_share(&wanted.filter);
        access::subscribe(&self.principal, plain, &*self.edge.enforcer.directory)?;
        Ok(self.edge.enforcer.topics.subscribe(&self.mailbox, wanted, id))
    }

    fn unsubscribe(&mut self, filter: &ByteString) -> u8 {
        let removed = self.edge.enforcer.topics.unsubscribe(&self.mailbox, filter);
        if removed && self.is_down(filter) && !self.is_listening() {
            self.edge.courier.absent(&Hop::Principal(self.principal.clone()));
        }
        if removed {
            irsp_session::reason::SUCCESS
        } else {
            irsp_session::reason::NO_SUBSCRIPTION_EXISTED
        }
    }

    /// Whether this session hears pushes.
    pub(super) fn is_listening(&self) -> bool {
        self.mailbox.filters().iter().any(|filter| self.is_down(filter))
    }

    /// Tells the courier that pushes can be delivered: those that wait come now, in order.
    pub(super) fn listens(&self) {
        let hop = Hop::Principal(self.principal.clone());
        self.edge.courier.absent(&hop);
        self.edge.courier.present(hop);
    }

    fn is_down(&self, filter: &str) -> bool {
        let (_, plain) = split_share(filter);
        let mut levels = plain.split('/').skip(1);
        levels.next() == Some(self.principal.kind.as_str())
            && levels.next() == Some(self.principal.id.as_str())
            && levels.next() == Some("down")
    }

    /// The client's MQTT acknowledgement of a push: an answer only for devices registered so.
    fn delivered(&mut self, tag: u64, reason: u8) {
        let Some(id) = self.mailbox.untag_push(tag) else {
            return;
        };
        let by_mqtt = self.principal.kind == Kind::Device
            && self
                .edge
                .enforcer
                .directory
                .device(&self.principal.id)
                .is_some_and(|device| device.answers == Answers::Mqtt);
        if by_mqtt && !irsp_session::reason::is_error(reason) {
            self.answered(
                id,
                Answer {
                    code: 200,
                    body: bytes::Bytes::new(),
                },
                NOBODY,
            );
        }
    }

    fn answered(&self, id: MessageId, answer: Answer, token: u64) {
        let hop = Hop::Principal(self.principal.clone());
        self.edge
            .courier
            .answered(hop, id, answer, self.mailbox.clone(), token);
    }

    /// A push that this client can never take ends; one that was not sent stays with the courier.
    fn dropped(&self, tag: Option<u64>, cause: DropCause) {
        tracing::debug!(principal = %self.principal, %cause, "delivery dropped");
        let Some(id) = tag.and_then(|tag| self.mailbox.untag_push(tag)) else {
            return;
        };
        if cause == DropCause::TooLarge {
            let courier = self.edge.courier.clone();
            self.edge.tasks.spawn(async move {
                let ended = courier.write(move |tx| tx.end(id, Status::TOO_LARGE, None)).await;
                if let Err(error) = ended {
                    tracing::warn!(%error, message = %id, "a push that is too large stays until it expires");
                }
            });
        }
    }
}
