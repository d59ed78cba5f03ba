//! Whole-platform tests: real sockets, real files, real clients.
//!
//! - [`Platform`] is a domain under test: all roles in this process, or the `irsp` binary in one process or in three.
//!   Stories do not see which it is.
//! - [`Client`] is an MQTT client that is not ours (rumqttc, 3.1.1 and 5.0); [`Api`] speaks HTTP.
//! - Nothing here waits for a length of time: [`eventually`] looks again until it sees what it waits for.

mod api;
mod client;
mod here;
mod pki;
mod platform;
mod processes;
mod raw;

use std::time::Duration;

use tokio::time::{Instant, sleep};

pub use api::{Answer, Api};
pub use client::{Client, Connecting, Message, Version};
pub use platform::{Doors, Platform, Setup};
pub use processes::Layout;
pub use raw::{Heard, Hello, LastWill, Packet, Raw};

/// How long anything may take before a story gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Looks until there is something to see, and panics when [`PATIENCE`] is over.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < deadline, "not seen in {PATIENCE:?}: {what}");
        sleep(LOOK_AGAIN).await;
    }
}
