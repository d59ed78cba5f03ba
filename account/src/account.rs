//! What the handlers of the API share: the store behind the courier, the directory that says who calls, and the
//! doors that slow down guessing.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use irsp_courier::store::StoreError;
use irsp_courier::{Courier, Until};
use irsp_directory::Directory;
use irsp_directory::token::TokenSigner;
use irsp_protocol::api::account::Effect;
use irsp_protocol::secret::SecretHash;
use irsp_protocol::{Domain, Id, MessageId, Secret, Status, Timestamp};
use prometheus_client::metrics::counter::Counter;
use ring::rand::SystemRandom;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{error, info};

use crate::code;
use crate::effect::is_in_force;
use crate::metrics::Metrics;
use crate::password::Passwords;
use crate::refusal::Refusal;
use crate::store::operation::{self, End, Operation};
use crate::store::{Author, Committed, Draft, audit};
use crate::throttle::Throttle;

pub(crate) struct Account {
    pub(crate) courier: Courier,
    pub(crate) directory: Directory,
    pub(crate) domain: Domain,
    pub(crate) passwords: Passwords,
    pub(crate) signer: TokenSigner,
    pub(crate) token_lifetime: Duration,
    pub(crate) effect_wait: Duration,
    pub(crate) random: SystemRandom,
    /// Passwords: by what was given as the user, and by the caller's address.
    pub(crate) logins: Door<(String, Option<IpAddr>)>,
    /// Verification codes: by device and user.
    pub(crate) bindings: Door<(String, Id)>,
    pub(crate) metrics: Arc<Metrics>,
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
    /// Stores a change with its audit line and its envelopes; when it is on disk, the own directory follows.
    pub(crate) async fn change<R: Send + 'static>(
        &self,
        author: Author,
        action: &'static str,
        what: String,
        mut edit: impl FnMut(&mut Draft<'_, '_>) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<(R, Committed), Refusal> {
        let courier = self.courier.clone();
        let (who, told) = (author.who.clone(), what.clone());
        let (made, committed) = self
            .courier
            .write(move |tx| {
                let mut draft = Draft::begin(tx)?;
                let made = edit(&mut draft)?;
                let committed = draft.finish(&author, action, &what, || courier.new_id())?;
                Ok((made, committed))
            })
            .await?;
        self.metrics.changes.inc_by(committed.changes.len() as u64);
        for change in &committed.changes {
            // This server has no sessions and no queues: nothing further follows.
            let _consequences = self.directory.apply(change);
        }
        info!(%who, action, what = told, operation = committed.operation(), "changed");
        Ok((made, committed))
    }

    /// Waits for the followers, and tells how far they are.
    pub(crate) async fn effect(&self, committed: &Committed) -> Effect {
        let deadline = Instant::now() + self.effect_wait;
        let mut in_effect = true;
        for envelope in &committed.envelopes {
            in_effect &= self.is_in_force(*envelope, deadline).await;
            if !in_effect {
                break;
            }
        }
        Effect {
            in_effect,
            operation: committed.operation(),
        }
    }

    /// The same for an operation that was stored before.
    pub(crate) async fn effect_of(&self, number: Option<u64>) -> Result<Effect, Refusal> {
        let Some(operation) = number else {
            return Ok(Effect {
                in_effect: true,
                operation: None,
            });
        };
        let deadline = Instant::now() + self.effect_wait;
        let mut in_effect = true;
        for dispatch in self.operation(operation).await?.dispatches {
            in_effect &= match dispatch.ended {
                Some((status, _)) => is_in_force(status),
                None => self.is_in_force(dispatch.message, deadline).await,
            };
            if !in_effect {
                break;
            }
        }
        Ok(Effect {
            in_effect,
            operation: number,
        })
    }

    async fn is_in_force(&self, envelope: MessageId, deadline: Instant) -> bool {
        let within = deadline.saturating_duration_since(Instant::now());
        let outcome = self.courier.outcome(envelope, within, Until::End).await;
        outcome.is_some_and(|(status, _)| is_in_force(status))
    }

    /// An operation with the end of each envelope. One that ended just now, or while this server was down, is known
    /// from its receipt before it is noted with the operation.
    pub(crate) async fn operation(&self, number: u64) -> Result<Operation, Refusal> {
        let found = self
            .courier
            .store()
            .read(move |sql| operation::find(sql, number))
            .await?;
        let mut operation = found.ok_or(Refusal::NoOperation(number))?;
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
    pub(crate) async fn audit(
        &self,
        author: Author,
        action: &'static str,
        what: String,
    ) -> Result<(), Refusal> {
        self.courier
            .write(move |tx| audit::append(tx.sql(), tx.now(), &author, action, &what))
            .await?;
        Ok(())
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
