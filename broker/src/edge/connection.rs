//! The life of one connection: handshakes and CONNECT under one deadline, then bytes in and out until its end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytestring::ByteString;
use irsp_protocol::presence::Reason;
use irsp_protocol::topic::Branch;
use irsp_protocol::{Kind, Principal, Status, Topic};
use irsp_session::{CloseCause, Connect, Connection, Handshake, Limits, Progress, Session, Will};
use tokio::net::TcpStream;
use tokio::time::{sleep_until, timeout, timeout_at};

use super::Edge;
use super::bus_port::BusPort;
use super::client::Client;
use super::login::{self, Identity};
use super::transport::Transport;
use super::will::WillOf;
use super::wire::Wire;
use crate::access;
use crate::presence::Event;
use crate::sessions::mailbox::{End, Mailbox};
use crate::sessions::{Held, Parked, SessionKey};

/// Deliveries given to a connection at once, so that reading and delivering take turns.
const DELIVERIES_PER_TURN: usize = 256;
/// Bytes that wait to be written before no further deliveries are taken.
const OUTPUT_HIGH: usize = 64 << 10;
/// Bytes that wait to be written before nothing further is read from a client that does not read.
const OUTPUT_MAX: usize = 1 << 20;
/// How long a client may take to read the last packet before its connection is cut.
const FAREWELL: Duration = Duration::from_secs(2);
/// Deliveries that wait for a server of this domain; they are bus frames, which may be lost.
const SERVER_QUEUE: usize = 1024;

/// Serves one accepted socket to its end.
pub(super) async fn serve(socket: TcpStream, peer: SocketAddr, transport: &Transport, edge: &Edge) {
    let began = Instant::now();
    let deadline = (began + edge.limits.connect_timeout).into();
    let arrival = async {
        let opened = transport.open(socket, &edge.domain).await?;
        let mut wire = Wire::new(opened.stream);
        let is_server = opened
            .certificate
            .as_ref()
            .is_some_and(|bearer| bearer.as_server().is_some());
        let limits = if is_server {
            &edge.server_limits
        } else {
            &edge.session_limits
        };
        let greeted = greet(&mut wire, limits, began).await?;
        Ok::<_, io::Error>((wire, greeted, opened.certificate))
    };
    let (mut wire, greeted, certificate) = match timeout_at(deadline, arrival).await {
        Ok(Ok(arrived)) => arrived,
        Ok(Err(error)) => return tracing::debug!(%peer, listener = transport.name(), %error, "no CONNECT"),
        Err(_) => return tracing::debug!(%peer, listener = transport.name(), "no CONNECT in time"),
    };
    let Some((handshake, connect)) = greeted else {
        return;
    };
    admit(&mut wire, peer, edge, handshake, *connect, certificate.as_ref()).await;
    // The last bytes are given a moment; what does not take them is cut.
    let _ = timeout(FAREWELL, wire.finish()).await;
}

