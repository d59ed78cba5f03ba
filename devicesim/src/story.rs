//! The logs of all parties, joined: what became of each message, when each party was connected, what was told of whom.
//! Pure. Oracles and figures read nothing else.

mod message;
mod rules;
mod words;

use std::collections::{BTreeMap, HashMap};

use irsp_protocol::presence::Reason;

use crate::cast::{APP, Cast};
use crate::observation::{Door, Ending, Log, Moment, Number, Party, Revocation, Stored, What};

pub use message::{Delivery, End, Heard, Message, Receipt};
pub use rules::Rules;
pub use words::{Listened, Word};

/// All that is known at the end.
#[derive(Debug)]
pub struct Story<'a> {
    pub cast: &'a Cast,
    pub messages: BTreeMap<Number, Message>,
    pub lives: HashMap<Party, Life>,
    pub sights: Vec<Sight>,
    pub asked: Vec<Asked>,
    pub overheard: Vec<(Moment, Party, Number)>,
    /// What came and belongs to no message, with who heard it.
    pub strays: Vec<(Moment, Party, Stray)>,
    /// What was said on `live` topics, and wills.
    pub words: BTreeMap<Number, Word>,
    pub revoked: HashMap<Party, Revoked>,
    /// Devices as the application server takes them at the end.
    pub online: &'a [(Party, Option<bool>)],
    pub begin: Moment,
    pub cease: Moment,
    pub quiet: Moment,
    pub rules: Rules,
    pub connects: Connects,
}

/// What belongs to no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stray {
    /// An upload of this device or a push to it.
    Unreadable(Party),
    UnreadableStatus,
    /// The status of what somebody else has sent.
    StatusOf(Option<Party>),
    /// The status of what nobody has sent.
    StatusOfNothing(u16),
}

/// When a party was connected.
#[derive(Clone, Debug, Default)]
pub struct Life {
    pub spans: Vec<Connection>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    pub from: Moment,
    /// Still connected at the end: none.
    pub to: Option<(Moment, Ending)>,
    /// The will that was left with it.
    pub will: Option<Number>,
    /// When its subscriptions went out, and when they were answered.
    pub subscribing: Option<Moment>,
    pub subscribed: Option<Moment>,
}

impl Life {
    /// The connection that stands at this moment.
    pub fn at(&self, moment: Moment) -> Option<&Connection> {
        self.spans
            .iter()
            .rev()
            .find(|span| span.from <= moment && span.to.is_none_or(|(to, _)| to > moment))
    }

    /// Whether one connection stood for so long within this time.
    pub fn stood(&self, from: Moment, to: Moment, length: Moment) -> bool {
        self.spans.iter().any(|span| {
            let end = span.to.map_or(to, |(end, _)| end.min(to));
            end.saturating_sub(span.from.max(from)) >= length
        })
    }

    /// Connections that began in this time.
    pub fn began(&self, from: Moment, to: Moment) -> impl Iterator<Item = &Connection> {
        self.spans
            .iter()
            .filter(move |span| span.from > from && span.from <= to)
    }
}

/// Presence as somebody was told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    pub at: Moment,
    pub by: Party,
    pub of: Party,
    pub epoch: u64,
    pub seq: u64,
    /// In milliseconds since moment zero.
    pub since: Option<i64>,
    pub online: bool,
    pub reason: Reason,
}

/// Presence as the application server says it when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub at: Moment,
    pub of: Party,
    pub epoch: u64,
    pub seq: u64,
    pub since: Option<i64>,
    pub online: bool,
}

/// A reset or a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    pub how: Revocation,
    pub asked: Moment,
    pub effective: Option<Moment>,
    /// When the device was given its new code.
    pub restored: Option<Moment>,
}

/// How connecting went.
#[derive(Clone, Debug, Default)]
pub struct Connects {
    /// From the attempt to CONNACK, in microseconds, with the time of CONNACK.
    pub took: Vec<(Moment, u64)>,
    pub refused: Vec<Moment>,
    pub unreachable: Vec<Moment>,
    pub subscriptions_refused: u64,
    pub ended_by_server: Vec<Moment>,
    pub unknown_statuses: u64,
}

