//! What the handlers of the API share: the store behind the courier, the directory that says who calls, and the
//! doors that slow down guessing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use irsp_courier::Courier;
use irsp_directory::Directory;
use irsp_directory::Flood;
use irsp_directory::token::TokenSigner;
use irsp_protocol::secret::SecretHash;
use irsp_protocol::{Domain, Id, Secret, Status};
use ring::rand::SystemRandom;
use rusqlite::Connection;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use tracing::error;

use crate::code;
use crate::door::{Attempt, Door, LoginDoor, Visitor};
use crate::metrics::Metrics;
use crate::password::Passwords;
use crate::refusal::Refusal;
use crate::store::audit::{self, Line};
use crate::store::deletion;
use crate::store::login;
use crate::store::operation::{self, End, Operation};

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
    /// Passwords and reset codes.
    pub(crate) logins: LoginDoor,
    /// Verification codes: by device and user.
    pub(crate) bindings: Door<(String, Id)>,
    /// What is written down of refused logins and bindings.
    pub(crate) flood: Mutex<Flood>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tasks: TaskTracker,
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

    /// Admits an attempt at a password or reset code. Who is logged in from the same address waits for nobody else.
    pub(crate) async fn admit(&self, visitor: Visitor) -> Result<Attempt, Refusal> {
        let now = self.courier.now();
        self.logins.admit(&visitor, now)?;
        match self.logins.admit_from_network(&visitor, now) {
            Ok(attempt) => Ok(attempt),
            Err(_) if self.is_logged_in(&visitor).await? => Ok(LoginDoor::admit_known(visitor)),
            Err(wait) => Err(self.logins.refuse(&visitor, wait)),
        }
    }

    async fn is_logged_in(&self, Visitor { name, from }: &Visitor) -> Result<bool, Refusal> {
        let (Ok(id), Some(from)) = (Id::new(name), *from) else {
            return Ok(false);
        };
        let read = move |sql: &Connection| login::is_from(sql, &id, from);
        Ok(self.courier.store().read(read).await?)
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
                .write(move |tx| {
                    operation::end(tx.sql(), &batch)?;
                    deletion::end(tx.sql(), &batch)
                })
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
