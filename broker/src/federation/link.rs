//! One connection's life: both sides greet, then each sends what its courier has for the other, until one says goodbye
//! or falls silent.

use std::future::Future;
use std::io;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use irsp_courier::{Allowance, PeerPort};
use irsp_protocol::frame::{self, Item};
use irsp_protocol::peer_link::{self, Goodbye, Hello, Part, PartError, VERSION};
use irsp_protocol::{Domain, Server, Status};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsStream;
use tokio_util::sync::CancellationToken;

use super::Federation;
use super::end::Ended;
use super::gate::{self, Gate, Sorted};
use super::links::Dialled;
use super::metrics::Refusal;

/// After so long without anything to say we say that we are there.
const PING_EVERY: Duration = Duration::from_secs(10);
/// A peer that says nothing for so long is gone: three of its pings.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// A peer that takes nothing for so long is gone. A system tells of room only when a third of its buffer is free again,
/// which takes its time on a slow line.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the goodbye may take.
const GOODBYE_WAIT: Duration = Duration::from_secs(1);
/// What the reading side has to say to the peer before it waits.
const REMARKS_MAX: usize = 64;
/// Bytes written at once, as far as they are there.
const WRITE_BYTES: usize = 256 << 10;
/// Bytes a quiet link holds for reading.
const READ_BYTES: usize = 4 << 10;

/// Why a connection comes to no link.
#[derive(Debug, Error)]
pub(super) enum NoLink {
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Part(#[from] PartError),
    #[error("the peer said goodbye: {} {}", .0.code.code(), .0.reason)]
    Goodbye(Goodbye),
    #[error("the first part is no greeting")]
    NoHello,
    #[error("the peer speaks version {0}.{1}, which we do not")]
    Version(u16, u16),
    #[error("the greeting is from {0}, which is not whom the certificate names")]
    Misnamed(Domain),
    #[error("the greeting is meant for {0}")]
    Misdirected(Domain),
    #[error("there is a link already, and that one stays")]
    Doubled,
}

impl NoLink {
    fn refusal(&self) -> Refusal {
        match self {
            NoLink::Io(_) | NoLink::Goodbye(_) => Refusal::Incomplete,
            NoLink::Part(_) | NoLink::NoHello | NoLink::Misnamed(_) | NoLink::Misdirected(_) => {
                Refusal::Greeting
            }
            NoLink::Version(..) => Refusal::Version,
            NoLink::Doubled => Refusal::Doubled,
        }
    }

