//! Which applications and users hear the presence of principals of other domains: the copy in memory of what is stored
//! (`store::heard`), so that a stream asks for each change without reading the disk.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{PoisonError, RwLock};

use irsp_protocol::{Address, Id, Kind, Principal};

#[derive(Debug, Default)]
pub(crate) struct Heard(RwLock<State>);

#[derive(Debug, Default)]
struct State {
    by: HashMap<Address, HashSet<Principal>>,
    /// What users hear, the other way round.
    shared_with: HashMap<Id, BTreeSet<Address>>,
}

impl Heard {
    pub(crate) fn new(stored: Vec<(Address, Principal)>) -> Heard {
        let heard = Heard::default();
        for (address, hearer) in stored {
            heard.set(&address, &hearer, true);
        }
        heard
    }

    pub(crate) fn by(&self, address: &Address, hearer: &Principal) -> bool {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        state
            .by
            .get(address)
            .is_some_and(|hearers| hearers.contains(hearer))
    }

    /// The devices of other domains whose presence a user hears.
    pub(crate) fn shared_with(&self, user: &Id) -> Vec<Address> {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let shared = state.shared_with.get(user);
        shared.into_iter().flatten().cloned().collect()
    }

    /// The principal is deleted.
    pub(crate) fn forget(&self, address: &Address) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for hearer in state.by.remove(address).into_iter().flatten() {
            state.part(address, &hearer);
        }
    }

    /// A user of ours is deleted.
    pub(crate) fn forget_user(&self, user: &Id) {
        let hearer = Principal::user(user.clone());
        for address in self.shared_with(user) {
            self.set(&address, &hearer, false);
        }
    }

    pub(crate) fn set(&self, address: &Address, hearer: &Principal, hears: bool) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if hears {
            let hearers = state.by.entry(address.clone()).or_default();
            hearers.insert(hearer.clone());
            if hearer.kind == Kind::User {
                let shared = state.shared_with.entry(hearer.id.clone()).or_default();
                shared.insert(address.clone());
            }
            return;
        }
        if let Some(hearers) = state.by.get_mut(address) {
            hearers.remove(hearer);
            if hearers.is_empty() {
                state.by.remove(address);
            }
        }
        state.part(address, hearer);
    }
}

impl State {
    fn part(&mut self, address: &Address, hearer: &Principal) {
        if hearer.kind != Kind::User {
            return;
        }
        if let Some(shared) = self.shared_with.get_mut(&hearer.id) {
            shared.remove(address);
            if shared.is_empty() {
                self.shared_with.remove(&hearer.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_user_hears_is_found_both_ways_until_either_is_gone() {
        let heard = Heard::default();
        let (lamp, oven): (Address, Address) = (
            "dev/lamp@b.example".parse().unwrap(),
            "dev/oven@b.example".parse().unwrap(),
        );
        let (ann, app): (Principal, Principal) = ("usr/ann".parse().unwrap(), "app/ann".parse().unwrap());
        for (address, hearer) in [(&lamp, &ann), (&oven, &ann), (&lamp, &app)] {
            heard.set(address, hearer, true);
        }
        assert_eq!(heard.shared_with(&ann.id), [lamp.clone(), oven.clone()]);
        heard.forget(&lamp);
        assert!(!heard.by(&lamp, &ann) && !heard.by(&lamp, &app));
        assert_eq!(heard.shared_with(&ann.id), std::slice::from_ref(&oven));
        heard.forget_user(&ann.id);
        assert!(!heard.by(&oven, &ann) && heard.shared_with(&ann.id).is_empty());
    }
}
