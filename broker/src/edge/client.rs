//! What a connected client's packets do: uploads, pushes, answers, live messages and subscriptions.

mod deliveries;
mod live;
mod pushes;
mod stored;
mod subscriptions;
mod waiting;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytestring::ByteString;
use irsp_courier::Hop;
use irsp_protocol::topic::Branch;
use irsp_protocol::{Address, Channel, Kind, MessageId, MessageKind, Principal, Status, Topic};
use irsp_session::{Action, CloseCause, Connection, DropCause, Publish, PublishToken, QoS};
use serde_json::json;

pub(super) use self::live::Stalled;
use self::waiting::Waiting;
use super::Edge;
use super::bus_port::BusPort;
use super::envelope::{self, Acceptance};
use super::rate::PublishRate;
use super::under_way::Share;
use crate::access;
use crate::metrics::{Class, Limit};
use crate::route;
use crate::sessions::backlog::Backlog;
use crate::sessions::mailbox::Mailbox;
use crate::sessions::tag::Tag;
use crate::store::queue;

/// Payload bytes that wait behind a stalled publish before nothing further is read.
const BEHIND_BYTES_MAX: usize = 1 << 20;

/// One connected client and what it has under way.
pub(super) struct Client<'e> {
    edge: &'e Edge,
    principal: Principal,
    rate: Arc<PublishRate>,
    /// It publishes too fast: nothing is read until then.
    held_until: Option<Instant>,
    mailbox: Arc<Mailbox>,
    bus: Option<Box<BusPort>>,
    /// What was given to the disk and is not yet settled, oldest first.
    pending: VecDeque<Pending<'e>>,
    stalled: Option<Stalled>,
    /// The live topic the client published to last, which is mostly the next one's, too.
    last_live: Option<Box<LiveTopic>>,
    /// What the client sent behind a stalled publish.
    behind: Behind,
    /// What the client's subscriptions are still to hear of what is retained.
    backlog: Backlog,
    /// SUBSCRIBEs that wait for the disk: their SUBACK comes before anything they hear.
    subscribing: usize,
}

/// A live topic as it came, in its one spelling, and what it says.
struct LiveTopic {
    name: ByteString,
    topic: Topic,
}

struct Pending<'e> {
    token: u64,
    waiting: Waiting,
    /// Of a publish.
    _share: Option<Share<'e>>,
}

/// Actions in the order of the client's packets.
#[derive(Default)]
struct Behind {
    actions: VecDeque<Action>,
    /// Of their payloads.
    bytes: usize,
}

impl Behind {
    fn push(&mut self, action: Action) {
        self.bytes += payload_len(&action);
        self.actions.push_back(action);
    }

    fn pop(&mut self) -> Option<Action> {
        let action = self.actions.pop_front()?;
        self.bytes -= payload_len(&action);
        if self.actions.is_empty() {
            self.actions = VecDeque::new();
        }
        Some(action)
    }
}

fn payload_len(action: &Action) -> usize {
    match action {
        Action::Publish { publish, .. } => publish.payload.len(),
        Action::Subscribe { .. }
        | Action::Unsubscribe { .. }
        | Action::Delivered { .. }
        | Action::Dropped { .. }
        | Action::Received { .. }
        | Action::Released { .. }
        | Action::Close { .. } => 0,
    }
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
        Refused(error.status(), error.to_string())
    }
}

