//! What a person at the terminal reads: news on standard output, the one line of a refusal on standard error.

use std::fmt::Display;
use std::io::Write as _;

/// Says something on standard output. A reader that went away is no reason to stop a server.
pub(crate) fn say(text: impl Display) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = writeln!(out, "{text}").and_then(|()| out.flush()) {
        tracing::debug!(%error, "standard output is gone");
    }
}

/// Says why irsp ends, in one line.
#[expect(
    clippy::print_stderr,
    reason = "the last word of the process, also when no log is set up"
)]
pub(crate) fn complain(why: &impl Display) {
    eprintln!("irsp: {}", why.to_string().replace('\n', "; "));
}
