//! TLS of links: TLS 1.3, a certificate on both sides, each judged by [`trust`] and by nothing else.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use irsp_directory::Directory;
use irsp_protocol::peer::Peer;
use irsp_protocol::peer_link::ALPN;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use thiserror::Error;

use super::metrics::Metrics;
use super::trust::{self, Side, Untrusted};

/// Why this server cannot show who it is.
#[derive(Debug, Error)]
pub(crate) enum IdentityError {
    #[error("{}: cannot be read as PEM: {reason}", path.display())]
    Pem { path: PathBuf, reason: String },
    #[error("certificate and key of this domain do not serve: {0}")]
    Tls(#[from] rustls::Error),
}

/// This server's own certificate and key, read anew when their files have changed: a new certificate serves the next
/// link, and none is cut for it. While the files do not serve, because only one of them is written yet, what was read
/// before does.
pub(crate) struct Identity {
    certificate: PathBuf,
    key: PathBuf,
    read: Mutex<Option<Read>>,
}

/// When certificate and key were written, as far as they are there.
type Changed = [Option<SystemTime>; 2];

#[derive(Clone)]
struct Read {
    changed: Changed,
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
}

impl Identity {
    pub(crate) fn new(certificate: PathBuf, key: PathBuf) -> Identity {
        Identity {
            certificate,
            key,
            read: Mutex::new(None),
        }
    }

    /// What we are as the server of a link.
    pub(crate) fn server(
        &self,
        directory: &Arc<Directory>,
        metrics: &Arc<Metrics>,
    ) -> Result<Arc<ServerConfig>, IdentityError> {
        let Read { chain, key, .. } = self.read()?;
        let verifier = Callers {
            directory: Arc::clone(directory),
            metrics: Arc::clone(metrics),
            provider: provider(),
        };
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_single_cert(chain, key.clone_key())?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Every link shows its certificate: a ticket of an earlier one is no substitute.
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// What we are as the client of a link to `peer`.
    pub(crate) fn client(&self, peer: Arc<Peer>) -> Result<Arc<ClientConfig>, IdentityError> {
        let Read { chain, key, .. } = self.read()?;
        let verifier = Called {
            peer,
            provider: provider(),
        };
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(chain, key.clone_key())?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Arc::new(config))
    }

    fn read(&self) -> Result<Read, IdentityError> {
        let changed = [&self.certificate, &self.key].map(|path| {
            let modified = std::fs::metadata(path).and_then(|file| file.modified());
            modified.ok()
        });
        let mut known = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(read) = known.as_ref().filter(|read| read.changed == changed) {
            return Ok(read.clone());
        }
        match (self.read_files(changed), known.as_mut()) {
            (Ok(read), _) => Ok(known.insert(read).clone()),
            (Err(error), Some(before)) => {
                tracing::warn!(%error, "links go on with the certificate from before");
                before.changed = changed;
                Ok(before.clone())
            }
            (Err(error), None) => Err(error),
        }
    }

    /// What the files hold now, if certificate and key belong together.
    fn read_files(&self, changed: Changed) -> Result<Read, IdentityError> {
        let pem = |path: &PathBuf, reason: String| IdentityError::Pem {
            path: path.clone(),
            reason,
        };
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_file_iter(&self.certificate).and_then(Iterator::collect);
        let chain = chain.map_err(|error| pem(&self.certificate, error.to_string()))?;
        let key = PrivateKeyDer::from_pem_file(&self.key);
        let key = key.map_err(|error| pem(&self.key, error.to_string()))?;
        CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider())?;
        Ok(Read {
            changed,
            chain,
            key: Arc::new(key),
        })
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Whoever calls us must be a peer.
struct Callers {
    directory: Arc<Directory>,
    metrics: Arc<Metrics>,
    provider: Arc<CryptoProvider>,
}

/// Whom we call must be this peer.
struct Called {
    peer: Arc<Peer>,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for Callers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Callers")
    }
}

impl fmt::Debug for Called {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Called({})", self.peer.domain)
    }
}

fn refused(untrusted: Untrusted) -> rustls::Error {
    let error = match untrusted {
        Untrusted::Missing | Untrusted::Malformed => rustls::CertificateError::BadEncoding,
        Untrusted::Expired => rustls::CertificateError::Expired,
        Untrusted::Authority => rustls::CertificateError::UnknownIssuer,
        Untrusted::Stranger | Untrusted::Misnamed => rustls::CertificateError::NotValidForName,
        Untrusted::Fingerprint | Untrusted::Paused => {
            rustls::CertificateError::ApplicationVerificationFailure
        }
    };
    rustls::Error::InvalidCertificate(error)
}

fn whole<'a>(
    end_entity: &CertificateDer<'a>,
    intermediates: &[CertificateDer<'a>],
) -> Vec<CertificateDer<'a>> {
    std::iter::once(end_entity)
        .chain(intermediates)
        .cloned()
        .collect()
}

/// What both verifiers have to say of signatures, in the words of two traits that share none.
macro_rules! signatures_are_checked_by_the_provider {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            verify_tls12_signature(
                message,
                cert,
                dss,
                &self.provider.signature_verification_algorithms,
            )
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            verify_tls13_signature(
                message,
                cert,
                dss,
                &self.provider.signature_verification_algorithms,
            )
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.provider
                .signature_verification_algorithms
                .supported_schemes()
        }
    };
}

impl ClientCertVerifier for Callers {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let chain = whole(end_entity, intermediates);
        let find = |domain: &irsp_protocol::Domain| self.directory.peer(domain).map(|peer| (*peer).clone());
        match trust::identify(&chain, now, find) {
            Ok(_) => Ok(ClientCertVerified::assertion()),
            Err(untrusted) => {
                self.metrics.untrusted(untrusted);
                tracing::info!(reason = %untrusted, "a caller's certificate is refused");
                Err(refused(untrusted))
            }
        }
    }

    signatures_are_checked_by_the_provider!();
}

impl ServerCertVerifier for Called {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain = whole(end_entity, intermediates);
        // The name that counts is the peer's domain, wherever it was reached.
        trust::check(&self.peer, &chain, now, Side::Server).map_err(refused)?;
        Ok(ServerCertVerified::assertion())
    }

    signatures_are_checked_by_the_provider!();
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_renewal_that_is_half_written_leaves_what_served_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let identity = Identity::new(path("crt"), path("key"));
        assert!(identity.read().is_err(), "there is nothing yet");
        let mut second = 0;
        let mut write = |name: &str, text: &str| {
            second += 1;
            std::fs::write(path(name), text).unwrap();
            let file = std::fs::File::options().write(true).open(path(name)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(second))
                .unwrap();
        };
        let made = || rcgen::generate_simple_self_signed(["b.example".to_owned()]).unwrap();
        let (old, new) = (made(), made());
        write("crt", &old.cert.pem());
        write("key", &old.signing_key.serialize_pem());
        let shown = || identity.read().map(|read| read.chain[0].clone());
        assert_eq!(shown().unwrap(), *old.cert.der());
        write("crt", &new.cert.pem());
        assert_eq!(shown().unwrap(), *old.cert.der(), "its key is not there yet");
        write("key", "nonsense");
        assert_eq!(shown().unwrap(), *old.cert.der());
        write("key", &new.signing_key.serialize_pem());
        assert_eq!(shown().unwrap(), *new.cert.der());
    }
}
