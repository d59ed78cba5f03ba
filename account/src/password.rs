//! Passwords of people: Argon2id on blocking threads, few at a time, because each costs 19 MiB and much CPU.
//!
//! An unknown user costs the same work as a wrong password, so neither the answer nor its time tells which it was.

use std::sync::Arc;

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Argon2, PasswordHash};
use irsp_protocol::Secret;
use thiserror::Error;
use tokio::sync::Semaphore;

/// Shortest password a user may choose, in bytes.
pub(crate) const LEN_MIN: usize = 8;
/// Longest password that is read at all, in bytes: beyond it there is only work for an attacker to cause.
pub(crate) const LEN_MAX: usize = 256;
/// Requests that may wait for their turn before further ones are refused.
const WAITING_MAX: usize = 256;

#[derive(Debug, Error)]
pub(crate) enum PasswordError {
    #[error("too many logins at once; try again soon")]
    Busy,
    #[error("passwords cannot be hashed: {0}")]
    Broken(String),
}

/// A stored password: Argon2id in PHC text form.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct StoredPassword(String);

impl StoredPassword {
    pub(crate) fn from_phc(text: String) -> StoredPassword {
        StoredPassword(text)
    }
    pub(crate) fn as_phc(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for StoredPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoredPassword")
    }
}

/// Hashes and checks passwords.
#[derive(Debug)]
pub(crate) struct Passwords {
    waiting: Arc<Semaphore>,
    working: Arc<Semaphore>,
    /// What a password for an unknown user is checked against.
    nobody: StoredPassword,
}

impl Passwords {
    pub(crate) fn new() -> Result<Passwords, PasswordError> {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Passwords {
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            working: Arc::new(Semaphore::new(threads.min(4))),
            nobody: hash(&Secret::new("nobody has this password"))?,
        })
    }

    pub(crate) async fn hash(&self, password: Secret) -> Result<StoredPassword, PasswordError> {
        self.in_turn(move || hash(&password)).await?
    }

    /// Whether `password` is the stored one. `None` is an unknown user, or one without a password: never right.
    pub(crate) async fn is_right(
        &self,
        password: Secret,
        stored: Option<StoredPassword>,
    ) -> Result<bool, PasswordError> {
        let known = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.nobody.clone());
        let right = self.in_turn(move || verify(&password, &stored)).await??;
        Ok(known && right)
    }

    async fn in_turn<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, PasswordError> {
        let place = self
            .waiting
            .clone()
            .try_acquire_owned()
            .map_err(|_| PasswordError::Busy)?;
        let turn = self
            .working
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| PasswordError::Busy)?;
        // The permits go with the work: a caller that hangs up does not free a thread that is still busy.
        tokio::task::spawn_blocking(move || {
            let result = work();
            drop((turn, place));
            result
        })
        .await
        .map_err(|error| PasswordError::Broken(error.to_string()))
    }
}

fn hash(password: &Secret) -> Result<StoredPassword, PasswordError> {
    let hash = Argon2::default()
        .hash_password(password.expose().as_bytes())
        .map_err(broken)?;
    Ok(StoredPassword(hash.to_string()))
}

fn verify(password: &Secret, stored: &StoredPassword) -> Result<bool, PasswordError> {
    let stored =
        PasswordHash::new(stored.as_phc()).map_err(|error| PasswordError::Broken(error.to_string()))?;
    match Argon2::default().verify_password(password.expose().as_bytes(), &stored) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(broken(error)),
    }
}

fn broken(error: argon2::password_hash::Error) -> PasswordError {
    PasswordError::Broken(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_of_a_known_user_is_right() {
        let passwords = Passwords::new().unwrap();
        let stored = passwords.hash(Secret::new("correct horse")).await.unwrap();
        assert!(stored.as_phc().starts_with("$argon2id$"));
        assert!(
            passwords
                .is_right(Secret::new("correct horse"), Some(stored.clone()))
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .is_right(Secret::new("wrong horse"), Some(stored))
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .is_right(Secret::new("nobody has this password"), None)
                .await
                .unwrap()
        );
    }

    #[test]
    fn a_stored_password_does_not_show_itself() {
        assert_eq!(
            format!("{:?}", StoredPassword::from_phc("$argon2id$x".into())),
            "StoredPassword"
        );
    }
}
