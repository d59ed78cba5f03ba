//! What a person at the terminal reads: news on standard output, the one line of a refusal on standard error.

use std::fmt::Display;
use std::io::{self, Write as _};

use serde::Serialize;

/// Says something on standard output. A reader that went away is no reason to stop a server.
pub(crate) fn say(text: impl Display) {
    let mut out = io::stdout().lock();
    if let Err(error) = writeln!(out, "{text}").and_then(|()| out.flush()) {
        tracing::debug!(%error, "standard output is gone");
    }
}

/// The same, for a command that has nothing more to do once nobody reads it.
pub(crate) fn print(line: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// A value as one line of JSON.
pub(crate) fn json(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string(value)
}

/// A remark beside the output, on standard error.
#[expect(clippy::print_stderr, reason = "standard output is for what was asked for")]
pub(crate) fn note(text: impl Display) {
    eprintln!("irsp: {text}");
}

/// Says why a command asked for in JSON ends: a problem document (RFC 9457) in one line.
#[expect(clippy::print_stderr, reason = "standard output is for what was asked for")]
pub(crate) fn complain_in_json(problem: &serde_json::Value) {
    eprintln!("{problem}");
}

/// Says why irsp ends, in one line.
#[expect(
    clippy::print_stderr,
    reason = "the last word of the process, also when no log is set up"
)]
pub(crate) fn complain(why: &impl Display) {
    eprintln!("irsp: {}", why.to_string().replace('\n', "; "));
}
