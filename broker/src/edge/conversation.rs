//! A connection at work: bytes, mail and time, until it ends.

use std::io;
use std::time::{Duration, Instant};

use irsp_session::{CloseCause, Connection, reason};
use tokio::time::{sleep_until, timeout, timeout_at};

use super::client::Client;
use super::ending::Ending;
use super::wire::Wire;
use crate::sessions::mailbox::Mailbox;
use crate::sessions::orders::End;

/// Bytes that wait to be written before nothing further is read from a client that does not read.
const OUTPUT_MAX: usize = 1 << 20;
/// Bytes read from a client that takes nothing more: what it said last counts.
const LAST_WORDS_MAX: usize = 8 << 20;
/// How long to wait for them.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Moves bytes, mail and time until the connection ends.
pub(super) async fn run(
    wire: &mut Wire,
    connection: &mut Connection,
    client: &mut Client<'_>,
    mailbox: &Mailbox,
    write_timeout: Duration,
) -> Ending {
    let mut settled = Vec::new();
    let mut ordered = None;
    let mut ended_deliveries = 0;
    let timer = sleep_until(wake_at(connection, wire, write_timeout));
    tokio::pin!(timer);
    loop {
        let now = Instant::now();
        let orders = mailbox.take_orders(&mut settled);
        if orders.recheck {
            client.withdraw(connection);
        }
        if orders.over {
            client.forget_over(connection);
        }
        if let Some(end) = orders.end {
            ordered = ordered.or(Some(end));
            client.give_up_stalled();
            connection.disconnect(end.reason_code(), Some(end.words()));
        }
        for result in settled.drain(..) {
            client.settled(connection, result, now);
        }
        client.retry_stalled(connection, now);
        let closed = if ordered == Some(End::Revoked) {
            client.act_on_answers(connection)
        } else {
            client.act_on_all(connection, now)
        };
        if let Some(cause) = closed {
            connection.write_into(wire.output());
            let ending = Ending::closed(&cause, ordered);
            if matches!(cause, CloseCause::ProtocolError(_)) {
                wire.ends(ending.why);
                // A client that is still sending would lose our last word to the reset of its connection.
                let _ = timeout(LAST_WORDS, Box::pin(wire.part(LAST_WORDS_MAX))).await;
            }
            return ending;
        }
        if ended_deliveries != connection.ended_deliveries() {
            ended_deliveries = connection.ended_deliveries();
            mailbox.takes();
        }
        // What the client can never take is dropped in passing, and told at once.
        let more = client.deliver(connection, wire.output().len(), now) || connection.has_actions();
        connection.write_into(wire.output());
        let held_until = client.held_until(now);
        let reads = held_until.is_none()
            && !connection.paused()
            && client.has_room()
            && wire.output().len() < OUTPUT_MAX;
        if !reads {
            connection.excuse();
        }
        if let Some(until) = held_until
            && timer.deadline() > until.into()
        {
            timer.as_mut().reset(until.into());
        }
        // From a write on the timer looks at least this often whether the client takes anything.
        if !wire.output().is_empty() && timer.deadline() > (now + write_timeout).into() {
            timer.as_mut().reset((now + write_timeout).into());
        }
        let input = |bytes: &[u8]| connection.input(bytes, Instant::now());
        let moved = tokio::select! {
            moved = wire.drive(reads, more, input, || mailbox.takes()) => moved,
            () = mailbox.arrived() => Ok(()),
            () = room(client) => Ok(()),
            () = &mut timer => {
                let now = Instant::now();
                if wire.is_stuck(now, write_timeout) {
                    client.is_cut();
                    wire.give_up();
                    return Ending::lost_or(ordered);
                }
                connection.timeout(now);
                timer.as_mut().reset(wake_at(connection, wire, write_timeout));
                Ok(())
            }
        };
        if moved
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::FileTooLarge)
        {
            // Of a WebSocket's message only its length is known by then.
            connection.disconnect(
                reason::PACKET_TOO_LARGE,
                Some("a WebSocket message larger than any packet"),
            );
            continue;
        }
        if moved.is_err() {
            // A client that said DISCONNECT and closed is not lost, even if we noticed first that we cannot write.
            let input = |bytes: &[u8]| connection.input(bytes, Instant::now());
            let _ = timeout(LAST_WORDS, Box::pin(wire.read_rest(LAST_WORDS_MAX, input))).await;
            return match client.act_on_all(connection, Instant::now()) {
                Some(cause) => Ending::closed(&cause, ordered),
                None => Ending::lost_or(ordered),
            };
        }
    }
}

/// Waits until the courier has settled everything this connection gave it, and until those who hear what it published at
/// QoS 0 have room. What the client said to our deliveries before it ended counts too. An order to end comes too late, but
/// that the session was revoked stays known to its mailbox.
pub(super) async fn settle_rest(connection: &mut Connection, client: &mut Client<'_>, mailbox: &Mailbox) {
    let mut settled = Vec::new();
    client.act_on_answers(connection);
    client.give_up_what_comes_again();
    loop {
        let now = Instant::now();
        if mailbox.take_orders(&mut settled).recheck {
            client.withdraw(connection);
        }
        for result in settled.drain(..) {
            client.settled(connection, result, now);
        }
        client.retry_stalled(connection, now);
        client.act_on_behind(connection, now);
        if client.pending_len() == 0 && client.stalled().is_none() {
            return;
        }
        tokio::select! {
            () = mailbox.arrived() => {}
            () = room(client) => {}
        }
    }
}

/// Completes when a stalled publish is worth another try; never without one. Few wait, and all connections have room for
/// this future: it is a box.
async fn room(client: &Client<'_>) {
    let Some(stalled) = client.stalled() else {
        return std::future::pending().await;
    };
    let _ = Box::pin(timeout_at(stalled.until.into(), stalled.slow.room())).await;
}

/// When to look at the connection's deadlines again. Deadlines move with every packet, the timer does not: it looks
/// and is set anew.
fn wake_at(connection: &Connection, wire: &Wire, write_timeout: Duration) -> tokio::time::Instant {
    let stuck = wire.waits_since().map(|since| since + write_timeout);
    match connection.deadline().into_iter().chain(stuck).min() {
        Some(deadline) => deadline.into(),
        None => tokio::time::Instant::now() + Duration::from_secs(24 * 3600),
    }
}
