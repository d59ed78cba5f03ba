//! What many pushes queued for devices that are away cost: room on the disk, and time and memory of the next start.
//!
//! ```text
//! cargo run --release -p irsp-courier --example queued_pushes -- fill  FOLDER PUSHES DEVICES
//! cargo run --release -p irsp-courier --example queued_pushes -- start FOLDER
//! ```
#![allow(clippy::print_stdout, reason = "its figures are its output")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use irsp_courier::store::{Store, StoreError, Tx};
use irsp_courier::{AcceptSink, Accepted, Courier, Ended, Hop, Received, ReplyFuture, Role, Settings, bus};
use irsp_protocol::frame::{Question, Reply};
use irsp_protocol::{Domain, Envelope, MessageKind, Principal, Server, Status};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const DATA: &[u8] = &[b'x'; 200];
/// Pushes given to the courier and not on disk yet.
const UNDER_WAY: u64 = 2000;

/// A server that says what it is given for a principal.
struct Hears(mpsc::UnboundedSender<usize>);

impl Role for Hears {
    fn receive(&self, _tx: &mut Tx<'_>, _from: Server, _envelope: &Envelope) -> Result<Received, StoreError> {
        Ok(Received::Later)
    }
    fn received(&self, _envelope: Envelope, _outcome: &Received) {}
    fn deliver(&self, _to: &Principal, envelopes: Vec<Arc<Envelope>>) {
        // Nobody waits any more only when the program ends.
        let _ended = self.0.send(envelopes.len());
    }
    fn ended(&self, _ended: Ended) {}
    fn answer(&self, _question: Question) -> ReplyFuture<'_> {
        Box::pin(std::future::ready(Reply::Unanswered(Status::NOT_FOUND)))
    }
}

struct Settled(mpsc::UnboundedSender<Result<Accepted, Status>>);

impl AcceptSink for Settled {
    fn settled(&self, _token: u64, result: Result<Accepted, Status>) {
        let _ended = self.0.send(result);
    }
}

struct Running {
    courier: Courier,
    delivered: mpsc::UnboundedReceiver<usize>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Running {
    fn start(folder: &Path) -> Result<Running, Box<dyn Error>> {
        // Without a bus: what is for the other servers waits.
        let (link, _bus) = bus::link();
        let (tell, delivered) = mpsc::unbounded_channel();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let courier = Courier::start(
            Server::Message,
            Domain::new("home.example")?,
            Store::open(&folder.join("message.db"), &[])?,
            link,
            Arc::new(Hears(tell)),
            Settings::default(),
            stop.clone(),
            &tasks,
        )?;
        Ok(Running {
            courier,
            delivered,
            stop,
            tasks,
        })
    }

    async fn end(self) {
        self.courier.close().await;
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn push(courier: &Courier, device: &str) -> Result<Envelope, Box<dyn Error>> {
    Ok(Envelope {
        id: courier.new_id(),
        kind: MessageKind::Push,
        source: "app/climate".parse()?,
        destination: device.parse()?,
        channel: None,
        time: courier.now(),
        expires: courier.now().plus(Duration::from_secs(24 * 3600)),
        sender_id: None,
        content_type: None,
        options: irsp_protocol::PushOptions::default(),
        attributes: Vec::new(),
        data: Bytes::from_static(DATA),
    })
}

async fn fill(folder: &Path, pushes: u64, devices: u64) -> Result<(), Box<dyn Error>> {
    let running = Running::start(folder)?;
    let (tell, mut settled) = mpsc::unbounded_channel();
    let sink: Arc<dyn AcceptSink> = Arc::new(Settled(tell));
    for number in 0..pushes {
        if number >= UNDER_WAY {
            settled
                .recv()
                .await
                .ok_or("the courier has ended")?
                .map_err(|status| status.name())?;
        }
        let device = format!("dev/lamp-{}", number % devices);
        let hop = Hop::Principal(device.parse()?);
        running
            .courier
            .accept(push(&running.courier, &device)?, hop, Arc::clone(&sink), number);
    }
    for _ in 0..pushes.min(UNDER_WAY) {
        settled
            .recv()
            .await
            .ok_or("the courier has ended")?
            .map_err(|status| status.name())?;
    }
    running.end().await;
    let bytes = std::fs::metadata(folder.join("message.db"))?.len();
    println!(
        "{pushes} pushes for {devices} devices: {} bytes each on disk",
        bytes / pushes
    );
    Ok(())
}

async fn start(folder: &Path) -> Result<(), Box<dyn Error>> {
    let before = resident_kib()?;
    let began = Instant::now();
    let mut running = Running::start(folder)?;
    let started = began.elapsed();
    let (tell, mut settled) = mpsc::unbounded_channel();
    let hop = Hop::Principal("dev/newcomer".parse()?);
    let sink = Arc::new(Settled(tell));
    running
        .courier
        .accept(push(&running.courier, "dev/newcomer")?, hop, sink, 0);
    settled
        .recv()
        .await
        .ok_or("the courier has ended")?
        .map_err(|status| status.name())?;
    let accepted = began.elapsed();
    let begun = Instant::now();
    running.courier.present(Hop::Principal("dev/lamp-0".parse()?));
    let given = running.delivered.recv().await.ok_or("the courier has ended")?;
    println!(
        "started in {:.0} ms, first acceptance on disk after {:.0} ms; {given} pushes given to a device {:.1} ms after it came; \
         resident {} MiB more than before the start, {} MiB at most; {} in flight, residue {}",
        started.as_secs_f64() * 1e3,
        accepted.as_secs_f64() * 1e3,
        begun.elapsed().as_secs_f64() * 1e3,
        resident_kib()?.saturating_sub(before) / 1024,
        status_kib("VmHWM:")? / 1024,
        running.courier.ledger().await?.in_flight(),
        running.courier.ledger().await?.residue(),
    );
    running.end().await;
    Ok(())
}

fn resident_kib() -> Result<u64, Box<dyn Error>> {
    status_kib("VmRSS:")
}

fn status_kib(field: &str) -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .ok_or("no such figure")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["fill", folder, pushes, devices] => fill(Path::new(folder), pushes.parse()?, devices.parse()?).await,
        ["start", folder] => start(Path::new(folder)).await,
        _ => Err("fill FOLDER PUSHES DEVICES, or start FOLDER".into()),
    }
}
