//! What one attached application has under way, and which of its clients has which part. No IO, no clock.
//!
//! - A client that subscribes alone is given everything; of a `$share` group one member is given each.
//! - In a group a sender's messages go to one member for as long as it has any of them unanswered: their order is kept.
//!   A sender without any goes to whoever has the least.
//! - What a member that is gone had goes to those that are there, in order.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use irsp_protocol::{Address, MessageId};

/// A client that would be given a message: alone, or for the group of this name and filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate<M> {
    pub(super) group: Option<Arc<str>>,
    pub(super) member: M,
}

/// The work of one application. `M` names a client, `T` is what it is given.
#[derive(Debug)]
pub(super) struct Desk<M, T> {
    /// In the order it came.
    open: BTreeMap<u64, Open<M, T>>,
    numbers: HashMap<MessageId, u64>,
    last: u64,
    /// Of a group, who has a sender's unanswered messages, and how many.
    holders: HashMap<(Arc<str>, Address), (M, usize)>,
    /// How much a member has for its group.
    loads: HashMap<(Arc<str>, M), usize>,
    /// Whose turn it is among those who have the same.
    turn: usize,
}

#[derive(Debug)]
struct Open<M, T> {
    id: MessageId,
    source: Address,
    item: T,
    held: Vec<Candidate<M>>,
    /// How often it was given to anybody.
    given: u64,
}

/// A message at one time: as it was given then, and not since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AsGiven {
    number: u64,
    given: u64,
}

impl<M, T> Default for Desk<M, T> {
    fn default() -> Desk<M, T> {
        Desk {
            open: BTreeMap::new(),
            numbers: HashMap::new(),
            last: 0,
            holders: HashMap::new(),
            loads: HashMap::new(),
            turn: 0,
        }
    }
}

impl<M: Clone + Eq + Hash, T> Desk<M, T> {
    /// Takes a message in; gives its number, which is an old one if it is there already.
    pub(super) fn take(&mut self, id: MessageId, source: Address, item: impl FnOnce() -> T) -> u64 {
        if let Some(number) = self.numbers.get(&id) {
            return *number;
        }
        self.last += 1;
        self.numbers.insert(id, self.last);
        let open = Open {
            id,
            source,
            item: item(),
            held: Vec::new(),
            given: 0,
        };
        self.open.insert(self.last, open);
        self.last
    }

    /// The numbers of all that is open, in order.
    pub(super) fn numbers(&self) -> Vec<u64> {
        self.open.keys().copied().collect()
    }

    pub(super) fn item(&self, number: u64) -> Option<&T> {
        self.open.get(&number).map(|open| &open.item)
    }

    /// Gives a message to those of `candidates` who are to have it and do not; who is no candidate any more has it no
    /// more.
    pub(super) fn settle(&mut self, number: u64, candidates: &[Candidate<M>]) -> Vec<Candidate<M>> {
        let Some(mut open) = self.open.remove(&number) else {
            return Vec::new();
        };
        let (held, gone) = open.held.drain(..).partition(|held| candidates.contains(held));
        open.held = held;
        gone.iter().for_each(|gone| self.release(gone, &open.source));
        let mut given = Vec::new();
        for candidate in candidates {
            let has = match &candidate.group {
                None => open.held.contains(candidate),
                Some(_) => open.held.iter().any(|held| held.group == candidate.group),
            };
            if has {
                continue;
            }
            let chosen = match &candidate.group {
                None => candidate.member.clone(),
                Some(group) => self.choose(group, &open.source, candidates),
            };
            self.hold(candidate.group.as_ref(), &chosen, &open.source);
            let chosen = Candidate {
                group: candidate.group.clone(),
                member: chosen,
            };
            open.held.push(chosen.clone());
            given.push(chosen);
        }
        open.given += given.len() as u64;
        self.open.insert(number, open);
        given
    }

