//! What the handlers of the API share: the store behind the courier, the directory that says who calls, and the
//! doors that slow down guessing.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use irsp_courier::Courier;
use irsp_directory::Directory;
use irsp_directory::Flood;
use irsp_directory::token::TokenSigner;
use irsp_protocol::secret::SecretHash;
use irsp_protocol::{Domain, Id, Secret, Status, Timestamp};
use prometheus_client::metrics::counter::Counter;
use ring::rand::SystemRandom;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use tracing::error;

use crate::code;
use crate::metrics::Metrics;
use crate::password::Passwords;
use crate::refusal::Refusal;
use crate::store::audit::{self, Line};
use crate::store::operation::{self, End, Operation};
use crate::throttle::Throttle;

pub(crate) struct Account {
    pub(crate) courier: Courier,
    pub(crate) directory: Arc<Directory>,
    pub(crate) domain: Domain,
    pub(crate) passwords: Passwords,
    pub(crate) signer: TokenSigner,
    pub(crate) token_lifetime: Duration,
    pub(crate) refresh_lifetime: Duration,
    pub(crate) reset_lifetime: Duration,
    pub(crate) reset_unbinds: bool,
    pub(crate) effect_wait: Duration,
    pub(crate) random: SystemRandom,
    /// Passwords: by what was given as the user, and by the caller's address.
    pub(crate) logins: Door<(String, Option<IpAddr>)>,
    /// Verification codes: by device and user.
    pub(crate) bindings: Door<(String, Id)>,
    /// What is written down of refused logins and bindings.
    pub(crate) flood: Mutex<Flood>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tasks: TaskTracker,
}

/// A [`Throttle`] shared by the handlers.
pub(crate) struct Door<K> {
    throttle: Mutex<Throttle<K>>,
    throttled: Counter,
}

impl<K: Clone + Eq + std::hash::Hash> Door<K> {
    /// Attempts that are not admitted are counted by `throttled`.
    pub(crate) fn new(throttled: Counter) -> Door<K> {
        Door {
            throttle: Mutex::new(Throttle::new()),
            throttled,
        }
    }

    pub(crate) fn admit(&self, key: &K, now: Timestamp) -> Result<(), Refusal> {
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        throttle.admit(key, now).map_err(|wait| {
            self.throttled.inc();
            Refusal::TooManyAttempts(wait)
        })
    }

    pub(crate) fn succeeded(&self, key: &K) {
        self.throttle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .succeeded(key);
    }
}

impl Account {
    /// An operation with the end of each envelope. One that ended just now, or while this server was down, is known
    /// from its receipt before it is noted with the operation.
    pub(crate) async fn operation(&self, number: u64) -> Result<Operation, Refusal> {
        let mut operation = self
            .courier
            .store()
            .read(move |sql| match operation::find(sql, number)? {
                Some(operation) => Ok(operation),
                None if operation::is_forgotten(sql, number)? => {
                    Err(Refusal::OperationForgotten(number).into())
                }
                None => Err(Refusal::NoOperation(number).into()),
            })
            .await?;
        for dispatch in operation
            .dispatches
            .iter_mut()
            .filter(|dispatch| dispatch.ended.is_none())
        {
            let receipt = self.courier.receipt(dispatch.message).await?;
            dispatch.ended = receipt
                .filter(|receipt| receipt.status != Status::QUEUED)
                .map(|receipt| {
                    let at = receipt.stages.last().map_or(operation.time, |report| report.time);
                    (receipt.status, at)
                });
        }
        Ok(operation)
    }

    /// Writes an audit line of what is no change, such as a login.
    pub(crate) async fn audit(&self, line: Line) -> Result<(), Refusal> {
        self.courier
            .write(move |tx| audit::append(tx.sql(), tx.now(), &line))
            .await?;
        Ok(())
    }

    /// Writes down that somebody was refused at a door, unless too many are: then the next line says how many.
    pub(crate) async fn refused(&self, mut line: Line) -> Result<(), Refusal> {
        let admitted = self
            .flood
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .admit(self.courier.now());
        match admitted {
            Some(unwritten) => {
                if unwritten > 0 {
                    line.what
                        .push_str(&format!(", and {unwritten} more refused before"));
                }
                self.audit(line).await
            }
            None => {
                self.metrics.refusals_unwritten.inc();
                Ok(())
            }
        }
    }

    /// Notes with its operation how each envelope has ended, until the server stops.
    pub(crate) async fn note_ends(&self, mut ended: mpsc::UnboundedReceiver<End>) {
        const ENDS_AT_ONCE: usize = 1024;
        let mut ends = Vec::new();
        while ended.recv_many(&mut ends, ENDS_AT_ONCE).await > 0 {
            let batch = std::mem::take(&mut ends);
            if let Err(error) = self
                .courier
                .write(move |tx| operation::end(tx.sql(), &batch))
                .await
            {
                // The receipt keeps the end as long as receipts are kept.
                error!(%error, "the ends of changes cannot be noted");
            }
        }
    }

    /// A new verification code or key, and what is stored of it.
    pub(crate) fn secret(&self) -> Result<(Secret, SecretHash), Refusal> {
        let secret = code::generate(&self.random).map_err(|_| Refusal::NoRandomness)?;
        let hash = self.directory.hash_key().hash(secret.expose().as_bytes());
        Ok((secret, hash))
    }
}
