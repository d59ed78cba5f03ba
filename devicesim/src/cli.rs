//! What stands on the command line: `devicesim --creds ...` uploads from registered devices; the words below do the rest.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::builder::TypedValueParser as _;
use clap::{Args, Parser, Subcommand};
use irsp_protocol::{Id, Timestamp};

use crate::cast::Part;
use crate::compare::named::Named;
use crate::options::Options;
use crate::scenario::Span;
use crate::target::Target;

/// Device simulator: loads a platform and tells the truth about it.
///
/// Exit code 0: PASS. 1: FAIL, with reasons. 2: there was no run.
#[derive(Debug, Parser)]
#[command(
    name = "devicesim",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub upload: Option<Options>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Play a scenario and judge the platform
    Run(Box<Run>),
    /// Measure plain MQTT servers beside each other, in alternating rounds
    Compare(Box<Compare>),
    /// Write the shape of a live fleet as a scenario
    Record(Box<Record>),
    /// Join the JSON reports of parts of one scenario, and judge them together
    Merge(Merge),
}

#[derive(Clone, Debug, Args)]
pub struct Run {
    /// Scenario, a TOML file such as config/scenarios/street.toml
    pub scenario: PathBuf,
    /// Message server: mqtt://host:port, mqtts://host:port, ws://host:port/path or wss://...
    #[arg(long, default_value = "mqtt://127.0.0.1:1883")]
    pub url: Target,
    /// Certificate authority of mqtts:// and wss://, a PEM file
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// HTTP of the account server (and of the application server, where they are one)
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub http: String,
    /// HTTP of the application server, where it is another
    #[arg(long, value_name = "URL")]
    pub app_http: Option<String>,
    /// File with the admin token
    #[arg(long, default_value = "irsp-data/admin.token", value_name = "FILE")]
    pub token_file: PathBuf,
    /// The same seed makes the same fleet; the scenario's own unless given
    #[arg(long)]
    pub seed: Option<u64>,
    /// Part of every id of this run, so that runs on one platform do not meet; made up unless given
    #[arg(long)]
    pub name: Option<String>,
    /// So many times as many devices, users and pushes
    #[arg(long, default_value = "1", value_parser = factor)]
    pub scale: f64,
    /// Another length, such as 20s; what happens in the scenario moves along
    #[arg(long, value_parser = span)]
    pub duration: Option<Span>,
    /// Play one part of the scenario, such as 2/3; every part needs the same --name and --seed
    #[arg(long, default_value = "1/1")]
    pub part: Part,
    /// Parts begin their work together at this time, such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = start_at)]
    pub start_at: Option<SystemTime>,
    /// Process of the server, on this machine: its CPU and memory are measured
    #[arg(long)]
    pub pid: Option<u32>,
    /// Delete the devices, users and application of this run at the end
    #[arg(long)]
    pub clean: bool,
    #[command(flatten)]
    pub reports: Reports,
}

