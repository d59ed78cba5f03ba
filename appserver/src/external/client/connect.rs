//! One connection to an endpoint: resolve, check, connect, TLS.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

use super::super::target::{AddressRules, Target, TargetError};

/// One address is given up after this, so that the next one has a chance within the deadline.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Why there is no connection.
#[derive(Debug, Error)]
pub(super) enum ConnectError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("{host} cannot be resolved: {error}")]
    Resolve { host: String, error: io::Error },
    #[error("{address}: {error}")]
    Connect { address: SocketAddr, error: io::Error },
    #[error("TLS: {0}")]
    Tls(io::Error),
    #[error("authorities cannot be read: {0}")]
    Authorities(String),
}

/// Makes connections to checked addresses.
#[derive(Clone)]
pub(super) struct Connector {
    inner: Arc<Inner>,
}

struct Inner {
    rules: AddressRules,
    ca: Option<PathBuf>,
    /// Made for the first `https` endpoint.
    tls: OnceCell<TlsConnector>,
}

impl Connector {
    pub(super) fn new(rules: AddressRules, ca: Option<PathBuf>) -> Connector {
        Connector {
            inner: Arc::new(Inner {
                rules,
                ca,
                tls: OnceCell::new(),
            }),
        }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Wire>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<Wire>, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move { inner.connect(uri).await.map(TokioIo::new) })
    }
}

impl Inner {
    async fn connect(&self, uri: Uri) -> Result<Wire, ConnectError> {
        let target = Target::parse(&uri.to_string())?;
        let stream = self.reach(&target).await?;
        if target.is_plain() {
            return Ok(Wire::Plain(stream));
        }
        let tls = self.tls.get_or_try_init(|| authorities(self.ca.clone())).await?;
        let name = ServerName::try_from(target.host().to_owned()).map_err(|_| TargetError::Url)?;
        let stream = tls.connect(name, stream).await.map_err(ConnectError::Tls)?;
        Ok(Wire::Tls(Box::new(stream)))
    }

    /// A connection to the first address that is allowed and takes it.
    async fn reach(&self, target: &Target) -> Result<TcpStream, ConnectError> {
        let host = target.host();
        let found = lookup_host((host, target.port())).await;
        let found = found.map_err(|error| ConnectError::Resolve {
            host: host.to_owned(),
            error,
        })?;
        let mut failed: ConnectError = TargetError::NoAddress(host.to_owned()).into();
        for address in found {
            if let Err(error) = self.rules.check(address.ip(), target.is_plain()) {
                failed = error.into();
                continue;
            }
            let connecting = tokio::time::timeout(CONNECT_MAX, TcpStream::connect(address));
            match connecting
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            {
                Ok(stream) => {
                    // Small requests go at once. One that cannot be told so is only slower.
                    let _slower = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) => failed = ConnectError::Connect { address, error },
            }
        }
        Err(failed)
    }
}

/// TLS that trusts the system's authorities and those of `ca`.
async fn authorities(ca: Option<PathBuf>) -> Result<TlsConnector, ConnectError> {
    let reading = tokio::task::spawn_blocking(move || {
        let mut roots = RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs();
        for error in &system.errors {
            tracing::warn!(%error, "an authority of this system cannot be read");
        }
        roots.add_parsable_certificates(system.certs);
        if let Some(path) = ca {
            let unread = |error: String| format!("{}: {error}", path.display());
            let own = CertificateDer::pem_file_iter(&path).map_err(|error| unread(error.to_string()))?;
            for certificate in own {
                let certificate = certificate.map_err(|error| unread(error.to_string()))?;
                roots
                    .add(certificate)
                    .map_err(|error| unread(error.to_string()))?;
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsConnector::from(Arc::new(config)))
    });
    match reading.await {
        Ok(read) => read.map_err(ConnectError::Authorities),
        Err(error) => Err(ConnectError::Authorities(error.to_string())),
    }
}

/// A connection with or without TLS.
pub(super) enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Wire::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Wire::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Wire::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Wire::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Wire::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
