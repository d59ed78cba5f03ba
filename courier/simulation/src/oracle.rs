//! The oracle: knows what clients were told and what the world did, and holds it against the promises.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use irsp_protocol::receipt::Answer;
use irsp_protocol::{Address, MessageId, MessageKind, Principal, Server, State, Status};
use thiserror::Error;

use crate::plan::{Clocks, Plan};

/// The promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// What was acknowledged has an end, and what ended with 200 has its effect.
    Lost,
    /// No effect takes place twice.
    EffectTwice,
    /// Order per (source, destination).
    Order,
    /// One terminal state, which stays.
    EndedTwice,
    /// Sender and receiver know the same end.
    Disagreement,
    /// The ledger adds up.
    Residue,
    /// No more under way than the window, in messages and in bytes.
    Window,
    /// No more remembered than was agreed.
    Memory,
    /// Nothing is repeated sooner than agreed.
    Spinning,
    /// With everything well, everything ends.
    Stuck,
}

/// A promise that was broken.
#[derive(Debug, Error)]
#[error("{rule:?} at {at:?}: {what}")]
pub struct Violation {
    pub rule: Rule,
    /// True time since the beginning of the story.
    pub at: Duration,
    pub what: String,
}

/// A message that a client has tried to have accepted.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) kind: MessageKind,
    pub(crate) server: Server,
    pub(crate) source: Address,
    pub(crate) destination: Address,
    pub(crate) sender_id: Option<String>,
    pub(crate) short_lived: bool,
    pub(crate) refused: bool,
}

/// An envelope that goes out on the bus.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sending {
    pub(crate) id: MessageId,
    /// Its number in its sender's outbox.
    pub(crate) seq: i64,
    pub(crate) bytes: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) status: Status,
    pub(crate) answer: Option<Answer>,
}

/// What an envelope's way over the bus looks like from outside.
#[derive(Debug, Default)]
struct Lane {
    /// With their bytes.
    unanswered: BTreeMap<MessageId, usize>,
    /// Its answer has arrived, though it may not be stored yet; what is repeated meanwhile does not count.
    answered: BTreeSet<MessageId>,
    /// The last time, and its number in the sender's outbox. What is taken up again has a new one.
    sent_at: BTreeMap<MessageId, (i64, Instant)>,
}

#[derive(Debug)]
pub(crate) struct Oracle {
    plan: Plan,
    /// True time, for what is told.
    pub(crate) at: Duration,
    /// In the order in which they were given to their servers.
    sent: BTreeMap<MessageId, (usize, Sent)>,
    acked: BTreeSet<MessageId>,
    ended: BTreeMap<(Server, MessageId), End>,
    /// Dead letters that an operator has taken up: they may end anew as they did.
    operated: BTreeSet<MessageId>,
    /// Pushes that their device has answered at least once.
    said: BTreeSet<MessageId>,
    /// What has ever been a dead letter: a late word of its receiver may end it anew, and it may come late.
    died: BTreeSet<MessageId>,
    /// Answers that a device was told are stored.
    answered: BTreeMap<MessageId, u16>,
    lanes: BTreeMap<(Server, Server), Lane>,
    sessions: BTreeMap<Principal, Session>,
}

/// What a present device was given in this session.
#[derive(Debug, Default)]
struct Session {
    /// The last place in order per source.
    last: BTreeMap<Address, usize>,
    /// With their bytes.
    unanswered: BTreeMap<MessageId, usize>,
}

type Verdict = Result<(), Violation>;

impl Oracle {
    pub(crate) fn new(plan: Plan) -> Oracle {
        Oracle {
            plan,
            at: Duration::ZERO,
            sent: BTreeMap::new(),
            acked: BTreeSet::new(),
            operated: BTreeSet::new(),
            said: BTreeSet::new(),
            died: BTreeSet::new(),
            ended: BTreeMap::new(),
            answered: BTreeMap::new(),
            lanes: BTreeMap::new(),
            sessions: BTreeMap::new(),
        }
    }

