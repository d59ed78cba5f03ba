//! What stands on the command line of `irsp conform`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use irsp_conform::Target;
use irsp_conform::device::Answers;
use irsp_protocol::api::app::Period;
use irsp_protocol::{Channel, Id};

#[derive(Debug, Args)]
pub(crate) struct Conform {
    #[command(subcommand)]
    pub(crate) order: Order,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Order {
    /// Tries the clause table on a running platform, with principals of its own that it deletes at the end.
    Platform(Box<Platform>),
    /// Plays a platform for a device under test and judges how it behaves.
    Device(Box<Device>),
}

/// How the report is given.
#[derive(Debug, Args)]
pub(crate) struct Form {
    /// The report as JSON instead of text.
    #[arg(long)]
    pub(crate) json: bool,
    /// Writes the report as JUnit XML, too.
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Platform {
    /// HTTP of the account server (and of the application server, where they are one).
    #[arg(long, default_value = "http://127.0.0.1:8080", env = "IRSP_URL")]
    pub(crate) url: String,
    /// HTTP of the application server, where it is another.
    #[arg(long, value_name = "URL")]
    pub(crate) app_url: Option<String>,
    /// Message server: mqtt://host:port, mqtts://host:port, ws://host:port/path or wss://...
    #[arg(long, value_name = "URL", default_value = "mqtt://127.0.0.1:1883")]
    pub(crate) mqtt: Target,
    /// Certificate authority of mqtts:// and wss://, a PEM file.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// The file of the admin token; admin.token in the data directory unless given.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// How long anything may take before a check gives up on it.
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = patience)]
    pub(crate) patience: Duration,
    /// Only clauses that begin so, such as 8.3 or 7.1,9.
    #[arg(long, value_name = "CLAUSES", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Where a webhook of ours listens, for clause 8.8.2.
    #[arg(long, value_name = "ADDRESS", requires = "hook_url")]
    pub(crate) hook_listen: Option<SocketAddr>,
    /// How the platform reaches that webhook; its settings must allow the address.
    #[arg(long, value_name = "URL", requires = "hook_listen")]
    pub(crate) hook_url: Option<String>,
    /// HTTP of a domain that is linked with this one, for clauses 8.5 to 8.7.
    #[arg(long, value_name = "URL", requires_all = ["other_mqtt", "other_token_file"])]
    pub(crate) other_url: Option<String>,
    /// Its message server.
    #[arg(long, value_name = "URL", requires = "other_url")]
    pub(crate) other_mqtt: Option<Target>,
    /// Its certificate authority.
    #[arg(long, value_name = "FILE", requires = "other_url")]
    pub(crate) other_ca: Option<PathBuf>,
    /// The file of its admin token.
    #[arg(long, value_name = "FILE", requires = "other_url")]
    pub(crate) other_token_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) form: Form,
}

#[derive(Debug, Args)]
pub(crate) struct Device {
    /// Where the device connects to, by MQTT over TCP.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:1883")]
    pub(crate) listen: SocketAddr,
    /// The device's id.
    #[arg(long, value_name = "ID", default_value = "device-under-test")]
    pub(crate) device: Id,
    /// The application it uploads to and that pushes to it.
    #[arg(long, value_name = "ID", default_value = "conform")]
    pub(crate) app: Id,
    /// How it says that it has done what a push asked: on its ack topic, or by PUBACK alone.
    #[arg(long, value_name = "ack|mqtt", default_value = "ack", value_parser = answers)]
    pub(crate) answers: Answers,
    /// The channel of the pushes it is sent.
    #[arg(long, default_value = "set", value_parser = channel)]
    pub(crate) channel: Channel,
    /// What is pushed: JSON that the device understands.
    #[arg(long, value_name = "JSON", default_value = r#"{"on":true}"#, value_parser = json)]
    pub(crate) push: serde_json::Value,
    /// How long the device may take to come, and to come back.
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = patience)]
    pub(crate) patience: Duration,
    /// How long it may take to answer.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = patience)]
    pub(crate) answer_wait: Duration,
    /// How long it may take until it uploads something.
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = patience)]
    pub(crate) upload_wait: Duration,
    /// How long it is left alone between two cuts, so that its back-off begins anew.
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = patience)]
    pub(crate) steady: Duration,
    #[command(flatten)]
    pub(crate) form: Form,
    /// A program that is the device, behind `--`; its login stands in IRSP_HOST, IRSP_PORT, IRSP_DEVICE, IRSP_CODE, IRSP_APP.
    #[arg(last = true, value_name = "PROGRAM")]
    pub(crate) start: Vec<String>,
}

fn answers(word: &str) -> Result<Answers, String> {
    match word {
        "ack" => Ok(Answers::Ack),
        "mqtt" => Ok(Answers::Mqtt),
        _ => Err("not ack or mqtt".to_owned()),
    }
}

fn channel(text: &str) -> Result<Channel, String> {
    Channel::new(text).map_err(|error| error.to_string())
}

fn json(text: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn patience(text: &str) -> Result<Duration, String> {
    let period: Period = text.parse().map_err(|_| "not a time such as 20s".to_owned())?;
    if period.0.is_zero() {
        return Err("a check cannot wait for no time".to_owned());
    }
    Ok(period.0)
}
