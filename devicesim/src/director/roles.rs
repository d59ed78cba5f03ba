//! From a scenario's words to what each member does: filters, sources, manners.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use irsp_protocol::Secret;
use tokio::time::Instant;

use crate::actor::{Part, Says, Source};
use crate::cast::{APP, Cast, Role};
use crate::dice::Dice;
use crate::model::{Model, Trace, TraceFault, trace};
use crate::observation::{Kind, Party};
use crate::options::MqttVersion;
use crate::scenario::{Answers, Devices, Manners, Mqtt, Payload, Pushes, Scenario, Via};

use super::Play;

/// Of users and the application.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// The channel of pushes.
pub(super) const CHANNEL: &str = "set";
/// Keeps a member's own choices apart from its sources'.
const SOURCES: u64 = 1 << 42;

pub(super) type Traces = HashMap<PathBuf, Trace>;

/// Reads every trace once.
pub(super) fn traces(scenario: &Scenario) -> Result<Traces, TraceFault> {
    let mut traces = Traces::new();
    for uploads in scenario.devices.iter().flat_map(|kind| &kind.uploads) {
        if let Payload::Replay { file } = &uploads.payload
            && !traces.contains_key(file)
        {
            traces.insert(file.clone(), trace(file)?);
        }
    }
    Ok(traces)
}

/// What one member does.
pub(super) fn part(
    play: &Play,
    cast: &Cast,
    traces: &Traces,
    party: Party,
    code: Secret,
    opens: Instant,
) -> Part {
    let member = cast.member(party);
    let mut part = Part {
        party,
        client_id: format!("{}-{}", member.principal.kind, member.principal.id),
        code,
        version: MqttVersion::V5,
        keep_alive: KEEP_ALIVE,
        filters: Vec::new(),
        sources: Vec::new(),
        answers: Answers::Ack,
        flap: None,
        roam: None,
        clock_skew_ms: 0,
        slow: None,
        will: None,
        manners: Manners::default(),
        dice: Dice::new(play.seed, u64::from(party.0)),
        opens,
    };
    match &member.role {
        Role::App => application(play, cast, &mut part),
        Role::Device { kind } => device(play, cast, traces, *kind, &mut part),
        Role::User { devices } => user(play, cast, devices, &mut part),
    }
    part
}

fn dice(play: &Play, party: Party, source: usize) -> Dice {
    Dice::new(play.seed, SOURCES | u64::from(party.0) << 8 | source as u64)
}

fn device(play: &Play, cast: &Cast, traces: &Traces, kind: usize, part: &mut Part) {
    let scenario = &play.scenario;
    let devices = &scenario.devices[kind];
    let own = cast.name(part.party);
    let app = cast.member(APP).principal.id.clone();
    part.filters = vec![(format!("v1/{own}/status"), 1), (format!("v1/{own}/down/#"), 1)];
    part.version = match devices.mqtt {
        Mqtt::V311 => MqttVersion::V311,
        Mqtt::V5 => MqttVersion::V5,
    };
    part.keep_alive = devices.keep_alive.as_duration();
    part.answers = devices.answers;
    part.flap = devices.flap.clone();
    part.roam = devices.roam;
    part.clock_skew_ms = devices.clock_skew.map_or(0, crate::scenario::Skew::as_millis);
    part.slow = devices.slow.map(crate::scenario::Span::as_duration);
    part.manners = devices.manners;
    words(play, devices, &own, part);
    let day = scenario.day.unwrap_or(scenario.duration).as_duration();
    for uploads in &devices.uploads {
        let trace = match &uploads.payload {
            Payload::Replay { file } => traces.get(file).cloned(),
            Payload::Constant { .. } | Payload::RandomWalk { .. } => None,
        };
        for child in 0..devices.children.max(1) {
            let channel = match devices.children {
                0 => uploads.channel.to_string(),
                _ => format!("child-{}/{}", child + 1, uploads.channel),
            };
            let dice = dice(play, part.party, part.sources.len());
            part.sources.push(Source {
                model: Model::new(uploads, day, dice, trace.clone()),
                says: Says::Message(Kind::Upload),
                targets: vec![(APP, format!("v1/{own}/up/{app}/{channel}"))],
                channel,
                expiry: None,
                qos: devices.qos,
                size: uploads.size,
            });
        }
    }
}

