//! A client's last will, when its time has come [MQTT-3.1.2-8].

use std::sync::Arc;
use std::time::{Duration, Instant};

use irsp_courier::Courier;
use irsp_directory::Directory;
use irsp_protocol::topic::Branch;
use irsp_protocol::{Address, Expiry, MessageKind, Principal, Status, Topic};
use irsp_session::{Publish, Will};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Edge;
use super::envelope::{self, Acceptance};
use crate::access;
use crate::route;
use crate::sessions::SessionKey;
use crate::sessions::keeper::Keeper;
use crate::sessions::kept::Bounds;
use crate::sessions::mailbox::Mailbox;
use crate::store::will::{Left, WillId};
use crate::topics::{Topics, Unheard};

/// The token of a publish that nobody waits for.
const NOBODY: u64 = 0;

/// What publishing a will takes once its client is gone.
struct WillOf {
    topics: Arc<Topics>,
    courier: Courier,
    directory: Arc<Directory>,
    mailbox: Arc<Mailbox>,
    keeper: Arc<Keeper>,
    expiry: Expiry,
    /// How long it waits for a subscriber that has no room.
    patience: Duration,
    stop: CancellationToken,
}

impl WillOf {
    fn new(edge: &Edge, mailbox: &Arc<Mailbox>) -> WillOf {
        WillOf {
            topics: Arc::clone(&edge.enforcer.topics),
            courier: edge.courier.clone(),
            directory: Arc::clone(&edge.enforcer.directory),
            mailbox: Arc::clone(mailbox),
            keeper: Arc::clone(&edge.enforcer.keeper),
            expiry: edge.message_expiry,
            patience: edge.limits.stall_timeout,
            stop: edge.stop.clone(),
        }
    }

    /// Publishes a will whose topic has been granted: an upload is accepted as one, a live message reaches whoever is
    /// subscribed.
    async fn publish(self, topic: Topic, will: Will) {
        let now = Instant::now();
        let mut publish = will.publish;
        publish.topic = topic.to_string().into();
        publish.expires = will.expiry.map(|expiry| now + expiry);
        let publish = Arc::new(publish);
        match topic.branch {
            Branch::Up { app, channel } => {
                let acceptance = Acceptance {
                    id: self.courier.new_id(),
                    kind: MessageKind::Upload,
                    source: Address::local(self.mailbox.owner().clone()),
                    destination: app,
                    now: self.courier.now(),
                    expiry: self.expiry,
                };
                let hop = route::next_hop(&acceptance.destination, &self.directory);
                match (hop, envelope::from_publish(acceptance, channel, &publish, now)) {
                    (Ok(hop), Ok(envelope)) => {
                        self.courier.accept(envelope, hop, self.mailbox, NOBODY);
                        self.topics.observe_now(&publish);
                    }
                    (Err(status), _) => {
                        tracing::info!(topic = %publish.topic, %status, "a will whose application takes nothing")
                    }
                    (_, Err(error)) => {
                        tracing::info!(topic = %publish.topic, %error, "a will that is not understood")
                    }
                }
            }
            Branch::Live { .. } => self.bequeath(&publish).await,
            Branch::CloudEvent { .. }
            | Branch::Status
            | Branch::Down { .. }
            | Branch::Ack { .. }
            | Branch::Answers
            | Branch::In(_)
            | Branch::Presence
            | Branch::To { .. } => {
                tracing::info!(topic = %publish.topic, "a will is an upload or a live message");
            }
        }
    }
}

impl WillOf {
    /// A will waits for its subscribers as any publish does, for many may come at once. Who has no room even then hears
    /// what fits.
    async fn bequeath(&self, publish: &Arc<Publish>) {
        let heard = async {
            loop {
                match self.topics.publish(publish, &self.mailbox, true) {
                    Err(Unheard::Full(slow)) => slow.room().await,
                    heard => return heard,
                }
            }
        };
        let heard = self.stop.run_until_cancelled(timeout(self.patience, heard)).await;
        match heard {
            Some(Ok(Ok(durable))) => {
                let retained = publish.retain.then(|| self.mailbox.publisher());
                self.keeper.put_ignored(publish, durable, retained);
            }
            Some(Ok(Err(_)) | Err(_)) | None => self.topics.bequeath(publish, &self.mailbox),
        }
    }
}

