//! SIGTERM and Ctrl-C: the first asks for an orderly stop, the second ends the process at once. SIGHUP asks for the
//! certificates to be read again.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::task::TaskTracker;

use crate::failure::Failure;
use crate::http::Http;

/// What a signal asks for.
#[derive(Debug)]
pub(crate) enum Asked {
    /// The signal's name.
    Stop(&'static str),
    Reload,
}

/// The signals that ask something of irsp.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Heard from now on, so that none is lost during the start.
    pub(crate) fn listen() -> Result<Signals, Failure> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate()).map_err(Failure::Signals)?,
            interrupt: signal(SignalKind::interrupt()).map_err(Failure::Signals)?,
            hangup: signal(SignalKind::hangup()).map_err(Failure::Signals)?,
        })
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Asked::Stop("SIGINT"),
            _ = self.hangup.recv() => Asked::Reload,
        }
    }

    /// Waits for the next signal to stop.
    async fn next_stop(&mut self) -> &'static str {
        loop {
            if let Asked::Stop(signal) = self.next().await {
                return signal;
            }
        }
    }

    /// Runs the stop. A second signal does not wait for it: exit code 1, at once. So does the deadline, with what
    /// is accepted on disk all the same.
    pub(crate) async fn while_stopping(mut self, deadline: Duration, stop: impl Future<Output = ()>) {
        tokio::select! {
            () = stop => tracing::info!("stopped"),
            signal = self.next_stop() => {
                tracing::warn!(signal, "second signal, not waiting any longer");
                std::process::exit(1);
            }
            () = tokio::time::sleep(deadline) => {
                tracing::warn!(?deadline, "stop.deadline has passed, not waiting any longer");
            }
        }
    }
}

/// Waits for the signal to stop, or for the end of HTTP, which nobody asked for. Calls `reload` at each SIGHUP meanwhile.
pub(crate) async fn until_end(
    signals: &mut Signals,
    http: &mut Http,
    reload: impl Fn(),
) -> Result<(), Failure> {
    loop {
        tokio::select! {
            asked = signals.next() => match asked {
                Asked::Stop(signal) => {
                    tracing::info!(signal, "stopping");
                    return Ok(());
                }
                Asked::Reload => reload(),
            },
            failure = http.ended() => return Err(failure),
        }
    }
}

/// Closes a tracker and waits for its tasks.
pub(crate) async fn join(tasks: &TaskTracker) {
    tasks.close();
    tasks.wait().await;
}
