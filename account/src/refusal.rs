//! Every "no" of this server: its name, its words and, beside it, its status.
//!
//! Words that could tell a stranger what exists are the same for every reason behind them.

use std::time::Duration;

use irsp_courier::store::StoreError;
use irsp_protocol::{Domain, Id, Principal, Status};
use thiserror::Error;

use crate::password::PasswordError;
use crate::transfer::LineError;

#[derive(Debug, Error)]
pub(crate) enum Refusal {
    #[error("no or wrong credentials: send `Authorization: Bearer <token>`")]
    Unauthenticated,
    #[error("the caller is disabled")]
    Disabled,
    #[error("the user or the password is wrong")]
    WrongPassword,
    #[error("the refresh token is wrong, was used before, or its login has ended: log in again")]
    WrongRefresh,
    #[error("there is no such login")]
    NoLogin,
    #[error("these credentials belong to no login; nothing was ended")]
    NotOfLogin,
    #[error("the user or the reset code is wrong")]
    WrongResetCode,
    #[error("the old password is wrong")]
    WrongOldPassword,
    #[error("the password was changed meanwhile")]
    PasswordChanged,
    #[error("{0}")]
    NotGranted(&'static str),
    #[error("the device or the code is wrong")]
    WrongCode,
    #[error("another user owns the device; it must be unbound first")]
    OwnedByAnother,
    #[error("the device has no such code")]
    NoCode,
    #[error("dev/{device} has registered the certificate {identity}")]
    CertificateUsed { identity: String, device: String },
    #[error("dev/{0} has an owner, or is bound to this user")]
    Owned(Id),
    #[error("there is no such binding")]
    NotBound,
    #[error("the binding has ended")]
    Unbound,
    #[error("the user owns the device")]
    IsOwner,
    #[error("nobody owns the device")]
    NoOwner,
    #[error("{0}")]
    Malformed(String),
    #[error("nothing was imported: {}", in_words(lines))]
    Lines { status: Status, lines: Vec<LineError> },
    #[error("the body is longer than {0} bytes")]
    TooLong(usize),
    #[error("at most {max} {what}")]
    TooMany { what: &'static str, max: usize },
    #[error("there is no {0}")]
    Unknown(Principal),
    #[error("{0} was deleted")]
    Deleted(Principal),
    #[error("{0} exists")]
    Exists(Principal),
    #[error("{0} was deleted, and its id is not used again")]
    Used(Principal),
    #[error("usr/admin belongs to the admin token: it stays an enabled administrator")]
    AdminStays,
    #[error("it was changed meanwhile: its ETag is not among those of If-Match")]
    Stale,
    #[error("the Idempotency-Key was used for another request")]
    KeyUsed,
    #[error(
        "the request was carried out before; its answer held a secret and is not given again: make a new secret"
    )]
    AnswerForgotten,
    #[error("{0} is no peer")]
    NoPeer(Domain),
    #[error("{0} is a peer already")]
    PeerExists(Domain),
    #[error("{0} was deleted")]
    PeerDeleted(Domain),
    #[error("there is no such grant")]
    NoGrant,
    #[error("the grant was withdrawn")]
    Withdrawn,
    #[error("there is no operation {0}")]
    NoOperation(u64),
    #[error("operation {0} is forgotten: it was answered by every server long ago")]
    OperationForgotten(u64),
    #[error("there is no such path")]
    NoPath,
    #[error("too many failed attempts; try again in {} seconds", .0.as_secs().max(1))]
    TooManyAttempts(Duration),
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error("the system gives no randomness")]
    NoRandomness,
    #[error("the token cannot be signed")]
    NotSigned,
    #[error("whether the change was made is not known: {0}")]
    Interrupted(tokio::task::JoinError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Refusal {
    pub(crate) fn status(&self) -> Status {
        match self {
            Refusal::Unauthenticated
            | Refusal::WrongPassword
            | Refusal::WrongRefresh
            | Refusal::WrongResetCode => Status::UNAUTHENTICATED,
            Refusal::Disabled | Refusal::WrongOldPassword | Refusal::NotGranted(_) | Refusal::WrongCode => {
                Status::FORBIDDEN
            }
            Refusal::Malformed(_) | Refusal::TooMany { .. } => Status::MALFORMED,
            Refusal::Lines { status, .. } => *status,
            Refusal::TooLong(_) => Status::TOO_LARGE,
            Refusal::Unknown(_)
            | Refusal::NotBound
            | Refusal::NoCode
            | Refusal::NoLogin
            | Refusal::NoPeer(_)
            | Refusal::NoGrant
            | Refusal::NoOperation(_)
            | Refusal::NoPath => Status::NOT_FOUND,
            Refusal::Deleted(_)
            | Refusal::PeerDeleted(_)
            | Refusal::Unbound
            | Refusal::Withdrawn
            | Refusal::OperationForgotten(_) => Status::DELETED,
            Refusal::Exists(_)
            | Refusal::PeerExists(_)
            | Refusal::Used(_)
            | Refusal::OwnedByAnother
            | Refusal::IsOwner
            | Refusal::CertificateUsed { .. }
            | Refusal::NoOwner
            | Refusal::Owned(_)
            | Refusal::PasswordChanged
            | Refusal::KeyUsed
            | Refusal::NotOfLogin
            | Refusal::AnswerForgotten
            | Refusal::AdminStays => Status::CONFLICT,
            Refusal::Stale => Status::STALE,
            Refusal::TooManyAttempts(_) => Status::OVER_QUOTA,
            Refusal::Password(PasswordError::Busy) => Status::UNAVAILABLE,
            Refusal::Password(PasswordError::Broken(_))
            | Refusal::NoRandomness
            | Refusal::NotSigned
            | Refusal::Interrupted(_) => Status::FAILED,
            Refusal::Store(error) => error.status(),
        }
    }

    /// What the caller is told. The store's own troubles are the operator's to read, in the log.
    pub(crate) fn detail(&self) -> String {
        if let Refusal::Store(StoreError::Refused { detail, .. }) = self {
            return detail.clone();
        }
        if let Refusal::Store(StoreError::Full | StoreError::QueueFull) = self {
            return "the account server has no room for it now".to_owned();
        }
        if let Refusal::Store(_) = self {
            return "the account server cannot do this now".to_owned();
        }
        if let Refusal::Password(PasswordError::Broken(_)) = self {
            return "the password cannot be checked".to_owned();
        }
        self.to_string()
    }
}

/// The first of the lines, and how many there are.
fn in_words(lines: &[LineError]) -> String {
    match lines {
        [] => String::new(),
        [one] => format!("line {}: {}", one.line, one.detail),
        [first, ..] => format!(
            "line {}: {} ({} lines in all)",
            first.line,
            first.detail,
            lines.len()
        ),
    }
}

/// Inside a transaction a refusal rolls it back.
impl From<Refusal> for StoreError {
    fn from(refusal: Refusal) -> StoreError {
        if let Refusal::Store(error) = refusal {
            return error;
        }
        StoreError::refused(refusal.status(), refusal.detail())
    }
}