    pub(crate) fn broken<T>(&self, rule: Rule, what: impl Into<String>) -> Result<T, Violation> {
        Err(Violation {
            rule,
            at: self.at,
            what: what.into(),
        })
    }

    /// A client gives a message to its server.
    pub(crate) fn sent(&mut self, id: MessageId, sent: Sent) {
        self.sent.insert(id, (self.sent.len(), sent));
    }

    /// The client was told that it is accepted.
    pub(crate) fn acked(&mut self, id: MessageId) {
        self.acked.insert(id);
    }

    /// A device was told that its answer is stored, and that it is the first.
    pub(crate) fn answered(&mut self, id: MessageId, code: u16) -> Verdict {
        match self.answered.insert(id, code) {
            // A push that was forgotten is given and answered anew.
            Some(before) if self.plan.keeps_ends() => self.broken(
                Rule::EndedTwice,
                format!("{id} was answered {before}, then {code}"),
            ),
            Some(_) | None => Ok(()),
        }
    }

    /// The messages that stand, or stood, on a server's disk.
    pub(crate) fn held_by(&self, server: Server) -> Vec<MessageId> {
        let held = |sent: &Sent| {
            sent.server == server || (server == Server::Message && sent.kind == MessageKind::Push)
        };
        let sent = self.sent.iter().filter(|(_, (_, sent))| held(sent));
        sent.map(|(id, _)| *id).collect()
    }

    /// A server says that a message has ended, by its callback (`heard`) or its receipt.
    pub(crate) fn ended(&mut self, server: Server, id: MessageId, end: End, heard: bool) -> Verdict {
        if let Some(lanes) = heard.then(|| self.lanes.iter_mut().filter(|((from, _), _)| *from == server)) {
            for (_, lane) in lanes {
                lane.unanswered.remove(&id);
            }
            for session in self.sessions.values_mut() {
                session.unanswered.remove(&id);
            }
        }
        let remembered = self.plan.keeps_ends();
        let operated = self.operated.contains(&id);
        if State::of(end.status) == State::Undeliverable {
            self.died.insert(id);
        }
        match self.ended.get(&(server, id)) {
            Some(before)
                if State::of(before.status) == State::Undeliverable && (operated || *before != end) =>
            {
                self.ended.insert((server, id), end);
                Ok(())
            }
            Some(before) if remembered && (heard || *before != end) => self.broken(
                Rule::EndedTwice,
                format!("{id} ended at {server} with {before:?} and {end:?}"),
            ),
            Some(_) => Ok(()),
            None => {
                self.ended.insert((server, id), end);
                Ok(())
            }
        }
    }

    /// A process has come or gone: what it had under way is unknown to its successor.
    pub(crate) fn restarted(&mut self, server: Server) {
        self.lanes.retain(|(from, _), _| *from != server);
        if server == Server::Message {
            self.sessions.clear();
        }
    }

    /// The way between two servers was found again: repeats at once are agreed.
    pub(crate) fn heard(&mut self, server: Server, from: Server) {
        if let Some(lane) = self.lanes.get_mut(&(server, from)) {
            lane.sent_at.clear();
        }
    }

    /// An envelope goes out on the bus.
    pub(crate) fn delivering(&mut self, from: Server, to: Server, sending: Sending, now: Instant) -> Verdict {
        let Sending { id, seq, bytes } = sending;
        let lane = self.lanes.entry((from, to)).or_default();
        let others: usize = lane.unanswered.values().sum();
        // One that was sent and has ended since the last look is under way no more.
        let over = self.ended.contains_key(&(from, id)) && !self.operated.contains(&id);
        let is_new = !over && !lane.answered.contains(&id) && lane.unanswered.insert(id, bytes).is_none();
        let (under_way, before) = (lane.unanswered.len(), lane.sent_at.insert(id, (seq, now)));
        let (window, window_bytes) = (
            self.plan.settings.server_window,
            self.plan.settings.server_window_bytes,
        );
        let wait = self.plan.settings.retry_min * 3 / 4;
        if under_way > window || (is_new && under_way > 1 && others >= window_bytes) {
            let what = format!("{under_way} from {from} to {to}, {others} bytes before the last");
            return self.broken(Rule::Window, what);
        }
        match before {
            Some((last, before)) if last == seq && now.duration_since(before) < wait => {
                let waited = now.duration_since(before);
                self.broken(Rule::Spinning, format!("{id} again after {waited:?}"))
            }
            Some((last, _)) if last > seq => self.broken(
                Rule::Spinning,
                format!("{id}, stored anew as {last}, again as {seq}"),
            ),
            Some(_) | None => Ok(()),
        }
    }

