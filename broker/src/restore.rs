//! The start: durable sessions are back as they were, but for what is over, gone or no longer granted. What waits for
//! them stays on disk until their clients come.

use irsp_session::Session;

use crate::access;
use crate::directory::Enforcer;
use crate::sessions::backlog::Backlog;
use crate::sessions::keeper::Done;
use crate::sessions::kept::Bounds;
use crate::sessions::mailbox::Mailbox;
use crate::sessions::{Parked, SessionKey};
use crate::store::publish::Moment;
use crate::store::session::Found;
use crate::topics::split_share;

/// Puts the sessions back into memory; before any connection.
pub(crate) fn restore(enforcer: &Enforcer, found: Vec<Found>, bounds: Bounds, moment: Moment) {
    let all = found.len();
    let mut back = 0;
    for session in found {
        let over = session.ends <= moment.wall;
        if over || enforcer.directory.check(&session.principal).is_err() {
            enforcer.keeper.end_stored(session.id);
        } else {
            put_back(enforcer, session, bounds, moment);
            back += 1;
        }
    }
    if all > 0 {
        tracing::info!(sessions = back, ended = all - back, "sessions are back");
    }
}

fn put_back(enforcer: &Enforcer, session: Found, bounds: Bounds, moment: Moment) {
    let Found {
        id,
        principal,
        client_id,
        ends,
        reached,
        queued,
        subscriptions,
    } = session;
    let key = SessionKey::restored(principal, client_id);
    let mailbox = Mailbox::durable(&key, bounds, id, queued, Some(reached));
    enforcer.keeper.count(queued.messages, queued.bytes);
    for wanted in subscriptions {
        let (_, plain) = split_share(&wanted.filter.filter);
        if access::subscribe(&key.principal, plain, &*enforcer.directory).is_ok() {
            enforcer
                .topics
                .subscribe(&mailbox, &wanted.filter, wanted.subscription_id);
        } else {
            let filters = vec![wanted.filter.filter];
            enforcer.keeper.unsubscribe(id, filters, Done::Follows);
        }
    }
    let parked = Parked {
        session: Session::durable(),
        mailbox,
        backlog: Backlog::default(),
        expires: moment.instant_of(ends),
    };
    enforcer.sessions.restore(key, parked);
}
