//! What may be set of a courier.

use std::time::Duration;

use crate::core::{Limits, Window};
use crate::quota::Bounds;
use crate::store::Retention;

const HOUR: Duration = Duration::from_secs(3600);

/// Limits and times of a courier; the defaults are the platform's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Envelopes under way to another server without an answer. The bus loses what overruns it, so the windows of all who
    /// send to a server have to be less than what it holds.
    pub server_window: usize,
    /// Data of those envelopes, in bytes; they are kept in memory for sending again.
    pub server_window_bytes: usize,
    /// Envelopes under way to another domain without an answer: what a link with a second of round trip carries in
    /// a second, and what a domain that never answers costs in memory.
    pub peer_window: usize,
    /// Data of those envelopes, in bytes.
    pub peer_window_bytes: usize,
    /// Envelopes under way to a principal without an answer.
    pub principal_window: usize,
    /// Data of those envelopes, in bytes.
    pub principal_window_bytes: usize,
    /// The same for an attached application, which receives from many.
    pub application_window: usize,
    pub application_window_bytes: usize,
    /// The first wait for another server's answer before an envelope is sent again; it doubles up to `retry_max`.
    pub retry_min: Duration,
    pub retry_max: Duration,
    /// How long an ended message is remembered as a receipt, and its sender's id as used.
    pub receipt_retention: Duration,
    /// For how many ended messages, if there are more within that time; those that ended first are forgotten first.
    pub receipts_max: u64,
    /// How long, and for how many envelopes, repeats from other servers are recognised.
    pub seen_retention: Duration,
    pub seen_max: u64,
    /// How often another server may fail at a message before it is a dead letter.
    pub failures_max: u32,
    /// How long a dead letter is kept for an operator.
    pub dead_letter_retention: Duration,
    /// How long after its expiry a server that was sent a message and not heard is still asked: it may have done it.
    pub answer_grace: Duration,
    /// How long after its expiry the end of a message in another server's custody is waited for.
    pub custody_grace: Duration,
    /// What may be in flight; beyond it a message is not accepted.
    pub bounds: Bounds,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            server_window: 1024,
            server_window_bytes: 1 << 20,
            peer_window: 1024,
            peer_window_bytes: 4 << 20,
            principal_window: 64,
            principal_window_bytes: 256 << 10,
            application_window: 1024,
            application_window_bytes: 4 << 20,
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_secs(30),
            receipt_retention: 24 * HOUR,
            receipts_max: 10_000_000,
            // The longest expiry, and a day for clocks that disagree: no sender repeats for longer.
            seen_retention: 31 * 24 * HOUR,
            seen_max: 10_000_000,
            failures_max: 16,
            dead_letter_retention: 30 * 24 * HOUR,
            // Longer than a restart of either.
            answer_grace: Duration::from_secs(5),
            custody_grace: Duration::from_secs(60),
            bounds: Bounds::default(),
        }
    }
}

impl Settings {
    pub(super) fn limits(&self) -> Limits {
        Limits {
            server: Window {
                count: self.server_window.max(1),
                bytes: self.server_window_bytes,
            },
            peer: Window {
                count: self.peer_window.max(1),
                bytes: self.peer_window_bytes,
            },
            principal: Window {
                count: self.principal_window.max(1),
                bytes: self.principal_window_bytes,
            },
            application: Window {
                count: self.application_window.max(1),
                bytes: self.application_window_bytes,
            },
            retry_min: self.retry_min,
            retry_max: self.retry_max,
        }
    }

    pub(super) fn retention(&self) -> Retention {
        Retention {
            receipts: self.receipt_retention,
            receipts_max: self.receipts_max,
            seen: self.seen_retention,
            seen_max: self.seen_max,
            dead_letters: self.dead_letter_retention,
        }
    }
}
