//! The document in which a domain's web server says where its links are: `https://{domain}/.well-known/irsp`.
//!
//! One request over one connection, to a server whose certificate names the domain and is signed by an authority that this
//! system believes. No redirect is followed, no proxy is used, and no more than [`BODY_MAX`] is read.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CACHE_CONTROL, CONNECTION, HOST, HeaderMap};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use irsp_protocol::Domain;
use irsp_protocol::api::peer::WellKnown;
use rustls::crypto::ring::default_provider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::dns::Dns;
use super::{DiscoveryError, NotFound, Places};
use crate::settings;

/// Where the document stands.
const PATH: &str = "/.well-known/irsp";
const WEB_PORT: u16 = 443;
/// For one address of the web server.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// Bytes of the document, and of the answer's head.
const BODY_MAX: usize = 16 << 10;
const HEAD_MAX: usize = 16 << 10;
/// For how long a document is believed that does not say it.
const LIFETIME: Duration = Duration::from_secs(600);

#[derive(Debug, Error)]
enum NoDocument {
    #[error(transparent)]
    Address(#[from] NotFound),
    #[error("{0}")]
    Connect(#[from] std::io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("the answer is {0}")]
    Code(StatusCode),
    #[error("the document is longer than {BODY_MAX} bytes")]
    TooLong,
    #[error("the document is not understood: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the document is about {0}")]
    Other(Domain),
    #[error("the name is none for TLS")]
    Name,
    #[error("no address")]
    NoAddress,
}

/// Reads domains' documents.
pub(super) struct Web {
    dns: Dns,
    tls: TlsConnector,
    port: u16,
}

impl Web {
    pub(super) fn new(dns: Dns, settings: &settings::Discovery) -> Result<Web, DiscoveryError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = &settings.authorities {
            add(&mut roots, path)?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| DiscoveryError(error.to_string()))?;
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Web {
            dns,
            tls: Arc::new(config).into(),
            port: settings.web_port.unwrap_or(WEB_PORT),
        })
    }

    /// Where the domain's document says that its links are.
    pub(super) async fn places(&self, domain: &Domain) -> Result<Places, NotFound> {
        self.read(domain).await.map_err(|error| NotFound::Document {
            domain: domain.clone(),
            reason: error.to_string(),
        })
    }

    async fn read(&self, domain: &Domain) -> Result<Places, NoDocument> {
        let stream = self.connect(domain).await?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_MAX)
            .handshake(TokioIo::new(stream))
            .await?;
        let asking = async {
            let request = Request::get(PATH)
                .header(HOST, domain.as_str())
                .header(ACCEPT, "application/json")
                .header(CONNECTION, "close")
                .body(Empty::<Bytes>::new());
            // Each part of it is well formed.
            let Ok(request) = request else {
                return Err(NoDocument::Name);
            };
            understand(domain, sender.send_request(request).await?).await
        };
        // The connection moves only while it is polled, and ends with this call.
        tokio::select! {
            read = asking => read,
            Err(error) = connection => Err(error.into()),
        }
    }

    async fn connect(&self, domain: &Domain) -> Result<TlsStream<TcpStream>, NoDocument> {
        let name = ServerName::try_from(domain.as_str().to_owned()).map_err(|_| NoDocument::Name)?;
        let mut trouble = NoDocument::NoAddress;
        for ip in self.dns.addresses(domain.as_str()).await? {
            let connecting = async {
                let socket = TcpStream::connect(SocketAddr::new(ip, self.port)).await?;
                self.tls.connect(name.clone(), socket).await
            };
            let connected = timeout(CONNECT_MAX, connecting).await;
            match connected.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())) {
                Ok(stream) => return Ok(stream),
                Err(error) => trouble = error.into(),
            }
        }
        Err(trouble)
    }
}

async fn understand(domain: &Domain, answer: Response<hyper::body::Incoming>) -> Result<Places, NoDocument> {
    if answer.status() != StatusCode::OK {
        return Err(NoDocument::Code(answer.status()));
    }
    let lifetime = max_age(answer.headers()).unwrap_or(LIFETIME);
    let (mut rest, mut body) = (answer.into_body(), BytesMut::new());
    while let Some(frame) = rest.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if body.len() + data.len() > BODY_MAX {
            return Err(NoDocument::TooLong);
        }
        body.extend_from_slice(&data);
    }
    let document: WellKnown = serde_json::from_slice(&body)?;
    if document.domain != *domain {
        return Err(NoDocument::Other(document.domain));
    }
    Ok(Places {
        urls: document.links,
        lifetime,
    })
}

/// `Cache-Control: max-age` of an answer.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let words = headers.get(CACHE_CONTROL)?.to_str().ok()?;
    let seconds = words
        .split(',')
        .find_map(|word| word.trim().strip_prefix("max-age="))?;
    seconds.parse().ok().map(Duration::from_secs)
}

fn add(roots: &mut RootCertStore, path: &Path) -> Result<(), DiscoveryError> {
    let unread = |error: &dyn std::fmt::Display| DiscoveryError(format!("{}: {error}", path.display()));
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unread(&error))? {
        let certificate = certificate.map_err(|error| unread(&error))?;
        roots.add(certificate).map_err(|error| unread(&error))?;
    }
    Ok(())
}
