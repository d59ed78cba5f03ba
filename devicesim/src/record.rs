//! `devicesim record`: hears a live fleet as its application does, and writes its shape as a scenario: how many devices of
//! which kind, what they upload how often, how large, and how often they come and go. Payloads only if asked.

mod shape;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use irsp_protocol::{Address, Principal, Topic};
use thiserror::Error;
use tokio::time::{Instant, sleep_until};

use crate::cli;
use crate::link::{Broken, Dialer, DialerError, Link, Login};
use crate::options::MqttVersion;
use crate::reports::{self, Unwritten};
use crate::scenario::{Payload, Scenario};
use crate::wire::{self, Packet, kind};

pub use shape::{Recorder, Recording};

const KEEP_ALIVE_S: u16 = 60;
const PING_EVERY: Duration = Duration::from_secs(30);
const SUBSCRIBE_ID: u16 = 1;

/// Why nothing was recorded.
#[derive(Debug, Error)]
pub enum RecordError {
    #[error("cannot read the application's key {path}: {error}", path = path.display())]
    Key { path: PathBuf, error: io::Error },
    #[error(transparent)]
    Dialer(#[from] DialerError),
    #[error("app/{app}: {broken}")]
    Broken { app: String, broken: Broken },
    #[error("app/{0} may not hear its devices")]
    NotGranted(String),
    #[error("no device was heard: nothing to make a scenario of")]
    Nothing,
    #[error("the scenario cannot be written as TOML: {0}")]
    Toml(#[from] toml::ser::Error),
    #[error(transparent)]
    Write(#[from] Unwritten),
}

/// Records and writes; returns a sentence for the caller.
pub async fn run(options: &cli::Record, interrupt: impl Future<Output = ()>) -> Result<String, RecordError> {
    let key = std::fs::read_to_string(&options.key_file).map_err(|error| RecordError::Key {
        path: options.key_file.clone(),
        error,
    })?;
    let dialer = Dialer::new(options.url.clone(), options.ca.as_deref()).await?;
    let broken = |broken| RecordError::Broken {
        app: options.app.to_string(),
        broken,
    };
    let username = Principal::application(options.app.clone()).to_string();
    let client_id = format!("record-{:08x}", rand::random::<u32>());
    let login = Login {
        with: wire::Connect {
            version: MqttVersion::V5,
            client_id: &client_id,
            username: Some(&username),
            password: Some(key.trim()),
            keep_alive: KEEP_ALIVE_S,
            clean: true,
            session_expiry: 0,
            receive_max: 0,
            will: None,
        },
        source: None,
        receive_buffer: None,
    };
    let (mut link, _) = dialer.open(&login).await.map_err(broken)?;
    let uploads = format!("v1/dev/+/up/{}/#", options.app);
    let filters = [(uploads.as_str(), 1), ("v1/dev/+/presence", 1)];
    wire::subscribe(&mut link.out, MqttVersion::V5, SUBSCRIBE_ID, &filters);
    let mut recorder = Recorder::new(options.payloads);
    let heard = hear(&mut link, &mut recorder, options, interrupt).await;
    match heard {
        Ok(true) => {}
        Ok(false) => return Err(RecordError::NotGranted(options.app.to_string())),
        Err(why) => return Err(broken(why)),
    }
    // What was heard is complete, whether or not the server hears the goodbye.
    let _ = link.goodbye().await;
    write(recorder, &options.out)
}

/// Hears until the time is over; says whether the subscriptions were granted.
async fn hear(
    link: &mut Link,
    recorder: &mut Recorder,
    options: &cli::Record,
    interrupt: impl Future<Output = ()>,
) -> Result<bool, Broken> {
    let began = Instant::now();
    let end = began + options.duration.as_duration();
    let mut ping = began + PING_EVERY;
    let mut interrupt = std::pin::pin!(interrupt);
    loop {
        link.flush().await?;
        let packet = tokio::select! {
            packet = link.recv() => packet?,
            () = sleep_until(ping.min(end)) => {
                if Instant::now() >= end {
                    recorder.end(began.elapsed());
                    return Ok(true);
                }
                wire::ping(&mut link.out);
                ping += PING_EVERY;
                continue;
            }
            () = &mut interrupt => {
                recorder.end(began.elapsed());
                return Ok(true);
            }
        };
        match packet {
            Packet::Publish(publish) => {
                if publish.qos == 1 {
                    wire::ack(&mut link.out, kind::PUBACK, publish.id);
                }
                if let Ok(topic) = Topic::parse(&publish.topic) {
                    recorder.hear(began.elapsed(), &topic, &publish);
                }
            }
            Packet::SubAck { codes, .. } if codes.iter().any(|code| *code >= 0x80) => return Ok(false),
            Packet::SubAck { .. }
            | Packet::ConnAck { .. }
            | Packet::PubAck { .. }
            | Packet::PubRec { .. }
            | Packet::PubRel { .. }
            | Packet::PubComp { .. }
            | Packet::UnsubAck { .. }
            | Packet::Pong
            | Packet::Disconnect { .. } => {}
        }
    }
}

/// Writes the scenario, and beside it the traces.
fn write(recorder: Recorder, out: &Path) -> Result<String, RecordError> {
    let Some(Recording { mut scenario, traces }) = recorder.close() else {
        return Err(RecordError::Nothing);
    };
    let stem = out
        .file_stem()
        .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    for trace in &traces {
        let name = PathBuf::from(format!(
            "{stem}-{}-{}.csv",
            trace.kind,
            trace.channel.replace('/', "-")
        ));
        reports::put(&out.with_file_name(&name), trace.text.as_bytes())?;
        point_to(&mut scenario, &trace.kind, &trace.channel, &name);
    }
    reports::put(out, toml::to_string(&scenario)?.as_bytes())?;
    let devices: u32 = scenario.devices.iter().map(|kind| kind.count).sum();
    Ok(format!(
        "{devices} devices of {} kinds, {} traces: {}\n",
        scenario.devices.len(),
        traces.len(),
        out.display()
    ))
}

fn point_to(scenario: &mut Scenario, kind: &str, channel: &str, name: &Path) {
    let kinds = scenario.devices.iter_mut().filter(|devices| devices.kind == kind);
    for uploads in kinds.flat_map(|devices| &mut devices.uploads) {
        if uploads.channel.as_str() == channel {
            uploads.payload = Payload::Replay {
                file: name.to_owned(),
            };
        }
    }
}

/// The device in whose tree a topic stands.
fn device(owner: &Address) -> String {
    owner.principal.id.to_string()
}