    /// Whether others of a group have a message, and this client does not.
    pub(super) fn is_with_others(&self, id: MessageId, member: &M) -> bool {
        let open = self.numbers.get(&id).and_then(|number| self.open.get(number));
        open.is_some_and(|open| {
            let mut held = open.held.iter();
            held.all(|held| held.member != *member) && open.held.iter().any(|held| held.group.is_some())
        })
    }

    /// A message as it is given now, if it is open.
    pub(super) fn as_given(&self, id: MessageId) -> Option<AsGiven> {
        let number = *self.numbers.get(&id)?;
        let given = self.open.get(&number)?.given;
        Some(AsGiven { number, given })
    }

    /// Takes a message back from whoever has it; gives its number, if it is open and was given to nobody else since.
    pub(super) fn take_back(&mut self, as_given: AsGiven) -> Option<u64> {
        let AsGiven { number, given } = as_given;
        self.open.get(&number).filter(|open| open.given == given)?;
        let mut open = self.open.remove(&number)?;
        let held: Vec<Candidate<M>> = open.held.drain(..).collect();
        held.iter().for_each(|held| self.release(held, &open.source));
        self.open.insert(number, open);
        Some(number)
    }

    /// Nobody is left to have anything. What comes after is numbered on.
    pub(super) fn clear(&mut self) {
        self.open.clear();
        self.numbers.clear();
        self.holders.clear();
        self.loads.clear();
    }

    /// A message has ended.
    pub(super) fn ended(&mut self, id: MessageId) {
        let open = self
            .numbers
            .remove(&id)
            .and_then(|number| self.open.remove(&number));
        if let Some(open) = open {
            debug_assert_eq!(open.id, id);
            open.held.iter().for_each(|held| self.release(held, &open.source));
        }
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty() && self.numbers.is_empty() && self.holders.is_empty() && self.loads.is_empty()
    }

    fn choose(&mut self, group: &Arc<str>, source: &Address, candidates: &[Candidate<M>]) -> M {
        let members: Vec<&M> = candidates
            .iter()
            .filter(|candidate| candidate.group.as_ref() == Some(group))
            .map(|candidate| &candidate.member)
            .collect();
        let holder = self.holders.get(&(Arc::clone(group), source.clone()));
        if let Some((holder, _)) = holder.filter(|(holder, _)| members.contains(&holder)) {
            return holder.clone();
        }
        self.turn = self.turn.wrapping_add(1);
        let load = |member: &M| {
            self.loads
                .get(&(Arc::clone(group), member.clone()))
                .copied()
                .unwrap_or(0)
        };
        let first = self.turn % members.len();
        let mut least = members[first];
        for step in 1..members.len() {
            let member = members[(first + step) % members.len()];
            if load(member) < load(least) {
                least = member;
            }
        }
        least.clone()
    }

    fn hold(&mut self, group: Option<&Arc<str>>, member: &M, source: &Address) {
        let Some(group) = group else { return };
        *self.loads.entry((Arc::clone(group), member.clone())).or_default() += 1;
        let holder = self
            .holders
            .entry((Arc::clone(group), source.clone()))
            .or_insert_with(|| (member.clone(), 0));
        if holder.0 != *member {
            // The one before is gone; what it has left is counted to nobody.
            *holder = (member.clone(), 0);
        }
        holder.1 += 1;
    }

    fn release(&mut self, held: &Candidate<M>, source: &Address) {
        let Some(group) = &held.group else { return };
        let load = (Arc::clone(group), held.member.clone());
        if let Some(count) = self.loads.get_mut(&load) {
            *count -= 1;
            if *count == 0 {
                self.loads.remove(&load);
            }
        }
        let key = (Arc::clone(group), source.clone());
        if let Some((_, count)) = self
            .holders
            .get_mut(&key)
            .filter(|(holder, _)| *holder == held.member)
        {
            *count -= 1;
            if *count == 0 {
                self.holders.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests;
