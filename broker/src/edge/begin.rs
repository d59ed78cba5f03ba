//! From CONNECT to CONNACK: the login, the session that goes on, and what it finds.

use std::sync::Arc;
use std::time::Instant;

use bytestring::ByteString;
use irsp_protocol::{Principal, Status};
use irsp_session::{Connect, Refusal as Refused};
use serde_json::json;

use super::Edge;
use super::admission::PrincipalPlace;
use super::arrive::{Arrived, Caller};
use super::bus_port::BusPort;
use super::client::Client;
use super::farewell::Why;
use super::login::{self, Identity};
use super::present::{Present, has_presence, report};
use super::resume::{self, Resumed, resume};
use super::tls::Bearer;
use super::will::{LastWill, granted_will};
use super::wire::Wire;
use crate::metrics::{Limit, Refusal};
use crate::presence::Event;
use crate::sessions::mailbox::Mailbox;
use crate::sessions::orders::End;
use crate::sessions::{Held, SessionKey};

/// A client that is logged in and holds its session.
struct Entered {
    identity: Identity,
    principal: Principal,
    /// What the server calls it if it has no name.
    assigned: Option<ByteString>,
    place: PrincipalPlace,
    held: Held,
    resumed: Resumed,
    bus: Option<Box<BusPort>>,
}

/// Logs a client in, takes its session over and says CONNACK. Of one that is refused the wire is left, with what is to
/// be written to it.
pub(super) async fn begin(
    arrived: Box<Arrived>,
    caller: Caller,
    edge: &Edge,
) -> Result<Box<Present<'_>>, Wire> {
    let Arrived {
        mut wire,
        handshake,
        connect,
        bearer,
        revocation,
    } = *arrived;
    let entered = match enter(caller, edge, &connect, bearer.as_ref()).await {
        Ok(entered) => entered,
        Err(refused) => {
            if let Some(refused) = refused {
                wire.output().extend_from_slice(&handshake.refuse(&refused));
            }
            wire.ends(Why::Refused);
            return Err(wire);
        }
    };
    let Entered {
        identity,
        principal,
        assigned,
        place,
        held,
        resumed,
        bus,
    } = entered;
    let Resumed {
        mut session,
        mailbox,
        backlog,
        present,
        will: stored,
        ..
    } = resumed;
    let peer = caller.peer;
    tracing::info!(%peer, %principal, client_id = ?connect.client_id, version = ?connect.version, "connected");
    edge.metrics.logins.inc();
    edge.logbook
        .login(&principal, peer.ip(), edge.courier.now())
        .await;
    resume::forget_done(edge, &mut session, &mailbox);
    let connection = handshake.accept(&connect, session, present, assigned, Instant::now());
    let rate = place.publishes();
    let client = Client::new(edge, principal.clone(), rate, Arc::clone(&mailbox), bus, backlog);
    if has_presence(&principal) {
        report(edge, Event::Begun(principal)).await;
    }
    if mailbox.hears_pushes() {
        client.listens();
    }
    tell_missed(edge, &mailbox);
    Ok(Box::new(Present {
        wire,
        connection,
        client,
        mailbox,
        held,
        place,
        peer,
        revocation: revocation.filter(|_| identity.uses_certificate()),
        will: connect.will.map(|will| Box::new(LastWill { will, stored })),
        session_expiry: connect.session_expiry,
    }))
}