impl<'a> Story<'a> {
    /// Joins the logs.
    pub fn tell(
        cast: &'a Cast,
        logs: &[Log],
        stored: &[Stored],
        online: &'a [(Party, Option<bool>)],
        times: (Moment, Moment, Moment),
        rules: Rules,
    ) -> Story<'a> {
        let (begin, cease, quiet) = times;
        let mut story = Story {
            cast,
            messages: BTreeMap::new(),
            lives: HashMap::new(),
            sights: Vec::new(),
            asked: Vec::new(),
            overheard: Vec::new(),
            strays: Vec::new(),
            words: BTreeMap::new(),
            revoked: HashMap::new(),
            online,
            begin,
            cease,
            quiet,
            rules,
            connects: Connects::default(),
        };
        for seen in logs.iter().flat_map(|log| &log.seen) {
            if let What::Due(number, facts) = seen.what {
                story.messages.insert(number, Message::new(number, facts));
            }
        }
        for log in logs {
            story.read(log);
        }
        for entry in stored {
            match story.messages.get_mut(&entry.message) {
                Some(message) => {
                    message.stored.push(*entry);
                    message.mid = message.mid.or(entry.mid);
                }
                None => story.overheard.push((quiet, APP, entry.message)),
            }
        }
        story.sights.sort_by_key(|sight| sight.at);
        story
    }

    fn read(&mut self, log: &Log) {
        let by = log.party;
        let mut connecting = 0;
        for seen in &log.seen {
            let at = seen.at;
            match seen.what {
                What::Due(..) => {}
                What::Connecting => connecting = at,
                What::Connected => {
                    self.connects.took.push((at, at.saturating_sub(connecting)));
                    self.lives.entry(by).or_default().spans.push(Connection {
                        from: at,
                        to: None,
                        will: None,
                        subscribing: None,
                        subscribed: None,
                    });
                }
                What::Refused => self.connects.refused.push(at),
                What::Unreachable => self.connects.unreachable.push(at),
                What::SubscriptionRefused => self.connects.subscriptions_refused += 1,
                What::Subscribing => self.span(by, |span| span.subscribing = Some(at)),
                What::Subscribed => self.span(by, |span| span.subscribed = Some(at)),
                What::Gone(ending) => {
                    if matches!(ending, Ending::ByServer(_)) {
                        self.connects.ended_by_server.push(at);
                    }
                    self.span(by, |span| span.to = Some((at, ending)));
                }
                What::Presence {
                    of,
                    epoch,
                    seq,
                    since,
                    online,
                    reason,
                } => {
                    self.sights.push(Sight {
                        at,
                        by,
                        of,
                        epoch,
                        seq,
                        since,
                        online,
                        reason,
                    });
                }
                What::PresenceAsked {
                    of,
                    epoch,
                    seq,
                    since,
                    online,
                } => self.asked.push(Asked {
                    at,
                    of,
                    epoch,
                    seq,
                    since,
                    online,
                }),
                What::Overheard { message } => self.overheard.push((at, by, message)),
                What::Unreadable { of } => self.strays.push((at, by, Stray::Unreadable(of))),
                What::EndedUnreadable => self.strays.push((at, by, Stray::UnreadableStatus)),
                What::EndedOther { of } => self.strays.push((at, by, Stray::StatusOf(of))),
                What::EndedUnknown { code } => {
                    self.connects.unknown_statuses += 1;
                    self.strays.push((at, by, Stray::StatusOfNothing(code)));
                }
                What::Ended { message, code, .. } if !self.messages.contains_key(&message) => {
                    self.strays.push((at, by, Stray::StatusOfNothing(code)));
                }
                What::Ended { message, .. } if message.sender() != by => {
                    let of = Some(message.sender());
                    self.strays.push((at, by, Stray::StatusOf(of)));
                }
                What::Revoking { of, how } => {
                    let revoked = Revoked {
                        how,
                        asked: at,
                        effective: None,
                        restored: None,
                    };
                    self.revoked.insert(of, revoked);
                }
                What::Revoked { of } => {
                    if let Some(revoked) = self.revoked.get_mut(&of) {
                        revoked.effective = Some(at);
                    }
                }
                What::Restored { of } => {
                    if let Some(revoked) = self.revoked.get_mut(&of) {
                        revoked.restored = Some(at);
                    }
                }
                What::Worded { message, data } => self.word(message).data = Some(data),
                What::Said { message } => self.word(message).said.push(at),
                What::SaidTaken { message } => {
                    let word = self.word(message);
                    word.taken = word.taken.or(Some(at));
                }
                What::SaidRefused { message } => self.word(message).refused = true,
                What::Testament { message } => {
                    self.word(message).is_will = true;
                    self.span(by, |span| span.will = Some(message));
                }
                What::Listened {
                    message,
                    of,
                    retained,
                    data,
                } => {
                    let listened = Listened {
                        at,
                        by,
                        of,
                        retained,
                        data,
                    };
                    self.word(message).heard.push(listened);
                }
                What::Sent { message, .. }
                | What::Acknowledged { message, .. }
                | What::Rejected { message, .. }
                | What::Ended { message, .. }
                | What::Pushed { message, .. }
                | What::Heard { message, .. }
                | What::Answering { message, .. }
                | What::Answered { message }
                | What::AnswerRefused { message, .. }
                | What::EndedFor { message, .. }
                | What::Receipt { message, .. } => match self.messages.get_mut(&message) {
                    Some(known) => known.read(by, at, &seen.what),
                    // A number of this run that nobody has sent.
                    None => self.overheard.push((at, by, message)),
                },
            }
        }
    }

    /// The connection that has begun last.
    fn span(&mut self, by: Party, on: impl FnOnce(&mut Connection)) {
        if let Some(span) = self.lives.entry(by).or_default().spans.last_mut() {
            on(span);
        }
    }

    fn word(&mut self, number: Number) -> &mut Word {
        self.words.entry(number).or_default()
    }

    /// Whether this party's login or its right was taken away between these moments.
    pub fn revoked_between(&self, party: Party, from: Moment, to: Moment) -> bool {
        self.revoked.get(&party).is_some_and(|revoked| {
            revoked.asked <= to
                && revoked
                    .restored
                    .is_none_or(|restored| restored >= from || revoked.how == Revocation::Deleted)
        })
    }

    /// Whether something went out, last at this moment, over a connection that then stood for as long as an
    /// acknowledgement may take.
    pub fn waited(&self, party: Party, sent: Moment) -> bool {
        let span = self.lives.get(&party).and_then(|life| life.at(sent));
        span.is_some_and(|span| {
            let end = span.to.map_or(self.quiet, |(to, _)| to.min(self.quiet));
            end >= sent.saturating_add(self.rules.patience)
        })
    }

    /// Whether the platform has said nothing at all of a message that it has had for long enough.
    pub fn unanswered(&self, message: &Message) -> bool {
        let (Some(sent), None, None) = (message.sends.last(), message.acknowledged, message.rejected) else {
            return false;
        };
        match message.facts.door {
            Door::Mqtt => message.facts.qos > 0 && self.waited(message.number.sender(), *sent),
            Door::Http => true,
        }
    }

    /// Whether the run took away who sends this message or who is to receive it.
    pub fn taken_away(&self, message: &Message) -> bool {
        let due = message.facts.due;
        self.revoked_between(message.number.sender(), due, self.quiet)
            || self.revoked_between(message.device(), due, self.quiet)
    }

    /// Whether this party is connected when the run is quiet, and has been for so long.
    pub fn present_since(&self, party: Party, length: Moment) -> bool {
        let span = self.lives.get(&party).and_then(|life| life.at(self.quiet));
        span.is_some_and(|span| span.from.saturating_add(length) <= self.quiet)
    }
}

