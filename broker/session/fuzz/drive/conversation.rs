//! A conversation after CONNECT: the client's bytes, a caller that answers sooner or later or with nonsense, time that
//! passes, connections that end and come back.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytestring::ByteString;
use irsp_session::{
    Action, Connection, Delivery, DropCause, Handshake, Limits, Progress, Publish, PublishToken, QoS,
    Session, SubscribeToken, SubscriptionIds, UnsubscribeToken,
};

use super::input::Input;
use super::model::{Asked, Model, topic_of};
use super::wire;

const CODES: [u8; 8] = [0, 0, 0x10, 0x87, 0x97, 0x01, 0x42, 0xFF];
/// Deliveries are told apart by the first bytes of their payload.
const TAG_BYTES: usize = 8;

pub(crate) fn run(level: u8, input: &[u8]) {
    let mut input = Input::new(input);
    let mut conversation = Conversation::begin(level, &mut input);
    while !input.is_empty() {
        conversation.step(&mut input);
    }
    conversation.comes_back();
    conversation.acknowledges_everything();
}

struct Conversation {
    limits: Arc<Limits>,
    now: Instant,
    connect: Vec<u8>,
    connection: Option<Connection>,
    model: Model,
    closed: bool,
    next_tag: u64,
    publishes: VecDeque<PublishToken>,
    subscribes: VecDeque<(SubscribeToken, usize)>,
    unsubscribes: VecDeque<(UnsubscribeToken, usize)>,
    to_release: VecDeque<u16>,
    to_complete: VecDeque<u16>,
    /// Identifiers of QoS 2 publishes that are taken and not yet ended.
    taken: BTreeSet<u16>,
    /// Those that were taken before, which only a PUBCOMP in the same output allows.
    taken_again: Vec<u16>,
}

impl Conversation {
    fn begin(level: u8, input: &mut Input<'_>) -> Self {
        let limits = super::limits();
        let v5 = level == 5;
        let mut properties = Vec::new();
        let window = input.one_of(&[u16::MAX, 1, 2, 3]);
        let packet_size_max = input.one_of(&[u32::MAX, 40, 80, 200]);
        let alias_max = input.one_of(&[0u16, 1, 2, 9]);
        let flags = input.byte();
        let problem_information = flags & 1 == 0;
        if v5 {
            properties.push(0x21);
            properties.extend_from_slice(&window.to_be_bytes());
            properties.push(0x27);
            properties.extend_from_slice(&packet_size_max.to_be_bytes());
            properties.push(0x22);
            properties.extend_from_slice(&alias_max.to_be_bytes());
            properties.extend_from_slice(&[0x17, u8::from(problem_information)]);
        }
        let asked = Asked {
            v5,
            packet_size_max: if v5 { packet_size_max as usize } else { usize::MAX },
            window: usize::from(if v5 {
                window.min(limits.inflight_max)
            } else {
                limits.inflight_max
            }),
            alias_max: if v5 {
                alias_max.min(limits.topic_alias_max)
            } else {
                0
            },
            problem_information,
        };
        let session = if flags & 2 == 0 {
            Session::new()
        } else {
            Session::durable()
        };
        let mut conversation = Self {
            limits: Arc::new(limits),
            now: Instant::now(),
            connect: wire::connect(level, &properties),
            connection: None,
            model: Model::new(asked),
            closed: false,
            next_tag: 0,
            publishes: VecDeque::new(),
            subscribes: VecDeque::new(),
            unsubscribes: VecDeque::new(),
            to_release: VecDeque::new(),
            to_complete: VecDeque::new(),
            taken: BTreeSet::new(),
            taken_again: Vec::new(),
        };
        conversation.connects(session);
        conversation
    }

    fn connects(&mut self, session: Session) {
        let mut handshake = Handshake::new(Arc::clone(&self.limits), self.now);
        let Progress::Connect(request) = handshake.input(&self.connect, self.now) else {
            panic!("CONNECT refused: {:02x?}", self.connect);
        };
        self.model.connects();
        self.closed = false;
        let present = !session.is_empty();
        self.connection = Some(handshake.accept(&request, session, present, None, self.now));
        self.looks();
    }

