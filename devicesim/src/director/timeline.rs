//! What happens to whom, and when. Pure, by seed.

use std::time::Duration;

use crate::cast::{Cast, Part};
use crate::dice::Dice;
use crate::observation::{Party, Revocation};
use crate::scenario::{Cut, Event, Scenario};

/// Keeps these choices apart from those of the cast.
const PART: u64 = 1 << 41;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Off(Party, Cut),
    On(Party),
    Revoke(Party, Revocation),
}

/// All acts, in the order of their times since the begin.
pub(super) fn plan(scenario: &Scenario, cast: &Cast, seed: u64, part: Part) -> Vec<(Duration, Act)> {
    let mut acts = Vec::new();
    // Nobody is revoked twice: what the second one means would depend on which came first.
    let mut revoked = Vec::new();
    for (n, event) in (0u64..).zip(&scenario.events) {
        let mut dice = Dice::new(seed, PART | n);
        let chosen = |of: &Option<String>, dice: &mut Dice| {
            let kind = of
                .as_ref()
                .and_then(|of| scenario.devices.iter().position(|kind| kind.kind == *of));
            let mut devices = cast.devices(kind);
            dice.shuffle(&mut devices);
            devices
        };
        match event {
            Event::PowerCut {
                at,
                of,
                share,
                lasts,
                return_within,
                how,
            } => {
                let devices = chosen(of, &mut dice);
                let count = (devices.len() as f64 * share).round() as usize;
                for device in devices.into_iter().take(count) {
                    let back = at.as_duration()
                        + lasts.as_duration()
                        + return_within.as_duration().mul_f64(dice.unit());
                    acts.push((at.as_duration(), Act::Off(device, *how)));
                    acts.push((back, Act::On(device)));
                }
            }
            Event::Reset { at, of, count, every } | Event::Delete { at, of, count, every } => {
                let how = match event {
                    Event::Delete { .. } => Revocation::Deleted,
                    Event::Reset { .. } | Event::PowerCut { .. } => Revocation::Reset,
                };
                let devices = chosen(of, &mut dice)
                    .into_iter()
                    .filter(|device| !revoked.contains(device));
                let devices: Vec<Party> = devices.take(part.count(*count) as usize).collect();
                for (n, device) in (0..).zip(devices) {
                    let due = at.as_duration() + every.as_duration() * part.nth(n);
                    acts.push((due, Act::Revoke(device, how)));
                    revoked.push(device);
                }
            }
        }
    }
    acts.sort_by_key(|(at, _)| *at);
    acts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_choose_by_seed_and_revoke_nobody_twice() {
        let scenario: Scenario = toml::from_str(
            "about = \"a\"\nduration = \"60s\"\n[[devices]]\nkind = \"lamp\"\ncount = 10\n\
             [[events]]\nevent = \"power-cut\"\nat = \"5s\"\nshare = 0.5\nlasts = \"10s\"\nreturn_within = \"4s\"\n\
             [[events]]\nevent = \"reset\"\nat = \"20s\"\ncount = 6\n[[events]]\nevent = \"delete\"\nat = \"20s\"\ncount = 6\n",
        )
        .unwrap();
        let cast = Cast::plan(&scenario, 1, "x", Part::WHOLE).unwrap();
        let acts = plan(&scenario, &cast, 1, Part::WHOLE);
        assert_eq!(acts, plan(&scenario, &cast, 1, Part::WHOLE));
        assert_ne!(acts, plan(&scenario, &cast, 2, Part::WHOLE));
        let off = acts.iter().filter(|(_, act)| matches!(act, Act::Off(..))).count();
        let mut revoked: Vec<Party> = acts
            .iter()
            .filter_map(|(_, act)| match act {
                Act::Revoke(device, _) => Some(*device),
                Act::Off(..) | Act::On(_) => None,
            })
            .collect();
        assert_eq!((off, revoked.len()), (5, 10));
        revoked.sort();
        revoked.dedup();
        assert_eq!(revoked.len(), 10);
        for (at, act) in &acts {
            if matches!(act, Act::On(_)) {
                assert!((15.0..=19.0).contains(&at.as_secs_f64()), "{at:?}");
            }
        }
    }

    #[test]
    fn parts_share_resets_and_their_times() {
        let scenario: Scenario = toml::from_str(
            "about = \"a\"\nduration = \"60s\"\n[[devices]]\nkind = \"lamp\"\ncount = 12\n\
             [[events]]\nevent = \"reset\"\nat = \"20s\"\ncount = 4\nevery = \"2s\"\n",
        )
        .unwrap();
        let mut times: Vec<u64> = Vec::new();
        for part in ["1/3", "2/3", "3/3"] {
            let part: Part = part.parse().unwrap();
            let cast = Cast::plan(&scenario, 1, "x", part).unwrap();
            times.extend(plan(&scenario, &cast, 1, part).iter().map(|(at, _)| at.as_secs()));
        }
        times.sort_unstable();
        assert_eq!(times, [20, 22, 24, 26]);
    }
}