    /// An answer arrives at `server`.
    pub(crate) fn answer_arrives(&mut self, server: Server, from: Server, id: MessageId) {
        // Also one that this process has not sent, but its predecessor: it may read it before the answer is stored.
        let lane = self.lanes.entry((server, from)).or_default();
        lane.unanswered.remove(&id);
        lane.answered.insert(id);
    }

    pub(crate) fn session_begins(&mut self, device: &Principal) {
        self.sessions.insert(device.clone(), Default::default());
    }

    pub(crate) fn session_ends(&mut self, device: &Principal) {
        self.sessions.remove(device);
    }

    /// A device is given a push.
    pub(crate) fn given(&mut self, device: &Principal, id: MessageId, bytes: usize) -> Verdict {
        let Some((place, sent)) = self.sent.get(&id) else {
            return self.broken(
                Rule::Disagreement,
                format!("{device} was given {id}, which nobody sent"),
            );
        };
        let given_up = self.given_up(id, sent);
        let Some(session) = self.sessions.get_mut(device) else {
            return self.broken(Rule::Disagreement, format!("{device} was given {id} while away"));
        };
        let others: usize = session.unanswered.values().sum();
        // The answer of an earlier session may be on its way, and gives the place free at any time.
        if !self.said.contains(&id) {
            session.unanswered.insert(id, bytes);
        }
        let count = session.unanswered.len();
        let before = match given_up {
            true => None,
            false => session.last.insert(sent.source.clone(), *place),
        };
        let (window, window_bytes) = (
            self.plan.settings.principal_window,
            self.plan.settings.principal_window_bytes,
        );
        if count > window || (count > 1 && others >= window_bytes) {
            let what = format!("{count} to {device}, {others} bytes before the last");
            return self.broken(Rule::Window, what);
        }
        // What was forgotten is taken for new, and given again.
        if before.is_some_and(|before| before >= *place) && self.plan.keeps_ends() {
            return self.broken(Rule::Order, format!("{device} was given {id} too late"));
        }
        Ok(())
    }

    /// An operator takes up a dead letter.
    pub(crate) fn operates(&mut self, id: MessageId) {
        self.operated.insert(id);
    }

    /// Whether its sender has given it up, or did and thought better of it: it may come late, or not at all.
    fn given_up(&self, id: MessageId, sent: &Sent) -> bool {
        let end = self.ended.get(&(sent.server, id));
        self.operated.contains(&id)
            || self.died.contains(&id)
            || end.is_some_and(|end| end.status == Status::EXPIRED)
    }

    /// What a server remembers after it has swept.
    pub(crate) fn remembers(&self, server: Server, (seen, receipts): (u64, u64)) -> Verdict {
        let settings = &self.plan.settings;
        if seen > settings.seen_max || receipts > settings.receipts_max {
            let what = format!("{server} remembers {seen} envelopes and {receipts} receipts");
            return self.broken(Rule::Memory, what);
        }
        Ok(())
    }

    /// A device answers what it was given.
    pub(crate) fn answering(&mut self, device: &Principal, id: MessageId) {
        self.said.insert(id);
        if let Some(session) = self.sessions.get_mut(device) {
            session.unanswered.remove(&id);
        }
    }

