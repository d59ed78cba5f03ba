//! A client's last will, when its time has come [MQTT-3.1.2-8].

use std::sync::Arc;
use std::time::{Duration, Instant};

use irsp_courier::{Courier, Hop};
use irsp_protocol::topic::Branch;
use irsp_protocol::{Address, MessageKind, Principal, Server, Status, Topic};
use irsp_session::Will;

use super::Edge;
use super::envelope::{self, Acceptance};
use crate::access;
use crate::sessions::mailbox::Mailbox;
use crate::topics::Topics;

/// The token of a publish that nobody waits for.
const NOBODY: u64 = 0;

/// What publishing a will takes once its client is gone.
struct WillOf {
    topics: Arc<Topics>,
    courier: Courier,
    mailbox: Arc<Mailbox>,
    /// How long an upload is kept if the will says nothing.
    expiry: Duration,
}

impl WillOf {
    /// Publishes a will whose topic has been granted: an upload is accepted as one, a live message reaches whoever is
    /// subscribed.
    fn publish(self, branch: Branch, will: Will) {
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
                        self.topics.observe_now(&publish);
                    }
                    Err(error) => {
                        tracing::info!(topic = %publish.topic, %error, "a will that is not understood")
                    }
                }
            }
            Branch::Live { .. } => {
                self.topics.bequeath(&publish);
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

/// What a will is, if its sender may publish it: an upload or a live message.
pub(super) fn granted_will(edge: &Edge, owner: &Principal, will: &Will) -> Result<Branch, Status> {
    let mut topic = Topic::parse(&will.publish.topic).map_err(|_| Status::FORBIDDEN)?;
    access::localise(&mut topic, &edge.domain);
    access::publish(owner, &topic, &*edge.enforcer.directory)?;
    let is_upload = matches!(topic.branch, Branch::Up { .. });
    if !(is_upload || matches!(topic.branch, Branch::Live { .. })) || (is_upload && will.publish.retain) {
        return Err(Status::FORBIDDEN);
    }
    Ok(topic.branch)
}

/// Publishes a will, after its delay if the client has not come back by then [MQTT-3.1.3-9].
pub(super) fn publish_will(edge: &Edge, will: Will, mailbox: &Arc<Mailbox>, session_expiry: Duration) {
    // Granted at CONNECT; a right that was withdrawn since then counts.
    let branch = match granted_will(edge, mailbox.owner(), &will) {
        Ok(branch) => branch,
        Err(status) => {
            return tracing::info!(owner = %mailbox.owner(), %status, "a will that is no longer granted");
        }
    };
    let will_of = WillOf {
        topics: Arc::clone(&edge.enforcer.topics),
        courier: edge.courier.clone(),
        mailbox: Arc::clone(mailbox),
        expiry: edge.message_expiry,
    };
    let stop = edge.stop.clone();
    let delay = will.delay.min(session_expiry);
    edge.tasks.spawn(async move {
        if !delay.is_zero() {
            // A server that stops publishes at once: nobody would do it later.
            let _ = stop.run_until_cancelled(tokio::time::sleep(delay)).await;
            if will_of.mailbox.is_connected() {
                return;
            }
        }
        will_of.publish(branch, will);
    });
}
