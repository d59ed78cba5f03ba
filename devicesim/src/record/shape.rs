//! The shape of a fleet from what was heard of it. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use irsp_protocol::presence::{Connectivity, Presence};
use irsp_protocol::topic::Branch;
use irsp_protocol::{Channel, Topic};
use serde_json::Value;

use super::device;
use crate::scenario::{
    Answers, App, Cut, Devices, Flap, Manners, Mqtt, Payload, Scenario, Span, Tolerance, Uploads,
};
use crate::slo::Slo;
use crate::wire::Publish;

/// Lines of a trace.
const TRACE_MAX: usize = 10_000;
/// Fewer uploads of a channel than this say nothing of its rate: it takes the whole recording for one.
const RATE_MIN: usize = 2;

/// What was heard so far.
#[derive(Debug, Default)]
pub struct Recorder {
    payloads: bool,
    length: Duration,
    devices: BTreeMap<String, Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    channels: BTreeMap<Channel, Uploaded>,
    /// How often it went away.
    left: u32,
    away: Duration,
    since: Option<Duration>,
}

#[derive(Debug, Default)]
struct Uploaded {
    at: Vec<Duration>,
    bytes: usize,
    qos: u8,
    values: Vec<String>,
}

/// A scenario, and the traces it names.
#[derive(Debug)]
pub struct Recording {
    pub scenario: Scenario,
    pub traces: Vec<TraceFile>,
}

/// The payloads of one device of a kind.
#[derive(Debug)]
pub struct TraceFile {
    pub kind: String,
    pub channel: String,
    pub text: String,
}

impl Recorder {
    /// `payloads`: keeps what the devices say, too.
    pub fn new(payloads: bool) -> Recorder {
        Recorder {
            payloads,
            ..Recorder::default()
        }
    }

    /// Something was heard, so long after the begin.
    pub fn hear(&mut self, at: Duration, topic: &Topic, publish: &Publish) {
        match &topic.branch {
            Branch::Up { channel, .. } => {
                let heard = self.devices.entry(device(&topic.owner)).or_default();
                let uploaded = heard.channels.entry(channel.clone()).or_default();
                uploaded.at.push(at);
                uploaded.bytes += publish.payload.len();
                uploaded.qos = uploaded.qos.max(publish.qos);
                if self.payloads && uploaded.values.len() < TRACE_MAX {
                    uploaded.values.push(value(&publish.payload));
                }
            }
            Branch::Presence => {
                let Ok(presence) = serde_json::from_slice::<Presence>(&publish.payload) else {
                    return;
                };
                let online = presence.state == Connectivity::Online;
                // Retained, and gone: it may never come back.
                if publish.retain && !online {
                    return;
                }
                let heard = self.devices.entry(device(&topic.owner)).or_default();
                if online {
                    heard.away += heard
                        .since
                        .take()
                        .map_or(Duration::ZERO, |since| at.saturating_sub(since));
                } else {
                    heard.left += 1;
                    heard.since = Some(at);
                }
            }
            Branch::CloudEvent { .. }
            | Branch::Status
            | Branch::Down { .. }
            | Branch::Ack { .. }
            | Branch::Answers
            | Branch::In(_)
            | Branch::Live { .. }
            | Branch::To { .. } => {}
        }
    }

    /// The recording is over.
    pub fn end(&mut self, length: Duration) {
        self.length = length.max(Duration::from_millis(1));
    }

