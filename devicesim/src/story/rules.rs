//! What a story is held against: tolerances, and what the scenario says of who does what.

use std::collections::{HashMap, HashSet};

use crate::cast::{APP, Cast, Role};
use crate::observation::{Moment, Party};
use crate::scenario::{Answers, Devices, Scenario, Tolerance};

/// Of an acknowledgement, however short the settling.
const PATIENCE_MIN: Moment = 1_000_000;

/// What a story is held against.
#[derive(Clone, Debug)]
pub struct Rules {
    pub tolerance: Tolerance,
    /// How long an acknowledgement may take over a connection that stands.
    pub patience: Moment,
    /// The store was read: what is not in it is not there.
    pub store_read: bool,
    /// Devices that answer by PUBACK alone.
    pub by_puback: HashSet<Party>,
    /// Devices that read slowly.
    pub slow: HashSet<Party>,
    /// Who hears the uploads of a device.
    pub observers: HashMap<Party, Vec<Party>>,
}

impl Rules {
    /// From what the scenario says of each kind.
    pub fn new(scenario: &Scenario, cast: &Cast, store_read: bool) -> Rules {
        let of = |which: fn(&Devices) -> bool| {
            cast.parties()
                .filter(|(_, member)| match member.role {
                    Role::Device { kind } => which(&scenario.devices[kind]),
                    Role::App | Role::User { .. } => false,
                })
                .map(|(party, _)| party)
                .collect()
        };
        Rules {
            tolerance: scenario.tolerance,
            patience: (scenario.settle.as_micros() / 2).max(PATIENCE_MIN),
            store_read,
            by_puback: of(|kind| kind.answers == Answers::Mqtt),
            slow: of(|kind| kind.slow.is_some()),
            observers: observers(scenario, cast),
        }
    }
}

fn observers(scenario: &Scenario, cast: &Cast) -> HashMap<Party, Vec<Party>> {
    let mut observers: HashMap<Party, Vec<Party>> = HashMap::new();
    if !scenario.app.quiet {
        for device in cast.devices(None) {
            observers.entry(device).or_default().push(APP);
        }
    }
    if scenario.users.as_ref().is_some_and(|users| users.hears_uploads) {
        for (party, member) in cast.parties() {
            if let Role::User { devices } = &member.role {
                for device in devices {
                    observers.entry(*device).or_default().push(party);
                }
            }
        }
    }
    observers
}
