//! From an accepted socket to a stream of MQTT bytes: TCP, TLS, WebSocket or both.

use std::io;
use std::sync::Arc;

use irsp_protocol::Domain;
use rustls_pki_types::UnixTime;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::farewell::Farewell;
use super::sent::{Counted, Sent};
use super::tls::{Above, Bearer, Revocation, TlsSource};
use super::websocket;
use crate::metrics::{Label as _, Listener};

/// What a listener speaks below MQTT.
#[derive(Clone)]
pub(super) struct Transport {
    pub(super) tls: Option<Arc<TlsSource>>,
    /// Path of the WebSocket endpoint; `None` for plain MQTT.
    pub(super) ws_path: Option<Arc<str>>,
    pub(super) packet_size_max: u32,
}

/// A stream of MQTT bytes.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// How the log calls what no listener has accepted.
pub(super) const IN_MEMORY: &str = "memory";

/// An opened stream and whom the client's certificate stands for.
pub(super) struct Opened {
    pub(super) stream: Box<dyn Stream>,
    pub(super) bearer: Option<Bearer>,
    /// Of the certificate that was shown.
    pub(super) revocation: Option<Revocation>,
    /// What the socket below has taken.
    pub(super) sent: Sent,
    /// Of a WebSocket.
    pub(super) farewell: Option<Farewell>,
}

impl Opened {
    /// A stream of this process.
    pub(super) fn in_memory(stream: impl Stream + 'static) -> Opened {
        let (stream, sent) = Counted::new(stream);
        Opened {
            stream: Box::new(stream),
            bearer: None,
            revocation: None,
            sent,
            farewell: None,
        }
    }
}

impl Transport {
    pub(super) fn name(&self) -> &'static str {
        self.listener().word()
    }

    pub(super) const fn listener(&self) -> Listener {
        match (self.tls.is_some(), self.ws_path.is_some()) {
            (false, false) => Listener::Tcp,
            (true, false) => Listener::Tls,
            (false, true) => Listener::Ws,
            (true, true) => Listener::Wss,
        }
    }

    /// Does the handshakes below MQTT. The caller limits the time.
    pub(super) async fn open(&self, socket: TcpStream, domain: &Domain) -> io::Result<Opened> {
        // Small packets are sent when they are written, not when Nagle's timer allows.
        socket.set_nodelay(true)?;
        let (socket, sent) = Counted::new(socket);
        match &self.tls {
            None => {
                let (stream, farewell) = self.upgrade(socket).await?;
                Ok(Opened {
                    stream,
                    bearer: None,
                    revocation: None,
                    sent,
                    farewell,
                })
            }
            Some(source) => {
                let (tls, readings) = source.current();
                let above = match self.ws_path {
                    None => Above::Mqtt,
                    Some(_) => Above::WebSocket,
                };
                let stream = TlsAcceptor::from(tls.config(above)).accept(socket).await?;
                let shown = stream.get_ref().1.peer_certificates();
                let bearer = shown.and_then(|chain| tls.trust.bearer(chain, domain, UnixTime::now()));
                let leaf = shown.and_then(|chain| chain.first());
                let revocation = leaf.map(|leaf| Revocation::new(leaf.clone().into_owned(), readings));
                let (stream, farewell) = self.upgrade(stream).await?;
                Ok(Opened {
                    stream,
                    bearer,
                    revocation,
                    sent,
                    farewell,
                })
            }
        }
    }

    async fn upgrade<S: Stream + 'static>(
        &self,
        stream: S,
    ) -> io::Result<(Box<dyn Stream>, Option<Farewell>)> {
        let Some(path) = &self.ws_path else {
            return Ok((Box::new(stream), None));
        };
        let farewell = Farewell::default();
        let stream = websocket::accept(stream, path, self.packet_size_max, farewell.clone()).await?;
        Ok((Box::new(stream), Some(farewell)))
    }
}