    /// The scenario; none when no device was heard.
    pub fn close(self) -> Option<Recording> {
        let length = self.length;
        let mut kinds: BTreeMap<Vec<(Channel, i32)>, Vec<Heard>> = BTreeMap::new();
        for heard in self.devices.into_values() {
            let key = heard
                .channels
                .iter()
                .map(|(channel, uploaded)| (channel.clone(), pace(uploaded, length)))
                .collect();
            kinds.entry(key).or_default().push(heard);
        }
        if kinds.is_empty() {
            return None;
        }
        let (mut devices, mut traces) = (Vec::new(), Vec::new());
        for (n, (_, members)) in kinds.into_iter().enumerate() {
            let kind = format!("kind-{}", n + 1);
            devices.push(describe(&kind, &members, length));
            if !self.payloads {
                continue;
            }
            // All members of a kind have the same channels.
            for channel in members
                .first()
                .into_iter()
                .flat_map(|member| member.channels.keys())
            {
                let all = members.iter().filter_map(|member| member.channels.get(channel));
                let busiest = all.max_by_key(|uploaded| uploaded.values.len());
                traces.extend(busiest.and_then(|uploaded| trace(&kind, channel, uploaded)));
            }
        }
        let scenario = Scenario {
            about: format!(
                "recorded from a live fleet in {}",
                Span::from(Duration::from_secs(length.as_secs().max(1)))
            ),
            seed: 1,
            duration: Span::from(Duration::from_secs(length.as_secs().max(1))),
            settle: Span::from_millis(10_000),
            day: None,
            connect_rate: 200.0,
            devices,
            users: None,
            app: App::default(),
            events: Vec::new(),
            tolerance: Tolerance::default(),
            slo: Slo::default(),
        };
        Some(Recording { scenario, traces })
    }
}

/// Mean time between two uploads.
fn every(uploaded: &Uploaded, length: Duration) -> Duration {
    if uploaded.at.len() < RATE_MIN {
        length
    } else {
        length / uploaded.at.len() as u32
    }
}

/// Rates within a factor of two are one pace.
fn pace(uploaded: &Uploaded, length: Duration) -> i32 {
    every(uploaded, length).as_secs_f64().max(0.001).log2().round() as i32
}

fn describe(kind: &str, members: &[Heard], length: Duration) -> Devices {
    let mut uploads = Vec::new();
    let first = members
        .first()
        .map(|member| member.channels.keys().cloned().collect::<Vec<_>>())
        .unwrap_or_default();
    let mut qos = 0;
    for channel in first {
        let all: Vec<&Uploaded> = members
            .iter()
            .filter_map(|member| member.channels.get(&channel))
            .collect();
        let count: usize = all.iter().map(|uploaded| uploaded.at.len()).sum();
        let bytes: usize = all.iter().map(|uploaded| uploaded.bytes).sum();
        let mean: Duration = all
            .iter()
            .map(|uploaded| every(uploaded, length))
            .sum::<Duration>()
            / all.len().max(1) as u32;
        let irregular = all
            .iter()
            .map(|uploaded| irregularity(uploaded))
            .fold(0.0, f64::max);
        qos = all.iter().map(|uploaded| uploaded.qos).fold(qos, u8::max);
        uploads.push(Uploads {
            channel,
            every: Span::from_millis(u64::try_from(mean.as_millis()).unwrap_or(u64::MAX).max(1)),
            jitter: (irregular * 100.0).round() / 100.0,
            rhythm: None,
            payload: Payload::default(),
            size: bytes / count.max(1),
        });
    }
    let left: u32 = members.iter().map(|member| member.left).sum();
    let away: Duration = members.iter().map(|member| member.away).sum();
    let flap = (left > 0).then(|| Flap {
        every: Span::from(length.mul_f64(members.len() as f64 / f64::from(left))),
        away: Span::from((away / left).max(Duration::from_millis(1))),
        how: Cut::Broken,
    });
    Devices {
        kind: kind.to_owned(),
        count: members.len() as u32,
        mqtt: Mqtt::default(),
        qos,
        keep_alive: Span::from_millis(60_000),
        answers: Answers::default(),
        children: 0,
        uploads,
        flap,
        roam: None,
        clock_skew: None,
        slow: None,
        live: None,
        will: false,
        manners: Manners::default(),
    }
}

/// 0 for a metronome, up to 1: how far the pauses are from their mean, beside it.
fn irregularity(uploaded: &Uploaded) -> f64 {
    let pauses: Vec<f64> = uploaded
        .at
        .windows(2)
        .map(|pair| (pair[1].saturating_sub(pair[0])).as_secs_f64())
        .collect();
    let mean = pauses.iter().sum::<f64>() / pauses.len().max(1) as f64;
    if mean <= 0.0 {
        return 0.0;
    }
    let off = pauses.iter().map(|pause| (pause - mean).abs()).sum::<f64>() / pauses.len() as f64;
    (off / mean * 2.0).min(1.0)
}

