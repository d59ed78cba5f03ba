//! The courier's core: which message is handed to which hop, and when again. Values and `now` in, actions out; it
//! knows no database, no clock and no runtime.
//!
//! Only hops that are present (servers always, other domains while linked) have a lane, and a lane holds no more than its window, so memory is bounded however
//! much waits on disk. A lane is *caught up* when nothing waits on disk behind what it has in memory; then what is stored
//! goes out from memory, at once or, to a server, when a place is free. Otherwise it is left on disk and loaded later, in
//! order.

mod lane;
mod pace;
mod retry;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use irsp_protocol::frame::Place;
use irsp_protocol::{Domain, Envelope, Kind, MessageId, Principal, Server, Timestamp};

use crate::clock::Now;
use crate::hop::Hop;
use lane::{Lane, Offer};

/// A link loses nothing while it lives, so another domain is asked again so many times later than a server of this one:
/// on a slow line what is unanswered is most often still on its way.
const PEER_PATIENCE: u32 = 30;

/// How long after a load that failed, or was held up, it is tried again.
pub(crate) const RELOAD_WAIT: Duration = Duration::from_secs(1);

/// What may be under way to one hop without an answer. One message is, however large.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) server: Window,
    pub(crate) peer: Window,
    pub(crate) principal: Window,
    pub(crate) application: Window,
    pub(crate) retry_min: Duration,
    pub(crate) retry_max: Duration,
}

/// What the shell is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Hand these to the hop, in this order.
    Send { hop: Hop, sendings: Vec<Sending> },
    /// Read what waits for the hop and give it to [`Core::loaded`].
    Load(Load),
    /// The hop went away with these unanswered: write down when they were first sent.
    Remember { sent: Vec<(MessageId, Timestamp)> },
}

/// What waits on disk behind what was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    Nothing,
    More,
    /// Something that has expired and is to be ended first, and perhaps more.
    Expired,
}

/// Why a message waits for its hop no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// The hop has spoken: it lives.
    Answered,
    /// It has expired, was deleted, superseded and the like.
    Unanswered,
}

/// An envelope on its way, and where it stands among those on the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sending {
    pub(crate) place: Place,
    pub(crate) envelope: Arc<Envelope>,
}

/// What to read from disk. The ticket says which life of the lane asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) hop: Hop,
    pub(crate) ticket: u64,
    pub(crate) after: i64,
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

pub(crate) struct Core {
    limits: Limits,
    servers: BTreeMap<Server, Lane>,
    /// Other domains that are linked to us now.
    peers: BTreeMap<Domain, Lane>,
    principals: HashMap<Principal, Lane>,
    actions: VecDeque<Action>,
    tickets: u64,
    /// What could not be read, or not to its end, and when that is tried again.
    failed: Vec<Hop>,
    reload_at: Option<Instant>,
    /// Envelopes handed to servers again since it was last asked.
    sent_again: u64,
}

impl Limits {
    fn window_of(&self, principal: &Principal) -> Window {
        match principal.kind {
            Kind::Application => self.application,
            Kind::Device | Kind::User | Kind::External | Kind::Peer | Kind::Server => self.principal,
        }
    }
}

impl Core {
    /// The core of `own`'s courier. The other servers are always present; their lanes start by loading.
    pub(crate) fn new(own: Server, limits: Limits, seed: u64) -> Core {
        let mut core = Core {
            limits,
            servers: BTreeMap::new(),
            peers: BTreeMap::new(),
            principals: HashMap::new(),
            actions: VecDeque::new(),
            tickets: 0,
            failed: Vec::new(),
            reload_at: None,
            sent_again: 0,
        };
        for server in Server::ALL.into_iter().filter(|server| *server != own) {
            let ticket = core.ticket();
            let seed = seed.wrapping_add(ticket);
            let lane = Lane::to_server(ticket, limits.server, limits.retry_min, limits.retry_max, seed);
            core.servers.insert(server, lane);
            core.refill(&Hop::Server(server));
        }
        core
    }

