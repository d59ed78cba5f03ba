//! SIGTERM and Ctrl-C: the first asks for an orderly stop, the second ends the process at once.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::task::TaskTracker;

use crate::failure::Failure;
use crate::http::Http;

/// The signals that ask irsp to stop.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Heard from now on, so that none is lost during the start.
    pub(crate) fn listen() -> Result<Signals, Failure> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate()).map_err(Failure::Signals)?,
            interrupt: signal(SignalKind::interrupt()).map_err(Failure::Signals)?,
        })
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Runs the stop. A second signal does not wait for it: exit code 1, at once. So does the deadline, with what
    /// is accepted on disk all the same.
    pub(crate) async fn while_stopping(mut self, deadline: Duration, stop: impl Future<Output = ()>) {
        tokio::select! {
            () = stop => tracing::info!("stopped"),
            signal = self.next() => {
                tracing::warn!(signal, "second signal, not waiting any longer");
                std::process::exit(1);
            }
            () = tokio::time::sleep(deadline) => {
                tracing::warn!(?deadline, "stop.deadline has passed, not waiting any longer");
            }
        }
    }
}

/// Waits for the signal to stop, or for the end of HTTP, which nobody asked for.
pub(crate) async fn until_end(signals: &mut Signals, http: &mut Http) -> Result<(), Failure> {
    tokio::select! {
        signal = signals.next() => {
            tracing::info!(signal, "stopping");
            Ok(())
        }
        failure = http.ended() => Err(failure),
    }
}

/// Closes a tracker and waits for its tasks.
pub(crate) async fn join(tasks: &TaskTracker) {
    tasks.close();
    tasks.wait().await;
}
