//! A client's last will, when its time has come [MQTT-3.1.2-8].

use std::sync::Arc;
use std::time::{Duration, Instant};

use irsp_courier::{Courier, Hop};
use irsp_protocol::topic::Branch;
use irsp_protocol::{Address, MessageKind, Server};
use irsp_session::Will;

use super::envelope::{self, Acceptance};
use crate::sessions::mailbox::Mailbox;
use crate::topics::Topics;

/// The token of a publish that nobody waits for.
const NOBODY: u64 = 0;

/// What publishing a will takes once its client is gone.
pub(super) struct WillOf {
    pub(super) topics: Arc<Topics>,
    pub(super) courier: Courier,
    pub(super) mailbox: Arc<Mailbox>,
    /// How long an upload is kept if the will says nothing.
    pub(super) expiry: Duration,
}

impl WillOf {
    /// Publishes a will whose topic has been granted: an upload is accepted as one, a live message reaches whoever is
    /// subscribed.
    pub(super) fn publish(self, branch: Branch, will: Will) {
        let now = Instant::now();
        let mut publish = will.publish;
        publish.expires = will.expiry.map(|expiry| now + expiry);
        let publish = Arc::new(publish);
        match branch {
            Branch::Up { app, channel } => {
                let acceptance = Acceptance {
                    id: self.courier.new_id(),
                    kind: MessageKind::Upload,
                    source: Address::local(self.mailbox.owner().clone()),
                    destination: app,
                    now: self.courier.now(),
                    expiry: self.expiry,
                };
                match envelope::from_publish(acceptance, channel, &publish, now) {
                    Ok(envelope) => {
                        self.courier
                            .accept(envelope, Hop::Server(Server::App), self.mailbox, NOBODY);
                        self.topics.observe(&publish);
                    }
                    Err(error) => {
                        tracing::info!(topic = %publish.topic, %error, "a will that is not understood")
                    }
                }
            }
            Branch::Live { .. } => {
                if publish.retain && self.topics.keep(&publish).is_err() {
                    tracing::warn!(topic = %publish.topic, "no room for a retained will");
                }
                self.topics.observe(&publish);
            }
            Branch::CloudEvent { .. }
            | Branch::Status
            | Branch::Down { .. }
            | Branch::Ack { .. }
            | Branch::Presence
            | Branch::To { .. } => {
                tracing::info!(topic = %publish.topic, "a will is an upload or a live message");
            }
        }
    }
}