impl<'e> Client<'e> {
    pub(super) fn new(
        edge: &'e Edge,
        principal: Principal,
        rate: Arc<PublishRate>,
        mailbox: Arc<Mailbox>,
        bus: Option<Box<BusPort>>,
        backlog: Backlog,
    ) -> Client<'e> {
        Client {
            edge,
            principal,
            rate,
            held_until: None,
            mailbox,
            bus,
            pending: VecDeque::new(),
            stalled: None,
            last_live: None,
            behind: Behind::default(),
            backlog,
            subscribing: 0,
        }
    }

    pub(super) fn stalled(&self) -> Option<&Stalled> {
        self.stalled.as_ref()
    }

    /// Whether more of the client can be taken: neither the disk nor a slow subscriber has too much of it, nor the disk of
    /// all clients.
    pub(super) fn has_room(&self) -> bool {
        let most = usize::from(self.edge.limits.receive_max);
        self.pending.len() < most
            && (self.pending.is_empty() || self.edge.under_way.has_room())
            && self.behind.actions.len() < most
            && self.behind.bytes < BEHIND_BYTES_MAX
    }

    /// Until when nothing is read, because its principal publishes too fast.
    pub(super) fn held_until(&mut self, now: Instant) -> Option<Instant> {
        self.held_until = self.held_until.filter(|until| *until > now);
        self.held_until
    }

    /// How much of this client, of any QoS, waits for the disk.
    pub(super) fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// The client took nothing of what waits for it and is cut.
    pub(super) fn is_cut(&self) {
        tracing::info!(principal = %self.principal, "mqtt.write_timeout: the client takes nothing");
        self.edge.metrics.limit(Limit::WriteTimeout);
    }

    /// Gives a stalled publish up, and what waits behind it: none of it was acknowledged.
    pub(super) fn give_up_stalled(&mut self) {
        self.stalled = None;
        self.behind = Behind::default();
    }

    /// What the client's subscriptions are still to hear, for its next connection.
    pub(super) fn into_backlog(self) -> Backlog {
        self.backlog
    }

    /// After the end: of what is held back only that of QoS 0 is still to be heard, as nobody will send it again.
    pub(super) fn give_up_what_comes_again(&mut self) {
        self.stalled.take_if(|stalled| !stalled.is_qos_0());
        let behind = std::mem::take(&mut self.behind);
        let is_qos_0 = |action: &Action| matches!(action, Action::Publish { publish, .. } if publish.qos == QoS::AtMostOnce);
        let kept = behind.actions.into_iter().filter(is_qos_0);
        kept.for_each(|action| self.behind.push(action));
    }

    /// Goes on with what waits behind a stalled publish, as far as that is over.
    pub(super) fn act_on_behind(&mut self, connection: &mut Connection, now: Instant) {
        while self.stalled.is_none()
            && let Some(action) = self.behind.pop()
        {
            self.act(connection, action, now);
        }
    }

    /// Does what the client's packets ask, in their order; returns why to close, if they ask for that. Behind a stalled
    /// publish only what answers our own deliveries is done at once. What waits there when the connection ends was
    /// never acknowledged, and is given up with it.
    pub(super) fn act_on_all(&mut self, connection: &mut Connection, now: Instant) -> Option<CloseCause> {
        loop {
            self.act_on_behind(connection, now);
            let action = connection.poll()?;
            let answers = matches!(
                action,
                Action::Delivered { .. }
                    | Action::Dropped { .. }
                    | Action::Received { .. }
                    | Action::Released { .. }
                    | Action::Close { .. }
            );
            if self.stalled.is_some() && !answers {
                self.behind.push(action);
            } else if let Some(cause) = self.act(connection, action, now) {
                return Some(cause);
            }
        }
    }

    /// After the end: only what the client said to our deliveries counts, and why it ended.
    pub(super) fn act_on_answers(&mut self, connection: &mut Connection) -> Option<CloseCause> {
        let mut closed = None;
        while let Some(action) = connection.poll() {
            match action {
                Action::Delivered { tag, reason } => self.answer(tag, reason),
                Action::Dropped { tag, cause } => self.drop_delivery(tag, cause),
                Action::Close { cause } => closed = closed.or(Some(cause)),
                Action::Publish { .. }
                | Action::Subscribe { .. }
                | Action::Unsubscribe { .. }
                | Action::Received { .. }
                | Action::Released { .. } => {}
            }
        }
        closed
    }

    fn act(&mut self, connection: &mut Connection, action: Action, now: Instant) -> Option<CloseCause> {
        match action {
            Action::Publish { token, publish } => self.publish(connection, token, publish, now),
            Action::Subscribe {
                token,
                filters,
                subscription_id,
            } => {
                self.subscribe(connection, token, &filters, subscription_id);
            }
            Action::Unsubscribe { token, filters } => self.unsubscribe(connection, token, filters),
            Action::Delivered { tag, reason } => self.answer(tag, reason),
            Action::Dropped { tag, cause } => self.drop_delivery(tag, cause),
            Action::Received { packet_id, tag } => self.received(connection, packet_id, tag),
            Action::Released { packet_id } => self.released(connection, packet_id),
            Action::Close { cause } => {
                if let CloseCause::ProtocolError(error) = &cause {
                    self.edge.metrics.broke(error);
                }
                return Some(cause);
            }
        }
        None
    }

    /// What the client said to a tagged delivery.
    fn answer(&mut self, tag: u64, reason: u8) {
        match Tag::of(tag) {
            Tag::Push(push) => self.delivered(push, reason),
            Tag::Stored(seq) => self.done_with(seq),
        }
    }

    fn drop_delivery(&mut self, tag: Option<u64>, cause: DropCause) {
        tracing::debug!(principal = %self.principal, %cause, "delivery dropped");
        self.edge.metrics.dropped.of(cause.into()).inc();
        match tag.map(Tag::of) {
            Some(Tag::Push(push)) => self.dropped(push, cause),
            Some(Tag::Stored(seq)) => self.done_with(seq),
            None => {}
        }
    }

    fn publish(&mut self, connection: &mut Connection, token: PublishToken, publish: Publish, now: Instant) {
        if let Some(bus) = &self.bus {
            match bus.publish(&publish) {
                Ok(()) => connection.settle(token, irsp_session::reason::SUCCESS, None),
                Err(status) => connection.disconnect(status.disconnect_reason(), Some(status.name())),
            }
            return;
        }
        let class = Class::of(&publish.topic);
        self.edge.metrics.publishes.of(class, publish.qos.into()).inc();
        if let Some(until) = self.rate.take(now) {
            if self.held_until.is_none() {
                self.edge.metrics.limit(Limit::PublishRateMax);
            }
            self.held_until = Some(until);
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
        if let Some(last) = &self.last_live
            && last.name == publish.topic
        {
            access::publish(&self.principal, &last.topic, &*self.edge.enforcer.directory)?;
            return self.publish_live(connection, token, publish, now);
        }
        let mut topic =
            Topic::parse(&publish.topic).map_err(|error| Refused(Status::FORBIDDEN, error.to_string()))?;
        let short;
        let publish = match access::localise(&mut topic, &self.edge.domain) {
            false => publish,
            true => {
                // Subscribers know the topic by its one spelling.
                short = Arc::new(Publish {
                    topic: topic.to_string().into(),
                    ..Publish::clone(publish)
                });
                &short
            }
        };
        access::publish(&self.principal, &topic, &*self.edge.enforcer.directory)?;
        if publish.retain && !matches!(topic.branch, Branch::Live { .. }) {
            return Err(envelope::Malformed::Retained.into());
        }
        match topic.branch {
            Branch::Up { app, channel } => {
                self.accept(connection, token, publish, MessageKind::Upload, app, channel, now)
            }
            Branch::CloudEvent { app } => {
                let hop = self.next_hop(&app)?;
                let acceptance = self.acceptance(MessageKind::Upload, app);
                let envelope = envelope::from_cloud_event(acceptance, publish, now)?;
                self.hand_over(connection, token, publish, envelope, hop, true);
                Ok(())
            }
            Branch::To { destination, channel } => {
                let kind = match destination.principal.kind {
                    Kind::Application => MessageKind::Message,
                    Kind::Device | Kind::User | Kind::External | Kind::Peer | Kind::Server => {
                        MessageKind::Push
                    }
                };
                self.accept(connection, token, publish, kind, destination, channel, now)
            }
            Branch::Ack { id } => {
                let answer = envelope::answer(&publish.payload)?;
                self.answered(token, publish, id, answer);
                Ok(())
            }
            Branch::Answers => {
                let (id, answer) = envelope::named_answer(&publish.payload)?;
                self.answered(token, publish, id, answer);
                Ok(())
            }
            Branch::Live { .. } => {
                let name = publish.topic.clone();
                self.last_live = Some(Box::new(LiveTopic { name, topic }));
                self.publish_live(connection, token, publish, now)
            }
            Branch::Status | Branch::Down { .. } | Branch::In(_) | Branch::Presence => {
                Err(Status::FORBIDDEN.into())
            }
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "what an upload, a push and a message have in common"
    )]
    fn accept(
        &mut self,
        connection: &Connection,
        token: PublishToken,
        publish: &Arc<Publish>,
        kind: MessageKind,
        destination: Address,
        channel: Channel,
        now: Instant,
    ) -> Result<(), Refused> {
        let hop = self.next_hop(&destination)?;
        let acceptance = self.acceptance(kind, destination);
        let envelope = envelope::from_publish(acceptance, channel, publish, now)?;
        route::check_size(&hop, &envelope)?;
        self.hand_over(
            connection,
            token,
            publish,
            envelope,
            hop,
            kind == MessageKind::Upload,
        );
        Ok(())
    }

    fn next_hop(&self, destination: &Address) -> Result<Hop, Refused> {
        Ok(route::next_hop(destination, &self.edge.enforcer.directory)?)
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

    /// A QoS 2 publish of a durable session is remembered with it, so that its repeat after a restart is one
    /// [MQTT-4.3.3-10].
    fn hand_over(
        &mut self,
        connection: &Connection,
        token: PublishToken,
        publish: &Arc<Publish>,
        envelope: irsp_protocol::Envelope,
        hop: Hop,
        observed: bool,
    ) {
        // An upload's repeat is settled by its acknowledgement; who repeats a push or a message wants to know which one
        // it was.
        let sender_id = envelope.sender_id.clone();
        let sender_id = sender_id.filter(|_| envelope.kind != MessageKind::Upload);
        let waiting = self.wait_for_courier(token, publish, observed, sender_id);
        let (courier, sink) = (&self.edge.courier, self.mailbox.clone());
        match self.taken(connection, token) {
            None => courier.accept(envelope, hop, sink, waiting),
            Some((session, packet_id)) => courier.accept_also(
                envelope,
                hop,
                move |tx| queue::take(tx.sql(), session, packet_id),
                sink,
                waiting,
            ),
        }
    }

    fn wait_for_courier(
        &mut self,
        publish_token: PublishToken,
        publish: &Arc<Publish>,
        observed: bool,
        sender_id: Option<String>,
    ) -> u64 {
        let waiting = Waiting::Accepted {
            publish_token,
            publish: Arc::clone(publish),
            observed,
            sender_id,
        };
        self.wait_with(publish, waiting)
    }

    fn wait_for(&mut self, waiting: Waiting) -> u64 {
        self.wait(waiting, None)
    }

    /// The same, for what keeps a publish in memory.
    fn wait_with(&mut self, publish: &Publish, waiting: Waiting) -> u64 {
        self.wait(waiting, Some(self.edge.under_way.add(publish)))
    }

    fn wait(&mut self, waiting: Waiting, share: Option<Share<'e>>) -> u64 {
        let token = self.mailbox.next_token();
        self.pending.push_back(Pending {
            token,
            waiting,
            _share: share,
        });
        token
    }

    /// Tells the client that it had sent this before: the acknowledgement alone does not say so.
    fn tell_repeat(&self, publish: &Publish, id: &str, first: MessageId) {
        let status = Status::DUPLICATE;
        let body = json!({ "message": first, "id": id, "topic": &*publish.topic, "code": status, "name": status.name() });
        self.edge.enforcer.topics.tell_status(&self.principal, &body);
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
        self.edge.metrics.publishes_refused.inc(*status);
        let body =
            json!({ "topic": &*publish.topic, "code": status, "name": status.name(), "detail": detail });
        self.edge.enforcer.topics.tell_status(&self.principal, &body);
        self.deliver_mail(connection, connection.queue_room(), usize::MAX, now);
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
}
