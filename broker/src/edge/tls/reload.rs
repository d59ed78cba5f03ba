//! Reading the files again while connections go on: when asked, and when a look at them shows other bytes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tracing::{error, info};

use super::{Contents, Tls, TlsError};
use crate::metrics::{Metrics, Reloaded};
use crate::settings::Listeners;

/// How often the files are looked at. They are small, and whoever renews a certificate does not wait for it.
const LOOK: Duration = Duration::from_secs(10);

/// The files, and what they held when they were last taken over.
pub(crate) struct TlsSource {
    listeners: Listeners,
    current: watch::Sender<Arc<Tls>>,
    /// What was looked at last, taken over or not: the same bytes are not tried twice.
    seen: Mutex<Contents>,
}

/// Asks for the files to be read now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reload(Arc<Notify>);

impl Reload {
    pub(crate) fn ask(&self) {
        self.0.notify_one();
    }
}

impl TlsSource {
    pub(crate) fn open(listeners: &Listeners) -> Result<TlsSource, TlsError> {
        let contents = Contents::read(listeners)?;
        Ok(TlsSource {
            current: watch::Sender::new(Arc::new(Tls::new(&contents)?)),
            seen: Mutex::new(contents),
            listeners: listeners.clone(),
        })
    }

    /// What a new connection is served with, and what is read after that.
    pub(in crate::edge) fn current(&self) -> (Arc<Tls>, watch::Receiver<Arc<Tls>>) {
        let mut readings = self.current.subscribe();
        let tls = Arc::clone(&readings.borrow_and_update());
        (tls, readings)
    }

    /// Takes over what the files hold now, if it is something else; `false` if it is the same. What does not serve is
    /// not taken over.
    pub(super) fn reload(&self) -> Result<bool, TlsError> {
        let contents = Contents::read(&self.listeners)?;
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == contents {
                return Ok(false);
            }
            seen.clone_from(&contents);
        }
        self.current.send_replace(Arc::new(Tls::new(&contents)?));
        Ok(true)
    }

    /// Looks at the files when asked and from time to time. Runs until its task is dropped.
    pub(crate) async fn follow(self: Arc<TlsSource>, asked: Reload, metrics: Arc<Metrics>) {
        let mut missing = false;
        loop {
            let was_asked = tokio::time::timeout(LOOK, asked.0.notified()).await.is_ok();
            match self.reload() {
                Ok(true) => {
                    info!("certificates, authorities and revocation lists are read anew");
                    metrics.reloads.of(Reloaded::Done).inc();
                    missing = false;
                }
                Ok(false) => {
                    if was_asked {
                        info!("certificates, authorities and revocation lists are unchanged");
                    }
                    missing = false;
                }
                // A file that is not there is said once, not at each look.
                Err(_) if missing && !was_asked => {}
                Err(error) => {
                    error!(%error, "new certificates are not taken over; those before go on");
                    metrics.reloads.of(Reloaded::Failed).inc();
                    missing = matches!(error, TlsError::Pem { .. });
                }
            }
        }
    }
}
