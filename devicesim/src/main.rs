//! Reads the command line, runs what it asks for, prints the report. Exit code 0: PASS, 1: FAIL, 2: no run.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use devicesim::cli::{Cli, Command};
use devicesim::{compare, play, record};

/// The run could not be started or ended without a report; the options' own errors have it too.
const NO_RUN: u8 = 2;

fn main() -> ExitCode {
    match work(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "devicesim: {error:#}");
            ExitCode::from(NO_RUN)
        }
    }
}

/// Whether it is a PASS.
fn work(cli: &Cli) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let (table, pass) = match (&cli.command, &cli.upload) {
        (Some(Command::Run(run)), _) => {
            let outcome = runtime.block_on(play::run(run, interrupted()))?;
            (outcome.table(), outcome.verdict.pass)
        }
        (Some(Command::Record(options)), _) => (runtime.block_on(record::run(options, interrupted()))?, true),
        (Some(Command::Merge(merge)), _) => {
            let outcome = play::merge(merge)?;
            (outcome.table(), outcome.verdict.pass)
        }
        (Some(Command::Compare(options)), _) => {
            let comparison = runtime.block_on(compare::run(options))?;
            (comparison.table(), comparison.troubles.is_empty())
        }
        (None, Some(options)) => {
            let report = runtime.block_on(devicesim::run(options, interrupted))?;
            (report.table(), report.verdict.pass)
        }
        (None, None) => anyhow::bail!("nothing to do; see --help"),
    };
    let mut out = std::io::stdout().lock();
    out.write_all(table.as_bytes())
        .and_then(|()| out.flush())
        .context("cannot print the report")?;
    Ok(pass)
}

/// Resolves when the caller wants it to end early: SIGINT or SIGTERM.
async fn interrupted() {
    tokio::select! {
        () = asked_on_the_terminal() => {}
        () = terminated() => {}
    }
}

async fn asked_on_the_terminal() {
    if tokio::signal::ctrl_c().await.is_err() {
        // No signal can be heard, so none interrupts.
        std::future::pending::<()>().await;
    }
}

#[cfg(unix)]
async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            terminate.recv().await;
        }
        // As above.
        Err(_) => std::future::pending::<()>().await,
    }
}

#[cfg(not(unix))]
async fn terminated() {
    std::future::pending::<()>().await;
}
