//! The doors at which somebody may guess: passwords and reset codes, verification codes.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use irsp_protocol::Timestamp;
use prometheus_client::metrics::counter::Counter;

use crate::network::{Network, Networks};
use crate::refusal::Refusal;
use crate::throttle::Throttle;

/// Visitors remembered as known at once; beyond it the one longest away is forgotten.
const KNOWN_MAX: usize = 100_000;

/// A [`Throttle`] shared by the handlers.
pub(crate) struct Door<K> {
    throttle: Mutex<Throttle<K>>,
    throttled: Counter,
}

impl<K: Clone + Eq + Hash> Door<K> {
    /// Attempts that are not admitted are counted by `throttled`.
    pub(crate) fn new(throttled: Counter) -> Door<K> {
        Door {
            throttle: Mutex::new(Throttle::new()),
            throttled,
        }
    }

    pub(crate) fn admit(&self, key: &K, now: Timestamp) -> Result<(), Refusal> {
        lock(&self.throttle).admit(key, now).map_err(|wait| {
            self.throttled.inc();
            Refusal::TooManyAttempts(wait)
        })
    }

    pub(crate) fn succeeded(&self, key: &K) {
        lock(&self.throttle).succeeded(key);
    }
}

/// Who stands before the door of passwords: what was given as the name, and the address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Visitor {
    /// Empty for what is no id: one door, so that made-up names take no memory.
    pub(crate) name: String,
    pub(crate) from: Option<IpAddr>,
}

/// An attempt that was admitted.
#[derive(Debug)]
pub(crate) struct Attempt {
    visitor: Visitor,
    /// That has one less left for it.
    of: Option<Network>,
}

/// The door of passwords and reset codes. A visitor who fails again and again waits, and so does a network from which
/// many names are tried; but who has come in by that name from that address waits for nobody else in the network.
pub(crate) struct LoginDoor {
    visitors: Door<Visitor>,
    networks: Mutex<Networks>,
    known: Mutex<HashMap<Visitor, Timestamp>>,
}

impl LoginDoor {
    pub(crate) fn new(throttled: Counter) -> LoginDoor {
        LoginDoor {
            visitors: Door::new(throttled),
            networks: Mutex::default(),
            known: Mutex::default(),
        }
    }

    /// Admits one attempt as far as the visitor's own failures go.
    pub(crate) fn admit(&self, visitor: &Visitor, now: Timestamp) -> Result<(), Refusal> {
        self.visitors.admit(visitor, now)
    }

    /// Admits it as far as those of the network go, unless the visitor has come in before, since the server started.
    pub(crate) fn admit_from_network(&self, visitor: &Visitor, now: Timestamp) -> Result<Attempt, Duration> {
        let from = visitor.from.filter(|_| !lock(&self.known).contains_key(visitor));
        let of = from.map(Network::from);
        of.map_or(Ok(()), |network| lock(&self.networks).admit(network, now))?;
        Ok(Attempt {
            visitor: visitor.clone(),
            of,
        })
    }

    /// The same for one who is known to have come in before that.
    pub(crate) fn admit_known(visitor: Visitor) -> Attempt {
        Attempt { visitor, of: None }
    }

    /// The attempt was not admitted after all.
    pub(crate) fn refuse(&self, visitor: &Visitor, wait: Duration) -> Refusal {
        lock(&self.visitors.throttle).take_back(visitor);
        self.visitors.throttled.inc();
        Refusal::TooManyAttempts(wait)
    }

    /// The admitted attempt was not made: the server had no time for it.
    pub(crate) fn take_back(&self, Attempt { visitor, of }: Attempt) {
        lock(&self.visitors.throttle).take_back(&visitor);
        if let Some(network) = of {
            lock(&self.networks).take_back(network);
        }
    }

    /// The admitted attempt was right.
    pub(crate) fn succeeded(&self, Attempt { visitor, of }: Attempt, now: Timestamp) {
        self.visitors.succeeded(&visitor);
        if let Some(network) = of {
            lock(&self.networks).take_back(network);
        }
        let mut known = lock(&self.known);
        known.insert(visitor, now);
        if known.len() > KNOWN_MAX {
            let longest = known.iter().min_by_key(|(_, last)| **last);
            let longest = longest.map(|(visitor, _)| visitor.clone());
            longest.map(|visitor| known.remove(&visitor));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
