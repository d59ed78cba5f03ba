//! Where the run stands: counters the devices raise, and a live line on a terminal.

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicU64, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Counters of the whole fleet. They steer waiting and the live line; the report is made from the ledger.
#[derive(Debug, Default)]
pub struct Progress {
    /// Devices connected now.
    pub connected: AtomicU64,
    /// Devices that may still begin uploads.
    pub uploading: AtomicU64,
    /// Uploads begun: handed to the client, sent or not yet.
    pub begun: AtomicU64,
    /// Uploads sent at least once.
    pub sent: AtomicU64,
    /// Uploads acknowledged or refused.
    pub answered: AtomicU64,
    /// Uploads with a final status.
    pub ended: AtomicU64,
    /// Connections that broke after they stood.
    pub broken: AtomicU64,
}

impl Progress {
    pub fn raise(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub fn lower(counter: &AtomicU64) {
        counter.fetch_sub(1, Ordering::Relaxed);
    }

    /// Raises the counter until what is returned is dropped.
    pub fn during(counter: &AtomicU64) -> Raised<'_> {
        Progress::raise(counter);
        Raised(counter)
    }

    pub fn read(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}

/// See [`Progress::during`].
pub struct Raised<'a>(&'a AtomicU64);

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        Progress::lower(self.0);
    }
}

/// The live line; it draws nothing unless standard error is a terminal.
pub struct Line(ProgressBar);

impl Line {
    pub fn new() -> Line {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(1), target);
        if let Ok(style) = ProgressStyle::with_template("{prefix:10} {bar:30} {percent:>3}%  {msg}") {
            bar.set_style(style);
        }
        Line(bar)
    }

    /// Begins a part of the run with `total` steps.
    pub fn begin(&self, part: &'static str, total: u64) {
        self.0.set_prefix(part);
        self.0.set_length(total.max(1));
        self.0.set_position(0);
    }

    /// Shows where the fleet stands, `done` steps into the part.
    pub fn show(&self, done: u64, progress: &Progress) {
        self.0.set_position(done);
        self.0.set_message(format!(
            "connected {}  sent {}  answered {}  statuses {}  broken {}",
            Progress::read(&progress.connected),
            Progress::read(&progress.sent),
            Progress::read(&progress.answered),
            Progress::read(&progress.ended),
            Progress::read(&progress.broken),
        ));
    }

    /// Takes the line off the terminal.
    pub fn clear(&self) {
        self.0.finish_and_clear();
    }
}

impl Default for Line {
    fn default() -> Line {
        Line::new()
    }
}