    fn connection(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("a connection")
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let now = self.now;
        let op = input.byte();
        match op {
            0..=0x7F => {
                let bytes = input.take(op.into());
                self.model.sends(bytes.len());
                self.connection().input(bytes, now);
            }
            0x80..=0x9F => {
                let at = if op < 0x90 { 0 } else { usize::from(input.byte()) };
                let (code, text) = (input.one_of(&CODES), op & 1 == 1);
                if let Some(token) = self.publishes.remove(at % self.publishes.len().max(1)) {
                    self.settles(token, code, text);
                }
            }
            0xA0..=0xAF => {
                let (code, short) = (input.one_of(&CODES), op & 1);
                if let Some((token, filters)) = self.subscribes.pop_front() {
                    self.connection().subscribed(
                        token,
                        &vec![code; filters - usize::from(short)],
                        Some("refused"),
                    );
                } else if let Some((token, filters)) = self.unsubscribes.pop_front() {
                    self.connection()
                        .unsubscribed(token, &vec![code; filters - usize::from(short)]);
                }
            }
            0xB0..=0xCF => self.delivers(op, input.byte()),
            0xD0..=0xD7 => {
                self.now += Duration::from_secs(input.byte().into());
                let now = self.now;
                if op & 1 == 0 {
                    self.connection().excuse();
                }
                self.connection().timeout(now);
            }
            0xD8..=0xDF => self.stores(),
            0xE0..=0xEF => self.acknowledges(),
            0xF0..=0xF7 => self.comes_back(),
            0xF8..=0xFB => {
                let (code, text) = (input.one_of(&CODES), (op & 1 == 1).then_some("good-bye"));
                self.connection().disconnect(code, text);
            }
            _ => {
                let dropped = self.connection().session_mut().drop_expired(now);
                assert!(dropped <= self.limits.queue_messages_max);
            }
        }
        self.looks();
    }

    fn settles(&mut self, token: PublishToken, code: u8, text: bool) {
        let id = self.connection().packet_id_qos_2(token);
        let text = text.then_some("a reason in words that is longer than some allow");
        self.connection().settle(token, code, text);
        // only these two are a yes
        if let Some(id) = id.filter(|_| !matches!(code, 0 | 0x10)) {
            self.taken.remove(&id);
        }
    }

