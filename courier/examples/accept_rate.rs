//! How many envelopes per second are accepted, each on disk before its sink hears of it: many sinks, one writer,
//! one fsync for all that came meanwhile. `cargo run --release -p irsp-courier --example accept_rate [folder]`
#![allow(clippy::print_stdout, reason = "its figure is its output")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use irsp_courier::store::{Store, StoreError, Tx};
use irsp_courier::{AcceptSink, Accepted, Courier, Ended, Hop, Received, ReplyFuture, Role, Settings, bus};
use irsp_protocol::frame::{Question, Reply};
use irsp_protocol::{Address, Domain, Envelope, MessageKind, Principal, PushOptions, Server, Status};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const SENDERS: u64 = 1000;
const PER_SENDER: u64 = 200;
const DATA: &[u8] = &[b'x'; 200];

/// A server that has nothing to do.
struct Idle;

impl Role for Idle {
    fn receive(&self, _tx: &mut Tx<'_>, _from: Server, _envelope: &Envelope) -> Result<Received, StoreError> {
        Ok(Received::Later)
    }
    fn received(&self, _envelope: Envelope, _outcome: &Received) {}
    fn deliver(&self, _to: &Principal, _envelopes: Vec<Arc<Envelope>>) {}
    fn ended(&self, _ended: Ended) {}
    fn answer(&self, _question: Question) -> ReplyFuture<'_> {
        Box::pin(std::future::ready(Reply::Unanswered(Status::NOT_FOUND)))
    }
}

/// Tells who may send its next one.
struct Settled(mpsc::UnboundedSender<(u64, Result<Accepted, Status>)>);

impl AcceptSink for Settled {
    fn settled(&self, token: u64, result: Result<Accepted, Status>) {
        let _ = self.0.send((token, result));
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = match std::env::args_os().nth(1) {
        Some(folder) => PathBuf::from(folder),
        None => std::env::temp_dir().join(format!("accept-rate-{}", std::process::id())),
    };
    let (link, _bus) = bus::link();
    let courier = Courier::start(
        Server::Message,
        Domain::new("home.example")?,
        Store::open(&folder.join("message.db"), &[])?,
        link,
        Arc::new(Idle),
        Settings::default(),
        CancellationToken::new(),
        &TaskTracker::new(),
    )?;
    let (tell, mut settled) = mpsc::unbounded_channel();
    let sink: Arc<dyn AcceptSink> = Arc::new(Settled(tell));
    let destination: Address = "app/climate".parse()?;
    let send = |sender: u64| -> Result<(), Box<dyn std::error::Error>> {
        let upload = Envelope {
            id: courier.new_id(),
            kind: MessageKind::Upload,
            source: format!("dev/sim-{sender}").parse()?,
            destination: destination.clone(),
            channel: None,
            time: courier.now(),
            expires: courier.now().plus(Duration::from_secs(3600)),
            sender_id: None,
            content_type: None,
            options: PushOptions::default(),
            attributes: Vec::new(),
            data: Bytes::from_static(DATA),
        };
        courier.accept(upload, Hop::Server(Server::App), Arc::clone(&sink), sender);
        Ok(())
    };
    let start = Instant::now();
    for sender in 0..SENDERS {
        send(sender)?;
    }
    let (mut accepted, mut refused) = (0u64, 0u64);
    while accepted + refused < SENDERS * PER_SENDER {
        let Some((sender, result)) = settled.recv().await else {
            break;
        };
        match result {
            Ok(_) => accepted += 1,
            Err(_) => refused += 1,
        }
        if accepted + refused + SENDERS <= SENDERS * PER_SENDER {
            send(sender)?;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let ledger = courier.ledger().await?;
    println!(
        "{accepted} accepted, {refused} refused in {seconds:.2} s: {:.0} per second from {SENDERS} senders, residue {}",
        accepted as f64 / seconds,
        ledger.residue()
    );
    courier.close().await;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
