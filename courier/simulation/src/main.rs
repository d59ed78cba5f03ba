//! Tells many stories: `cargo run --release -p irsp-courier-simulation -- --seeds 100000`.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use irsp_courier_simulation::tell;

#[derive(Parser)]
struct Options {
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// Stop after so many failures.
    #[arg(long, default_value_t = 5)]
    failures: u64,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let mut out = std::io::stdout().lock();
    let (mut failures, mut accepted, mut crashes, mut passed) = (0u64, 0u64, 0u64, 0u64);
    let (mut abroad, mut links) = (0u64, 0u64);
    for seed in options.from..options.from.saturating_add(options.seeds) {
        match tell(seed, None) {
            Ok(told) => {
                accepted += told.accepted;
                abroad += told.abroad;
                links += told.links;
                crashes += told.crashes;
                passed += told.passed.as_secs();
            }
            Err(failure) => {
                writeln!(out, "seed {seed}: {failure}")?;
                failures += 1;
                if failures >= options.failures {
                    break;
                }
            }
        }
    }
    writeln!(
        out,
        "{} seeds, {accepted} messages, {abroad} of them done in another domain, {links} links, {crashes} crashes, {} days: \
         {failures} failures",
        options.seeds,
        passed / 86_400,
    )?;
    Ok(match failures {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}