    /// What the peer is told; nothing if it cannot hear it, or was the one to say it.
    fn goodbye(&self) -> Option<Goodbye> {
        let code = match self {
            NoLink::Io(_) | NoLink::Goodbye(_) => return None,
            NoLink::Part(error) => error.status(),
            NoLink::NoHello | NoLink::Version(..) => Status::MALFORMED,
            NoLink::Misnamed(_) => Status::FORBIDDEN,
            NoLink::Misdirected(_) => Status::WRONG_DOMAIN,
            NoLink::Doubled => Status::CONFLICT,
        };
        Some(Goodbye {
            code,
            reason: self.to_string(),
        })
    }
}

/// A connection whose two sides have greeted each other.
pub(super) struct Greeted {
    stream: TlsStream<TcpStream>,
    /// What has come behind the greeting.
    read: BytesMut,
    peer: Domain,
}

/// Both sides greet. The caller sets the deadline.
pub(super) async fn greet(
    mut stream: TlsStream<TcpStream>,
    peer: Domain,
    federation: &Federation,
) -> Result<Greeted, NoLink> {
    let mut read = BytesMut::with_capacity(READ_BYTES);
    match exchange(&mut stream, &mut read, &peer, &federation.domain).await {
        Ok(()) => Ok(Greeted { stream, read, peer }),
        Err(refused) => {
            federation.metrics.refused.of(refused.refusal()).inc();
            part_with(&mut Writer::new(stream), refused.goodbye()).await;
            Err(refused)
        }
    }
}

async fn exchange(
    stream: &mut TlsStream<TcpStream>,
    read: &mut BytesMut,
    peer: &Domain,
    own: &Domain,
) -> Result<(), NoLink> {
    let mut hello = BytesMut::new();
    let ours = Hello {
        version: VERSION,
        domain: own.clone(),
        to: peer.clone(),
    };
    peer_link::write(&Part::Hello(ours), &mut hello)?;
    stream.write_all(&hello).await?;
    stream.flush().await?;
    let theirs = loop {
        match peer_link::read(read)? {
            Some(Part::Hello(hello)) => break hello,
            Some(Part::Goodbye(goodbye)) => return Err(NoLink::Goodbye(goodbye)),
            Some(Part::Items(_) | Part::Ping | Part::Pong | Part::Unknown(_)) => return Err(NoLink::NoHello),
            None if stream.read_buf(read).await? == 0 => {
                return Err(NoLink::Io(io::ErrorKind::UnexpectedEof.into()));
            }
            None => {}
        }
    };
    let Hello { version, domain, to } = theirs;
    if VERSION.agree(version).is_none() {
        return Err(NoLink::Version(version.major, version.minor));
    }
    if domain != *peer {
        return Err(NoLink::Misnamed(domain));
    }
    if to != *own {
        return Err(NoLink::Misdirected(to));
    }
    Ok(())
}

/// Lives until the link ends. `Err` if another link to the same peer stays instead.
pub(super) async fn live(
    greeted: Greeted,
    dialled: Dialled,
    federation: &Federation,
    stop: &CancellationToken,
) -> Result<(), NoLink> {
    let Greeted { stream, read, peer } = greeted;
    let (links, metrics, own) = (&federation.links, &federation.metrics, &federation.domain);
    let now = federation.courier.now();
    let (reader, writer) = tokio::io::split(stream);
    let mut writer = Writer::new(writer);
    let Some(seat) = links.admit(own, &peer, dialled, now, stop) else {
        let doubled = NoLink::Doubled;
        metrics.refused.of(doubled.refusal()).inc();
        part_with(&mut writer, doubled.goodbye()).await;
        return Err(doubled);
    };
    metrics.linked.inc();
    metrics.links.inc();
    tracing::info!(%peer, ?dialled, "linked");
    let terms = federation.directory.peer(&peer);
    let rate_max = terms.and_then(|terms| terms.out_rate_max);
    let (port, frames) = federation.courier.link_peer(peer.clone(), rate_max);
    let (remark, remarks) = mpsc::channel(REMARKS_MAX);
    let receiving = Receiving {
        reader,
        read,
        port,
        peer: &peer,
        federation,
        remark,
    };
    let ended = tokio::select! {
        ended = receiving.run() => ended,
        ended = writer.run(frames, remarks) => ended,
        ended = seat.end.told() => ended,
    };
    tracing::info!(%peer, cause = %ended, "the link has ended");
    metrics.links.dec();
    metrics.ended.of(ended.cause()).inc();
    links.trouble(&peer, ended.to_string());
    part_with(&mut writer, ended.goodbye()).await;
    Ok(())
}

async fn part_with<W: AsyncWrite + Unpin>(writer: &mut Writer<W>, goodbye: Option<Goodbye>) {
    let Some(goodbye) = goodbye else { return };
    let parting = async {
        writer.say(&Part::Goodbye(goodbye))?;
        writer.flush().await?;
        writer.io.shutdown().await.map_err(Ended::from)
    };
    match timeout(GOODBYE_WAIT, parting).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "no goodbye"),
        Err(_) => tracing::debug!("no goodbye in time"),
    }
}

/// The sending side. What it was writing when it was left is still in its buffer, so that a goodbye follows whole parts.
struct Writer<W> {
    io: W,
    buffer: BytesMut,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    fn new(io: W) -> Writer<W> {
        Writer {
            io,
            buffer: BytesMut::new(),
        }
    }

    fn say(&mut self, part: &Part) -> Result<(), Ended> {
        Ok(peer_link::write(part, &mut self.buffer)?)
    }

    async fn flush(&mut self) -> Result<(), Ended> {
        while !self.buffer.is_empty() {
            let written = in_time(WRITE_TIMEOUT, Ended::Stuck, self.io.write_buf(&mut self.buffer)).await?;
            if written == 0 {
                return Err(Ended::Closed);
            }
        }
        in_time(WRITE_TIMEOUT, Ended::Stuck, self.io.flush()).await
    }

