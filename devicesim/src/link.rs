//! One connection to a message server: bytes over TCP, TLS or WebSocket, packets in and out, CONNECT and CONNACK.
//!
//! What is put is written by [`Link::flush`], all of it at once. [`Link::recv`] may be dropped and called again: nothing
//! that has arrived is lost.

mod ws;

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::options::MqttVersion;
use crate::target::{Target, Way};
use crate::tls::{self, CaError};
use crate::wire::{self, Packet, WireError};

/// TCP, TLS, WebSocket and CONNACK together.
const OPEN_WAIT: Duration = Duration::from_secs(20);
/// A server that takes nothing for so long has broken the connection.
const WRITE_WAIT: Duration = Duration::from_secs(30);
/// Bytes read at once.
const READ: usize = 4096;

/// How connections to one server are made.
#[derive(Clone, Debug)]
pub struct Dialer {
    target: Target,
    addresses: Arc<[SocketAddr]>,
    tls: Option<Arc<rustls::ClientConfig>>,
}

/// Why no connection can be made at all.
#[derive(Debug, Error)]
pub enum DialerError {
    #[error("{0} needs --ca with the certificate authority's PEM file")]
    NoCa(Target),
    #[error("--ca")]
    Ca(#[from] CaError),
    #[error("{target} is nowhere: {error}")]
    Nowhere { target: Target, error: String },
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Broken {
    /// CONNACK with a code that another try does not change.
    #[error("{0}")]
    Refused(&'static str),
    /// CONNACK with a code that may pass.
    #[error("{0}, for now")]
    NotNow(&'static str),
    /// DISCONNECT, with its reason code.
    #[error("the server disconnects: 0x{0:02X}")]
    Disconnected(u8),
    #[error("{0}")]
    Lost(String),
}

impl From<std::io::Error> for Broken {
    fn from(error: std::io::Error) -> Broken {
        let kind = error.kind();
        Broken::Lost(if kind == ErrorKind::UnexpectedEof {
            "closed by the server".to_owned()
        } else if kind == ErrorKind::Other {
            error.to_string()
        } else {
            kind.to_string()
        })
    }
}

impl From<WireError> for Broken {
    fn from(error: WireError) -> Broken {
        Broken::Lost(error.to_string())
    }
}

impl From<tungstenite::Error> for Broken {
    fn from(error: tungstenite::Error) -> Broken {
        Broken::Lost(error.to_string())
    }
}

/// How one client logs in.
#[derive(Clone, Copy, Debug)]
pub struct Login<'a> {
    pub with: wire::Connect<'a>,
    /// The address to connect from.
    pub source: Option<Ipv4Addr>,
    /// Bytes of the socket's receive buffer; the system's default unless given.
    pub receive_buffer: Option<u32>,
}

/// How a connection ends that its holder drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// What was written still arrives.
    Orderly,
    /// As a lost network does, without a word: the other side is reset.
    Reset,
}

/// What CONNACK said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    pub resumed: bool,
    pub receive_max: u16,
}

impl Dialer {
    /// Resolves the host once, so that connections do not wait for it.
    pub async fn new(target: Target, ca: Option<&Path>) -> Result<Dialer, DialerError> {
        let tls = match (target.way.is_tls(), ca) {
            (true, None) => return Err(DialerError::NoCa(target)),
            (true, Some(path)) => Some(Arc::new(tls::trusting(path)?)),
            (false, _) => None,
        };
        let nowhere = |error: String| DialerError::Nowhere {
            target: target.clone(),
            error,
        };
        let found = lookup_host((target.host.as_str(), target.port)).await;
        let addresses: Arc<[SocketAddr]> = found.map_err(|error| nowhere(error.to_string()))?.collect();
        if addresses.is_empty() {
            return Err(nowhere("no address".to_owned()));
        }
        Ok(Dialer {
            target,
            addresses,
            tls,
        })
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Connects and logs in.
    pub async fn open(&self, login: &Login<'_>) -> Result<(Link, Welcome), Broken> {
        match timeout(OPEN_WAIT, self.open_now(login)).await {
            Ok(opened) => opened,
            Err(_) => Err(Broken::Lost("no CONNACK in time".to_owned())),
        }
    }

    async fn open_now(&self, login: &Login<'_>) -> Result<(Link, Welcome), Broken> {
        let stream = self
            .stream(login.source, login.receive_buffer, Close::Orderly)
            .await?;
        let mut link = Link {
            version: login.with.version,
            stream,
            input: BytesMut::new(),
            out: Vec::new(),
        };
        wire::connect(&mut link.out, &login.with);
        link.flush().await?;
        let welcome = Welcome::read(login.with.version, &link.recv().await?)?;
        Ok((link, welcome))
    }

    async fn tcp(&self, source: Option<Ipv4Addr>, receive_buffer: Option<u32>) -> Result<TcpStream, Broken> {
        let mut last = Broken::Lost("no address".to_owned());
        for address in self.addresses.iter() {
            let socket = if address.is_ipv4() {
                TcpSocket::new_v4()?
            } else {
                TcpSocket::new_v6()?
            };
            if let Some(size) = receive_buffer {
                socket.set_recv_buffer_size(size)?;
            }
            if let (Some(source), true) = (source, address.is_ipv4()) {
                socket.bind(SocketAddr::new(IpAddr::V4(source), 0))?;
            }
            match socket.connect(*address).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    /// The bytes of a connection, as the server's address says they travel.
    pub(crate) async fn stream(
        &self,
        source: Option<Ipv4Addr>,
        receive_buffer: Option<u32>,
        close: Close,
    ) -> Result<Box<dyn Duplex>, Broken> {
        let tcp = self.tcp(source, receive_buffer).await?;
        if close == Close::Reset {
            tcp.set_zero_linger()?;
        }
        let bytes: Box<dyn Duplex> = match &self.tls {
            None => Box::new(tcp),
            Some(tls) => {
                let name = ServerName::try_from(self.target.host.clone());
                let name = name.map_err(|error| Broken::Lost(error.to_string()))?;
                Box::new(TlsConnector::from(Arc::clone(tls)).connect(name, tcp).await?)
            }
        };
        match self.target.way {
            Way::Tcp | Way::Tls => Ok(bytes),
            Way::Ws | Way::Wss => {
                let mut request = self.target.to_string().into_client_request()?;
                request
                    .headers_mut()
                    .insert("Sec-WebSocket-Protocol", HeaderValue::from_static("mqtt"));
                let (stream, _) = tokio_tungstenite::client_async(request, bytes).await?;
                Ok(Box::new(ws::Messages::new(stream)))
            }
        }
    }

    /// Whether a connection can be made at all.
    pub async fn reaches(&self) -> Result<(), Broken> {
        self.tcp(None, None).await.map(drop)
    }
}

impl Welcome {
    /// Judges the packet that has to be CONNACK.
    pub(crate) fn read(version: MqttVersion, packet: &Packet) -> Result<Welcome, Broken> {
        match *packet {
            Packet::ConnAck {
                code: 0,
                resumed,
                receive_max,
            } => Ok(Welcome { resumed, receive_max }),
            Packet::ConnAck { code, .. } => {
                let name = wire::connack_name(version, code);
                Err(if wire::connack_passes(version, code) {
                    Broken::NotNow(name)
                } else {
                    Broken::Refused(name)
                })
            }
            Packet::Publish(_)
            | Packet::PubAck { .. }
            | Packet::PubRec { .. }
            | Packet::PubRel { .. }
            | Packet::PubComp { .. }
            | Packet::SubAck { .. }
            | Packet::UnsubAck { .. }
            | Packet::Pong
            | Packet::Disconnect { .. } => Err(Broken::Lost("another packet before CONNACK".to_owned())),
        }
    }
}

/// Bytes in both directions.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection that was accepted.
pub struct Link {
    pub version: MqttVersion,
    stream: Box<dyn Duplex>,
    input: BytesMut,
    /// Packets that wait to be flushed.
    pub out: Vec<u8>,
}

impl Link {
    /// The next packet.
    pub async fn recv(&mut self) -> Result<Packet, Broken> {
        loop {
            if let Some(frame) = wire::take(&mut self.input)? {
                let packet = wire::read(self.version, &frame)?;
                if let Packet::Disconnect { code } = packet {
                    return Err(Broken::Disconnected(code));
                }
                return Ok(packet);
            }
            self.input.reserve(READ);
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(Broken::Lost("closed by the server".to_owned()));
            }
        }
    }

    /// Writes what was put.
    pub async fn flush(&mut self) -> Result<(), Broken> {
        if self.out.is_empty() {
            return Ok(());
        }
        let out = std::mem::take(&mut self.out);
        let wrote = timeout(WRITE_WAIT, async {
            self.stream.write_all(&out).await?;
            Ok(self.stream.flush().await?)
        });
        match wrote.await {
            Ok(wrote) => wrote,
            Err(_) => Err(Broken::Lost("the server takes nothing".to_owned())),
        }
    }

    /// Says goodbye; that the server hears it is not waited for.
    pub async fn goodbye(mut self) -> Result<(), Broken> {
        wire::disconnect(&mut self.out);
        self.flush().await?;
        Ok(self.stream.shutdown().await?)
    }
}