    /// At the quiet end: what was told, what took place and what is on record agree.
    pub(crate) fn judge(&self, effects: &[MessageId]) -> Verdict {
        self.judge_effects(effects)?;
        for (id, (_, sent)) in &self.sent {
            let end = self.ended.get(&(sent.server, *id));
            let Some(end) = end else {
                if self.acked.contains(id) && !self.plan.may_forget() {
                    return self.broken(
                        Rule::Lost,
                        format!("{id} was acknowledged and has no end: {sent:?}"),
                    );
                }
                continue;
            };
            let may_expire = sent.short_lived || self.plan.clocks == Clocks::Months;
            if end.status == Status::EXPIRED {
                if !may_expire {
                    return self.broken(Rule::Lost, format!("{id} expired before its time: {sent:?}"));
                }
                continue;
            }
            if State::of(end.status) == State::Undeliverable {
                if self.plan.moods == 0 {
                    return self.broken(Rule::Lost, format!("{id} failed, and nobody fails: {sent:?}"));
                }
                // Its receiver's late word has come, or was lost on the way.
                let hears_all = self.plan.hears_all() && !self.operated.contains(id);
                if hears_all && sent.kind == MessageKind::Upload && effects.contains(id) {
                    return self.broken(
                        Rule::Disagreement,
                        format!("{id} failed and took effect: {sent:?}"),
                    );
                }
                continue;
            }
            match sent.kind {
                MessageKind::Push => self.judge_push(*id, sent, end)?,
                MessageKind::Upload => {
                    let expected = if sent.refused {
                        Status::CONFLICT
                    } else {
                        Status::DONE
                    };
                    let done = effects.contains(id);
                    if end.status != expected || done == sent.refused {
                        let what = format!("{id} ended with {}, effect {done}: {sent:?}", end.status);
                        return self.broken(Rule::Disagreement, what);
                    }
                }
                MessageKind::Message
                | MessageKind::Status
                | MessageKind::Presence
                | MessageKind::Directory => {}
            }
        }
        self.judge_answers()
    }

    fn judge_effects(&self, effects: &[MessageId]) -> Verdict {
        let remembered = self.plan.remembers();
        let (mut ids, mut sender_ids) = (BTreeSet::new(), BTreeSet::new());
        let mut last: BTreeMap<(&Address, &Address), usize> = BTreeMap::new();
        for id in effects {
            let Some((place, sent)) = self.sent.get(id) else {
                return self.broken(
                    Rule::Disagreement,
                    format!("an effect of {id}, which nobody sent"),
                );
            };
            if !ids.insert(id) && remembered {
                return self.broken(Rule::EffectTwice, format!("{id} took effect twice: {sent:?}"));
            }
            let known = sent
                .sender_id
                .as_ref()
                .is_none_or(|own| sender_ids.insert((&sent.source, own)));
            if !known && remembered && !self.plan.forgets {
                return self.broken(
                    Rule::EffectTwice,
                    format!("{id} is a repeat that took effect: {sent:?}"),
                );
            }
            // What its sender has given up may come late.
            if self.given_up(*id, sent) {
                continue;
            }
            let before = last.insert((&sent.source, &sent.destination), *place);
            if before.is_some_and(|before| before > *place) && remembered {
                return self.broken(Rule::Order, format!("{id} took effect too late: {sent:?}"));
            }
        }
        Ok(())
    }

    fn judge_push(&self, id: MessageId, sent: &Sent, end: &End) -> Verdict {
        let there = self.ended.get(&(Server::Message, id));
        match there {
            Some(there) if there != end && self.plan.keeps_ends() => {
                let what = format!("{id} ended with {end:?}, at the message server with {there:?}: {sent:?}");
                self.broken(Rule::Disagreement, what)
            }
            Some(_) => Ok(()),
            None if self.plan.forgets => Ok(()),
            None => self.broken(
                Rule::Disagreement,
                format!("{id} ended with {end:?}, nowhere else: {sent:?}"),
            ),
        }
    }

    fn judge_answers(&self) -> Verdict {
        if !self.plan.keeps_ends() {
            return Ok(());
        }
        for (id, code) in &self.answered {
            match self.ended.get(&(Server::Message, *id)) {
                Some(End {
                    status: Status::DONE,
                    answer: Some(answer),
                }) if answer.code == *code => {}
                None if self.plan.forgets => {}
                other => {
                    let what = format!("{id} was answered {code} and ended with {other:?}");
                    return self.broken(Rule::Lost, what);
                }
            }
        }
        Ok(())
    }
}