fn words(play: &Play, devices: &Devices, own: &str, part: &mut Part) {
    part.will = devices.will.then(|| format!("v1/{own}/live/will"));
    if let Some(live) = devices.live {
        let dice = dice(play, part.party, part.sources.len());
        part.sources.push(Source {
            model: Model::steady(live.every.as_duration(), 1.0, dice),
            says: Says::Live { retain: live.retain },
            targets: vec![(part.party, format!("v1/{own}/live/state"))],
            channel: String::new(),
            expiry: None,
            qos: 1,
            size: live.size,
        });
    }
}

fn user(play: &Play, cast: &Cast, devices: &[Party], part: &mut Part) {
    let own = cast.name(part.party);
    part.filters.push((format!("v1/{own}/status"), 1));
    let users = play.scenario.users.as_ref();
    for device in devices {
        let device = cast.name(*device);
        part.filters.push((format!("v1/{device}/presence"), 1));
        if play.scenario.speaks_live() {
            part.filters.push((format!("v1/{device}/live/#"), 1));
        }
        if users.is_some_and(|users| users.hears_uploads) {
            part.filters.push((format!("v1/{device}/up/#"), 1));
        }
    }
    if let Some(pushes) = users.and_then(|users| users.pushes.as_ref()) {
        let to = |device: &Party| (*device, format!("v1/{own}/to/{}/{CHANNEL}", cast.name(*device)));
        part.sources.push(Source {
            model: Model::steady(pushes.every.as_duration(), 1.0, dice(play, part.party, 0)),
            says: Says::Message(Kind::Push),
            targets: devices.iter().map(to).collect(),
            channel: CHANNEL.to_owned(),
            expiry: None,
            qos: 1,
            size: pushes.size,
        });
    }
}

fn application(play: &Play, cast: &Cast, part: &mut Part) {
    let own = cast.name(part.party);
    let app = &cast.member(part.party).principal.id;
    part.filters = vec![
        (format!("v1/{own}/status"), 1),
        (format!("v1/dev/+/up/{app}/#"), 1),
        ("v1/dev/+/presence".to_owned(), 1),
    ];
    for pushes in play
        .scenario
        .app
        .pushes
        .iter()
        .filter(|pushes| pushes.via == Via::Mqtt)
    {
        let devices = receivers(&play.scenario, cast, &pushes.to);
        if devices.is_empty() {
            continue;
        }
        let to = |device: &Party| (*device, format!("v1/{own}/to/{}/{CHANNEL}", cast.name(*device)));
        let every = Duration::from_secs_f64(1.0 / push_rate(play, pushes));
        part.sources.push(Source {
            model: Model::steady(every, 0.0, dice(play, part.party, part.sources.len())),
            says: Says::Message(Kind::Push),
            targets: devices.iter().map(to).collect(),
            channel: CHANNEL.to_owned(),
            expiry: pushes.expiry.map(crate::scenario::Span::as_duration),
            qos: 1,
            size: pushes.size,
        });
    }
}

/// This part's share of the pushes to a kind: each part pushes to its own devices.
pub(super) fn push_rate(play: &Play, pushes: &Pushes) -> f64 {
    let mut kinds = play.scenario.devices.iter();
    let all = kinds
        .find(|devices| devices.kind == pushes.to)
        .map_or(0, |devices| devices.count);
    play.part.share(pushes.rate, all)
}

/// The devices of a kind.
pub(super) fn receivers(scenario: &Scenario, cast: &Cast, kind: &str) -> Vec<Party> {
    match scenario.devices.iter().position(|devices| devices.kind == kind) {
        Some(kind) => cast.devices(Some(kind)),
        None => Vec::new(),
    }
}
