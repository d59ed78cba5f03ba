//! TLS of links: TLS 1.3, a certificate on both sides, each judged by [`trust`] and by nothing else.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use irsp_directory::Directory;
use irsp_protocol::Domain;
use irsp_protocol::peer::Peer;
use irsp_protocol::peer_link::ALPN;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use thiserror::Error;

use super::links::Links;
use super::metrics::Metrics;
use super::trust::{self, Refused, Side, Unfit, Untrusted};
use crate::settings;

/// Why this server cannot show who it is.
#[derive(Debug, Error)]
pub enum IdentityError {
    #[error("{}: cannot be read as PEM: {reason}", path.display())]
    Pem { path: PathBuf, reason: String },
    #[error("certificate and key of this domain do not serve: {0}")]
    Tls(#[from] rustls::Error),
    #[error("{}: {reason}", path.display())]
    Unfit { path: PathBuf, reason: String },
}

/// This server's own certificate and key, read anew when their files have changed: a new certificate serves the next
/// link, and none is cut for it. While the files do not serve, because only one of them is written yet, what was read
/// before does.
pub(crate) struct Identity {
    domain: Domain,
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
    pub(crate) fn new(domain: Domain, settings: &settings::Federation) -> Identity {
        Identity {
            domain,
            certificate: settings.certificate.clone(),
            key: settings.key.clone(),
            read: Mutex::new(None),
        }
    }

    /// Refuses what does not serve, or only on one side of a link.
    pub(crate) fn check(&self, at: SystemTime) -> Result<(), IdentityError> {
        let (chain, _) = self.pair()?;
        let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(since);
        trust::fits(&self.domain, &chain, now).map_err(|unfit| self.unfit(&unfit))
    }

    /// Says in the log at a start what is wrong with it.
    pub(crate) fn announce(&self) {
        if let Err(error) = self.read() {
            tracing::error!(%error, "no link to another domain can be made until the certificate for them serves");
        }
    }

    /// What is wrong by now with what we show: it was fit when it was read, and is shown until there is another.
    pub(crate) fn trouble(&self) -> Option<String> {
        let Read { chain, .. } = self.read().ok()?;
        match trust::fits(&self.domain, &chain, UnixTime::now()) {
            Ok(()) | Err(Unfit::OneSided) => None,
            Err(unfit) => Some(format!(
                "our own certificate does not serve: {}",
                self.unfit(&unfit)
            )),
        }
    }

    /// What we are as the server of a link.
    pub(crate) fn server(
        &self,
        directory: &Arc<Directory>,
        metrics: &Arc<Metrics>,
        links: &Arc<Links>,
    ) -> Result<Arc<ServerConfig>, IdentityError> {
        let Read { chain, key, .. } = self.read()?;
        let verifier = Callers {
            directory: Arc::clone(directory),
            metrics: Arc::clone(metrics),
            links: Arc::clone(links),
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

    /// What the files hold now, if it serves. What serves on one side only is taken: who knows it by its fingerprint does.
    fn read_files(&self, changed: Changed) -> Result<Read, IdentityError> {
        let (chain, key) = self.pair()?;
        match trust::fits(&self.domain, &chain, UnixTime::now()) {
            Ok(()) => {}
            Err(unfit @ Unfit::OneSided) => {
                let error = self.unfit(&unfit);
                tracing::warn!(%error, "the certificate for links may serve in part only");
            }
            Err(unfit) => return Err(self.unfit(&unfit)),
        }
        Ok(Read {
            changed,
            chain,
            key: Arc::new(key),
        })
    }

    /// Certificate and key as they stand in the files, if they belong together.
    fn pair(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), IdentityError> {
        let pem = |path: &PathBuf, error: pem::Error| IdentityError::Pem {
            path: path.clone(),
            reason: error.to_string(),
        };
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_file_iter(&self.certificate).and_then(Iterator::collect);
        let chain = chain.map_err(|error| pem(&self.certificate, error))?;
        if chain.is_empty() {
            return Err(self.unfit(&Unfit::Malformed));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| pem(&self.key, error))?;
        CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider())?;
        Ok((chain, key))
    }

    fn unfit(&self, unfit: &Unfit) -> IdentityError {
        IdentityError::Unfit {
            path: self.certificate.clone(),
            reason: unfit.to_string(),
        }
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Whoever calls us must be a peer.
struct Callers {
    directory: Arc<Directory>,
    metrics: Arc<Metrics>,
    links: Arc<Links>,
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
        let find = |domain: &Domain| self.directory.peer(domain).map(|peer| (*peer).clone());
        match trust::identify(&chain, now, find) {
            Ok(_) => Ok(ClientCertVerified::assertion()),
            Err(Refused { why, named }) => {
                self.metrics.untrusted(why);
                let of = named.as_ref().map_or("nobody we know", Domain::as_str);
                tracing::info!(reason = %why, %of, "a caller's certificate is refused");
                if let Some(peer) = named {
                    self.links.called_in_vain(&peer, why.to_string());
                }
                Err(refused(why))
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
    use std::path::Path;
    use std::time::Duration;

    use super::*;

    fn identity(folder: &Path) -> Identity {
        let settings = settings::Federation {
            listen: None,
            certificate: folder.join("crt"),
            key: folder.join("key"),
            discovery: settings::Discovery::default(),
            push_size_max: 1_000_000,
        };
        Identity::new(Domain::new("b.example").unwrap(), &settings)
    }

    #[test]
    fn a_renewal_that_is_half_written_leaves_what_served_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let identity = identity(folder.path());
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
        let stranger = rcgen::generate_simple_self_signed(["zzz.example".to_owned()]).unwrap();
        write("crt", &stranger.cert.pem());
        write("key", &stranger.signing_key.serialize_pem());
        assert_eq!(shown().unwrap(), *new.cert.der(), "it names another domain");
    }

    #[test]
    fn what_others_would_refuse_is_refused_here_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let identity = identity(folder.path());
        let now = SystemTime::now();
        let day = Duration::from_secs(86_400);
        let told = |at: SystemTime| identity.check(at).map_err(|error| error.to_string());
        let refuses = |at: SystemTime, words: &str| {
            let refused = told(at).unwrap_err();
            assert!(refused.contains(words), "{refused}");
        };
        let make = |names: &[&str], use_of: &[rcgen::ExtendedKeyUsagePurpose]| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            let mut params = rcgen::CertificateParams::new(names).unwrap();
            params.extended_key_usages = use_of.to_vec();
            params.not_before = (now - day).into();
            params.not_after = (now + day).into();
            let key = rcgen::KeyPair::generate().unwrap();
            std::fs::write(folder.path().join("crt"), params.self_signed(&key).unwrap().pem()).unwrap();
            std::fs::write(folder.path().join("key"), key.serialize_pem()).unwrap();
        };
        let (server, client) = (
            rcgen::ExtendedKeyUsagePurpose::ServerAuth,
            rcgen::ExtendedKeyUsagePurpose::ClientAuth,
        );
        refuses(now, "crt: cannot be read as PEM");
        make(&["zzz.example"], &[]);
        refuses(now, "nor the host b.example");
        make(&[], &[]);
        refuses(now, "nor the host b.example");
        assert!(identity.read().is_err());
        make(&["b.example"], std::slice::from_ref(&server));
        refuses(now, "client and server both");
        assert!(identity.read().is_ok(), "a fingerprint asks for no use");
        make(&["b.example"], &[server, client]);
        assert_eq!(told(now), Ok(()));
        for at in [now + 2 * day, now - 2 * day] {
            refuses(at, "crt: it has expired, or is not valid yet");
        }
    }
}