/// Reads up to CONNECT. `None` if the client was refused; the refusal is written.
async fn greet(
    wire: &mut Wire,
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
    certificate: Option<&Principal>,
) {
    let identify = || {
        login::identify(
            &connect,
            certificate,
            &edge.domain,
            &edge.enforcer.directory,
            edge.courier.now(),
        )
    };
    let identity = match identify() {
        Ok(identity) => identity,
        Err(status) => {
            tracing::info!(%peer, username = connect.username.as_deref(), %status, "login refused");
            wire.output()
                .extend_from_slice(&handshake.refuse(&login::refusal(status)));
            return;
        }
    };
    let principal = identity.principal();
    if let Some(will) = &connect.will
        && let Err(status) = granted_will(edge, &principal, will)
    {
        tracing::info!(%peer, %principal, topic = %will.publish.topic, %status, "will refused");
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
        return;
    };
    let (session, mailbox, present) = resume(edge, &identity, &mut held, &connect);
    held.occupy(&mailbox);
    // What changed while we waited for the session counts: from here on a change finds the mailbox.
    if let Err(status) = identify() {
        tracing::info!(%peer, %principal, %status, "login refused after its rights changed");
        wire.output()
            .extend_from_slice(&handshake.refuse(&login::refusal(status)));
        edge.enforcer.topics.forget(&mailbox);
        return held.vacate(&mailbox);
    }
    let bus = match open_bus(edge, &identity) {
        Ok(bus) => bus,
        Err(error) => {
            tracing::error!(%principal, %error, "cannot attach to the bus");
            wire.output()
                .extend_from_slice(&handshake.refuse(&irsp_session::Refusal::UNAVAILABLE));
            return held.vacate(&mailbox);
        }
    };
    tracing::info!(%peer, %principal, client_id = %connect.client_id, version = ?connect.version, "connected");
    let has_presence = matches!(principal.kind, Kind::Device | Kind::User);
    let now = Instant::now();
    let mut connection = handshake.accept(&connect, session, present, assigned, now);
    let mut client = Client::new(edge, principal.clone(), Arc::clone(&mailbox), bus);
    if has_presence {
        report(edge, Event::Begun(principal.clone())).await;
    }
    if client.is_listening() {
        client.listens();
    }
    let ending = run(wire, &mut connection, &mut client, &mailbox).await;
    tracing::info!(%peer, %principal, reason = ?ending.reason, "disconnected");
    // What the client gave us is settled before the session is left to its next connection, so that a QoS 2 message
    // that was taken is not taken again when it is repeated [MQTT-4.3.3-10].
    let _ = timeout(FAREWELL, settle_rest(&mut connection, &mut client, &mailbox)).await;
    connection.write_into(wire.output());
    drop(client);
    let expiry = ending.session_expiry.unwrap_or(connect.session_expiry);
    leave(edge, &principal, &mailbox);
    if ending.publishes_will
        && let Some(will) = connect.will
    {
        publish_will(edge, will, &mailbox, expiry);
    }
    // Who was online when the server stops stays so until the grace time after its next start is over.
    if has_presence && ending.reason != Reason::ServerStopped {
        report(edge, Event::Ended(principal, ending.reason)).await;
    }
    if expiry.is_zero() || ending.reason == Reason::Revoked {
        edge.enforcer.topics.forget(&mailbox);
        held.vacate(&mailbox);
    } else {
        held.park(Parked {
            session: connection.into_session(),
            mailbox,
            expires: Instant::now() + expiry,
        });
    }
}

/// The session to go on with: what the last connection left, unless it has expired or a clean start is wanted
/// [MQTT-3.1.2-4..6].
fn resume(
    edge: &Edge,
    identity: &Identity,
    held: &mut Held,
    connect: &Connect,
) -> (Session, Arc<Mailbox>, bool) {
    let parked = held.take_parked();
    match parked {
        Some(parked) if !connect.clean_start && parked.expires > Instant::now() => {
            (parked.session, parked.mailbox, true)
        }
        parked => {
            if let Some(parked) = parked {
                edge.enforcer.topics.forget(&parked.mailbox);
            }
            let queue = match identity {
                Identity::Principal(_) => edge.limits.queue_messages_max,
                Identity::Server(_) => SERVER_QUEUE,
            };
            (Session::new(), Mailbox::new(identity.principal(), queue), false)
        }
    }
}

fn open_bus(edge: &Edge, identity: &Identity) -> Result<Option<BusPort>, crate::bus::BusError> {
    match identity {
        Identity::Server(server) => BusPort::open(&edge.bus, *server).map(Some),
        Identity::Principal(_) => Ok(None),
    }
}

/// How a connection ended.
struct Ending {
    reason: Reason,
    publishes_will: bool,
    /// As DISCONNECT changed it [MQTT-3.14.2-2].
    session_expiry: Option<Duration>,
}

impl Ending {
    fn lost() -> Ending {
        Ending {
            reason: Reason::ConnectionLost,
            publishes_will: true,
            session_expiry: None,
        }
    }

    fn closed(cause: &CloseCause, ordered: Option<End>) -> Ending {
        let reason = match (cause, ordered) {
            (_, Some(end)) => end.presence_reason(),
            (CloseCause::Disconnect { .. }, None) => Reason::Disconnected,
            (CloseCause::KeepAlive, None) => Reason::KeepAliveTimeout,
            (
                CloseCause::ProtocolError(_) | CloseCause::PublishRefused { .. } | CloseCause::Server { .. },
                None,
            ) => Reason::ProtocolError,
        };
        let session_expiry = match cause {
            CloseCause::Disconnect { session_expiry, .. } => *session_expiry,
            CloseCause::KeepAlive
            | CloseCause::ProtocolError(_)
            | CloseCause::PublishRefused { .. }
            | CloseCause::Server { .. } => None,
        };
        Ending {
            reason,
            publishes_will: cause.publishes_will(),
            session_expiry,
        }
    }
}

