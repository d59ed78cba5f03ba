//! The life of one connection: it arrives, begins, is present, and leaves.
//!
//! Each part has a box of its own and what it needed is gone with it, so that a connection at rest costs what it rests
//! on and no more.

use std::io;

use futures_util::future::OptionFuture;

use super::Edge;
use super::admission::TurnedAway;
use super::arrive::{Caller, arrive};
use super::begin::begin;
use super::conversation::run;
use super::ending::Ending;
use super::farewell::Why;
use super::leave::leave;
use super::present::Present;
use super::tls::Revocation;
use super::transport::Opened;
use crate::sessions::mailbox::Mailbox;
use crate::sessions::orders::End;

/// Serves one accepted socket to its end; `opening` does the handshakes below MQTT.
pub(super) fn serve<'e>(
    opening: impl Future<Output = io::Result<Opened>> + 'e,
    caller: Caller,
    edge: &'e Edge,
) -> impl Future<Output = ()> + 'e {
    let entering = Box::pin(enter(opening, caller, edge));
    async move {
        if let Some(mut present) = entering.await {
            let ending = attend(&mut present, edge).await;
            present.wire.ends(ending.why);
            Box::pin(leave(present, ending, edge)).await;
        }
    }
}

/// From the accepted socket to CONNACK.
async fn enter(
    opening: impl Future<Output = io::Result<Opened>>,
    caller: Caller,
    edge: &Edge,
) -> Option<Box<Present<'_>>> {
    let arrived = arrive(opening, caller, edge).await?;
    match begin(arrived, caller, edge).await {
        Ok(present) => Some(present),
        Err(mut refused) => {
            refused.take_leave().await;
            None
        }
    }
}

/// Tells a client for whom there is no place why, once it has said CONNECT.
pub(super) async fn turn_away(
    opening: impl Future<Output = io::Result<Opened>>,
    caller: Caller,
    edge: &Edge,
    turned_away: TurnedAway,
) {
    if let Some(mut arrived) = Box::pin(arrive(opening, caller, edge)).await {
        edge.metrics.turned_away(turned_away.limit());
        let refusal = arrived.handshake.refuse(&turned_away.refusal());
        arrived.wire.output().extend_from_slice(&refusal);
        arrived.wire.ends(Why::Refused);
        arrived.wire.take_leave().await;
    }
}

/// Moves what comes and goes until the end. A certificate that is revoked meanwhile ends it too.
async fn attend(present: &mut Present<'_>, edge: &Edge) -> Ending {
    let Present {
        wire,
        connection,
        client,
        mailbox,
        revocation,
        ..
    } = present;
    let revocation = revocation.take();
    let revoked = OptionFuture::from(revocation.map(|of| Box::pin(end_when_listed(of, mailbox))));
    let running = run(wire, connection, client, mailbox, edge.limits.write_timeout);
    tokio::pin!(running);
    tokio::select! {
        ending = &mut running => ending,
        Some(()) = revoked => running.await,
    }
}

/// Ends a session when a new revocation list names the certificate that it was opened with.
async fn end_when_listed(revocation: Revocation, mailbox: &Mailbox) {
    revocation.listed().await;
    let owner = mailbox.owner();
    tracing::info!(%owner, "a session ends: its certificate was revoked");
    mailbox.end(End::Revoked);
}
