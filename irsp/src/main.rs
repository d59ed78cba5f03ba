//! `irsp`: the platform in one binary. Reads the command line and the settings, hands over to the command, and
//! turns what comes back into an exit code: 0 done, 1 refused or failed (one line on standard error says why; with --json
//! it is a problem document), 2 the command line is wrong.

mod access;
mod admin;
mod apart;
mod attach;
mod backup;
mod cause;
mod check;
mod cli;
mod client;
mod conform;
mod console;
mod datadir;
mod dead;
mod endpoint;
mod failure;
mod firststart;
mod health;
mod http;
mod ledger;
mod logs;
mod messages;
mod metrics;
mod openapi;
mod origin;
mod peer;
mod pki;
mod ports;
mod provision;
mod serve;
mod stop;
mod table;
mod tail;
mod trace;
mod up;
mod welcome;
mod well_known;
mod wiring;
mod write;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command};
use crate::failure::Failure;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.command.as_ref().is_some_and(Command::asks_for_json);
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            match json {
                true => console::complain_in_json(&failure.problem()),
                false => console::complain(&failure),
            }
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let settings = cli.common.settings()?;
    logs::start(&settings.log)?;
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::Runtime)?;
    let outcome = match cli.command.unwrap_or(Command::Up) {
        Command::Up => runtime.block_on(up::run(settings)),
        Command::Broker => runtime.block_on(apart::broker(settings)),
        Command::Account => runtime.block_on(apart::account(settings)),
        Command::Appserver => runtime.block_on(apart::appserver(settings)),
        Command::Check => check::run(&settings),
        Command::Provision(order) => runtime.block_on(provision::run(&settings, order)),
        Command::Trace(order) => runtime
            .block_on(trace::run(&settings, order))
            .map_err(Failure::from),
        Command::Ledger(access) => runtime
            .block_on(ledger::run(&settings, access))
            .map_err(Failure::from),
        Command::Dead(order) => runtime
            .block_on(dead::run(&settings, order))
            .map_err(Failure::from),
        Command::Peer(order) => runtime
            .block_on(peer::run(&settings, order))
            .map_err(Failure::from),
        Command::Messages(order) => runtime
            .block_on(messages::run(&settings, order))
            .map_err(Failure::from),
        Command::Admin(order) => runtime
            .block_on(admin::run(&settings, order))
            .map_err(Failure::from),
        Command::Endpoint(order) => runtime
            .block_on(endpoint::run(&settings, order))
            .map_err(Failure::from),
        Command::Conform(order) => runtime
            .block_on(conform::run(&settings, order))
            .map_err(Failure::from),
        Command::Backup { to } => backup::back_up(&settings, &to),
        Command::Restore(order) => backup::restore(&settings, &order),
        Command::Tail(order) => runtime
            .block_on(tail::run(&settings, order))
            .map_err(Failure::from),
    };
    // What is past its deadline does not hold up the end of the process.
    runtime.shutdown_background();
    outcome
}
