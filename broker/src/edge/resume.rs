//! Which session a connection goes on with, what of it is read from disk, and how it is left.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytestring::ByteString;
use irsp_courier::store::StoreError;
use irsp_protocol::{Kind, Status};
use irsp_session::{Connect, Delivery, Session};

use super::Edge;
use super::login::Identity;
use crate::heritage;
use crate::sessions::backlog::Backlog;
use crate::sessions::kept::{Bounds, Unread};
use crate::sessions::mailbox::Mailbox;
use crate::sessions::tag::{Tag, stored_seq, stored_tag};
use crate::sessions::{Held, Parked, SessionKey};
use crate::store::publish::Moment;
use crate::store::queue::{self, Waiting};
use crate::store::session::{Begun, Left, Queued, SessionId};
use crate::store::will::WillId;
use crate::topics;

/// Deliveries that wait for a server of this domain; they are bus frames, which may be lost.
const SERVER_QUEUE: u64 = 1024;

/// The session of a connection that begins.
pub(super) struct Resumed {
    pub(super) session: Session,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) backlog: Backlog,
    /// Whether an earlier connection left it.
    pub(super) present: bool,
    /// Where its will is stored.
    pub(super) will: Option<WillId>,
    expires: Instant,
    /// The durable session it takes the place of.
    replaced: Option<Replaced>,
}

/// A session that is over, and the share groups it was a member of.
struct Replaced {
    session: Session,
    mailbox: Arc<Mailbox>,
    shared: Vec<ByteString>,
}

/// The session to go on with: what the last connection left, unless it has expired or a clean start is wanted
/// [MQTT-3.1.2-4..6]. One that outlives its connection is durable.
pub(super) fn resume(
    edge: &Edge,
    identity: &Identity,
    key: &SessionKey,
    held: &mut Held,
    connect: &Connect,
) -> Resumed {
    let now = Instant::now();
    let replaced = match held.take_parked() {
        Some(parked) if !connect.clean_start && parked.expires > now => {
            return Resumed {
                session: parked.session,
                mailbox: parked.mailbox,
                backlog: parked.backlog,
                present: true,
                will: None,
                expires: parked.expires,
                replaced: None,
            };
        }
        Some(Parked { session, mailbox, .. }) => {
            let shared = topics::shared(&mailbox);
            edge.enforcer.topics.forget(&mailbox);
            mailbox.replace();
            Some(Replaced {
                session,
                mailbox,
                shared,
            })
        }
        None => None,
    };
    let (session, mailbox) = match identity {
        Identity::Server(_) => (Session::new(), Mailbox::new(key, Bounds::messages(SERVER_QUEUE))),
        Identity::Principal(_) if connect.session_expiry.is_zero() => {
            (Session::new(), Mailbox::new(key, edge.limits.queue_bounds()))
        }
        Identity::Principal(_) => {
            let id = edge.enforcer.keeper.new_session();
            let bounds = edge.limits.queue_bounds();
            let mailbox = Mailbox::durable(key, bounds, id, Queued::default(), None);
            (Session::durable(), mailbox)
        }
    };
    Resumed {
        session,
        mailbox,
        backlog: Backlog::default(),
        present: false,
        will: None,
        expires: now,
        replaced,
    }
}

impl Resumed {
    /// Stores that the session has a connection and a will, and reads what waits for it on disk.
    pub(super) async fn restore(
        &mut self,
        edge: &Edge,
        key: &SessionKey,
        connect: &Connect,
    ) -> Result<(), Status> {
        let keeper = &edge.enforcer.keeper;
        if let Some(Replaced {
            session,
            mailbox,
            shared,
        }) = self.replaced.take()
        {
            heritage::hand_over(&edge.enforcer, &edge.courier, &shared, session, &mailbox).await;
            if let Some(id) = mailbox.session() {
                keeper.ended(id, &mailbox).await?;
            }
        }
        let Some(id) = self.mailbox.session() else {
            return Ok(());
        };
        let begun = Begun {
            id,
            principal: key.principal.clone(),
            client_id: key.client_id().cloned(),
            expiry: connect.session_expiry,
            will: connect.will.clone().map(|will| (keeper.new_will(), will)),
        };
        self.will = begun.will.as_ref().map(|(id, _)| *id);
        let (unread, stored) = keeper.begin(begun, &self.mailbox);
        stored.await.unwrap_or(Err(Status::UNAVAILABLE))?;
        let (waiting, taken) = read(edge, id, unread.clone())
            .await
            .map_err(|error| error.status())?;
        for packet_id in taken {
            self.session.restore_received(packet_id);
        }
        for entry in waiting {
            self.take(edge, entry, &unread);
        }
        Ok(())
    }

