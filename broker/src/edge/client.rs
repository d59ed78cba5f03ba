//! What a connected client's packets do: uploads, pushes, answers, live messages and subscriptions.

mod live;
mod pushes;
mod stored;
mod subscriptions;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use irsp_courier::Hop;
use irsp_protocol::topic::Branch;
use irsp_protocol::{Address, Channel, MessageKind, Principal, Server, Status, Topic};
use irsp_session::{Action, CloseCause, Connection, Publish, PublishToken, QoS};
use serde_json::json;

pub(super) use self::live::Stalled;
use self::stored::Waiting;
use super::Edge;
use super::bus_port::BusPort;
use super::envelope::{self, Acceptance};
use crate::access;
use crate::sessions::mailbox::{Mailbox, Tag};

/// One connected client and what it has under way.
pub(super) struct Client<'e> {
    edge: &'e Edge,
    principal: Principal,
    mailbox: Arc<Mailbox>,
    bus: Option<BusPort>,
    /// What was given to the disk and is not yet settled, oldest first.
    pending: VecDeque<Pending>,
    stalled: Option<Stalled>,
}

struct Pending {
    token: u64,
    waiting: Waiting,
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

    /// How much of this client, of any QoS, waits for the disk.
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
            Action::Unsubscribe { token, filters } => self.unsubscribe(connection, token, filters),
            Action::Delivered { tag, reason } => match Tag::of(tag) {
                Tag::Push(push) => self.delivered(push, reason),
                Tag::Stored(seq) => self.done_with(seq),
            },
            Action::Dropped { tag, cause } => {
                tracing::debug!(principal = %self.principal, %cause, "delivery dropped");
                match tag.map(Tag::of) {
                    Some(Tag::Push(push)) => self.dropped(push, cause),
                    Some(Tag::Stored(seq)) => self.done_with(seq),
                    None => {}
                }
            }
            Action::Received { packet_id, tag } => self.received(connection, packet_id, tag),
            Action::Released { packet_id } => self.released(connection, packet_id),
            Action::Close { cause } => return Some(cause),
        }
        None
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
                let pending = self.wait_for_courier(token, publish, false);
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
        let waiting = self.wait_for_courier(token, publish, observed);
        self.edge
            .courier
            .accept(envelope, hop, self.mailbox.clone(), waiting);
    }

    fn wait_for_courier(
        &mut self,
        publish_token: PublishToken,
        publish: &Arc<Publish>,
        observed: bool,
    ) -> u64 {
        self.wait_for(Waiting::Accepted {
            publish_token,
            publish: Arc::clone(publish),
            observed,
        })
    }

    fn wait_for(&mut self, waiting: Waiting) -> u64 {
        let token = self.mailbox.next_token();
        self.pending.push_back(Pending { token, waiting });
        token
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
}