/// Logs in and takes the session over, or says what to refuse with: nothing to one whose session a later connection has
/// asked for.
async fn enter(
    caller: Caller,
    edge: &Edge,
    connect: &Connect,
    bearer: Option<&Bearer>,
) -> Result<Entered, Option<Refused>> {
    let peer = caller.peer;
    let identify = || {
        login::identify(
            connect,
            bearer,
            &edge.domain,
            &edge.enforcer.directory,
            edge.courier.now(),
        )
    };
    let identity = match identify() {
        Ok(identity) => identity,
        Err(status) => {
            let certificate = bearer.and_then(Bearer::fingerprint).map(tracing::field::display);
            tracing::info!(%peer, username = connect.username.as_deref(), certificate, %status, "login refused");
            edge.metrics.login_refused(status);
            let claimed = login::claimed_by(connect, &edge.domain);
            let now = edge.courier.now();
            edge.logbook
                .refused(claimed.as_ref(), peer.ip(), status, now)
                .await;
            if status == Status::UNAUTHENTICATED {
                let delay = edge.admission.login_failed(peer, claimed, Instant::now());
                if !delay.is_zero() {
                    edge.metrics.limit(Limit::LoginDelay);
                }
                let _ = edge.stop.run_until_cancelled(tokio::time::sleep(delay)).await;
            }
            return Err(Some(login::refusal(status)));
        }
    };
    let principal = identity.principal();
    edge.admission.login_succeeded(peer, &principal);
    if let Some(will) = &connect.will
        && let Err(status) = granted_will(edge, &principal, will)
    {
        tracing::info!(%peer, %principal, topic = %will.publish.topic, %status, "will refused");
        edge.metrics.refused.of(Refusal::Will).inc();
        // Whoever it is for, its client may not publish it; its login was right.
        return Err(Some(login::refusal(Status::FORBIDDEN)));
    }
    let assigned = connect
        .client_id
        .is_empty()
        .then(|| ByteString::from(edge.courier.new_id().to_string()));
    let key = SessionKey::new(principal.clone(), assigned.as_ref().unwrap_or(&connect.client_id));
    let Some(mut held) = edge.enforcer.sessions.claim(&key).await else {
        edge.metrics.refused.of(Refusal::Overtaken).inc();
        return Err(None);
    };
    // Whoever comes back to a session has had its place free by now.
    let place = match edge.admission.admit_principal(&principal, Instant::now()) {
        Ok(place) => place,
        Err(turned_away) => {
            tracing::info!(%peer, %principal, %turned_away, "turned away");
            edge.metrics.turned_away(turned_away.limit());
            return Err(Some(turned_away.refusal()));
        }
    };
    let mut resumed = resume(edge, &identity, &key, &mut held, connect);
    let mailbox = &resumed.mailbox;
    if let Identity::Principal(login) = &identity {
        mailbox.opened_with(login.credential.clone());
    }
    held.occupy(mailbox);
    if edge.stop.is_cancelled() {
        // The order to everyone may have come before this connection could hear it.
        mailbox.end(End::Stopping);
    }
    // What changed while we waited for the session counts: from here on a change finds the mailbox.
    if let Err(status) = identify() {
        tracing::info!(%peer, %principal, %status, "login refused after its rights changed");
        edge.metrics.login_refused(status);
        edge.enforcer.forget(mailbox);
        held.vacate(mailbox);
        return Err(Some(login::refusal(status)));
    }
    let bus = match open_bus(edge, &identity) {
        Ok(bus) => bus,
        Err(error) => {
            tracing::error!(%principal, %error, "cannot attach to the bus");
            edge.metrics.refused.of(Refusal::Bus).inc();
            held.vacate(mailbox);
            return Err(Some(Refused::UNAVAILABLE.with_text("no place on the bus")));
        }
    };
    if let Err(status) = resumed.restore(edge, &key, connect).await {
        tracing::warn!(%peer, %principal, %status, "the session cannot be stored or read");
        resumed.put_back(edge, held);
        return Err(Some(login::refusal(status)));
    }
    Ok(Entered {
        identity,
        principal,
        assigned,
        place,
        held,
        resumed,
        bus,
    })
}

fn open_bus(edge: &Edge, identity: &Identity) -> Result<Option<Box<BusPort>>, crate::bus::BusError> {
    match identity {
        Identity::Server(server) => Ok(Some(Box::new(BusPort::open(&edge.bus, *server, &edge.metrics)?))),
        Identity::Principal(_) => Ok(None),
    }
}

/// Says how much a session has missed since it was last told, in the log and on the status topic.
fn tell_missed(edge: &Edge, mailbox: &Mailbox) {
    let missed = mailbox.take_missed();
    if missed == 0 {
        return;
    }
    let owner = mailbox.owner();
    tracing::info!(%owner, missed, "messages found no room in a session");
    let status = Status::QUEUE_FULL;
    let detail = format!("{missed} messages found no room in the session");
    let body = json!({ "code": status, "name": status.name(), "detail": detail });
    edge.enforcer.topics.tell_session(mailbox, &body);
}
