//! A device under test meets a real platform through a gate, and is judged by what passes the gate.
//!
//! ```text
//! gate    passes packets, cuts, refuses, holds back, keeps; writes down what it sees (seen)
//! trial   the scenes, one after the other, and the checks they give
//! judge   what pauses say, pure
//! ```
//! The platform is real, so what a device hears is what it will hear; the gate adds what is rare in life.

pub mod gate;
pub mod judge;
pub mod seen;
mod trial;

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use irsp_protocol::Secret;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::http::Api;
use crate::report::{Clause, Report};
use crate::trouble::CannotStart;

use gate::Gate;
use trial::Trial;

pub const CLAUSES: &[Clause] = &[
    Clause {
        number: "7.2",
        heading: "message server: connecting, and connecting again",
    },
    Clause {
        number: "8.3.1",
        heading: "upload",
    },
    Clause {
        number: "8.3.3",
        heading: "push",
    },
];

/// A platform that nobody else uses.
#[derive(Clone, Debug)]
pub struct Bench {
    /// MQTT over TCP.
    pub message: SocketAddr,
    pub url: String,
    /// HTTP of the application server, where it is another.
    pub app_url: Option<String>,
    pub admin: Secret,
}

/// How a device says that it has done what a push asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// On its `ack` topic.
    Ack,
    /// By PUBACK alone.
    Mqtt,
}

#[derive(Clone, Debug)]
pub struct Options {
    /// Where the device connects to.
    pub listen: SocketAddr,
    pub device: String,
    /// The application it uploads to, and that pushes to it.
    pub app: String,
    pub answers: Answers,
    /// What is pushed: something the device understands.
    pub channel: String,
    pub data: Value,
    /// A program that is the device, started with its login in the environment; else it is started by hand.
    pub start: Vec<String>,
    /// How long the device may take to come, and to come back.
    pub patience: Duration,
    /// How long it may take to answer a push.
    pub answer_wait: Duration,
    /// How long it may take until it uploads something by itself.
    pub upload_wait: Duration,
    /// How long it is left alone between two cuts, so that its back-off ends.
    pub steady: Duration,
}

/// What a device's author configures.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub address: SocketAddr,
    pub device: String,
    pub code: Secret,
    pub app: String,
}

/// Makes the device, says by `ready` how it logs in, plays the scenes and reports.
pub async fn examine(
    bench: &Bench,
    options: &Options,
    ready: impl FnOnce(&Credentials),
) -> Result<Report, CannotStart> {
    let admin = Api::new(&bench.url, bench.app_url.as_deref(), bench.admin.clone())?;
    let answers = match options.answers {
        Answers::Ack => "ack",
        Answers::Mqtt => "mqtt",
    };
    let made = admin
        .post("/v1/apps", json!({"id": options.app}))
        .await?
        .is(&[201])?;
    let app = admin.with(&Secret::new(made.text("key")?));
    let device = json!({"id": options.device, "answers": answers});
    let made = admin.post("/v1/devices", device).await?.is(&[201])?;
    let code = Secret::new(made.text("code")?);
    let gate = Gate::open(options.listen, bench.message).await;
    let gate = gate.map_err(|source| CannotStart::Listen {
        what: "--listen",
        address: options.listen,
        source,
    })?;
    let credentials = Credentials {
        address: gate.address(),
        device: options.device.clone(),
        code,
        app: options.app.clone(),
    };
    ready(&credentials);
    let child = start(&options.start, &credentials)?;
    let trial = Trial::new(bench, options, &credentials, gate, app).await?;
    let findings = trial.play().await;
    // Ended with the examination, whether it has gone already or not.
    drop(child);
    let subject = format!("dev/{}", options.device);
    Ok(Report::new(subject, CLAUSES, findings, Vec::new()))
}

fn start(words: &[String], credentials: &Credentials) -> Result<Option<Child>, CannotStart> {
    let Some((program, words)) = words.split_first() else {
        return Ok(None);
    };
    let child = Command::new(program)
        .args(words)
        .env("IRSP_HOST", credentials.address.ip().to_string())
        .env("IRSP_PORT", credentials.address.port().to_string())
        .env("IRSP_DEVICE", &credentials.device)
        .env("IRSP_CODE", credentials.code.expose())
        .env("IRSP_APP", &credentials.app)
        .stdin(Stdio::null())
        // The report alone stands on standard output.
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    Ok(Some(child.map_err(CannotStart::Device)?))
}
