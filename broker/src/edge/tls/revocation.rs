//! A certificate that a session was opened with, and the revocation lists that are read while the session lives.
//!
//! Only a list ends a session: an authority that is taken away, or a certificate that expires, opens no new one, and those
//! there are go on, so that authorities can be replaced under live connections.

use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use tokio::sync::watch;

use super::Tls;

/// Waits for a revocation list that names a certificate.
pub(in crate::edge) struct Revocation {
    certificate: CertificateDer<'static>,
    /// The files' readings, those after the one that the certificate was verified with.
    readings: watch::Receiver<Arc<Tls>>,
}

impl Revocation {
    pub(in crate::edge) fn new(
        certificate: CertificateDer<'static>,
        readings: watch::Receiver<Arc<Tls>>,
    ) -> Revocation {
        Revocation {
            certificate,
            readings,
        }
    }

    /// Completes when a list that is read from now on names the certificate.
    pub(in crate::edge) async fn listed(mut self) {
        while self.readings.changed().await.is_ok() {
            if self
                .readings
                .borrow_and_update()
                .trust
                .has_revoked(&self.certificate)
            {
                return;
            }
        }
        // The server stops: nothing is read any more.
        std::future::pending().await
    }
}
