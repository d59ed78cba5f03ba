//! Reads the options, runs the fleet, prints the report. Exit code 0: PASS, 1: FAIL, 2: no run.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use devicesim::options::Options;

/// The run could not be started or ended without a report; the options' own errors have it too.
const NO_RUN: u8 = 2;

fn main() -> ExitCode {
    let options = Options::parse();
    match report(&options) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "devicesim: {error:#}");
            ExitCode::from(NO_RUN)
        }
    }
}

fn report(options: &Options) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let report = runtime.block_on(devicesim::run(options, async || {
        if tokio::signal::ctrl_c().await.is_err() {
            // No signal can be heard, so none interrupts.
            std::future::pending::<()>().await;
        }
    }))?;
    let mut out = std::io::stdout().lock();
    out.write_all(report.table().as_bytes())
        .and_then(|()| out.flush())
        .context("cannot print the report")?;
    Ok(if report.verdict.pass {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