fn trace(kind: &str, channel: &Channel, uploaded: &Uploaded) -> Option<TraceFile> {
    let mut text = String::from("# milliseconds since the one before, value\n");
    let mut before = uploaded.at.first().copied()?;
    let usual = u64::try_from(every(uploaded, before.max(Duration::from_secs(1))).as_millis())
        .unwrap_or(1_000)
        .max(1);
    for (n, (at, value)) in uploaded.at.iter().zip(&uploaded.values).enumerate() {
        let pause = u64::try_from(at.saturating_sub(before).as_millis()).unwrap_or(u64::MAX);
        text.push_str(&format!("{},{value}\n", if n == 0 { usual } else { pause }));
        before = *at;
    }
    Some(TraceFile {
        kind: kind.to_owned(),
        channel: channel.to_string(),
        text,
    })
}

/// A payload as JSON on one line: itself, or as text.
fn value(payload: &[u8]) -> String {
    match serde_json::from_slice::<Value>(payload) {
        Ok(value) => value.to_string(),
        Err(_) => Value::from(String::from_utf8_lossy(payload)).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn publish(topic: &str, payload: &str, retain: bool) -> (Topic, Publish) {
        let publish = Publish {
            topic: topic.to_owned(),
            payload: Bytes::from(payload.to_owned()),
            qos: 1,
            id: 1,
            dup: false,
            retain,
            expiry_s: None,
            user: Vec::new(),
        };
        (Topic::parse(topic).unwrap(), publish)
    }

    fn recording(payloads: bool) -> Recording {
        let mut recorder = Recorder::new(payloads);
        for second in 0..60u64 {
            for lamp in 1..=3 {
                let (topic, publish) = publish(
                    &format!("v1/dev/lamp-{lamp}/up/climate/temp"),
                    "{\"t\":21.5}",
                    false,
                );
                recorder.hear(Duration::from_secs(second), &topic, &publish);
            }
            if second % 20 == 0 {
                let (topic, publish) =
                    publish("v1/dev/meter-1/up/climate/power", "12345678901234567890", false);
                recorder.hear(Duration::from_secs(second), &topic, &publish);
            }
        }
        let presence = |state: &str, seq: u64| {
            format!(
                "{{\"principal\":\"dev/lamp-1\",\"epoch\":1,\"seq\":{seq},\"state\":\"{state}\",\"since\":\"2026-01-01T00:00:00Z\",\"reason\":\"connected\"}}"
            )
        };
        for (at, state, seq) in [(10, "offline", 2), (14, "online", 3)] {
            let (topic, publish) = publish("v1/dev/lamp-1/presence", &presence(state, seq), false);
            recorder.hear(Duration::from_secs(at), &topic, &publish);
        }
        recorder.end(Duration::from_secs(60));
        recorder.close().unwrap()
    }

    #[test]
    fn devices_that_do_the_same_are_of_one_kind() {
        let scenario = recording(false).scenario;
        scenario.check().unwrap();
        let shape: Vec<(u32, String, u64, usize)> = scenario
            .devices
            .iter()
            .map(|kind| {
                let uploads = &kind.uploads[0];
                (
                    kind.count,
                    uploads.channel.to_string(),
                    uploads.every.as_duration().as_secs(),
                    uploads.size,
                )
            })
            .collect();
        assert_eq!(
            shape,
            [(1, "power".to_owned(), 20, 20), (3, "temp".to_owned(), 1, 10)]
        );
        let flap = scenario.devices[1].flap.as_ref().unwrap();
        assert_eq!(
            (
                flap.every.as_duration().as_secs(),
                flap.away.as_duration().as_secs()
            ),
            (180, 4)
        );
    }

    #[test]
    fn a_recording_can_be_played() {
        let Recording { scenario, traces } = recording(true);
        let text = toml::to_string(&scenario).unwrap();
        toml::from_str::<Scenario>(&text).unwrap().check().unwrap();
        assert_eq!(traces.len(), 2);
        let dir = tempfile::tempdir().unwrap();
        for trace in traces {
            let path = dir.path().join(&trace.kind);
            std::fs::write(&path, &trace.text).unwrap();
            assert!(!crate::model::trace(&path).unwrap().is_empty());
        }
    }

    #[test]
    fn of_nothing_there_is_no_scenario() {
        let mut recorder = Recorder::new(false);
        recorder.end(Duration::from_secs(1));
        assert!(recorder.close().is_none());
    }
}
