//! The door the device comes in by. It passes packets on to the platform and back, writes down what passes, and on
//! request cuts, refuses, holds a push back until it has expired, or keeps an answer or an acknowledgement.
//!
//! ```text
//! device <--> gate <--> message server
//!              | log (seen.rs), wishes (Wish), door open or shut
//! ```
//! One task per connection; what is asked of the gate takes effect at the next packet.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use devicesim::options::MqttVersion;
use devicesim::wire::{self, Frame, Publish, kind};
use irsp_protocol::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::seen::{self, Log, Place, Seen, Upload};

/// How long a device may take for its CONNECT.
const CONNECT_WAIT: Duration = Duration::from_secs(20);
/// So long after its expiry a push that was held back is handed over.
pub const HELD_PAST_EXPIRY: Duration = Duration::from_secs(2);

/// What is done to the next packet of its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The device's next answer goes no further, but the device is told that it was taken.
    KeepAnswer,
    /// The next acknowledgement of the device goes no further.
    KeepPuback,
    /// The next push is held back until it has expired.
    HoldPush,
    /// The acknowledgement of the device's next upload goes no further.
    KeepAcknowledgement,
}

/// Ends with its tasks when dropped.
pub struct Gate {
    address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    upstream: SocketAddr,
    state: Mutex<State>,
    /// How much has been seen.
    grown: watch::Sender<usize>,
}

struct State {
    log: Log,
    wishes: Vec<Wish>,
    shut: bool,
    /// Cancelled, it cuts every connection there is.
    cut: CancellationToken,
}