impl Message {
    fn read(&mut self, by: Party, at: Moment, what: &What) {
        match *what {
            What::Sent { .. } => self.sends.push(at),
            What::Acknowledged { mid, .. } => {
                self.acknowledged = self.acknowledged.or(Some(at));
                self.mid = self.mid.or(mid);
            }
            What::Rejected { code, .. } => self.rejected = self.rejected.or(Some((at, code))),
            What::Ended {
                code, answer, mid, ..
            } => {
                self.ends.push(End { at, code, answer });
                self.mid = self.mid.or(mid);
            }
            What::Pushed {
                mid,
                dup,
                from,
                print,
                ..
            } => {
                self.pushed.push(Delivery {
                    at,
                    by,
                    dup,
                    from,
                    print,
                });
                self.mid = self.mid.or(Some(mid));
            }
            What::Heard { dup, print, .. } => {
                if by == APP {
                    self.heard = Some(self.heard.map_or(at, |heard| heard.min(at)));
                }
                self.copies.push(Heard { at, by, dup, print });
            }
            What::Answering { code, .. } => self.answering.push((at, code)),
            What::Answered { .. } => self.answered = self.answered.or(Some(at)),
            What::EndedFor { to, .. } => self.ended_for.push((at, to)),
            What::Receipt { open, source, to, .. } => self.receipt = Some(Receipt { open, source, to }),
            What::AnswerRefused { code, .. } => {
                self.answer_refused = self.answer_refused.or(Some((at, code)));
            }
            What::Connecting
            | What::Connected
            | What::Refused
            | What::Unreachable
            | What::SubscriptionRefused
            | What::Subscribing
            | What::Subscribed
            | What::Gone(_)
            | What::Due(..)
            | What::EndedUnknown { .. }
            | What::EndedUnreadable
            | What::EndedOther { .. }
            | What::Unreadable { .. }
            | What::Overheard { .. }
            | What::Presence { .. }
            | What::PresenceAsked { .. }
            | What::Worded { .. }
            | What::Said { .. }
            | What::SaidTaken { .. }
            | What::SaidRefused { .. }
            | What::Testament { .. }
            | What::Listened { .. }
            | What::Revoking { .. }
            | What::Revoked { .. }
            | What::Restored { .. } => {}
        }
    }

    /// Whether its sender hears its end on a status topic.
    pub fn has_status_topic(&self) -> bool {
        self.facts.door == Door::Mqtt
    }
}
