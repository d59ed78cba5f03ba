//! The loads that servers are compared by.

use std::time::Duration;

use super::{CompareError, Logins};
use crate::cli;
use crate::engine::{Load, Login, Pace, Work};
use crate::options::MqttVersion;

/// Who sends to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Connections that say nothing.
    Idle,
    /// Connections that are made and left.
    Connect,
    /// Many publish, one hears all.
    FanIn,
    /// One publishes, many hear it.
    FanOut,
    /// Each publisher has its own subscriber.
    Pairs,
    /// Many publish, the members of one shared subscription hear it, each message one of them.
    Shared,
    /// All connections are reset at once, and a new client comes.
    Reset,
}

/// Members of the shared subscription.
const MEMBERS: usize = 4;

/// One load: a shape, a pace, a QoS.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Case {
    pub shape: Shape,
    pub pace: Pace,
    pub qos: u8,
    /// Connections that publish, hear or rest beside the one of a fan.
    pub many: usize,
}

/// Names of the shapes.
const SHAPES: [(&str, Shape); 7] = [
    ("idle", Shape::Idle),
    ("connect", Shape::Connect),
    ("fan-in", Shape::FanIn),
    ("fan-out", Shape::FanOut),
    ("pairs", Shape::Pairs),
    ("shared", Shape::Shared),
    ("reset", Shape::Reset),
];

/// The cases asked for, all unless some are named.
pub(super) fn choose(options: &cli::Compare) -> Result<Vec<Case>, CompareError> {
    let all = all(options);
    if options.cases.is_empty() {
        return Ok(all);
    }
    let mut chosen = Vec::new();
    for wanted in &options.cases {
        // `pairs` is all of its cases, `pairs-saturated` those at saturation, `pairs-saturated-qos1` one.
        let fits = |case: &&Case| {
            let name = case.name();
            name == *wanted
                || name
                    .strip_prefix(wanted.as_str())
                    .is_some_and(|rest| rest.starts_with('-'))
        };
        let some: Vec<Case> = all.iter().filter(fits).copied().collect();
        if some.is_empty() {
            return Err(CompareError::NoCase(wanted.clone()));
        }
        chosen.extend(
            some.into_iter()
                .filter(|case| !chosen.contains(case))
                .collect::<Vec<_>>(),
        );
    }
    Ok(chosen)
}

fn all(options: &cli::Compare) -> Vec<Case> {
    let mut cases = Vec::new();
    for (_, shape) in SHAPES {
        let many = match shape {
            Shape::Idle | Shape::Connect | Shape::Reset => options.idle,
            Shape::FanIn | Shape::FanOut | Shape::Pairs | Shape::Shared => options.clients,
        };
        if matches!(shape, Shape::Idle | Shape::Connect | Shape::Reset) {
            cases.push(Case {
                shape,
                pace: Pace::Saturated,
                qos: 0,
                many,
            });
            continue;
        }
        for pace in [Pace::Saturated, Pace::Steady(options.rate)] {
            for qos in [0, 1, 2] {
                cases.push(Case {
                    shape,
                    pace,
                    qos,
                    many,
                });
            }
        }
    }
    cases
}

impl Case {
    pub fn name(&self) -> String {
        let shape = SHAPES
            .iter()
            .find(|(_, shape)| *shape == self.shape)
            .map_or("", |(name, _)| name);
        match (self.shape, self.pace) {
            (Shape::Idle | Shape::Connect | Shape::Reset, _) => shape.to_owned(),
            (_, Pace::Saturated) => format!("{shape}-saturated-qos{}", self.qos),
            (_, Pace::Steady(_)) => format!("{shape}-steady-qos{}", self.qos),
        }
    }

