//! What the caller asks for. Every value is checked here, before the first connection.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use irsp_protocol::{Channel, Id};
use serde::Serialize;
use thiserror::Error;

use crate::target::Target;

/// Most connections one process opens: below the 20,000 open files a usual limit allows, with room for the rest.
pub const DEVICES_MAX: usize = 19_000;
/// Highest upload rate that can be asked for, in uploads a second.
pub const RATE_MAX: f64 = 1_000_000.0;
/// Most uploads of one run: the ledger keeps about 20 bytes for each.
pub const UPLOADS_MAX: f64 = 50_000_000.0;

/// Connects devices, uploads at a rate, and says at the end what became of every upload.
///
/// Exit code 0: PASS. 1: FAIL, with reasons. 2: the run could not be started.
#[derive(Clone, Debug, Parser)]
#[command(name = "devicesim", version)]
pub struct Options {
    /// Credentials file, one `client_id,username,password` a line (`irsp provision` writes it)
    #[arg(long, value_name = "FILE")]
    pub creds: PathBuf,
    /// Application that receives the uploads
    #[arg(long)]
    pub app: Id,
    /// Channel of the uploads
    #[arg(long, default_value = "sim", value_parser = channel)]
    pub channel: Channel,
    /// Uploads a second, of all devices together
    #[arg(long, default_value = "100", value_parser = rate)]
    pub rate: f64,
    /// How long to upload, such as 30s, 500ms, 5m
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub duration: Duration,
    /// Use only the first N devices of the file
    #[arg(long, value_name = "N", value_parser = count)]
    pub devices: Option<usize>,
    /// Quality of service of the uploads
    #[arg(long, default_value = "1")]
    pub qos: Qos,
    /// Size of an upload in bytes; it is never smaller than its run, number and value need
    #[arg(long, default_value_t = 64, value_name = "BYTES")]
    pub payload_size: usize,
    /// Message server: mqtt://host:port, mqtts://host:port, ws://host:port/path or wss://...
    #[arg(long, default_value = "mqtt://127.0.0.1:1883")]
    pub url: Target,
    /// Certificate authority of mqtts:// and wss://, a PEM file
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// MQTT version of the devices
    #[arg(long, default_value = "3.1.1")]
    pub mqtt: MqttVersion,
    /// HTTP API of the platform, http://host:port: reads there what the application has stored
    #[arg(long, value_name = "URL")]
    pub http: Option<String>,
    /// File with the admin token for --http
    #[arg(long, default_value = "irsp-data/admin.token", value_name = "FILE")]
    pub token_file: PathBuf,
    /// Connections opened a second
    #[arg(long, default_value = "500", value_parser = rate)]
    pub connect_rate: f64,
    /// The same seed makes the same schedule and values
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How long to wait at the end for acknowledgements and statuses, and again for the store
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub settle: Duration,
    /// The server is a plain MQTT broker: expect no status of the uploads
    #[arg(long)]
    pub no_status: bool,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// Why the options do not fit together.
#[derive(Debug, Error)]
pub enum OptionsError {
    #[error("--url mqtts:// or wss:// needs --ca with the certificate authority's PEM file")]
    NoCa,
    #[error("--ca is only for --url mqtts:// or wss://")]
    NeedlessCa,
    #[error("--rate {rate} for --duration {seconds} s makes no upload")]
    NoUpload { rate: f64, seconds: f64 },
    #[error(
        "--rate {rate} for --duration {seconds} s makes more than {UPLOADS_MAX} uploads, more than one run keeps in memory"
    )]
    TooManyUploads { rate: f64, seconds: f64 },
    #[error(
        "{wanted} connections need more open files than this shell allows ({allowed}); first: ulimit -n {needed}"
    )]
    OpenFiles {
        wanted: usize,
        allowed: usize,
        needed: usize,
    },
}

impl Options {
    /// Checks what no single option shows.
    pub fn check(&self) -> Result<(), OptionsError> {
        match (self.url.way.is_tls(), &self.ca) {
            (true, None) => return Err(OptionsError::NoCa),
            (false, Some(_)) => return Err(OptionsError::NeedlessCa),
            (true, Some(_)) | (false, None) => {}
        }
        let (rate, seconds) = (self.rate, self.duration.as_secs_f64());
        if rate * seconds < 0.5 {
            return Err(OptionsError::NoUpload { rate, seconds });
        }
        if rate * seconds > UPLOADS_MAX {
            return Err(OptionsError::TooManyUploads { rate, seconds });
        }
        Ok(())
    }
}

/// Open files a process needs beside its connections.
const FILES_BESIDE: usize = 100;