    async fn run(&mut self, mut frames: mpsc::Receiver<Bytes>, mut remarks: mpsc::Receiver<Part>) -> Ended {
        loop {
            let part = tokio::select! {
                frame = frames.recv() => match frame {
                    Some(frame) => Part::Items(frame),
                    // The courier has stopped.
                    None => return Ended::Ours,
                },
                Some(remark) = remarks.recv() => remark,
                () = tokio::time::sleep(PING_EVERY) => Part::Ping,
            };
            let said = async {
                self.say(&part)?;
                while self.buffer.len() < WRITE_BYTES
                    && let Ok(frame) = frames.try_recv()
                {
                    self.say(&Part::Items(frame))?;
                }
                self.flush().await
            };
            if let Err(ended) = said.await {
                return ended;
            }
        }
    }
}

/// The receiving side.
struct Receiving<'a, R> {
    reader: R,
    read: BytesMut,
    port: PeerPort,
    peer: &'a Domain,
    federation: &'a Federation,
    remark: mpsc::Sender<Part>,
}

impl<R: AsyncRead + Unpin> Receiving<'_, R> {
    async fn run(mut self) -> Ended {
        let mut allowance = Allowance::default();
        loop {
            let part = match self.next().await {
                Ok(part) => part,
                Err(ended) => return ended,
            };
            match part {
                Part::Items(frame) => {
                    if let Err(ended) = self.take(frame, &mut allowance).await {
                        return ended;
                    }
                }
                Part::Ping => self.say(Part::Pong).await,
                Part::Goodbye(goodbye) => return Ended::Goodbye(goodbye),
                Part::Pong | Part::Hello(_) | Part::Unknown(_) => {}
            }
        }
    }

    async fn next(&mut self) -> Result<Part, Ended> {
        loop {
            if let Some(part) = peer_link::read(&mut self.read)? {
                return Ok(part);
            }
            let reading = self.reader.read_buf(&mut self.read);
            if in_time(SILENCE_MAX, Ended::Silent, reading).await? == 0 {
                return Err(Ended::Closed);
            }
        }
    }

    async fn take(&mut self, frame: Bytes, allowance: &mut Allowance) -> Result<(), Ended> {
        let metrics = &self.federation.metrics;
        let gate = Gate {
            peer: self.peer,
            own: &self.federation.domain,
            now: self.federation.courier.now(),
            lifetime_max: self.federation.lifetime_max,
        };
        let Sorted { taken, refused } = gate::sort(frame, gate)?;
        let count = taken.delivered.len() + refused.len();
        metrics.received.inc_by(count as u64);
        self.refuse(&refused).await;
        self.port.take(taken).await;
        let (rate_max, now) = (self.rate_max(), Instant::now());
        allowance.take(count, rate_max, now);
        // What comes faster waits in its own connection: it costs nobody else anything, and nothing is lost.
        let wait = allowance.wait(0, rate_max, now);
        if !wait.is_zero() {
            metrics.throttled.inc();
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    /// Answers what is refused at the gate.
    async fn refuse(&self, refused: &[(irsp_protocol::MessageId, Status)]) {
        if refused.is_empty() {
            return;
        }
        let mut answers = BytesMut::new();
        for (id, status) in refused {
            self.federation.metrics.envelopes_refused.inc(*status);
            tracing::warn!(peer = %self.peer, %id, %status, "an envelope is not the peer's own, not for us, or not understood");
            let answer = Item::Answer {
                from: Server::Message,
                id: *id,
                status: *status,
                answer: None,
                cause: None,
            };
            frame::write(&answer, &mut answers);
        }
        self.say(Part::Items(answers.freeze())).await;
    }

    /// A sending side that has ended needs no remarks.
    async fn say(&self, part: Part) {
        let _ended = self.remark.send(part).await;
    }

    /// As its operator has it now. One that is no peer any more is about to be cut.
    fn rate_max(&self) -> NonZeroU32 {
        let peer = self.federation.directory.peer(self.peer);
        peer.and_then(|peer| NonZeroU32::new(peer.rate_max))
            .unwrap_or(NonZeroU32::MIN)
    }
}

async fn in_time<T>(
    within: Duration,
    late: Ended,
    doing: impl Future<Output = io::Result<T>>,
) -> Result<T, Ended> {
    match timeout(within, doing).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(late),
    }
}