    /// A link to another domain is up: what waits for it is sent in order, first of all what was left unanswered; no more than
    /// `rate_max` a second, if that is given.
    pub(crate) fn linked(&mut self, peer: Domain, rate_max: Option<NonZeroU32>, seed: u64) {
        let ticket = self.ticket();
        let limits = self.limits;
        let seed = seed.wrapping_add(ticket);
        let retry_min = limits.retry_min.saturating_mul(PEER_PATIENCE);
        let mut lane = Lane::to_server(ticket, limits.peer, retry_min, limits.retry_max, seed);
        if let Some(rate_max) = rate_max {
            lane.keep_pace(rate_max);
        }
        if let Some(before) = self.peers.get(&peer) {
            lane.inherit_sent(before);
        }
        self.peers.insert(peer.clone(), lane);
        self.refill(&Hop::Peer(peer));
    }

    /// The link is down: the lane goes, what waits stays on disk.
    pub(crate) fn parted(&mut self, peer: &Domain) {
        if let Some(lane) = self.peers.remove(peer) {
            self.remember(&lane);
        }
    }

    fn remember(&mut self, gone: &Lane) {
        let sent = gone.sent();
        if !sent.is_empty() {
            self.actions.push_back(Action::Remember { sent });
        }
    }

    /// The principal has a session. If it had one before, whatever that one left unanswered is sent again, in order.
    pub(crate) fn present(&mut self, principal: Principal) {
        let ticket = self.ticket();
        let mut lane = Lane::to_principal(ticket, self.limits.window_of(&principal));
        if let Some(before) = self.principals.get(&principal) {
            lane.inherit_sent(before);
        }
        self.principals.insert(principal.clone(), lane);
        self.refill(&Hop::Principal(principal));
    }

    /// The principal has no session any more: its lane goes, what waits stays on disk.
    pub(crate) fn absent(&mut self, principal: &Principal) {
        if let Some(lane) = self.principals.remove(principal) {
            self.remember(&lane);
        }
    }

    /// What was sent to the principal did not reach it: all that is unanswered is read and sent again, after a while.
    pub(crate) fn not_handed(&mut self, principal: &Principal, wait: Duration, now: Now) {
        let ticket = self.ticket();
        if let Some(before) = self.principals.get_mut(principal) {
            let mut lane = Lane::to_principal(ticket, self.limits.window_of(principal));
            lane.inherit_sent(before);
            *before = lane;
            self.reload_later(&Hop::Principal(principal.clone()), wait, now);
        }
    }

    /// A message for `hop` is on disk.
    pub(crate) fn stored(&mut self, hop: &Hop, seq: i64, envelope: &Arc<Envelope>, now: Now) {
        if let Some(lane) = self.lane(hop) {
            match lane.offer(seq, envelope, now) {
                Offer::Taken(sending) => self.send(hop, [sending]),
                Offer::Ahead => {}
                Offer::LeftOnDisk => self.refill(hop),
            }
        }
    }

    /// What was read from disk for [`Action::Load`], and what waits behind it.
    pub(crate) fn loaded(&mut self, load: &Load, rows: Vec<(i64, Arc<Envelope>)>, rest: Rest, now: Now) {
        if let Some(lane) = self.lane_of(load) {
            let sendings = lane.loaded(rows, rest, now);
            self.send(&load.hop, sendings);
            match rest {
                Rest::Nothing | Rest::More => self.refill(&load.hop),
                // It is read on when that has ended; or in a while, should the clock have jumped back before it could.
                Rest::Expired => self.reload_later(&load.hop, RELOAD_WAIT, now),
            }
        }
    }

    /// What was asked for could not be read.
    pub(crate) fn load_failed(&mut self, load: &Load, now: Now) {
        if let Some(lane) = self.lane_of(load) {
            lane.load_failed();
            self.reload_later(&load.hop, RELOAD_WAIT, now);
        }
    }

    /// A message has ended or is in the next server's custody, on disk. Gives its envelope, if it was kept.
    pub(crate) fn left(&mut self, hop: &Hop, id: MessageId, why: Leaving, now: Now) -> Option<Arc<Envelope>> {
        let lane = self.lane(hop)?;
        let envelope = lane.left(id, why);
        let sendings = lane.advance(now);
        self.send(hop, sendings);
        self.refill(hop);
        envelope
    }

