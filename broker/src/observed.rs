//! The message server as its operator sees it.

use std::sync::Arc;

use irsp_courier::{Courier, Observed};
use prometheus_client::registry::Registry;

use crate::directory::Enforcer;
use crate::metrics::{Metrics, SessionState};

/// What a running message server shows.
pub(crate) struct Observer {
    pub(crate) courier: Courier,
    pub(crate) enforcer: Enforcer,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) instruments: Arc<Registry>,
}

impl Observed for Observer {
    fn courier(&self) -> &Courier {
        &self.courier
    }

    fn instruments(&self) -> &Registry {
        &self.instruments
    }

    /// Looks at every session once; no connection waits for it longer than for another look at its own mailbox.
    fn refresh(&self) {
        let (mut connected, mut away, mut waiting) = (0, 0, 0);
        for mailbox in self.enforcer.sessions.all() {
            if mailbox.is_connected() {
                connected += 1;
            } else {
                away += 1;
            }
            waiting += mailbox.waiting();
        }
        let seen = &self.metrics.seen;
        seen.sessions.of(SessionState::Connected).set(connected);
        seen.sessions.of(SessionState::Away).set(away);
        seen.queued_messages.set(whole(waiting));
        let (messages, bytes) = self.enforcer.keeper.held();
        seen.stored_messages.set(whole(messages));
        seen.stored_bytes.set(whole(bytes));
        seen.subscriptions
            .set(whole(self.enforcer.topics.subscriptions()));
        seen.retained.set(whole(self.enforcer.topics.retained_len()));
    }

    fn directory(&self) -> Option<u64> {
        Some(self.enforcer.directory.applied())
    }
}

fn whole(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}
