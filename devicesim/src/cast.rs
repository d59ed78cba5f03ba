//! Who takes part in a run: one application, devices, users with their bindings. Pure, by seed.

use std::collections::HashMap;
use std::str::FromStr;

use irsp_protocol::{AddressError, Id, Principal};
use thiserror::Error;

use crate::dice::Dice;
use crate::observation::Party;
use crate::scenario::Scenario;

/// Everybody. The application is party 0.
#[derive(Clone, Debug)]
pub struct Cast {
    pub members: Vec<Member>,
    by_name: HashMap<String, Party>,
}

#[derive(Clone, Debug)]
pub struct Member {
    pub principal: Principal,
    pub role: Role,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    App,
    /// Of this kind, by its place in the scenario.
    Device {
        kind: usize,
    },
    /// With the devices it binds.
    User {
        devices: Vec<Party>,
    },
}

/// Which part of a scenario this process plays: `2/3` is the second of three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// From 0.
    pub index: u32,
    pub of: u32,
}

impl Part {
    pub const WHOLE: Part = Part { index: 0, of: 1 };

    fn has(self, n: u32) -> bool {
        n % self.of == self.index
    }

    /// Which of all, from 0, is this part's own `n`-th one.
    pub fn nth(self, n: u32) -> u32 {
        n.saturating_mul(self.of).saturating_add(self.index)
    }

    /// How many of so many are this part's own.
    pub fn count(self, all: u32) -> u32 {
        all / self.of + u32::from(self.index < all % self.of)
    }

    /// This part's share of what all parts do that have one of `all`.
    pub fn share(self, rate: f64, all: u32) -> f64 {
        rate / f64::from(self.of.min(all).max(1))
    }
}

/// The text is no part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected a part such as 2/3, from 1/N to N/N, N at most 1000")]
pub struct PartError;

impl FromStr for Part {
    type Err = PartError;
    fn from_str(text: &str) -> Result<Part, PartError> {
        let (index, of) = text.split_once('/').ok_or(PartError)?;
        let number = |text: &str| text.parse::<u32>().map_err(|_| PartError);
        let (index, of) = (number(index)?, number(of)?);
        if (1..=of).contains(&index) && of <= 1000 {
            Ok(Part { index: index - 1, of })
        } else {
            Err(PartError)
        }
    }
}

/// Keeps the choice of bindings apart from all others.
const BINDINGS: u64 = 1 << 40;

/// The party of the application.
pub const APP: Party = Party(0);

impl Cast {
    /// The part's own members. `name` distinguishes runs on one platform; it is part of every id.
    pub fn plan(scenario: &Scenario, seed: u64, name: &str, part: Part) -> Result<Cast, AddressError> {
        let app = if part.of == 1 {
            format!("sim-{name}")
        } else {
            format!("sim-{name}-{}", part.index + 1)
        };
        let mut members = vec![Member {
            principal: Principal::application(Id::new(&app)?),
            role: Role::App,
        }];
        for (kind, devices) in scenario.devices.iter().enumerate() {
            for n in (0..devices.count).filter(|n| part.has(*n)) {
                let id = Id::new(&format!("sim-{name}-{}-{}", devices.kind, n + 1))?;
                members.push(Member {
                    principal: Principal::device(id),
                    role: Role::Device { kind },
                });
            }
        }
        if let Some(users) = &scenario.users {
            let mut bindable: Vec<Party> = (0u32..)
                .zip(&members)
                .filter(|(_, member)| match member.role {
                    Role::Device { kind } => {
                        users.of.is_empty() || users.of.contains(&scenario.devices[kind].kind)
                    }
                    Role::App | Role::User { .. } => false,
                })
                .map(|(n, _)| Party(n))
                .collect();
            // A device has one owner.
            Dice::new(seed, BINDINGS).shuffle(&mut bindable);
            let mut free = bindable.chunks(users.binds.max(1) as usize);
            for n in (0..users.count).filter(|n| part.has(*n)) {
                let own = if users.binds == 0 { None } else { free.next() };
                let mut devices = own.unwrap_or_default().to_vec();
                devices.sort_unstable();
                members.push(Member {
                    principal: Principal::user(Id::new(&format!("sim-{name}-user-{}", n + 1))?),
                    role: Role::User { devices },
                });
            }
        }
        let by_name = (0u32..)
            .zip(&members)
            .map(|(n, member)| (member.principal.to_string(), Party(n)))
            .collect();
        Ok(Cast { members, by_name })
    }

    pub fn member(&self, party: Party) -> &Member {
        &self.members[party.0 as usize]
    }

    pub fn name(&self, party: Party) -> String {
        match self.members.get(party.0 as usize) {
            Some(member) => member.principal.to_string(),
            None => format!("party {}", party.0),
        }
    }

