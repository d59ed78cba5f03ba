//! A member's books: what it has sent and heard, and what it writes next. No socket, no waiting.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use irsp_protocol::topic::Branch;
use irsp_protocol::{Address, MessageId, Timestamp, Topic};
use tokio::time::Instant;

use crate::link::{Broken, Welcome};
use crate::message;
use crate::model::Due;
use crate::observation::{Door, Facts, Log, Number, What};
use crate::options::MqttVersion;
use crate::scenario::{Answers, Manners};
use crate::wire;

use super::agenda::{Agenda, Timer};
use super::outgoing::{Answer, Cargo, Outbox, Outgoing};
use super::{Part, Says, Stage};

/// The packet id of subscriptions; publishes count from 1 and pass it over.
const SUBSCRIBE_ID: u16 = u16::MAX;
/// Numbers a device gives as its own answer, by the push: not the platform's, so that a mix-up shows.
const ANSWERS: [u16; 3] = [200, 201, 299];

pub(super) struct Desk {
    pub(super) stage: Arc<Stage>,
    pub(super) log: Log,
    pub(super) version: MqttVersion,
    pub(super) answers: Answers,
    pub(super) manners: Manners,
    pub(super) outbox: Outbox,
    /// Sent without an id and without a final status, oldest first.
    pub(super) unnamed: VecDeque<Number>,
    /// Which of them a status was about, by the platform's id: it may come again.
    pub(super) ended: HashMap<MessageId, Number>,
    dice: crate::dice::Dice,
    /// The next message of each source.
    next: Vec<Option<Due>>,
    target: Vec<usize>,
    count: u32,
    /// Its part of what all together have under way.
    under_way: i64,
}

impl Desk {
    pub(super) fn new(stage: Arc<Stage>, part: &Part) -> Desk {
        Desk {
            stage,
            log: Log::new(part.party),
            version: part.version,
            answers: part.answers,
            manners: part.manners,
            outbox: Outbox::new(part.version),
            unnamed: VecDeque::new(),
            ended: HashMap::new(),
            dice: part.dice.clone(),
            next: vec![None; part.sources.len()],
            target: vec![0; part.sources.len()],
            count: 0,
            under_way: 0,
        }
    }

    pub(super) fn note(&mut self, what: What) {
        self.log.add(self.stage.now(), what);
    }

    pub(super) fn trouble(&mut self, broken: &Broken) {
        self.stage.trouble(broken);
    }

    pub(super) fn close(self) -> Log {
        self.log
    }

    /// When the next message of a source is due.
    pub(super) fn plan(&mut self, part: &mut Part, source: usize) -> Option<Duration> {
        let due = part.sources.get_mut(source)?.model.next_due();
        let at = due.at;
        self.next[source] = Some(due);
        Some(at)
    }

    /// A message is due.
    pub(super) fn due(
        &mut self,
        part: &mut Part,
        source: usize,
        begin: Option<Instant>,
        out: Option<&mut Vec<u8>>,
    ) {
        let (Some(due), Some(begin)) = (self.next[source].take(), begin) else {
            return;
        };
        let from = &part.sources[source];
        let Some((to, topic)) = from.targets.get(self.target[source] % from.targets.len().max(1)) else {
            return;
        };
        self.target[source] += 1;
        let number = self.number();
        let kind = match from.says {
            Says::Message(kind) => kind,
            Says::Live { retain } => {
                let payload = message::letter(&self.stage.run, number.0, &due.value, from.size);
                if let message::Letter::Ours(_, data) = message::read(&self.stage.run, &payload) {
                    self.note(What::Worded {
                        message: number,
                        data,
                    });
                }
                let from = &part.sources[source];
                let live = Outgoing {
                    cargo: Cargo::Live(number),
                    topic: topic.clone(),
                    payload,
                    qos: from.qos,
                    retain,
                    expiry_s: None,
                    id: String::new(),
                    time: String::new(),
                    sends: 0,
                };
                self.outbox.add(live);
                if let Some(out) = out {
                    self.send(out);
                }
                return;
            }
        };
        let named = self.version == MqttVersion::V5;
        // Whole seconds: MQTT knows no shorter expiry.
        let expiry_s = from
            .expiry
            .map(|expiry| u32::try_from(expiry.as_secs().max(1)).unwrap_or(u32::MAX));
        let payload = message::letter(&self.stage.run, number.0, &due.value, from.size);
        let facts = Facts {
            kind,
            door: Door::Mqtt,
            to: *to,
            due: self.stage.moment(begin + due.at),
            expiry: expiry_s.map(|seconds| u64::from(seconds) * 1_000_000),
            qos: from.qos,
            named,
            print: message::print_of(&self.stage.run, &payload, &from.channel),
        };
        self.note(What::Due(number, facts));
        self.stage.live.open.add(1);
        let time = Timestamp::from(SystemTime::now())
            .as_millis()
            .saturating_add(part.clock_skew_ms);
        self.outbox.add(Outgoing {
            cargo: Cargo::Message(number),
            topic: topic.clone(),
            payload,
            qos: from.qos,
            retain: false,
            expiry_s,
            id: if named {
                message::id(&self.stage.run, number.0)
            } else {
                String::new()
            },
            time: if named && part.clock_skew_ms != 0 {
                Timestamp::from_millis(time).to_string()
            } else {
                String::new()
            },
            sends: 0,
        });
        if let Some(out) = out {
            self.send(out);
        }
    }

