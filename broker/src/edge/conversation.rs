//! A connection at work: bytes, mail and time, until it ends.

use std::time::{Duration, Instant};

use irsp_session::Connection;
use tokio::time::{sleep_until, timeout_at};

use super::client::Client;
use super::ending::Ending;
use super::wire::Wire;
use crate::sessions::mailbox::Mailbox;

/// Deliveries given to a connection at once, so that reading and delivering take turns.
const DELIVERIES_PER_TURN: usize = 256;
/// Bytes that wait to be written before no further deliveries are taken.
const OUTPUT_HIGH: usize = 64 << 10;
/// Bytes that wait to be written before nothing further is read from a client that does not read.
const OUTPUT_MAX: usize = 1 << 20;

/// Moves bytes, mail and time until the connection ends.
pub(super) async fn run(
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
pub(super) async fn settle_rest(connection: &mut Connection, client: &mut Client<'_>, mailbox: &Mailbox) {
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
