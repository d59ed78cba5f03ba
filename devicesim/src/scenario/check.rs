//! What no type says of a scenario's values: ranges, and names that must fit each other.

use std::collections::HashSet;

use irsp_protocol::Id;
use thiserror::Error;

use super::{Devices, Event, Payload, Scenario, Span, Uploads};

/// Most devices of one scenario, over all processes that follow it.
const DEVICES_MAX: u32 = 1_000_000;
/// Longest part of a device's id that a scenario may give.
const KIND_MAX: usize = 24;
/// Most messages a second that one scenario asks for.
const RATE_MAX: f64 = 1_000_000.0;

/// One value that is not right, by its name in the file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{place}: {what}")]
pub struct Fault {
    /// Such as `devices.lamp.uploads[0].jitter`.
    pub place: String,
    pub what: String,
}

fn fault<T>(place: impl Into<String>, what: impl Into<String>) -> Result<T, Fault> {
    Err(Fault {
        place: place.into(),
        what: what.into(),
    })
}

impl Scenario {
    /// Whether there is anything to be heard on `live` topics.
    pub fn speaks_live(&self) -> bool {
        self.devices.iter().any(|kind| kind.will || kind.live.is_some())
    }

    /// The first value that is not right.
    pub fn check(&self) -> Result<(), Fault> {
        some("duration", self.duration)?;
        if let Some(day) = self.day {
            some("day", day)?;
        }
        between("connect_rate", self.connect_rate, 0.001, RATE_MAX)?;
        if self.devices.is_empty() {
            return fault("devices", "there is no device");
        }
        let mut kinds = HashSet::new();
        for kind in &self.devices {
            kind.check()?;
            if !kinds.insert(kind.kind.as_str()) {
                return fault(format!("devices.{}", kind.kind), "this kind stands twice");
            }
        }
        let total: u64 = self.devices.iter().map(|kind| u64::from(kind.count)).sum();
        if total > u64::from(DEVICES_MAX) {
            return fault("devices", format!("{total} devices are more than {DEVICES_MAX}"));
        }
        let known = |place: String, kind: &str| {
            if kinds.contains(kind) {
                Ok(())
            } else {
                fault(place, format!("there are no devices of kind {kind:?}"))
            }
        };
        if let Some((place, what)) = self.slo.impossible() {
            return fault(place, what);
        }
        if let Some(users) = &self.users {
            for (n, kind) in users.of.iter().enumerate() {
                known(format!("users.of[{n}]"), kind)?;
            }
            let bindable = self.bindable();
            if u64::from(users.binds) > bindable {
                let what = format!(
                    "{} are more than the {bindable} devices there are to bind",
                    users.binds
                );
                return fault("users.binds", what);
            }
            if let Some(pushes) = &users.pushes {
                some("users.pushes.every", pushes.every)?;
                if users.binds == 0 {
                    return fault("users.pushes", "users who bind no device have nobody to push to");
                }
            }
        }
        for (n, pushes) in self.app.pushes.iter().enumerate() {
            known(format!("app.pushes[{n}].to"), &pushes.to)?;
            between(&format!("app.pushes[{n}].rate"), pushes.rate, 0.001, RATE_MAX)?;
            if let Some(expiry) = pushes.expiry {
                some(&format!("app.pushes[{n}].expiry"), expiry)?;
            }
        }
        for (n, event) in self.events.iter().enumerate() {
            self.check_event(&format!("events[{n}]"), event, known)?;
        }
        Ok(())
    }

    /// How many devices users may bind.
    pub(super) fn bindable(&self) -> u64 {
        let of = self.users.as_ref().map(|users| &users.of[..]).unwrap_or_default();
        let kinds = self.devices.iter();
        kinds
            .filter(|kind| of.is_empty() || of.contains(&kind.kind))
            .map(|kind| u64::from(kind.count))
            .sum()
    }