impl Gate {
    pub async fn open(listen: SocketAddr, upstream: SocketAddr) -> io::Result<Gate> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream,
            state: Mutex::new(State {
                log: Log::default(),
                wishes: Vec::new(),
                shut: false,
                cut: CancellationToken::new(),
            }),
            grown: watch::Sender::new(0),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Gate {
            address,
            shared,
            _tasks: tasks,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the log ends now.
    pub fn now(&self) -> Place {
        self.shared.state().log.end()
    }

    pub fn wish(&self, wish: Wish) {
        self.shared.state().wishes.push(wish);
    }

    /// Takes back what has not come about.
    pub fn forget_wishes(&self) {
        self.shared.state().wishes.clear();
    }

    /// Ends every connection without a word.
    pub fn cut(&self) {
        let cut = std::mem::take(&mut self.shared.state().cut);
        cut.cancel();
    }

    /// Shut, every connection is ended after its CONNECT.
    pub fn shut(&self, shut: bool) {
        self.shared.state().shut = shut;
    }

    /// Waits for the first thing at or behind `from` that `is` knows; `None` when it does not come in time.
    pub async fn wait<T>(
        &self,
        from: Place,
        within: Duration,
        mut is: impl FnMut(&Seen) -> Option<T>,
    ) -> Option<(T, Place)> {
        let deadline = Instant::now() + within;
        let mut grown = self.shared.grown.subscribe();
        loop {
            grown.mark_unchanged();
            if let Some((_, found, place)) = self.shared.state().log.find(from, &mut is) {
                return Some((found, place));
            }
            if timeout_at(deadline, grown.changed()).await.is_err() {
                return None;
            }
        }
    }

    pub fn pauses(&self, from: Place) -> Vec<Duration> {
        self.shared.state().log.pauses(from)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, seen: Seen) {
        self.state().log.add(Instant::now(), seen);
        self.grown.send_modify(|count| *count += 1);
    }

    /// Takes a wish that `is` means, if there is one.
    fn take(&self, is: impl Fn(&Wish) -> bool) -> bool {
        let mut state = self.state();
        let found = state.wishes.iter().position(is);
        found.map(|at| state.wishes.remove(at)).is_some()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    // An error of accept is one connection's, such as a device that has gone again.
    loop {
        if let Ok((device, _)) = listener.accept().await {
            while connections.try_join_next().is_some() {}
            connections.spawn(connection(device, Arc::clone(&shared)));
        }
    }
}

async fn connection(device: TcpStream, shared: Arc<Shared>) {
    shared.note(Seen::Dial);
    let cut = shared.state().cut.clone();
    tokio::select! {
        () = cut.cancelled() => {}
        // However it ends, it is noted below.
        _ = pass(device, &shared) => {}
    }
    shared.note(Seen::Gone);
}

/// One end of the connection.
struct End {
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
    input: BytesMut,
}

impl End {
    fn new(stream: TcpStream) -> End {
        let (read, write) = stream.into_split();
        End {
            read,
            write,
            input: BytesMut::new(),
        }
    }

    /// The next packet; may be dropped and called again.
    async fn next(&mut self) -> io::Result<Frame> {
        loop {
            let frame = wire::take(&mut self.input);
            if let Some(frame) = frame.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
                return Ok(frame);
            }
            if self.read.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn put(&mut self, frame: &Frame) -> io::Result<()> {
        let mut out = Vec::new();
        frame.put(&mut out);
        self.write.write_all(&out).await
    }
}

async fn pass(device: TcpStream, shared: &Shared) -> io::Result<()> {
    device.set_nodelay(true)?;
    let mut device = End::new(device);
    let connect = timeout(CONNECT_WAIT, device.next()).await??;
    let version = if connect.body.get(6) == Some(&5) {
        MqttVersion::V5
    } else {
        MqttVersion::V311
    };
    shared.note(Seen::Connect { version });
    if shared.state().shut {
        return Ok(());
    }
    let server = TcpStream::connect(shared.upstream).await?;
    server.set_nodelay(true)?;
    let mut server = End::new(server);
    server.put(&connect).await?;
    let mut talk = Talk {
        shared,
        version,
        held: None,
        kept_upload: None,
    };
    loop {
        let held_until = talk.held.as_ref().map(|(at, _)| *at);
        tokio::select! {
            frame = device.next() => {
                match talk.device_sent(frame?) {
                    Some((Towards::Device, frame)) => device.put(&frame).await?,
                    Some((Towards::Server, frame)) => server.put(&frame).await?,
                    None => {}
                }
            }
            frame = server.next() => {
                if let Some(frame) = talk.server_sent(frame?) {
                    device.put(&frame).await?;
                }
            }
            () = sleep_until(held_until.unwrap_or_else(Instant::now)), if held_until.is_some() => {
                if let Some((_, frame)) = talk.held.take() {
                    talk.pushed(&frame);
                    device.put(&frame).await?;
                }
            }
        }
    }
}

/// To whom a packet is written.
enum Towards {
    Device,
    Server,
}

/// What is to be remembered of one connection.
struct Talk<'a> {
    shared: &'a Shared,
    version: MqttVersion,
    /// A push that is held back, and until when.
    held: Option<(Instant, Frame)>,
    /// The packet id of an upload whose acknowledgement is kept.
    kept_upload: Option<u16>,
}

impl Talk<'_> {
    /// What is written, and to whom.
    fn device_sent(&mut self, frame: Frame) -> Option<(Towards, Frame)> {
        match frame.kind() {
            kind::SUBSCRIBE => {
                if let Some(filters) = filters(self.version, &frame) {
                    self.shared.note(Seen::Subscribe(filters));
                }
            }
            kind::PUBACK | kind::PUBREC => {
                if let Some(packet) = packet_id(&frame) {
                    let kept = self.shared.take(|wish| *wish == Wish::KeepPuback);
                    self.shared.note(Seen::Acknowledged { packet });
                    if kept {
                        return None;
                    }
                }
            }
            kind::PUBLISH => {
                if let Ok(publish) = Publish::read(self.version, &frame)
                    && self.keeps(&publish)
                {
                    // At QoS 0 nothing is said.
                    let id = publish.id.to_be_bytes().to_vec();
                    return (publish.qos == 1).then(|| {
                        let first = kind::PUBACK << 4;
                        (
                            Towards::Device,
                            Frame {
                                first,
                                body: id.into(),
                            },
                        )
                    });
                }
            }
            _ => {}
        }
        Some((Towards::Server, frame))
    }

    /// Notes what a device publishes; whether it is to go no further.
    fn keeps(&mut self, publish: &Publish) -> bool {
        if let Some(upload) = Upload::of(publish) {
            let kept = publish.qos > 0 && self.shared.take(|wish| *wish == Wish::KeepAcknowledgement);
            if kept {
                self.kept_upload = Some(publish.id);
            }
            self.shared.note(Seen::Upload(upload));
        }
        let Some((mid, answer)) = seen::answer(publish) else {
            return false;
        };
        let kept = publish.qos < 2 && self.shared.take(|wish| *wish == Wish::KeepAnswer);
        self.shared.note(Seen::Answer { mid, answer });
        kept
    }

    /// What is written to the device.
    fn server_sent(&mut self, frame: Frame) -> Option<Frame> {
        match frame.kind() {
            kind::CONNACK if frame.body.get(1) == Some(&0) => self.shared.note(Seen::Welcome),
            kind::PUBACK | kind::PUBREC
                if self.kept_upload.is_some() && packet_id(&frame) == self.kept_upload =>
            {
                self.kept_upload = None;
                self.shared.note(Seen::Kept);
                return None;
            }
            kind::PUBLISH => {
                let publish = Publish::read(self.version, &frame).ok();
                let is_push = publish
                    .as_ref()
                    .is_some_and(|publish| seen::push(&publish.topic).is_some());
                if is_push && self.shared.take(|wish| *wish == Wish::HoldPush) {
                    let expires = publish.as_ref().and_then(|publish| publish.user("expirytime"));
                    let left = expires
                        .and_then(|text| text.parse::<Timestamp>().ok())
                        .map_or(0, |at| {
                            at.as_millis() - Timestamp::from(std::time::SystemTime::now()).as_millis()
                        });
                    let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
                    self.held = Some((Instant::now() + left + HELD_PAST_EXPIRY, frame));
                    return None;
                }
                self.pushed(&frame);
            }
            _ => {}
        }
        Some(frame)
    }

    /// Notes a push that is handed to the device.
    fn pushed(&self, frame: &Frame) {
        if let Ok(publish) = Publish::read(self.version, frame)
            && let Some(mid) = seen::push(&publish.topic)
        {
            let packet = publish.id;
            self.shared.note(Seen::Push { mid, packet });
        }
    }
}

fn packet_id(frame: &Frame) -> Option<u16> {
    Some(u16::from_be_bytes([*frame.body.first()?, *frame.body.get(1)?]))
}

/// The filters of a SUBSCRIBE, each with its QoS; `None` when it is malformed, which the server will say.
fn filters(version: MqttVersion, frame: &Frame) -> Option<Vec<(String, u8)>> {
    let mut rest = frame.body.get(2..)?;
    if version == MqttVersion::V5 {
        // Properties: one byte of length is enough for a subscription identifier and short user properties.
        let len = usize::from(*rest.first()?);
        rest = rest.get(1 + len..)?;
    }
    let mut found = Vec::new();
    while !rest.is_empty() {
        let len = usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]));
        let filter = std::str::from_utf8(rest.get(2..2 + len)?).ok()?;
        found.push((filter.to_owned(), rest.get(2 + len)? & 3));
        rest = rest.get(3 + len..)?;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_in_both_versions() {
        for version in [MqttVersion::V311, MqttVersion::V5] {
            let mut out = Vec::new();
            wire::subscribe(&mut out, version, 7, &[("a/#", 1), ("b", 2)]);
            let frame = wire::take(&mut BytesMut::from(&out[..])).unwrap().unwrap();
            let expected = vec![("a/#".to_owned(), 1), ("b".to_owned(), 2)];
            assert_eq!(filters(version, &frame), Some(expected));
        }
    }
}
