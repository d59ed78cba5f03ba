//! Whose newest session is not on disk yet: their epoch is about to rise, so nobody may act on the one that is stored.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use irsp_protocol::Principal;

/// Sessions that have begun and whose presence is not stored yet, counted per principal.
#[derive(Debug, Default)]
pub(crate) struct Unstored {
    begun: Mutex<HashMap<Principal, u32>>,
}

impl Unstored {
    pub(crate) fn contains(&self, principal: &Principal) -> bool {
        self.begun().contains_key(principal)
    }

    pub(super) fn add(&self, principal: &Principal) {
        *self.begun().entry(principal.clone()).or_default() += 1;
    }

    pub(super) fn remove(&self, principal: &Principal) {
        let mut begun = self.begun();
        if let Some(count) = begun.get_mut(principal) {
            *count -= 1;
            if *count == 0 {
                begun.remove(principal);
            }
        }
    }

    fn begun(&self) -> MutexGuard<'_, HashMap<Principal, u32>> {
        // Each change is a single step, so what a panic leaves is whole.
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_sessions_at_once_are_two() {
        let unstored = Unstored::default();
        let ann = "usr/ann".parse().unwrap();
        unstored.add(&ann);
        unstored.add(&ann);
        unstored.remove(&ann);
        assert!(unstored.contains(&ann));
        unstored.remove(&ann);
        assert!(!unstored.contains(&ann));
    }
}