    fn check_event(
        &self,
        place: &str,
        event: &Event,
        known: impl Fn(String, &str) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let (at, of) = match event {
            Event::PowerCut {
                at, of, share, lasts, ..
            } => {
                between(&format!("{place}.share"), *share, 0.0, 1.0)?;
                some(&format!("{place}.lasts"), *lasts)?;
                (*at, of)
            }
            Event::Reset { at, of, count, every } | Event::Delete { at, of, count, every } => {
                if *count == 0 {
                    return fault(format!("{place}.count"), "expected at least 1");
                }
                some(&format!("{place}.every"), *every)?;
                (*at, of)
            }
        };
        if at >= self.duration {
            return fault(
                format!("{place}.at"),
                format!("{at} is not within the duration of {}", self.duration),
            );
        }
        match of {
            Some(kind) => known(format!("{place}.of"), kind),
            None => Ok(()),
        }
    }
}

impl Devices {
    fn check(&self) -> Result<(), Fault> {
        let place = format!("devices.{}", self.kind);
        if self.kind.len() > KIND_MAX || Id::new(&self.kind).is_err() {
            return fault(
                "devices.kind",
                format!("{:?} is no part of an id of at most {KIND_MAX} bytes", self.kind),
            );
        }
        if self.count == 0 {
            return fault(format!("{place}.count"), "expected at least 1");
        }
        if self.qos > 2 {
            return fault(format!("{place}.qos"), "expected 0, 1 or 2");
        }
        let keep_alive = self.keep_alive.as_duration().as_secs();
        if !(1..=65_535).contains(&keep_alive) {
            return fault(format!("{place}.keep_alive"), "expected 1s to 65535s");
        }
        if self.children > 10_000 {
            return fault(format!("{place}.children"), "expected at most 10000");
        }
        between(&format!("{place}.manners.twice"), self.manners.twice, 0.0, 1.0)?;
        if let Some(flap) = &self.flap {
            some(&format!("{place}.flap.every"), flap.every)?;
            some(&format!("{place}.flap.away"), flap.away)?;
        }
        if let Some(roam) = &self.roam {
            some(&format!("{place}.roam.every"), roam.every)?;
        }
        for (n, uploads) in self.uploads.iter().enumerate() {
            uploads.check(&format!("{place}.uploads[{n}]"))?;
        }
        Ok(())
    }
}

impl Uploads {
    fn check(&self, place: &str) -> Result<(), Fault> {
        some(&format!("{place}.every"), self.every)?;
        between(&format!("{place}.jitter"), self.jitter, 0.0, 1.0)?;
        if self.size > 1_000_000 {
            return fault(format!("{place}.size"), "expected at most 1000000");
        }
        if let Some(hours) = &self.rhythm {
            if hours.len() != 24 {
                return fault(
                    format!("{place}.rhythm"),
                    format!("expected 24 numbers, found {}", hours.len()),
                );
            }
            for (hour, busy) in hours.iter().enumerate() {
                between(&format!("{place}.rhythm[{hour}]"), *busy, 0.0, 1000.0)?;
            }
            if hours.iter().all(|busy| *busy == 0.0) {
                return fault(format!("{place}.rhythm"), "no hour has any upload");
            }
        }
        match &self.payload {
            Payload::Constant { value } => {
                between(&format!("{place}.payload.value"), *value, f64::MIN, f64::MAX)
            }
            Payload::RandomWalk { min, max, step } => {
                between(&format!("{place}.payload.min"), *min, -1e12, 1e12)?;
                between(&format!("{place}.payload.max"), *max, *min, 1e12)?;
                between(&format!("{place}.payload.step"), *step, 0.0, 1e12)
            }
            Payload::Replay { file } if file.as_os_str().is_empty() => {
                fault(format!("{place}.payload.file"), "no file is named")
            }
            Payload::Replay { .. } => Ok(()),
        }
    }
}

fn some(place: &str, span: Span) -> Result<(), Fault> {
    if span > Span::default() {
        Ok(())
    } else {
        fault(place, "expected a time above 0")
    }
}

/// NaN is between nothing.
fn between(place: &str, value: f64, min: f64, max: f64) -> Result<(), Fault> {
    if value >= min && value <= max {
        Ok(())
    } else {
        fault(place, format!("{value} is not between {min} and {max}"))
    }
}
