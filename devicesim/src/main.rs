//! Reads the command line, runs what it asks for, prints the report. Exit code 0: PASS, 1: FAIL, 2: no run, or a report
//! that could not be written.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use devicesim::cli::{Cli, Command};
use devicesim::reports::Unwritten;
use devicesim::{compare, play, record};

/// The run could not be started or ended without a report, or one could not be written; the options' own errors have it too.
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
    let (table, pass, unwritten) = match (&cli.command, &cli.upload) {
        (Some(Command::Run(run)), _) => {
            let outcome = runtime.block_on(play::run(run, interrupted()))?;
            let unwritten = play::write(&outcome, &run.reports);
            (outcome.table(), outcome.verdict.pass, unwritten)
        }
        (Some(Command::Record(options)), _) => {
            let said = runtime.block_on(record::run(options, interrupted()))?;
            (said, true, Vec::new())
        }
        (Some(Command::Merge(merge)), _) => {
            let outcome = play::merge(merge)?;
            let unwritten = play::write(&outcome, &merge.reports);
            (outcome.table(), outcome.verdict.pass, unwritten)
        }
        (Some(Command::Compare(options)), _) => {
            let comparison = runtime.block_on(compare::run(options))?;
            let unwritten = compare::write(options, &comparison).err();
            let pass = comparison.troubles.is_empty();
            (comparison.table(), pass, unwritten.into_iter().collect())
        }
        (None, Some(options)) => {
            let report = runtime.block_on(devicesim::run(options, interrupted))?;
            let unwritten = devicesim::write(options, &report).err();
            (
                report.table(),
                report.verdict.pass,
                unwritten.into_iter().collect(),
            )
        }
        (None, None) => anyhow::bail!("nothing to do; see --help"),
    };
    let mut out = std::io::stdout().lock();
    out.write_all(table.as_bytes())
        .and_then(|()| out.flush())
        .context("cannot print the report")?;
    let unwritten: Vec<String> = unwritten.iter().map(Unwritten::to_string).collect();
    anyhow::ensure!(unwritten.is_empty(), "{}", unwritten.join("; "));
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
