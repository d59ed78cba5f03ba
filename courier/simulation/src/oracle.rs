//! The oracle: knows what clients were told and what the world did, and holds it against the promises.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use irsp_protocol::receipt::Answer;
use irsp_protocol::{Address, MessageId, MessageKind, Principal, Server, State, Status};
use thiserror::Error;

use crate::home::{Home, Site};
use crate::plan::Plan;

/// How much longer the courier waits before it asks another domain again (`core::PEER_PATIENCE`).
const PEER_PATIENCE: u32 = 30;

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
    /// Who accepts it.
    pub(crate) origin: Site,
    /// With their domains.
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
    /// Under which number it has ended.
    over: BTreeMap<MessageId, i64>,
}

impl Sent {
    pub(crate) fn is_at_home(&self) -> bool {
        self.source.domain == self.destination.domain
    }

    /// The servers that take it over one after the other, behind who has accepted it.
    pub(crate) fn custodians(&self) -> Vec<Site> {
        let there = Home::all(usize::MAX).find(|home| Some(home.domain()) == self.destination.domain);
        let mut sites = vec![self.origin.message()];
        sites.extend(there.map(|home| home.at(Server::Message)));
        sites.dedup();
        sites.retain(|site| *site != self.origin);
        if self.kind == MessageKind::Push || !self.is_at_home() {
            sites
        } else {
            Vec::new()
        }
    }
}

#[derive(Debug)]
pub(crate) struct Oracle {
    pub(crate) plan: Plan,
    /// True time, for what is told.
    pub(crate) at: Duration,
    /// In the order in which they were given to their servers.
    pub(crate) sent: BTreeMap<MessageId, (usize, Sent)>,
    pub(crate) acked: BTreeSet<MessageId>,
    pub(crate) ended: BTreeMap<(Site, MessageId), End>,
    /// Devices and applications of other domains whose grant was withdrawn at some time.
    withdrawn: BTreeSet<(Address, Address)>,
    /// Dead letters that an operator has taken up: they may end anew as they did.
    pub(crate) operated: BTreeSet<MessageId>,
    /// Pushes that their device has answered at least once.
    said: BTreeSet<MessageId>,
    /// What has ever been a dead letter: a late word of its receiver may end it anew, and it may come late.
    died: BTreeSet<MessageId>,
    /// Answers that a device was told are stored.
    pub(crate) answered: BTreeMap<MessageId, u16>,
    lanes: BTreeMap<(Site, Site), Lane>,
    sessions: BTreeMap<(Home, Principal), Session>,
}

/// What a present device was given in this session.
#[derive(Debug, Default)]
struct Session {
    /// The last place in order per source.
    last: BTreeMap<Address, usize>,
    /// With their bytes.
    unanswered: BTreeMap<MessageId, usize>,
}