    /// The server, or the way to it, was found again: what is unanswered is sent at once.
    pub(crate) fn heard(&mut self, server: Server, now: Now) {
        if let Some(lane) = self.servers.get_mut(&server) {
            let sendings = lane.send_again(now);
            self.sent_again += sendings.len() as u64;
            self.send(&Hop::Server(server), sendings);
        }
    }

    /// When [`handle_timeout`](Core::handle_timeout) has something to do; `None` while nothing is under way.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let lanes = self.servers.values().chain(self.peers.values());
        let retries = lanes.filter_map(Lane::next_retry);
        let turns = self.peers.values().filter_map(Lane::next_turn);
        retries.chain(turns).chain(self.reload_at).min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Now) {
        let servers = self.servers.keys().copied().map(Hop::Server);
        let peers = self.peers.keys().cloned().map(Hop::Peer);
        let hops: Vec<Hop> = servers.chain(peers).collect();
        for hop in hops {
            let again = self.lane(&hop).map(|lane| lane.retry(now));
            let again = again.unwrap_or_default();
            self.sent_again += again.len() as u64;
            self.send(&hop, again);
        }
        let due = self
            .peers
            .iter()
            .filter(|(_, lane)| lane.next_turn().is_some_and(|at| at <= now.instant));
        let due: Vec<Hop> = due.map(|(peer, _)| Hop::Peer(peer.clone())).collect();
        for hop in due {
            let sendings = self.lane(&hop).map(|lane| lane.advance(now));
            self.send(&hop, sendings.unwrap_or_default());
            self.refill(&hop);
        }
        if self.reload_at.is_some_and(|at| at <= now.instant) {
            self.reload_at = None;
            for hop in std::mem::take(&mut self.failed) {
                self.refill(&hop);
            }
        }
    }

    /// How many envelopes were handed to servers again since this was last asked.
    pub(crate) fn take_sent_again(&mut self) -> u64 {
        std::mem::take(&mut self.sent_again)
    }

    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When an unanswered message was first sent to `hop`.
    pub(crate) fn sent_at(&self, hop: &Hop, id: MessageId) -> Option<Timestamp> {
        match hop {
            Hop::Server(server) => self.servers.get(server),
            Hop::Peer(peer) => self.peers.get(peer),
            Hop::Principal(principal) => self.principals.get(principal),
        }?
        .sent_at(id)
    }

    fn lane(&mut self, hop: &Hop) -> Option<&mut Lane> {
        match hop {
            Hop::Server(server) => self.servers.get_mut(server),
            Hop::Peer(peer) => self.peers.get_mut(peer),
            Hop::Principal(principal) => self.principals.get_mut(principal),
        }
    }

    /// The lane that asked, unless its hop has gone or come again since.
    fn lane_of(&mut self, load: &Load) -> Option<&mut Lane> {
        self.lane(&load.hop).filter(|lane| lane.ticket() == load.ticket)
    }

    fn reload_later(&mut self, hop: &Hop, wait: Duration, now: Now) {
        self.failed.push(hop.clone());
        let at = now.instant + wait;
        self.reload_at = Some(self.reload_at.map_or(at, |before| before.min(at)));
    }

    fn refill(&mut self, hop: &Hop) {
        let load = self.lane(hop).and_then(|lane| lane.load(hop));
        self.actions.extend(load.map(Action::Load));
    }

    fn send(&mut self, hop: &Hop, sendings: impl IntoIterator<Item = Sending>) {
        let mut sendings = sendings.into_iter().peekable();
        if sendings.peek().is_none() {
            return;
        }
        match self.actions.back_mut() {
            Some(Action::Send {
                hop: last,
                sendings: before,
            }) if last == hop => before.extend(sendings),
            _ => self.actions.push_back(Action::Send {
                hop: hop.clone(),
                sendings: sendings.collect(),
            }),
        }
    }

    fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }
}
