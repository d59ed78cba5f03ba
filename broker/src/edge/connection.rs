//! The life of one connection: handshakes and CONNECT under one deadline, then bytes in and out until its end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytestring::ByteString;
use futures_util::future::OptionFuture;
use irsp_protocol::presence::Reason;
use irsp_protocol::{Kind, Status};
use irsp_session::{Connect, Handshake, Limits, Progress};
use serde_json::json;
use tokio::time::{timeout, timeout_at};

use super::Edge;
use super::admission::TurnedAway;
use super::bus_port::BusPort;
use super::client::Client;
use super::conversation::{run, settle_rest};
use super::login::{self, Identity};
use super::resume::{self, Resumed, resume};
use super::tls::{self, Bearer, Revocation};
use super::transport::Opened;
use super::will::{LastWill, granted_will, publish_will};
use super::wire::Wire;
use crate::metrics::{Limit, Refusal};
use crate::presence::Event;
use crate::sessions::SessionKey;
use crate::sessions::mailbox::{End, Mailbox};

/// How long a client may take to read the last packet before its connection is cut.
const FAREWELL: Duration = Duration::from_secs(2);

/// A client that has said CONNECT.
struct Arrived {
    wire: Wire,
    handshake: Handshake,
    connect: Box<Connect>,
    bearer: Option<Bearer>,
    revocation: Option<Revocation>,
}

/// Who comes: from where, by which listener, and since when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    pub(super) peer: SocketAddr,
    /// The listener's name, for the log.
    pub(super) listener: &'static str,
    /// When its time to say CONNECT began.
    pub(super) began: Instant,
}

/// Serves one accepted socket to its end; `opening` does the handshakes below MQTT.
pub(super) async fn serve(opening: impl Future<Output = io::Result<Opened>>, caller: Caller, edge: &Edge) {
    let Some(arrived) = arrive(opening, caller, edge).await else {
        return;
    };
    let Arrived {
        mut wire,
        handshake,
        connect,
        bearer,
        revocation,
    } = arrived;
    let certificate = bearer.as_ref().zip(revocation);
    admit(&mut wire, caller.peer, edge, handshake, *connect, certificate).await;
    // The last bytes are given a moment; what does not take them is cut.
    let _ = timeout(FAREWELL, wire.finish()).await;
}

/// Tells a client for whom there is no place why, once it has said CONNECT.
pub(super) async fn turn_away(
    opening: impl Future<Output = io::Result<Opened>>,
    caller: Caller,
    edge: &Edge,
    turned_away: TurnedAway,
) {
    if let Some(mut arrived) = arrive(opening, caller, edge).await {
        edge.metrics.turned_away(turned_away.limit());
        let refusal = arrived.handshake.refuse(&turned_away.refusal());
        arrived.wire.output().extend_from_slice(&refusal);
        let _ = timeout(FAREWELL, arrived.wire.finish()).await;
    }
}

/// The handshakes and CONNECT, in time. `None` if it does not come to that.
async fn arrive(
    opening: impl Future<Output = io::Result<Opened>>,
    caller: Caller,
    edge: &Edge,
) -> Option<Arrived> {
    let Caller {
        peer,
        listener,
        began,
    } = caller;
    let deadline = (began + edge.limits.connect_timeout).into();
    let arrival = async {
        let opened = opening.await?;
        let mut wire = Wire::new(opened.stream, opened.sent);
        let is_server = matches!(opened.bearer, Some(Bearer::Server(_)));
        let limits = if is_server {
            &edge.server_limits
        } else {
            &edge.session_limits
        };
        let greeted = greet(&mut wire, edge, limits, began).await?;
        Ok::<_, io::Error>(greeted.map(|(handshake, connect)| Arrived {
            wire,
            handshake,
            connect,
            bearer: opened.bearer,
            revocation: opened.revocation,
        }))
    };
    // Whoever has not said CONNECT when the server stops has nothing to be told.
    let arrived = edge
        .stop
        .run_until_cancelled(timeout_at(deadline, arrival))
        .await?;
    match arrived {
        Ok(Ok(arrived)) => arrived,
        Ok(Err(error)) => {
            if let Some(why) = tls::refused_certificate(&error) {
                edge.metrics.refused.of(Refusal::Certificate).inc();
                tracing::info!(%peer, listener, %why, "certificate refused");
            } else {
                edge.metrics.refused.of(Refusal::NoConnect).inc();
                tracing::debug!(%peer, listener, %error, "no CONNECT");
            }
            None
        }
        Err(_) => {
            edge.metrics.turned_away(Limit::ConnectTimeout);
            tracing::debug!(%peer, listener, "no CONNECT in time");
            None
        }
    }
}

