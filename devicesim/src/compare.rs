//! `devicesim compare`: the same plain MQTT loads against several servers, in alternating rounds; what is printed are
//! ratios with their spread, because absolute figures say more about a machine than about a server.
//!
//! ```text
//! round 1: case a: ours, mosquitto | case b: mosquitto, ours | ...      whoever began last goes first next
//! round 2: case a: mosquitto, ours | ...
//! ```

mod cases;
pub(crate) mod named;
mod table;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use thiserror::Error;

use crate::cli;
use crate::engine::{self, EngineError, Login, Measured};
use crate::link::{Dialer, DialerError};
use crate::options::{OptionsError, check_open_files};
use crate::reports::{self, Unwritten};

pub use cases::{Case, Shape};
pub use named::Named;

/// Why servers could not be compared.
#[derive(Debug, Error)]
pub enum CompareError {
    #[error("--{option} {name}: there is no --target of this name")]
    Unknown { option: &'static str, name: String },
    #[error("--target {0}: this name stands twice")]
    Twice(String),
    #[error("cannot read {path}: {error}", path = path.display())]
    Logins { path: PathBuf, error: std::io::Error },
    #[error("{path}, line {line}: expected client_id,username,password", path = path.display())]
    Line { path: PathBuf, line: usize },
    #[error("{path} has {found} devices and {observers} application, needed are {wanted} and 1", path = path.display())]
    TooFew {
        path: PathBuf,
        found: usize,
        observers: usize,
        wanted: usize,
    },
    #[error("no case is called {0}")]
    NoCase(String),
    #[error(transparent)]
    Dialer(#[from] DialerError),
    #[error(transparent)]
    Options(#[from] OptionsError),
    #[error("{target}, {case}: {error}")]
    Engine {
        target: String,
        case: String,
        error: EngineError,
    },
    #[error(transparent)]
    Report(#[from] Unwritten),
}

/// One server under comparison.
struct Contender {
    name: String,
    dialer: Dialer,
    logins: Option<Logins>,
    pid: Option<u32>,
}

/// Who logs in at a server that wants to know: devices publish on their own topics, an application hears them.
struct Logins {
    devices: Vec<Login>,
    observer: Login,
}

/// All figures, by case, server and round.
#[derive(Debug, Serialize)]
pub struct Comparison {
    pub targets: Vec<String>,
    pub rounds: usize,
    pub seconds: f64,
    pub payload: usize,
    pub cases: Vec<Compared>,
    /// Where nothing was received, or connections broke: such a case compares nothing.
    pub troubles: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct Compared {
    pub case: String,
    /// By server; one measurement for each round.
    pub measured: HashMap<String, Vec<Measured>>,
}

/// Compares.
pub async fn run(options: &cli::Compare) -> Result<Comparison, CompareError> {
    let cases = cases::choose(options)?;
    let connections = cases.iter().map(|case| case.connections()).max().unwrap_or(0);
    check_open_files(connections)?;
    options.json.as_deref().map(reports::check).transpose()?;
    let contenders = contenders(options, &cases).await?;
    let names: Vec<String> = contenders
        .iter()
        .map(|contender| contender.name.clone())
        .collect();
    let mut compared: Vec<Compared> = cases
        .iter()
        .map(|case| Compared {
            case: case.name(),
            measured: HashMap::new(),
        })
        .collect();
    let steps = options.rounds * cases.len() * contenders.len();
    let bar = ProgressBar::with_draw_target(Some(steps as u64), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} of {duration}  {msg}") {
        bar.set_style(style);
    }
    let mut turn = 0;
    let mut troubles = Vec::new();
    for _ in 0..options.rounds {
        for (case, compared) in cases.iter().zip(&mut compared) {
            for place in 0..contenders.len() {
                let contender = &contenders[(place + turn) % contenders.len()];
                bar.set_message(format!("{} at {}", case.name(), contender.name));
                let load = case.load(options, contender.logins.as_ref(), contender.pid);
                let measured = match case.shape {
                    Shape::Reset => engine::reset(&contender.dialer, &load).await,
                    Shape::Idle
                    | Shape::Connect
                    | Shape::FanIn
                    | Shape::FanOut
                    | Shape::Pairs
                    | Shape::Shared => engine::run(&contender.dialer, &load).await,
                };
                let measured = measured.map_err(|error| CompareError::Engine {
                    target: contender.name.clone(),
                    case: case.name(),
                    error,
                })?;
                troubles.extend(trouble(&measured, load.copies, &contender.name, &case.name()));
                compared
                    .measured
                    .entry(contender.name.clone())
                    .or_default()
                    .push(measured);
                bar.inc(1);
                // The server closes what the last load has left.
                tokio::time::sleep(BETWEEN).await;
            }
            turn += 1;
        }
    }
    bar.finish_and_clear();
    Ok(Comparison {
        targets: names,
        rounds: options.rounds,
        seconds: options.seconds,
        payload: options.payload,
        cases: compared,
        troubles,
    })
}

/// Writes the comparison where `options` want it.
pub fn write(options: &cli::Compare, comparison: &Comparison) -> Result<(), Unwritten> {
    let Some(path) = &options.json else {
        return Ok(());
    };
    reports::put_json(path, comparison)
}

/// Why a round of a case compares nothing.
fn trouble(measured: &Measured, copies: u64, target: &str, case: &str) -> Option<String> {
    let nothing = copies > 0 && measured.received_per_second == 0.0 && measured.served_ms.is_none();
    if measured.broken > 0 {
        return Some(format!("{target}, {case}: {} connections broke", measured.broken));
    }
    nothing.then(|| format!("{target}, {case}: nothing was received"))
}

/// Between two loads.
const BETWEEN: Duration = Duration::from_millis(500);

async fn contenders(options: &cli::Compare, cases: &[Case]) -> Result<Vec<Contender>, CompareError> {
    let mut contenders: Vec<Contender> = Vec::new();
    for Named { name, value: target } in &options.targets {
        let ca = options.ca.iter().find(|ca| ca.name == *name);
        let ca = ca.map(|ca| ca.value.as_path()).filter(|_| target.way.is_tls());
        if contenders.iter().any(|known| known.name == *name) {
            return Err(CompareError::Twice(name.clone()));
        }
        contenders.push(Contender {
            name: name.clone(),
            dialer: Dialer::new(target.clone(), ca).await?,
            logins: None,
            pid: None,
        });
    }
    for Named { name, .. } in &options.ca {
        find(&mut contenders, "ca", name)?;
    }
    let wanted = cases.iter().map(Case::devices).max().unwrap_or(0);
    for Named { name, value: path } in &options.logins {
        let contender = find(&mut contenders, "logins", name)?;
        contender.logins = Some(Logins::read(path, wanted)?);
    }
    for Named { name, value: pid } in &options.pids {
        find(&mut contenders, "pid", name)?.pid = Some(*pid);
    }
    Ok(contenders)
}

fn find<'a>(
    contenders: &'a mut [Contender],
    option: &'static str,
    name: &str,
) -> Result<&'a mut Contender, CompareError> {
    contenders
        .iter_mut()
        .find(|contender| contender.name == name)
        .ok_or_else(|| CompareError::Unknown {
            option,
            name: name.to_owned(),
        })
}

impl Logins {
    /// Lines `client_id,username,password`: devices, and one application that hears everyone.
    fn read(path: &std::path::Path, wanted: usize) -> Result<Logins, CompareError> {
        let text = std::fs::read_to_string(path).map_err(|error| CompareError::Logins {
            path: path.to_owned(),
            error,
        })?;
        let (mut devices, mut observers) = (Vec::new(), Vec::new());
        for (n, line) in text.lines().enumerate() {
            if line.trim().is_empty() || (n == 0 && line.trim() == crate::creds::HEADER) {
                continue;
            }
            let fields: Vec<&str> = line.trim().split(',').collect();
            let [client_id, username, password] = fields[..] else {
                return Err(CompareError::Line {
                    path: path.to_owned(),
                    line: n + 1,
                });
            };
            let login = Login {
                client_id: client_id.to_owned(),
                username: Some(username.to_owned()),
                password: Some(password.to_owned()),
            };
            if username.starts_with("app/") {
                observers.push(login);
            } else {
                devices.push(login);
            }
        }
        let (found, count) = (devices.len(), observers.len());
        match observers.into_iter().next() {
            Some(observer) if found >= wanted && count == 1 => Ok(Logins { devices, observer }),
            Some(_) | None => Err(CompareError::TooFew {
                path: path.to_owned(),
                found,
                observers: count,
                wanted,
            }),
        }
    }
}

#[cfg(test)]
mod tests;