    fn number(&mut self) -> Number {
        let number = Number::of(self.log.party, self.count);
        self.count += 1;
        number
    }

    /// The will of the next connection: its number and payload.
    pub(super) fn testament(&mut self) -> (Number, Bytes) {
        let number = self.number();
        let payload = message::letter(&self.stage.run, number.0, "\"will\"", 0);
        if let message::Letter::Ours(_, data) = message::read(&self.stage.run, &payload) {
            self.note(What::Worded {
                message: number,
                data,
            });
        }
        (number, payload)
    }

    pub(super) fn connected(&mut self, welcome: Welcome, filters: &[(String, u8)], out: &mut Vec<u8>) {
        if !filters.is_empty() {
            let filters: Vec<(&str, u8)> = filters
                .iter()
                .map(|(filter, qos)| (filter.as_str(), *qos))
                .collect();
            wire::subscribe(out, self.version, SUBSCRIBE_ID, &filters);
            self.note(What::Subscribing);
        }
        for cargo in self.outbox.connected(welcome.resumed, welcome.receive_max, out) {
            self.sent(cargo, true);
        }
        self.send(out);
    }

    /// Writes what may go out.
    pub(super) fn send(&mut self, out: &mut Vec<u8>) {
        while let Some((cargo, again)) = self.outbox.next(out) {
            self.sent(cargo, again);
        }
        let under_way = self.outbox.under_way();
        self.stage.live.under_way.add(under_way - self.under_way);
        self.under_way = under_way;
    }

    fn sent(&mut self, cargo: Cargo, again: bool) {
        match cargo {
            Cargo::Message(message) => {
                self.note(What::Sent { message, again });
                if !again {
                    self.stage.live.sent.raise();
                    if self.version == MqttVersion::V311 {
                        self.unnamed.push_back(message);
                    }
                }
            }
            Cargo::Live(message) => self.note(What::Said { message }),
            Cargo::Answer(Answer { message, code, .. }) => self.note(What::Answering { message, code }),
        }
    }

    /// A push has come: it is acknowledged and answered, late or twice if this member has such manners.
    pub(super) fn take(
        &mut self,
        publish: &wire::Publish,
        push: Option<(Number, MessageId)>,
        out: &mut Vec<u8>,
        agenda: &mut Agenda,
    ) {
        let late = self.manners.late.map(|late| Instant::now() + late.as_duration());
        let twice = self.manners.twice > 0.0 && self.dice.unit() < self.manners.twice;
        let mut ack = Vec::new();
        match publish.qos {
            0 => {}
            1 => wire::ack(&mut ack, wire::kind::PUBACK, publish.id),
            _ => wire::ack(&mut ack, wire::kind::PUBREC, publish.id),
        }
        // A second PUBREC would be answered by a second PUBREL; a second PUBACK is merely wrong, as some devices are.
        if twice && publish.qos == 1 && self.version == MqttVersion::V311 {
            ack.extend_from_within(..);
        }
        match late {
            Some(at) if push.is_some() => agenda.add(at, Timer::Late(ack)),
            Some(_) | None => out.extend_from_slice(&ack),
        }
        let Some((message, mid)) = push else {
            return;
        };
        let code = ANSWERS[(message.0 % ANSWERS.len() as u64) as usize];
        let answer = Answer { message, mid, code };
        if self.answers == Answers::Mqtt {
            return;
        }
        match late {
            Some(at) => agenda.add(at, Timer::Answer(answer)),
            None => self.answer(answer, Some(out)),
        }
        if twice {
            self.answer(answer, None);
        }
    }

    /// Publishes an answer.
    pub(super) fn answer(&mut self, answer: Answer, out: Option<&mut Vec<u8>>) {
        let owner = self.stage.cast.member(self.log.party).principal.clone();
        let topic = Topic {
            owner: Address::local(owner),
            branch: Branch::Ack { id: answer.mid },
        };
        self.outbox.add(Outgoing {
            cargo: Cargo::Answer(answer),
            topic: topic.to_string(),
            payload: answer.code.to_string().into(),
            qos: 1,
            retain: false,
            expiry_s: None,
            id: String::new(),
            time: String::new(),
            sends: 0,
        });
        if let Some(out) = out {
            self.send(out);
        }
    }
}