/// Reads up to CONNECT. `None` if the client was refused; the refusal is written.
async fn greet(
    wire: &mut Wire,
    edge: &Edge,
    limits: &Arc<Limits>,
    began: Instant,
) -> io::Result<Option<(Handshake, Box<Connect>)>> {
    let mut handshake = Handshake::new(Arc::clone(limits), began);
    loop {
        let mut progress = Progress::More;
        wire.read(|bytes| progress = handshake.input(bytes, Instant::now()))
            .await?;
        match progress {
            Progress::More => {}
            Progress::Connect(connect) => return Ok(Some((handshake, connect))),
            Progress::Refused { output, error } => {
                tracing::debug!(%error, "CONNECT refused");
                edge.metrics.refused.of(Refusal::Malformed).inc();
                edge.metrics.broke(&error);
                wire.output().extend_from_slice(&output);
                wire.finish().await?;
                return Ok(None);
            }
        }
    }
}

/// Logs the client in, takes its session over and runs the connection.
async fn admit(
    wire: &mut Wire,
    peer: SocketAddr,
    edge: &Edge,
    handshake: Handshake,
    connect: Connect,
    certificate: Option<(&Bearer, Revocation)>,
) {
    let (bearer, revocation) = certificate.unzip();
    let identify = || {
        login::identify(
            &connect,
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
            if status == Status::UNAUTHENTICATED {
                let claimed = connect.username.as_deref().and_then(|name| name.parse().ok());
                let delay = edge.admission.login_failed(peer, claimed, Instant::now());
                if !delay.is_zero() {
                    edge.metrics.limit(Limit::LoginDelay);
                }
                let _ = edge.stop.run_until_cancelled(tokio::time::sleep(delay)).await;
            }
            wire.output()
                .extend_from_slice(&handshake.refuse(&login::refusal(status)));
            return;
        }
    };
    let principal = identity.principal();
    edge.admission.login_succeeded(peer, &principal);
    if let Some(will) = &connect.will
        && let Err(status) = granted_will(edge, &principal, will)
    {
        tracing::info!(%peer, %principal, topic = %will.publish.topic, %status, "will refused");
        edge.metrics.refused.of(Refusal::Will).inc();
        wire.output()
            .extend_from_slice(&handshake.refuse(&login::refusal(status)));
        return;
    }
    let assigned = connect
        .client_id
        .is_empty()
        .then(|| ByteString::from(edge.courier.new_id().to_string()));
    let key = SessionKey::new(principal.clone(), assigned.as_ref().unwrap_or(&connect.client_id));
    let Some(mut held) = edge.enforcer.sessions.claim(&key).await else {
        edge.metrics.refused.of(Refusal::Overtaken).inc();
        return;
    };
    // Whoever comes back to a session has had its place free by now.
    let place = match edge.admission.admit_principal(&principal, Instant::now()) {
        Ok(place) => place,
        Err(turned_away) => {
            tracing::info!(%peer, %principal, %turned_away, "turned away");
            edge.metrics.turned_away(turned_away.limit());
            wire.output()
                .extend_from_slice(&handshake.refuse(&turned_away.refusal()));
            return;
        }
    };
    let mut resumed = resume(edge, &identity, &mut held, &connect);
    let mailbox = Arc::clone(&resumed.mailbox);
    if let Identity::Principal(login) = &identity {
        mailbox.opened_with(login.credential.clone());
    }
    held.occupy(&mailbox);
    if edge.stop.is_cancelled() {
        // The order to everyone may have come before this connection could hear it.
        mailbox.end(End::Stopping);
    }
    // What changed while we waited for the session counts: from here on a change finds the mailbox.
    if let Err(status) = identify() {
        tracing::info!(%peer, %principal, %status, "login refused after its rights changed");
        edge.metrics.login_refused(status);
        wire.output()
            .extend_from_slice(&handshake.refuse(&login::refusal(status)));
        edge.enforcer.forget(&mailbox);
        return held.vacate(&mailbox);
    }
    let bus = match open_bus(edge, &identity) {
        Ok(bus) => bus,
        Err(error) => {
            tracing::error!(%principal, %error, "cannot attach to the bus");
            edge.metrics.refused.of(Refusal::Bus).inc();
            wire.output()
                .extend_from_slice(&handshake.refuse(&irsp_session::Refusal::UNAVAILABLE));
            return held.vacate(&mailbox);
        }
    };
    if let Err(status) = resumed.restore(edge, &key, &connect).await {
        tracing::warn!(%peer, %principal, %status, "the session cannot be stored or read");
        wire.output()
            .extend_from_slice(&handshake.refuse(&login::refusal(status)));
        return resumed.put_back(edge, held);
    }
    let Resumed {
        mut session,
        backlog,
        present,
        will: stored,
        ..
    } = resumed;
    tracing::info!(%peer, %principal, client_id = %connect.client_id, version = ?connect.version, "connected");
    edge.metrics.logins.inc();
    let has_presence = matches!(principal.kind, Kind::Device | Kind::User);
    resume::forget_done(edge, &mut session, &mailbox);
    let now = Instant::now();
    let mut connection = handshake.accept(&connect, session, present, assigned, now);
    let mut client = Client::new(
        edge,
        principal.clone(),
        place.publishes(),
        Arc::clone(&mailbox),
        bus,
        backlog,
    );
    if has_presence {
        report(edge, Event::Begun(principal.clone())).await;
    }
    if mailbox.hears_pushes() {
        client.listens();
    }
    tell_missed(edge, &mailbox);
    let write_timeout = edge.limits.write_timeout;
    let ending = {
        let revocation = revocation.filter(|_| identity.uses_certificate());
        let revoked = OptionFuture::from(revocation.map(|of| Box::pin(end_when_listed(of, &mailbox))));
        let running = run(wire, &mut connection, &mut client, &mailbox, write_timeout);
        tokio::pin!(running);
        tokio::select! {
            ending = &mut running => ending,
            Some(()) = revoked => running.await,
        }
    };
    tracing::info!(%peer, %principal, reason = ?ending.reason, "disconnected");
    client.has_heard_the_last();
    // What the client gave us is settled before the session is left to its next connection, so that a QoS 2 message
    // that was taken is not taken again when it is repeated [MQTT-4.3.3-10].
    let _ = timeout(FAREWELL, settle_rest(&mut connection, &mut client, &mailbox)).await;
    connection.write_into(wire.output());
    let backlog = client.into_backlog();
    let expiry = ending.session_expiry.unwrap_or(connect.session_expiry);
    // This session no longer takes pushes.
    mailbox.disconnect();
    edge.stops_listening(&principal);
    if let Some(will) = connect.will {
        let last = LastWill { will, stored };
        match ending.publishes_will {
            true => publish_will(edge, last, &mailbox, expiry),
            false => last.discard(edge),
        }
    }
    // Who was online when the server stops stays so until the grace time after its next start is over.
    if has_presence && ending.reason != Reason::ServerStopped {
        report(edge, Event::Ended(principal, ending.reason)).await;
    }
    drop(place);
    if expiry.is_zero() || mailbox.is_revoked() {
        edge.enforcer.forget(&mailbox);
        held.vacate(&mailbox);
    } else {
        let left = resume::Leaving {
            session: connection.into_session(),
            mailbox,
            backlog,
            expiry,
        };
        resume::park(edge, held, left);
    }
}