/// Where a will goes, if its sender may publish it: an upload or a live message.
pub(super) fn granted_will(edge: &Edge, owner: &Principal, will: &Will) -> Result<Topic, Status> {
    let mut topic = Topic::parse(&will.publish.topic).map_err(|_| Status::FORBIDDEN)?;
    access::localise(&mut topic, &edge.domain);
    access::publish(owner, &topic, &*edge.enforcer.directory)?;
    let is_upload = matches!(topic.branch, Branch::Up { .. });
    if !(is_upload || matches!(topic.branch, Branch::Live { .. })) || (is_upload && will.publish.retain) {
        return Err(Status::FORBIDDEN);
    }
    Ok(topic)
}

/// The will of a connection.
pub(super) struct LastWill {
    pub(super) will: Will,
    /// Where it is stored, if the session is durable.
    pub(super) stored: Option<WillId>,
}

impl LastWill {
    /// The connection ended as its client wished [MQTT-3.14.4-3].
    pub(super) fn discard(&self, edge: &Edge) {
        if let Some(id) = self.stored {
            edge.enforcer.keeper.will_done(id);
        }
    }
}

/// Publishes a will, after its delay if the client has not come back by then [MQTT-3.1.3-9]. When the server stops, a
/// stored one is left to the next start; another is published at once, because nobody would do it later.
pub(super) fn publish_will(edge: &Edge, last: LastWill, mailbox: &Arc<Mailbox>, session_expiry: Duration) {
    // Granted at CONNECT; a right that was withdrawn since then counts.
    let topic = match granted_will(edge, mailbox.owner(), &last.will) {
        Ok(topic) => topic,
        Err(status) => {
            tracing::info!(owner = %mailbox.owner(), %status, "a will that is no longer granted");
            return last.discard(edge);
        }
    };
    let LastWill { will, stored } = last;
    let keeper = Arc::clone(&edge.enforcer.keeper);
    let delay = will.delay.min(session_expiry);
    if let Some(id) = stored {
        if edge.stop.is_cancelled() && !session_expiry.is_zero() {
            return;
        }
        if !delay.is_zero() {
            keeper.will_due(id, edge.courier.now().plus(delay));
        }
    }
    let will_of = WillOf::new(edge, mailbox);
    let connections = mailbox.connections();
    let stop = edge.stop.clone();
    edge.tasks.spawn(async move {
        if !delay.is_zero() {
            // Its time has come with the end of its session as well [MQTT-3.1.3-9].
            let due = timeout(delay, will_of.mailbox.replaced());
            let slept = stop.run_until_cancelled(due).await;
            let back = will_of.mailbox.connections() != connections;
            if back || (slept.is_none() && stored.is_some()) {
                return;
            }
        }
        will_of.publish(topic, will).await;
        if let Some(id) = stored {
            keeper.will_done(id);
        }
    });
}

/// Publishes the wills that were left when the server ended, each when its time has come or another session begins in the
/// place of its own. Those of sessions that were connected then wait for their clients as presence does, for `grace`.
pub(crate) fn publish_left(edge: &Arc<Edge>, left: Vec<Left>, grace: Duration) {
    let now = edge.courier.now();
    for left in left {
        let at = left.due.unwrap_or_else(|| {
            let at = now.plus(left.will.delay.max(grace));
            edge.enforcer.keeper.will_due(left.id, at);
            at
        });
        let sessions = edge.enforcer.sessions.mailboxes(&left.principal);
        let mailbox = sessions
            .into_iter()
            .find(|mailbox| mailbox.session() == Some(left.session))
            // Its session has expired; only what the courier says to it has no reader.
            .unwrap_or_else(|| {
                let nobody = SessionKey::restored(left.principal.clone(), None);
                Mailbox::new(&nobody, Bounds::messages(0))
            });
        let own = Arc::clone(edge);
        edge.tasks.spawn(async move {
            let due = timeout(at.since(now), mailbox.replaced());
            // Its client may have come back; then it is no longer stored.
            if own.stop.run_until_cancelled(due).await.is_some() && mailbox.connections() == 0 {
                publish_one(&own, left, mailbox).await;
            }
        });
    }
}

/// Publishes a will whose time has come.
async fn publish_one(edge: &Edge, left: Left, mailbox: Arc<Mailbox>) {
    let exists = edge.enforcer.directory.check(&left.principal);
    match exists.and_then(|()| granted_will(edge, &left.principal, &left.will)) {
        Ok(topic) => WillOf::new(edge, &mailbox).publish(topic, left.will).await,
        Err(status) => {
            tracing::info!(owner = %left.principal, %status, "a will that is no longer granted");
        }
    }
    edge.enforcer.keeper.will_done(left.id);
}