pub(crate) type Verdict = Result<(), Violation>;

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
            withdrawn: BTreeSet::new(),
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
    pub(crate) fn held_by(&self, site: Site) -> Vec<MessageId> {
        let held = |sent: &Sent| sent.origin == site || sent.custodians().contains(&site);
        let sent = self.sent.iter().filter(|(_, (_, sent))| held(sent));
        sent.map(|(id, _)| *id).collect()
    }

    /// A server says that a message has ended, by its callback (`heard`) or its receipt.
    pub(crate) fn ended(&mut self, server: Site, id: MessageId, end: End, heard: bool) -> Verdict {
        if let Some(lanes) = heard.then(|| self.lanes.iter_mut().filter(|((from, _), _)| *from == server)) {
            for (_, lane) in lanes {
                lane.unanswered.remove(&id);
                if let Some((seq, _)) = lane.sent_at.get(&id) {
                    lane.over.insert(id, *seq);
                }
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
    pub(crate) fn restarted(&mut self, site: Site) {
        self.lanes.retain(|(from, _), _| *from != site);
        if site.server == Server::Message {
            self.sessions.retain(|(home, _), _| *home != site.home);
        }
    }

    /// A link to another domain has come or gone: what was under way is sent again over the next one.
    pub(crate) fn relinked(&mut self, site: Site, peer: Site) {
        if let Some(lane) = self.lanes.get_mut(&(site, peer)) {
            // An answer that came over the last link may be on its way to the disk.
            let answered = std::mem::take(&mut lane.answered);
            *lane = Lane {
                answered,
                ..Lane::default()
            };
        }
    }

    /// A device's owner takes a grant back from an application of another domain.
    pub(crate) fn withdrawn(&mut self, device: Address, app: Address) {
        self.withdrawn.insert((device, app));
    }

    /// Whether the grant that a message needs to pass between domains was withdrawn at some time.
    pub(crate) fn lost_its_grant(&self, sent: &Sent) -> bool {
        let (source, destination) = (sent.source.clone(), sent.destination.clone());
        match sent.kind {
            MessageKind::Upload => self.withdrawn.contains(&(source, destination)),
            MessageKind::Push => self.withdrawn.contains(&(destination, source)),
            MessageKind::Message | MessageKind::Status | MessageKind::Presence | MessageKind::Directory => {
                false
            }
        }
    }

    /// The way between two servers was found again: repeats at once are agreed.
    pub(crate) fn heard(&mut self, server: Site, from: Site) {
        if let Some(lane) = self.lanes.get_mut(&(server, from)) {
            lane.sent_at.clear();
        }
    }

    /// An envelope goes out on the bus.
    pub(crate) fn delivering(&mut self, from: Site, to: Site, sending: Sending, now: Instant) -> Verdict {
        let Sending { id, seq, bytes } = sending;
        let lane = self.lanes.entry((from, to)).or_default();
        let others: usize = lane.unanswered.values().sum();
        // One that was sent and has ended since the last look is under way no more.
        let over = self.ended.contains_key(&(from, id)) && !self.operated.contains(&id);
        if lane.over.get(&id) == Some(&seq) {
            let what = format!("{id} is sent from {from} to {to} after its end");
            return self.broken(Rule::EndedTwice, what);
        }
        let is_new = !over && !lane.answered.contains(&id) && lane.unanswered.insert(id, bytes).is_none();
        let (under_way, before) = (lane.unanswered.len(), lane.sent_at.insert(id, (seq, now)));
        let settings = &self.plan.settings;
        let (window, window_bytes, patience) = match from.home == to.home {
            true => (settings.server_window, settings.server_window_bytes, 1),
            false => (settings.peer_window, settings.peer_window_bytes, PEER_PATIENCE),
        };
        let wait = settings.retry_min * patience * 3 / 4;
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
    pub(crate) fn answer_arrives(&mut self, server: Site, from: Site, id: MessageId) {
        // Also one that this process has not sent, but its predecessor: it may read it before the answer is stored.
        let lane = self.lanes.entry((server, from)).or_default();
        lane.unanswered.remove(&id);
        lane.answered.insert(id);
    }

    pub(crate) fn session_begins(&mut self, home: Home, device: &Principal) {
        self.sessions.insert((home, device.clone()), Default::default());
    }

    pub(crate) fn session_ends(&mut self, home: Home, device: &Principal) {
        self.sessions.remove(&(home, device.clone()));
    }

    /// A device is given a push.
    pub(crate) fn given(&mut self, home: Home, device: &Principal, id: MessageId, bytes: usize) -> Verdict {
        let Some((place, sent)) = self.sent.get(&id) else {
            return self.broken(
                Rule::Disagreement,
                format!("{device} was given {id}, which nobody sent"),
            );
        };
        let given_up = self.given_up(id, sent);
        if sent.destination != home.whole(&Address::local(device.clone())) {
            let what = format!("{device} of {home:?} was given {id}: {sent:?}");
            return self.broken(Rule::Disagreement, what);
        }
        let Some(session) = self.sessions.get_mut(&(home, device.clone())) else {
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
        if before.is_some_and(|before| before >= *place) && self.plan.keeps_refusals() {
            return self.broken(Rule::Order, format!("{device} was given {id} too late"));
        }
        Ok(())
    }

    /// An operator takes up a dead letter.
    pub(crate) fn operates(&mut self, id: MessageId) {
        self.operated.insert(id);
    }

    /// Whether its sender has given it up, or did and thought better of it: it may come late, or not at all.
    pub(crate) fn given_up(&self, id: MessageId, sent: &Sent) -> bool {
        let end = self.ended.get(&(sent.origin, id));
        self.operated.contains(&id)
            || self.died.contains(&id)
            || end.is_some_and(|end| end.status == Status::EXPIRED)
            || (end.is_some_and(|end| end.status == Status::FORBIDDEN) && self.lost_its_grant(sent))
    }

    /// What a server remembers after it has swept.
    pub(crate) fn remembers(&self, server: Site, (seen, receipts): (u64, u64)) -> Verdict {
        let settings = &self.plan.settings;
        if seen > settings.seen_max || receipts > settings.receipts_max {
            let what = format!("{server} remembers {seen} envelopes and {receipts} receipts");
            return self.broken(Rule::Memory, what);
        }
        Ok(())
    }

    /// A device answers what it was given.
    pub(crate) fn answering(&mut self, home: Home, device: &Principal, id: MessageId) {
        self.said.insert(id);
        if let Some(session) = self.sessions.get_mut(&(home, device.clone())) {
            session.unanswered.remove(&id);
        }
    }
}
