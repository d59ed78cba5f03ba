//! Which applications hear the presence of principals of other domains: the copy in memory of what is stored
//! (`store::heard`), so that a stream asks for each change without reading the disk.

use std::collections::{HashMap, HashSet};
use std::sync::{PoisonError, RwLock};

use irsp_protocol::{Address, Id};

#[derive(Debug, Default)]
pub(crate) struct Heard(RwLock<HashMap<Address, HashSet<Id>>>);

impl Heard {
    pub(crate) fn new(stored: Vec<(Address, Id)>) -> Heard {
        let heard = Heard::default();
        for (address, app) in stored {
            heard.set(&address, &app, true);
        }
        heard
    }

    pub(crate) fn by(&self, address: &Address, app: &Id) -> bool {
        let heard = self.0.read().unwrap_or_else(PoisonError::into_inner);
        heard.get(address).is_some_and(|apps| apps.contains(app))
    }

    /// The principal is deleted.
    pub(crate) fn forget(&self, address: &Address) {
        let mut heard = self.0.write().unwrap_or_else(PoisonError::into_inner);
        heard.remove(address);
    }

    pub(crate) fn set(&self, address: &Address, app: &Id, hears: bool) {
        let mut heard = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if hears {
            heard.entry(address.clone()).or_default().insert(app.clone());
        } else if let Some(apps) = heard.get_mut(address) {
            apps.remove(app);
            if apps.is_empty() {
                heard.remove(address);
            }
        }
    }
}
