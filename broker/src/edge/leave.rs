//! The end of a connection that was present: what it leaves, and what is said about it.

use std::time::Duration;

use irsp_protocol::presence::Reason;
use tokio::time::timeout;

use super::Edge;
use super::conversation::settle_rest;
use super::ending::Ending;
use super::present::{Present, has_presence, report};
use super::resume::{self, Leaving};
use super::will::publish_will;
use super::wire::FAREWELL;
use crate::presence::Event;
use crate::topics;

/// Settles what the client gave us, leaves its session to its next connection or ends it, and writes the last bytes.
pub(super) async fn leave(present: Box<Present<'_>>, ending: Ending, edge: &Edge) {
    let Present {
        mut wire,
        mut connection,
        mut client,
        mailbox,
        held,
        place,
        peer,
        will,
        session_expiry,
        ..
    } = *present;
    let principal = mailbox.owner().clone();
    tracing::info!(%peer, %principal, reason = ?ending.reason, "disconnected");
    client.has_heard_the_last();
    // What the client gave us is settled before the session is left to its next connection, so that a QoS 2 message
    // that was taken is not taken again when it is repeated [MQTT-4.3.3-10].
    let _ = timeout(FAREWELL, settle_rest(&mut connection, &mut client, &mailbox)).await;
    connection.write_into(wire.output());
    let backlog = client.into_backlog();
    let expiry: Duration = ending.session_expiry.unwrap_or(session_expiry);
    // This session no longer takes pushes.
    mailbox.disconnect();
    edge.stops_listening(&principal);
    if let Some(last) = will {
        match ending.publishes_will {
            true => publish_will(edge, *last, &mailbox, expiry),
            false => last.discard(edge),
        }
    }
    // Who was online when the server stops stays so until the grace time after its next start is over.
    if has_presence(&principal) && ending.reason != Reason::ServerStopped {
        report(edge, Event::Ended(principal, ending.reason)).await;
    }
    drop(place);
    if expiry.is_zero() || mailbox.is_revoked() {
        let shared = topics::shared(&mailbox);
        edge.enforcer.forget(&mailbox);
        held.vacate(&mailbox);
        if !shared.is_empty() {
            let mut waiting = Vec::new();
            mailbox.take_deliveries(usize::MAX, usize::MAX, &mut waiting);
            let rest = connection.into_session().into_rest().chain(waiting);
            edge.enforcer.topics.hand_over(&shared, rest);
        }
    } else {
        let left = Leaving {
            session: connection.into_session(),
            mailbox,
            backlog,
            expiry,
        };
        resume::park(edge, held, left);
    }
    wire.take_leave().await;
}