    fn delivers(&mut self, op: u8, more: u8) {
        let tag = self.next_tag;
        self.next_tag += 1;
        let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(op % 3)];
        let mut payload = tag.to_be_bytes().to_vec();
        payload.resize(TAG_BYTES + usize::from(more & 0x3F), b'x');
        let publish = Publish {
            expires: (more & 0x40 != 0).then(|| self.now + Duration::from_secs((more & 0x0F).into())),
            ..Publish::new(ByteString::from_static(topic_of(tag)), payload, qos)
        };
        let delivery = Delivery {
            publish: Arc::new(publish),
            qos,
            retain: more & 0x80 != 0,
            subscription_ids: SubscriptionIds::from((more & 0x20 != 0).then_some(u32::from(op) * 1000)),
            tag: Some(tag),
            dup: false,
        };
        let now = self.now;
        self.connection().deliver(&delivery, now);
    }

    /// The disk answers.
    fn stores(&mut self) {
        if let Some(id) = self.to_release.pop_front() {
            self.connection().release(id);
        } else if let Some(id) = self.to_complete.pop_front() {
            self.connection().complete(id);
            self.taken.remove(&id);
        }
    }

    /// The client acknowledges what it has, as it should.
    fn acknowledges(&mut self) {
        let oldest = self.model.in_flight.iter().min_by_key(|(_, entry)| entry.tag);
        let Some((&id, &entry)) = oldest else { return };
        let first = match (entry.qos, entry.released) {
            (1, _) => 0x40,
            (_, false) => 0x50,
            (_, true) => 0x70,
        };
        let [high, low] = id.to_be_bytes();
        let bytes = [first, 2, high, low];
        let now = self.now;
        self.model.sends(bytes.len());
        self.connection().input(&bytes, now);
        self.looks();
    }

    /// The connection ends, whatever it was doing, and the client comes back.
    fn comes_back(&mut self) {
        // exactly once across connections: the caller settles what it was given
        while let Some(token) = self.publishes.pop_front() {
            self.settles(token, 0, false);
        }
        self.connection().disconnect(0x8E, None);
        self.looks();
        assert_eq!(self.connection().unsettled(), 0);
        self.subscribes.clear();
        self.unsubscribes.clear();
        self.to_release.clear();
        self.to_complete.clear();
        let session = self
            .connection
            .take()
            .map(Connection::into_session)
            .unwrap_or_default();
        self.connects(session);
    }

    /// However it went, the session can be brought to its end.
    fn acknowledges_everything(&mut self) {
        for _ in 0..100 {
            while !self.to_release.is_empty() || !self.to_complete.is_empty() {
                self.stores();
                self.looks();
            }
            if self.closed || self.model.in_flight.is_empty() {
                break;
            }
            self.acknowledges();
        }
        if !self.closed {
            assert!(self.model.in_flight.is_empty(), "{:?}", self.model.in_flight);
            assert_eq!(self.connection().session().pending(), 0, "queued and never sent");
        }
    }

    /// Takes what the connection has to say.
    fn looks(&mut self) {
        let was_closed = self.closed;
        let mut acknowledged = Vec::new();
        while let Some(action) = self.connection().poll() {
            assert!(
                !self.closed || matches!(action, Action::Dropped { .. }),
                "after the end: {action:?}"
            );
            if let Action::Delivered { tag, .. } = action {
                acknowledged.push(tag);
            }
            self.takes(action);
        }
        let output = self.connection().output().unwrap_or_default();
        assert!(
            !was_closed || output.is_empty(),
            "sent after the end: {output:02x?}"
        );
        let completed = self.model.reads(&output);
        self.taken.retain(|id| !completed.contains(id));
        for id in std::mem::take(&mut self.taken_again) {
            assert!(completed.contains(&id), "QoS 2, handed on twice: {id}");
            self.taken.insert(id);
        }
        for tag in acknowledged {
            assert!(self.model.has_heard(tag), "acknowledged and never sent: {tag}");
        }
        assert_eq!(self.connection().is_closed(), self.closed);
        assert!(self.connection().session().queued() <= self.limits.queue_messages_max);
        assert!(self.connection().output().is_none());
    }

    fn takes(&mut self, action: Action) {
        match action {
            Action::Publish { token, publish } => {
                assert!(!publish.topic.is_empty() && !publish.topic.contains(['+', '#', '\0']));
                if let Some(id) = self.connection().packet_id_qos_2(token)
                    && !self.taken.insert(id)
                {
                    self.taken_again.push(id);
                }
                if publish.qos == QoS::AtMostOnce {
                    self.connection().settle(token, 0x97, None);
                } else {
                    self.publishes.push_back(token);
                }
            }
            Action::Subscribe { token, filters, .. } => self.subscribes.push_back((token, filters.len())),
            Action::Unsubscribe { token, filters } => self.unsubscribes.push_back((token, filters.len())),
            Action::Delivered { tag, .. } => self.model.ends(tag),
            Action::Dropped { tag, cause } => {
                self.model.ends(tag.expect("a tag of ours"));
                assert!(cause != DropCause::NotConnected || self.closed);
            }
            Action::Received { packet_id, .. } => self.to_release.push_back(packet_id),
            Action::Released { packet_id } => self.to_complete.push_back(packet_id),
            Action::Close { .. } => self.closed = true,
        }
    }
}