/// Moves bytes, mail and time until the connection ends.
async fn run(
    wire: &mut Wire,
    connection: &mut Connection,
    client: &mut Client<'_>,
    mailbox: &Mailbox,
) -> Ending {
    let mut settled = Vec::new();
    let mut ordered = None;
    let timer = sleep_until(wake_at(connection));
    tokio::pin!(timer);
    loop {
        let now = Instant::now();
        if let Some(end) = mailbox.take_orders(&mut settled) {
            ordered = Some(end);
            connection.disconnect(end.reason_code(), None);
        }
        for result in settled.drain(..) {
            client.settled(connection, result, now);
        }
        client.retry_stalled(connection, now);
        let mut more = false;
        while client.stalled().is_none()
            && let Some(action) = connection.poll()
        {
            if let Some(cause) = client.act(connection, action, now) {
                connection.write_into(wire.output());
                return Ending::closed(&cause, ordered);
            }
        }
        if connection.window_open() && wire.output().len() < OUTPUT_HIGH {
            more = client.deliver(connection, DELIVERIES_PER_TURN, now) == DELIVERIES_PER_TURN;
        }
        connection.write_into(wire.output());
        let reads = !connection.paused()
            && client.stalled().is_none()
            && client.pending_len() < usize::from(client.receive_max())
            && wire.output().len() < OUTPUT_MAX;
        let input = |bytes: &[u8]| connection.input(bytes, Instant::now());
        let moved = tokio::select! {
            moved = wire.drive(reads, more, input) => moved,
            () = mailbox.arrived() => Ok(()),
            () = room(client) => Ok(()),
            () = &mut timer => {
                connection.timeout(Instant::now());
                timer.as_mut().reset(wake_at(connection));
                Ok(())
            }
        };
        if moved.is_err() {
            return match ordered {
                Some(end) => Ending {
                    reason: end.presence_reason(),
                    ..Ending::lost()
                },
                None => Ending::lost(),
            };
        }
    }
}

/// Waits until the courier has settled everything this connection gave it.
async fn settle_rest(connection: &mut Connection, client: &mut Client<'_>, mailbox: &Mailbox) {
    let mut settled = Vec::new();
    while client.pending_len() > 0 {
        mailbox.take_orders(&mut settled);
        for result in settled.drain(..) {
            client.settled(connection, result, Instant::now());
        }
        if client.pending_len() > 0 {
            mailbox.arrived().await;
        }
    }
}

/// Completes when a stalled publish is worth another try; never without one.
async fn room(client: &Client<'_>) {
    let Some(stalled) = client.stalled() else {
        return std::future::pending().await;
    };
    let room = stalled.slow.room();
    tokio::pin!(room);
    room.as_mut().enable();
    // A slow subscriber that is gone or has room meanwhile tells nobody: look before waiting.
    if stalled.slow.is_full() && stalled.slow.is_connected() {
        let _ = timeout_at(stalled.until.into(), room).await;
    }
}

/// When to look at the connection's deadlines again. Deadlines move with every packet, the timer does not: it looks
/// and is set anew.
fn wake_at(connection: &Connection) -> tokio::time::Instant {
    match connection.deadline() {
        Some(deadline) => deadline.into(),
        None => tokio::time::Instant::now() + Duration::from_secs(24 * 3600),
    }
}

/// This session no longer takes pushes; the courier keeps them unless another session of the principal does.
fn leave(edge: &Edge, principal: &Principal, mailbox: &Arc<Mailbox>) {
    mailbox.disconnect();
    let sessions = edge.enforcer.sessions.mailboxes(principal);
    if !sessions.iter().any(|session| session.is_connected()) {
        edge.courier
            .absent(&irsp_courier::Hop::Principal(principal.clone()));
    }
}

async fn report(edge: &Edge, event: Event) {
    if edge.presences.send(event).await.is_err() {
        tracing::warn!("presence is no longer announced: the server stops");
    }
}

/// What a will is, if its sender may publish it: an upload or a live message.
fn granted_will(edge: &Edge, owner: &Principal, will: &Will) -> Result<Branch, Status> {
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
fn publish_will(edge: &Edge, will: Will, mailbox: &Arc<Mailbox>, session_expiry: Duration) {
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