fn open_bus(edge: &Edge, identity: &Identity) -> Result<Option<BusPort>, crate::bus::BusError> {
    match identity {
        Identity::Server(server) => BusPort::open(&edge.bus, *server, &edge.metrics).map(Some),
        Identity::Principal(_) => Ok(None),
    }
}

/// Ends a session when a new revocation list names the certificate that it was opened with.
async fn end_when_listed(revocation: Revocation, mailbox: &Mailbox) {
    revocation.listed().await;
    let owner = mailbox.owner();
    tracing::info!(%owner, "a session ends: its certificate was revoked");
    mailbox.end(End::Revoked);
}

/// Says how much a session has missed while it was away, in the log and on the status topic.
fn tell_missed(edge: &Edge, mailbox: &Mailbox) {
    let missed = mailbox.take_missed();
    if missed == 0 {
        return;
    }
    let owner = mailbox.owner();
    tracing::info!(%owner, missed, "messages found no room while the session was away");
    let status = Status::QUEUE_FULL;
    let detail = format!("{missed} messages found no room while the session was away");
    let body = json!({ "code": status, "name": status.name(), "detail": detail });
    edge.enforcer.topics.tell_session(mailbox, &body);
}

async fn report(edge: &Edge, event: Event) {
    if !edge.presences.send(event).await {
        tracing::warn!("presence is no longer announced: the server stops");
    }
}