    /// The users who own a device.
    pub fn owners(&self, device: Party) -> Vec<Party> {
        let owns = |member: &Member| match &member.role {
            Role::User { devices } => devices.contains(&device),
            Role::App | Role::Device { .. } => false,
        };
        let owners = self.parties().filter(|(_, member)| owns(member));
        owners.map(|(party, _)| party).collect()
    }

    /// Of whoever it is, if it is anybody of this run.
    pub fn name_of(&self, party: Option<Party>) -> String {
        party.map_or_else(|| "a stranger".to_owned(), |party| self.name(party))
    }

    /// The party of `dev/...`, `usr/...` or `app/...`, if it is one.
    pub fn find(&self, principal: &str) -> Option<Party> {
        self.by_name.get(principal).copied()
    }

    pub fn parties(&self) -> impl Iterator<Item = (Party, &Member)> {
        (0u32..).zip(&self.members).map(|(n, member)| (Party(n), member))
    }

    /// Devices, of this kind or of all.
    pub fn devices(&self, of: Option<usize>) -> Vec<Party> {
        self.parties()
            .filter(|(_, member)| match member.role {
                Role::Device { kind } => of.is_none_or(|of| of == kind),
                Role::App | Role::User { .. } => false,
            })
            .map(|(party, _)| party)
            .collect()
    }

    /// Users who bind this device.
    pub fn watchers(&self, device: Party) -> Vec<Party> {
        self.parties()
            .filter(|(_, member)| match &member.role {
                Role::User { devices } => devices.binary_search(&device).is_ok(),
                Role::App | Role::Device { .. } => false,
            })
            .map(|(party, _)| party)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario() -> Scenario {
        toml::from_str(
            "about = \"a\"\nduration = \"1s\"\n[[devices]]\nkind = \"lamp\"\ncount = 7\n[[devices]]\nkind = \"cam\"\ncount = 2\n\
             [users]\ncount = 4\nbinds = 3\nof = [\"lamp\"]\n",
        )
        .unwrap()
    }

    #[test]
    fn the_same_seed_makes_the_same_fleet() {
        let cast = |seed| {
            format!(
                "{:?}",
                Cast::plan(&scenario(), seed, "x", Part::WHOLE).unwrap().members
            )
        };
        assert_eq!(cast(1), cast(1));
        assert_ne!(cast(1), cast(2));
    }

    #[test]
    fn the_parts_together_are_the_whole() {
        let whole = Cast::plan(&scenario(), 1, "x", Part::WHOLE).unwrap();
        let mut ids: Vec<String> = Vec::new();
        for part in ["1/3", "2/3", "3/3"] {
            let cast = Cast::plan(&scenario(), 1, "x", part.parse().unwrap()).unwrap();
            ids.extend(cast.devices(None).iter().map(|device| cast.name(*device)));
        }
        ids.sort();
        let mut all: Vec<String> = whole
            .devices(None)
            .iter()
            .map(|device| whole.name(*device))
            .collect();
        all.sort();
        assert_eq!(ids, all);
    }

    #[test]
    fn the_parts_do_together_what_the_whole_does() {
        for (all, of) in [(10, 3), (2, 3), (7, 1)] {
            let parts: Vec<Part> = (0..of).map(|index| Part { index, of }).collect();
            let mut numbers: Vec<u32> = Vec::new();
            for part in &parts {
                numbers.extend((0..part.count(all)).map(|n| part.nth(n)));
            }
            numbers.sort_unstable();
            assert_eq!(numbers, (0..all).collect::<Vec<_>>());
            let busy = parts.iter().filter(|part| part.count(all) > 0);
            let rate: f64 = busy.map(|part| part.share(12.0, all)).sum();
            assert!((rate - 12.0).abs() < 1e-9, "{rate}");
        }
    }

    #[test]
    fn users_bind_devices_of_the_kinds_they_like() {
        let cast = Cast::plan(&scenario(), 1, "x", Part::WHOLE).unwrap();
        let users: Vec<_> = cast
            .parties()
            .filter(|(_, m)| matches!(m.role, Role::User { .. }))
            .collect();
        let mut bound = Vec::new();
        for (user, member) in users {
            let Role::User { devices } = &member.role else {
                unreachable!()
            };
            for device in devices {
                assert!(cast.name(*device).contains("-lamp-"));
                assert_eq!(cast.watchers(*device), [user], "a device has one owner");
            }
            bound.push(devices.len());
        }
        assert_eq!(bound, [3, 3, 1, 0], "there are seven lamps");
    }

    #[test]
    fn what_is_no_part_is_refused() {
        for text in ["", "1", "0/3", "4/3", "1/0", "a/b", "1/1001"] {
            assert_eq!(text.parse::<Part>(), Err(PartError), "{text}");
        }
    }
}