/// Checks that `wanted` connections fit under the soft limit of open files, where the system tells it.
pub fn check_open_files(wanted: usize) -> Result<(), OptionsError> {
    let Ok(limits) = std::fs::read_to_string("/proc/self/limits") else {
        // Not a Linux: the system itself says no when there are too many.
        return Ok(());
    };
    let needed = wanted + FILES_BESIDE;
    match soft_open_files(&limits) {
        Some(allowed) if allowed < needed => Err(OptionsError::OpenFiles {
            wanted,
            allowed,
            needed,
        }),
        Some(_) | None => Ok(()),
    }
}

/// The soft limit in the text of `/proc/self/limits`; `None` when there is none.
fn soft_open_files(limits: &str) -> Option<usize> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// MQTT quality of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Qos {
    /// At most once: best effort, not acknowledged
    #[value(name = "0")]
    AtMostOnce,
    /// At least once
    #[value(name = "1")]
    AtLeastOnce,
    /// Exactly once
    #[value(name = "2")]
    ExactlyOnce,
}

impl Qos {
    pub fn level(self) -> u8 {
        match self {
            Qos::AtMostOnce => 0,
            Qos::AtLeastOnce => 1,
            Qos::ExactlyOnce => 2,
        }
    }
}

/// MQTT version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
pub enum MqttVersion {
    /// MQTT 3.1.1
    #[value(name = "3.1.1", aliases = ["3", "4"])]
    #[serde(rename = "3.1.1")]
    V311,
    /// MQTT 5.0: an upload carries its id, so that the server can tell a repeat
    #[value(name = "5", aliases = ["5.0"])]
    #[serde(rename = "5")]
    V5,
}

fn channel(text: &str) -> Result<Channel, String> {
    Channel::new(text).map_err(|error| error.to_string())
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= RATE_MAX => Ok(rate),
        Ok(_) | Err(_) => Err(format!("expected a number above 0, at most {RATE_MAX}")),
    }
}

fn count(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(count) if count > 0 => Ok(count),
        Ok(_) | Err(_) => Err("expected a whole number above 0".to_owned()),
    }
}

/// Longest duration that can be asked for: a day.
const DURATION_MAX: Duration = Duration::from_secs(86_400);

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    let ms = number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit_ms));
    match ms.map(Duration::from_millis) {
        Some(duration) if unit_ms > 0 && duration <= DURATION_MAX => Ok(duration),
        Some(_) | None => {
            Err("expected a whole number with ms, s, m or h, at most 24h, such as 30s".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, clap::Error> {
        let base = ["devicesim", "--creds", "c.csv", "--app", "climate"];
        Options::try_parse_from(base.into_iter().chain(line.split_whitespace()))
    }

    #[test]
    fn the_defaults_fit_together() {
        let options = parse("").unwrap();
        options.check().unwrap();
        assert_eq!(options.url.to_string(), "mqtt://127.0.0.1:1883");
        assert_eq!((options.qos, options.mqtt), (Qos::AtLeastOnce, MqttVersion::V311));
    }

    #[test]
    fn every_wrong_value_is_a_usage_error() {
        for line in [
            "--rate 0",
            "--rate -1",
            "--rate NaN",
            "--rate inf",
            "--rate fast",
            "--duration 30",
            "--duration s",
            "--duration 25h",
            "--duration 3d",
            "--duration 99999999999999999999s",
            "--devices 0",
            "--devices -3",
            "--qos 3",
            "--mqtt 3.1",
            "--channel a//b",
            "--channel +",
            "--url http://127.0.0.1",
            "--url 127.0.0.1:1883",
            "--url mqtt://:1883",
            "--url mqtt://host:port",
            "--url mqtt://user@host:1",
            "--url mqtt://host:0",
            "--connect-rate 0",
            "--settle soon",
            "--payload-size -1",
            "--app a/b",
            "--unknown",
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        for (line, part) in [
            ("--url mqtts://127.0.0.1:8883", "needs --ca"),
            ("--ca ca.crt", "only for"),
            ("--rate 0.1 --duration 1s", "makes no upload"),
            ("--rate 1000000 --duration 1h", "makes more than"),
        ] {
            let error = parse(line).unwrap().check().expect_err(line).to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn the_limit_of_open_files_is_read_from_the_system() {
        let text = "Limit                     Soft Limit           Hard Limit           Units\n\
                    Max open files            1024                 524288               files\n";
        assert_eq!(soft_open_files(text), Some(1024));
        assert_eq!(
            soft_open_files("Max open files            unlimited            unlimited            files"),
            None
        );
        assert_eq!(soft_open_files(""), None);
    }
}
