//! Where a scenario stands: counters that everybody raises, for the live view and for knowing when all is quiet.
//! The report is made from the logs.

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A counter that only rises.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn raise(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number of things there are now.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    pub fn add(&self, difference: i64) {
        self.0.fetch_add(difference, Ordering::Relaxed);
    }

    pub fn read(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters of everybody in this process.
#[derive(Debug, Default)]
pub struct Live {
    pub connected: Gauge,
    /// Members that have connected at least once, or were refused.
    pub arrived: Count,
    pub sent: Count,
    pub acknowledged: Count,
    pub ended: Count,
    pub pushed: Count,
    pub rejected: Count,
    pub broken: Count,
    /// Messages sent whose end has not been heard.
    pub open: Gauge,
    /// Publishes that are out and not acknowledged.
    pub under_way: Gauge,
}

/// The live view on a terminal: one line for the part of the run, one for what passes.
pub struct View {
    part: ProgressBar,
    flow: ProgressBar,
    last: (u64, u64),
}

impl View {
    /// Draws nothing unless standard error is a terminal.
    pub fn new() -> View {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let all = MultiProgress::with_draw_target(target);
        let part = all.add(ProgressBar::new(1));
        let flow = all.add(ProgressBar::new(1));
        if let Ok(style) = ProgressStyle::with_template("{prefix:11} {bar:40} {percent:>3}%  {elapsed}") {
            part.set_style(style);
        }
        if let Ok(style) = ProgressStyle::with_template("            {msg}") {
            flow.set_style(style);
        }
        View {
            part,
            flow,
            last: (0, 0),
        }
    }

    /// Begins a part of the run with `total` steps.
    pub fn begin(&self, part: &'static str, total: u64) {
        self.part.set_prefix(part);
        self.part.set_length(total.max(1));
        self.part.set_position(0);
    }

    /// Shows where the run stands, `done` steps into the part and `since` the last time.
    pub fn show(&mut self, done: u64, live: &Live, since: Duration) {
        self.part.set_position(done);
        let now = (live.sent.read(), live.ended.read());
        let per_second = |now: u64, before: u64| (now - before) as f64 / since.as_secs_f64().max(0.001);
        self.flow.set_message(format!(
            "connected {}  sent {} ({:.0}/s)  acknowledged {}  ended {} ({:.0}/s)  open {}  pushed {}  refused {}  broken {}",
            live.connected.read(),
            now.0,
            per_second(now.0, self.last.0),
            live.acknowledged.read(),
            now.1,
            per_second(now.1, self.last.1),
            live.open.read(),
            live.pushed.read(),
            live.rejected.read(),
            live.broken.read(),
        ));
        self.last = now;
    }

    pub fn clear(&self) {
        self.part.finish_and_clear();
        self.flow.finish_and_clear();
    }
}

impl Default for View {
    fn default() -> View {
        View::new()
    }
}