    /// Sockets it opens.
    pub fn connections(&self) -> usize {
        match self.shape {
            Shape::Idle | Shape::Connect => self.many,
            Shape::FanIn | Shape::FanOut => self.many + 1,
            Shape::Pairs => self.many * 2,
            Shape::Shared => self.many + MEMBERS,
            // Two more come after the others are gone.
            Shape::Reset => self.many + 2,
        }
    }

    /// Devices it logs in.
    pub(super) fn devices(&self) -> usize {
        match self.shape {
            Shape::Idle | Shape::Connect | Shape::FanIn | Shape::Pairs | Shape::Shared => self.many,
            Shape::FanOut => 1,
            Shape::Reset => self.many + 1,
        }
    }

    pub(super) fn load(&self, options: &cli::Compare, logins: Option<&Logins>, pid: Option<u32>) -> Load {
        let device = |n: usize| match logins.and_then(|logins| logins.devices.get(n)) {
            Some(login) => login.clone(),
            None => Login {
                client_id: format!("compare-device-{n}"),
                username: None,
                password: None,
            },
        };
        // An application may have many sessions, a device has one.
        let observer = |n: usize| {
            let own = logins.map(|logins| logins.observer.clone());
            Login {
                client_id: format!("compare-observer-{n}"),
                username: own.as_ref().and_then(|own| own.username.clone()),
                password: own.and_then(|own| own.password),
            }
        };
        let topic = |n: usize| match device(n).username {
            Some(name) => format!("v1/{name}/live/load"),
            None => format!("v1/dev/compare-{n}/live/load"),
        };
        let publisher = |n| (device(n), Work::Publish(topic(n)));
        let connections = match self.shape {
            Shape::Idle | Shape::Connect => (0..self.many).map(|n| (device(n), Work::Rest)).collect(),
            Shape::Reset => {
                let newcomers = [
                    (observer(0), Work::Subscribe(topic(self.many))),
                    publisher(self.many),
                ];
                let rest = (0..self.many).map(|n| (device(n), Work::Rest));
                rest.chain(newcomers).collect()
            }
            Shape::Shared => {
                let hears = |n| {
                    let filter = "$share/compare/v1/dev/+/live/#";
                    (observer(n), Work::Subscribe(filter.to_owned()))
                };
                (0..MEMBERS)
                    .map(hears)
                    .chain((0..self.many).map(publisher))
                    .collect()
            }
            Shape::FanIn => {
                let hears = (observer(0), Work::Subscribe("v1/dev/+/live/#".to_owned()));
                (0..self.many).map(publisher).chain([hears]).collect()
            }
            Shape::FanOut => {
                let hears = |n| (observer(n), Work::Subscribe(topic(0)));
                (0..self.many).map(hears).chain([publisher(0)]).collect()
            }
            Shape::Pairs => {
                let hears = |n| (observer(n), Work::Subscribe(topic(n)));
                (0..self.many).flat_map(|n| [hears(n), publisher(n)]).collect()
            }
        };
        let copies = match self.shape {
            Shape::Idle | Shape::Connect | Shape::Reset => 0,
            Shape::FanIn | Shape::Pairs | Shape::Shared => 1,
            Shape::FanOut => self.many as u64,
        };
        let pace = match self.pace {
            // As many deliveries as the other shapes have.
            Pace::Steady(rate) if self.shape == Shape::FanOut => {
                Pace::Steady((rate / self.many.max(1) as f64).max(1.0))
            }
            Pace::Steady(_) | Pace::Saturated => self.pace,
        };
        let seconds = Duration::from_secs_f64(options.seconds);
        Load {
            connections,
            version: if options.v5 {
                MqttVersion::V5
            } else {
                MqttVersion::V311
            },
            pace,
            qos: self.qos,
            payload: options.payload,
            copies,
            warm_up: if self.shape == Shape::Connect {
                Duration::ZERO
            } else {
                seconds.mul_f64(0.2)
            },
            length: if self.shape == Shape::Connect {
                Duration::from_millis(200)
            } else {
                seconds
            },
            pid,
        }
    }
}