    /// Takes an entry of the stored queue, unless its time is over or it is no longer granted.
    fn take(&mut self, edge: &Edge, entry: Waiting, unread: &Unread) {
        let tag = stored_tag(entry.seq);
        if entry.received {
            return self.session.restore_released(tag);
        }
        let publish = &entry.delivery.publish;
        if publish.is_expired(Instant::now()) || !edge.may_hear(self.mailbox.owner(), &publish.topic) {
            if let Some(id) = self.mailbox.session() {
                edge.enforcer.keeper.remove(id, &self.mailbox, entry.seq);
            }
        } else if unread.may_have_been_sent(entry.seq) {
            self.session.restore_sent(tag, entry.delivery);
        } else {
            self.session.restore_queued(entry.delivery);
        }
    }

    /// The connection does not come about: the session stays as it was.
    pub(super) fn put_back(self, edge: &Edge, held: Held) {
        if !self.present {
            edge.enforcer.forget(&self.mailbox);
            return held.vacate(&self.mailbox);
        }
        self.mailbox.abandon();
        held.park(Parked {
            session: self.session,
            mailbox: self.mailbox,
            backlog: self.backlog,
            expires: self.expires,
        });
    }
}

/// Forgets what the session has under way and is over: a push that has ended or whose answer is on disk, and work of a
/// group that another member has taken over meanwhile. It is not sent again: the client has said more of it than an
/// acknowledgement says [MQTT-4.4.0-1], or it is no longer its own to do [MQTT-4.8.2-5].
pub(super) fn forget_done(edge: &Edge, session: &mut Session, mailbox: &Arc<Mailbox>) {
    let owner = mailbox.owner();
    let mut keep = |delivery: &Delivery| {
        if !mailbox.is_wanted(delivery.tag) {
            return false;
        }
        let Some(Tag::Push(number)) = delivery.tag.map(Tag::of) else {
            return true;
        };
        let taken_over = mailbox
            .held_for_group(number)
            .is_some_and(|id| edge.attached.is_with_others(owner, id, mailbox));
        if taken_over {
            // Should it come back to this client, it comes anew.
            mailbox.not_sent(number);
        }
        !taken_over
    };
    session.retain_sent(&mut keep);
    session.retain_queued(keep);
}

/// A session whose connection has ended.
pub(super) struct Leaving {
    pub(super) session: Session,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) backlog: Backlog,
    pub(super) expiry: Duration,
}

/// Leaves a session for its next connection. Of a durable one, what was never sent stays on disk only.
pub(super) fn park(edge: &Edge, held: Held, left: Leaving) {
    let Leaving {
        mut session,
        mailbox,
        backlog,
        expiry,
    } = left;
    if mailbox.owner().kind == Kind::Application {
        withdraw_work(&mut session, &mailbox);
    }
    if let Some(id) = mailbox.session() {
        let waiting = session.waiting().find_map(stored_seq);
        session.retain_queued(|delivery| stored_seq(delivery).is_none());
        let sent_below = mailbox.leave(waiting);
        edge.enforcer.keeper.leave(Left {
            id,
            at: edge.courier.now(),
            expiry,
            sent_below,
        });
    }
    held.park(Parked {
        session,
        mailbox,
        backlog,
        expires: Instant::now() + expiry,
    });
}

/// What an attached application's client was never sent is another's to do, or comes again when it is back.
fn withdraw_work(session: &mut Session, mailbox: &Mailbox) {
    let mut unsent = Vec::new();
    session.retain_queued(|delivery| match delivery.tag.map(Tag::of) {
        Some(Tag::Push(push)) => {
            unsent.push(push);
            false
        }
        Some(Tag::Stored(_)) | None => true,
    });
    mailbox.withdraw_work(&unsent);
}

/// What waits on disk and, the first time after a restart, which incoming identifiers are in use.
async fn read(edge: &Edge, id: SessionId, unread: Unread) -> Result<(Vec<Waiting>, Vec<u16>), StoreError> {
    if unread.seqs.is_empty() && unread.reached.is_none() {
        return Ok((Vec::new(), Vec::new()));
    }
    let moment = Moment::at(edge.courier.now());
    let read = move |sql: &rusqlite::Connection| {
        let waiting = queue::load(sql, id, &unread.seqs, stored_tag, moment)?;
        let taken = match unread.reached {
            Some(_) => queue::taken(sql, id)?,
            None => Vec::new(),
        };
        Ok((waiting, taken))
    };
    edge.courier.store().read(read).await
}
