//! A scenario: what a fleet is, what it does and what happens to it. A TOML file, typed, every value checked.
//!
//! ```text
//! file --read--> Scenario --fleet::plan--> Fleet --director--> logs --story--> oracles, figures --> report
//! ```
//! Everything random is decided by the seed: the same scenario and seed make the same fleet.

mod check;
pub(crate) mod span;

use std::path::{Path, PathBuf};

use irsp_protocol::Channel;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::model::trace::TraceFault;
use crate::slo::Slo;

pub use check::Fault;
pub use span::{Skew, Span};

/// A whole scenario.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is for, in a sentence.
    pub about: String,
    #[serde(default = "one")]
    pub seed: u64,
    /// How long the fleet is at work.
    pub duration: Span,
    /// How long at most to wait afterwards for what is still under way.
    #[serde(default = "ten_seconds")]
    pub settle: Span,
    /// How long one day of the rhythms lasts; a day is compressed to the duration unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<Span>,
    /// Connections opened a second.
    #[serde(default = "connect_rate")]
    pub connect_rate: f64,
    pub devices: Vec<Devices>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<Users>,
    #[serde(default)]
    pub app: App,
    #[serde(default)]
    pub events: Vec<Event>,
    #[serde(default)]
    pub tolerance: Tolerance,
    #[serde(default)]
    pub slo: Slo,
}

/// Devices of one kind.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Devices {
    /// Part of their ids, such as `lamp`.
    pub kind: String,
    pub count: u32,
    #[serde(default)]
    pub mqtt: Mqtt,
    /// Of what they publish.
    #[serde(default = "one_u8")]
    pub qos: u8,
    #[serde(default = "one_minute")]
    pub keep_alive: Span,
    /// How they answer a push.
    #[serde(default)]
    pub answers: Answers,
    /// A gateway uploads for so many children, each on a channel of its own.
    #[serde(default)]
    pub children: u32,
    #[serde(default)]
    pub uploads: Vec<Uploads>,
    /// Messages to whoever owns them, plain publish/subscribe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<Live>,
    /// They leave a will, which is heard when they go without a goodbye.
    #[serde(default)]
    pub will: bool,
    /// Connections that break and come back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flap: Option<Flap>,
    /// Devices that come from another address while their old connection still stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roam: Option<Roam>,
    /// By how much their clocks are wrong, in the `time` of their uploads (5.0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_skew: Option<Skew>,
    /// How long they pause after each packet they read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow: Option<Span>,
    /// Of their PUBACK and of their answer to a push.
    #[serde(default)]
    pub manners: Manners,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum Mqtt {
    #[serde(rename = "3.1.1")]
    V311,
    #[default]
    #[serde(rename = "5")]
    V5,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Answers {
    /// On the `ack` topic, with a number of their own.
    #[default]
    Ack,
    /// By PUBACK alone.
    Mqtt,
}

/// What a device uploads.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Uploads {
    pub channel: Channel,
    /// Mean time between two uploads of one device.
    pub every: Span,
    /// 0 is a metronome, 1 is anywhere between at once and twice `every`.
    #[serde(default)]
    pub jitter: f64,
    /// How busy each hour of the day is, 24 numbers; 1 is `every`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rhythm: Option<Vec<f64>>,
    #[serde(default)]
    pub payload: Payload,
    /// Bytes of an upload; never fewer than its run, number and value need.
    #[serde(default = "hundred")]
    pub size: usize,
}

/// What a device says on its `live` topics.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Live {
    /// Mean time between two messages of one device.
    pub every: Span,
    /// The server keeps the last one for whoever comes later.
    #[serde(default)]
    pub retain: bool,
    #[serde(default = "hundred")]
    pub size: usize,
}

/// The value an upload reports.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "model", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Payload {
    Constant {
        value: f64,
    },
    /// Each value differs from the one before by at most `step`.
    RandomWalk {
        min: f64,
        max: f64,
        step: f64,
    },
    /// Lines `milliseconds since the one before,value`, again from the start at the end: times and values of a trace.
    /// A relative path is beside the scenario.
    Replay {
        file: PathBuf,
    },
}

impl Default for Payload {
    fn default() -> Payload {
        Payload::Constant { value: 0.0 }
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Flap {
    /// Mean time between two breaks of one device.
    pub every: Span,
    /// How long it is away.
    pub away: Span,
    #[serde(default)]
    pub how: Cut,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cut {
    /// The socket closes without DISCONNECT.
    #[default]
    Broken,
    /// DISCONNECT.
    Goodbye,
    /// Nothing is said any more and the socket stays: the server finds out by the keep-alive.
    Silent,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Roam {
    pub every: Span,
}

/// How a device takes what it is sent.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Manners {
    /// PUBACK and answer come so late.
    pub late: Option<Span>,
    /// The share of them that comes twice.
    pub twice: f64,
}

/// People: each binds devices by their codes, watches them, and pushes to them.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Users {
    pub count: u32,
    /// Devices each of them binds, as long as there are some that nobody has bound.
    pub binds: u32,
    /// Kinds of these devices; all unless given.
    #[serde(default)]
    pub of: Vec<String>,
    /// They hear the uploads of their devices too.
    #[serde(default)]
    pub hears_uploads: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pushes: Option<UserPushes>,
}

/// Pushes of each user to one of its devices.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct UserPushes {
    /// Mean time between two pushes of one user.
    pub every: Span,
    #[serde(default = "hundred")]
    pub size: usize,
}

/// The application that receives the uploads and pushes.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct App {
    /// It does not connect: uploads are seen in the store alone.
    pub quiet: bool,
    pub pushes: Vec<Pushes>,
}

