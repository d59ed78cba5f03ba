//! `devicesim run` and `devicesim merge`: from the command line to reports.

use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use irsp_protocol::Secret;
use thiserror::Error;

use crate::cli;
use crate::director::{self, Play, PlayError};
use crate::outcome::{MergeError, Outcome, Run};
use crate::reports::{self, Unwritten};
use crate::scenario::{Fault, Scenario, ScenarioError};
use crate::usage::Usage;

/// Why there is no outcome.
#[derive(Debug, Error)]
pub enum RunError {
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    #[error("after --scale and --duration: {0}")]
    Changed(#[from] Fault),
    #[error("--part {0} needs --name: every part has the same one")]
    Nameless(String),
    #[error("--pid {0}: there is no such process on this machine")]
    NoProcess(u32),
    #[error("--start-at is in the past")]
    Past,
    #[error("cannot read the admin token {path}: {error}", path = path.display())]
    Token { path: PathBuf, error: io::Error },
    #[error(transparent)]
    Play(#[from] PlayError),
    #[error(transparent)]
    Report(#[from] Unwritten),
    #[error("cannot read {path}: {error}", path = path.display())]
    Outcome { path: PathBuf, error: io::Error },
    #[error(transparent)]
    Merge(#[from] MergeError),
}

/// Plays a scenario.
pub async fn run(run: &cli::Run, interrupt: impl Future<Output = ()>) -> Result<Outcome, RunError> {
    let part = format!("{}/{}", run.part.index + 1, run.part.of);
    if run.part.of > 1 && run.name.is_none() {
        return Err(RunError::Nameless(part));
    }
    if let Some(pid) = run.pid.filter(|pid| Usage::of(*pid).is_none()) {
        return Err(RunError::NoProcess(pid));
    }
    if run.start_at.is_some_and(|at| at < SystemTime::now()) {
        return Err(RunError::Past);
    }
    let mut scenario = Scenario::read(&run.scenario)?.scaled(run.scale);
    if let Some(duration) = run.duration {
        scenario = scenario.lasting(duration);
    }
    scenario.check()?;
    let token = std::fs::read_to_string(&run.token_file).map_err(|error| RunError::Token {
        path: run.token_file.clone(),
        error,
    })?;
    let seed = run.seed.unwrap_or(scenario.seed);
    // Wrong paths are found before the run, not after it.
    check(&run.reports)?;
    let play = Play {
        seed,
        name: run
            .name
            .clone()
            .unwrap_or_else(|| format!("{:06x}", rand::random::<u32>() & 0xFF_FFFF)),
        part: run.part,
        target: run.url.clone(),
        ca: run.ca.clone(),
        http: run.http.clone(),
        app_http: run.app_http.clone(),
        token: Secret::new(token.trim()),
        pid: run.pid,
        start_at: run.start_at,
        clean: run.clean,
        scenario: scenario.clone(),
    };
    let played = director::play(play, interrupt).await?;
    let of = Run {
        scenario: run
            .scenario
            .file_stem()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        server: run.url.to_string(),
        seed,
        part,
    };
    Ok(Outcome::of(of, &scenario, played).await)
}

/// Joins reports of parts.
pub fn merge(merge: &cli::Merge) -> Result<Outcome, RunError> {
    let mut outcomes = Vec::new();
    for path in &merge.reports_in {
        let unreadable = |error| RunError::Outcome {
            path: path.clone(),
            error,
        };
        let text = std::fs::read(path).map_err(unreadable)?;
        let outcome: Outcome = serde_json::from_slice(&text).map_err(|error| unreadable(error.into()))?;
        outcomes.push(outcome);
    }
    check(&merge.reports)?;
    Ok(Outcome::merge(outcomes)?)
}

fn check(reports: &cli::Reports) -> Result<(), Unwritten> {
    let paths = [&reports.json, &reports.junit, &reports.html];
    paths
        .into_iter()
        .flatten()
        .try_for_each(|path| reports::check(path))
}

/// Writes every report that can be written; says which could not.
pub fn write(outcome: &Outcome, reports: &cli::Reports) -> Vec<Unwritten> {
    let written = [
        reports.json.as_ref().map(|path| reports::put_json(path, outcome)),
        reports
            .junit
            .as_deref()
            .map(|path| reports::put(path, outcome.junit().as_bytes())),
        reports
            .html
            .as_deref()
            .map(|path| reports::put(path, outcome.html().as_bytes())),
    ];
    written.into_iter().flatten().filter_map(Result::err).collect()
}
