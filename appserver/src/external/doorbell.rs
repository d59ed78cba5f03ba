//! How the gateway hears of what is new for it.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use irsp_protocol::Id;
use tokio::sync::Notify;

/// Rung by whoever stores something for an endpoint or changes one. What is rung twice before anybody comes is one ring.
#[derive(Debug, Default)]
pub(crate) struct Doorbell {
    rung: Mutex<Rung>,
    pub(super) wake: Notify,
}

#[derive(Debug, Default)]
pub(super) struct Rung {
    pub(super) arrived: HashSet<(Id, String)>,
    pub(super) changed: HashSet<Id>,
    /// Every endpoint is to be looked at again.
    pub(super) all: bool,
}

impl Doorbell {
    /// A message of `sender` for the service of `app` is on disk.
    pub(crate) fn arrived(&self, app: &Id, sender: String) {
        self.ring(|rung| rung.arrived.insert((app.clone(), sender)));
    }

    /// The endpoint of `app`, or its application, is another one now.
    pub(crate) fn changed(&self, app: &Id) {
        self.ring(|rung| rung.changed.insert(app.clone()));
    }

    /// Any application may be another one now.
    pub(crate) fn all_changed(&self) {
        self.ring(|rung| !std::mem::replace(&mut rung.all, true));
    }

    fn ring(&self, what: impl FnOnce(&mut Rung) -> bool) {
        let news = what(&mut self.rung.lock().unwrap_or_else(PoisonError::into_inner));
        if news {
            self.wake.notify_one();
        }
    }

    pub(super) fn answer(&self) -> Rung {
        std::mem::take(&mut self.rung.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