/// Pushes of the application, in order, to one device after another.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Pushes {
    /// Kind of the devices.
    pub to: String,
    /// Pushes a second, of all together.
    pub rate: f64,
    #[serde(default)]
    pub via: Via,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry: Option<Span>,
    #[serde(default = "hundred")]
    pub size: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    #[default]
    Mqtt,
    Http,
}

/// Something that happens to the fleet.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Event {
    /// A share of the devices loses its power at once, and returns.
    PowerCut {
        at: Span,
        /// Kind; all devices unless given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<String>,
        #[serde(default = "whole")]
        share: f64,
        lasts: Span,
        /// Over how long they return; all at once unless given.
        #[serde(default)]
        return_within: Span,
        #[serde(default)]
        how: Cut,
    },
    /// Verification codes are reset, one device after another; each gets its new code a little later.
    Reset {
        at: Span,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<String>,
        count: u32,
        #[serde(default = "one_second")]
        every: Span,
    },
    /// Devices are deleted, one after another.
    Delete {
        at: Span,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<String>,
        count: u32,
        #[serde(default = "one_second")]
        every: Span,
    },
}

/// What is still right, although it is not at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tolerance {
    /// How long an observer's presence of a device may disagree with what the device does.
    pub presence: Span,
    /// How long after a reset or deletion is in effect the old login may still do anything.
    pub revocation: Span,
    /// By how much a 408 may come before the expiry, or a delivery after it.
    pub expiry: Span,
    /// How long after its expiry a message may be without its 408.
    pub expiry_told: Span,
}

impl Default for Tolerance {
    fn default() -> Tolerance {
        Tolerance {
            presence: Span::from_millis(5_000),
            revocation: Span::from_millis(2_000),
            expiry: Span::from_millis(1_000),
            expiry_told: Span::from_millis(15_000),
        }
    }
}

/// Why a file is no scenario.
#[derive(Debug, Error)]
pub enum ScenarioError {
    #[error("cannot read {path}: {error}", path = path.display())]
    Read { path: PathBuf, error: std::io::Error },
    #[error("{path}: {error}", path = path.display())]
    Toml {
        path: PathBuf,
        error: Box<toml::de::Error>,
    },
    #[error("{path}: {fault}", path = path.display())]
    Value { path: PathBuf, fault: Fault },
    #[error("{path}: {fault}", path = path.display())]
    Trace { path: PathBuf, fault: TraceFault },
}

impl Scenario {
    /// Reads and checks a file; a trace's path is made relative to the file's folder.
    pub fn read(path: &Path) -> Result<Scenario, ScenarioError> {
        let text = std::fs::read_to_string(path).map_err(|error| ScenarioError::Read {
            path: path.to_owned(),
            error,
        })?;
        let mut scenario: Scenario = toml::from_str(&text).map_err(|error| ScenarioError::Toml {
            path: path.to_owned(),
            error: Box::new(error),
        })?;
        scenario.check().map_err(|fault| ScenarioError::Value {
            path: path.to_owned(),
            fault,
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for uploads in scenario.devices.iter_mut().flat_map(|kind| &mut kind.uploads) {
            if let Payload::Replay { file } = &mut uploads.payload {
                *file = folder.join(&*file);
            }
        }
        Ok(scenario)
    }

    /// The same in another time: as long as asked for, with everything that happens moved along.
    pub fn lasting(mut self, duration: Span) -> Scenario {
        let factor = duration.as_secs_f64() / self.duration.as_secs_f64();
        self.day = Some(self.day.unwrap_or(self.duration).times(factor));
        self.duration = duration;
        for event in &mut self.events {
            match event {
                Event::PowerCut {
                    at,
                    lasts,
                    return_within,
                    ..
                } => {
                    for span in [at, lasts, return_within] {
                        *span = span.times(factor);
                    }
                }
                Event::Reset { at, every, .. } | Event::Delete { at, every, .. } => {
                    for span in [at, every] {
                        *span = span.times(factor);
                    }
                }
            }
        }
        for kind in &mut self.devices {
            if let Some(flap) = &mut kind.flap {
                flap.every = flap.every.times(factor);
                flap.away = flap.away.times(factor);
            }
            if let Some(roam) = &mut kind.roam {
                roam.every = roam.every.times(factor);
            }
        }
        self
    }

    /// The same with more or fewer devices, users and pushes; of each that is there at least one stays.
    pub fn scaled(mut self, factor: f64) -> Scenario {
        let scale = |count: u32| ((f64::from(count) * factor).round() as u32).max(count.min(1));
        for kind in &mut self.devices {
            kind.count = scale(kind.count);
        }
        if let Some(users) = &mut self.users {
            users.count = scale(users.count);
        }
        let bindable = u32::try_from(self.bindable()).unwrap_or(u32::MAX);
        if let Some(users) = &mut self.users {
            users.binds = users.binds.min(bindable);
        }
        for pushes in &mut self.app.pushes {
            pushes.rate *= factor;
        }
        for event in &mut self.events {
            match event {
                Event::PowerCut { .. } => {}
                Event::Reset { count, .. } | Event::Delete { count, .. } => *count = scale(*count),
            }
        }
        self
    }
}

fn one() -> u64 {
    1
}
fn one_u8() -> u8 {
    1
}
fn hundred() -> usize {
    100
}
fn whole() -> f64 {
    1.0
}
fn connect_rate() -> f64 {
    200.0
}
fn one_second() -> Span {
    Span::from_millis(1_000)
}
fn ten_seconds() -> Span {
    Span::from_millis(10_000)
}
fn one_minute() -> Span {
    Span::from_millis(60_000)
}

#[cfg(test)]
mod tests;