#[derive(Clone, Debug, Args)]
pub struct Record {
    /// Message server: mqtt://, mqtts://, ws:// or wss://
    #[arg(long, default_value = "mqtt://127.0.0.1:1883")]
    pub url: Target,
    /// Certificate authority of mqtts:// and wss://, a PEM file
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// The application whose devices are heard
    #[arg(long)]
    pub app: Id,
    /// File with its key
    #[arg(long, value_name = "FILE")]
    pub key_file: PathBuf,
    /// How long to listen
    #[arg(long, default_value = "60s", value_parser = span)]
    pub duration: Span,
    /// Write what the devices say as traces beside the scenario, too
    #[arg(long)]
    pub payloads: bool,
    /// The scenario, a TOML file
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub struct Merge {
    /// JSON reports of `devicesim run --part ...`
    #[arg(required = true)]
    pub reports_in: Vec<PathBuf>,
    #[command(flatten)]
    pub reports: Reports,
}

#[derive(Clone, Debug, Args)]
pub struct Compare {
    /// A server: NAME=mqtt://host:port, mqtts://, ws:// or wss://; ratios are of the first one
    #[arg(long = "target", required = true, value_name = "NAME=URL")]
    pub targets: Vec<Named<Target>>,
    /// Logins of a server: NAME=FILE with lines client_id,username,password, devices and one app/... that hears them
    #[arg(long, value_name = "NAME=FILE")]
    pub logins: Vec<Named<PathBuf>>,
    /// Certificate authority of a server at mqtts:// or wss://: NAME=FILE, a PEM file
    #[arg(long, value_name = "NAME=FILE")]
    pub ca: Vec<Named<PathBuf>>,
    /// Connect by MQTT 5.0 instead of 3.1.1
    #[arg(long)]
    pub v5: bool,
    /// Process of a server on this machine: NAME=PID
    #[arg(long = "pid", value_name = "NAME=PID")]
    pub pids: Vec<Named<u32>>,
    /// Only these, such as idle, pairs, fan-in-saturated, fan-out-steady-qos1
    #[arg(long = "case", value_delimiter = ',', value_name = "CASE")]
    pub cases: Vec<String>,
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000).map(usize::from))]
    pub rounds: usize,
    /// How long each load is measured, after a fifth of that to warm up
    #[arg(long, default_value = "5", value_parser = seconds)]
    pub seconds: f64,
    /// Publishers of fan-in, subscribers of fan-out, pairs
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=9_500).map(usize::from))]
    pub clients: usize,
    /// Connections of idle and connect
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=19_000).map(usize::from))]
    pub idle: usize,
    /// Messages a second that are received, of the steady cases
    #[arg(long, default_value = "5000", value_parser = rate)]
    pub rate: f64,
    /// Bytes of a message, at least 8
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(8..=1_000_000).map(|bytes| bytes as usize))]
    pub payload: usize,
    /// Write all figures as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Where reports are written.
#[derive(Clone, Debug, Default, Args)]
pub struct Reports {
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the report as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Write the report as one HTML page
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

fn factor(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(factor) if factor > 0.0 && factor <= 1000.0 => Ok(factor),
        Ok(_) | Err(_) => Err("expected a number above 0, at most 1000".to_owned()),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.2..=3600.0).contains(&seconds) => Ok(seconds),
        Ok(_) | Err(_) => Err("expected a number of seconds from 0.2 to 3600".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (1.0..=1_000_000.0).contains(&rate) => Ok(rate),
        Ok(_) | Err(_) => Err("expected a number from 1 to 1000000".to_owned()),
    }
}

fn span(text: &str) -> Result<Span, String> {
    let duration = crate::options::duration(text)?;
    if duration >= Duration::from_millis(100) {
        Ok(Span::from(duration))
    } else {
        Err("expected at least 100ms".to_owned())
    }
}

fn start_at(text: &str) -> Result<SystemTime, String> {
    let time: Timestamp = text
        .parse()
        .map_err(|error: irsp_protocol::time::TimestampError| error.to_string())?;
    let since = u64::try_from(time.as_millis()).map_err(|_| "expected a time after 1970".to_owned())?;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_millis(since))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn without_a_word_it_uploads() {
        let cli = parse("devicesim --creds c.csv --app climate --rate 5").unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.upload.unwrap().rate, 5.0);
        assert!(parse("devicesim").is_err());
        assert!(parse("devicesim --creds c.csv").is_err());
    }

    #[test]
    fn a_scenario_is_run() {
        let cli = parse("devicesim run s.toml --url wss://h/x --scale 0.5 --duration 20s --part 2/3 --start-at 2026-01-31T12:00:00Z").unwrap();
        let Some(Command::Run(run)) = cli.command else {
            panic!()
        };
        assert_eq!(
            (run.scale, run.duration, run.part.index),
            (0.5, Some(Span::from_millis(20_000)), 1)
        );
        for line in [
            "",
            "s.toml --scale 0",
            "s.toml --scale nan",
            "s.toml --duration 5",
            "s.toml --part 4/3",
            "s.toml --url http://h",
            "s.toml --start-at noon",
        ] {
            assert_eq!(
                parse(&format!("devicesim run {line}"))
                    .expect_err(line)
                    .exit_code(),
                2,
                "{line}"
            );
        }
    }
}
