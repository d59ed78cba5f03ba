//! What a change means for what is live: sessions, queues, subscriptions.
//!
//! - Removed, disabled, another generation, another role: the sessions end.
//! - A secret, a certificate or a login gone: the sessions opened with it end.
//! - Removed: what waits for the principal ends with 410. Reset: what waits for the device ends with 403
//!   ([`ends_queue`]).
//! - A binding removed, or one with fewer rights: the user's sessions lose what it gave.
//!
//! A principal that was not held before has no sessions, so nothing follows from it.

use irsp_protocol::change::{
    Application, Binding, Cause, Change, Device, Entity, EntityKey, Rights, Role, User,
};
use irsp_protocol::credential::{Certificate, EndedLogin, LoginId};
use irsp_protocol::secret::SecretHash;
use irsp_protocol::{Address, Domain, Id, Principal, Status};

/// One thing to do because of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// Disconnect every session of the principal.
    EndSessions { principal: Principal, cause: Cause },
    /// Disconnect the sessions of the principal that were opened with one of these.
    EndLogins {
        principal: Principal,
        lost: Vec<Credential>,
    },
    /// End every message that waits for the principal.
    EndQueue { principal: Principal, status: Status },
    /// The user has lost rights to the device, some or all.
    RightsLost { device: Id, user: Id },
    /// What is settled about another domain has changed.
    Peer { domain: Domain },
    /// What our applications hear of another domain's principals has changed: what it has told was refused until now, or is
    /// known no longer.
    Hears { domain: Domain },
    /// What an application or user of another domain may do with a principal has changed.
    Granted { principal: Principal, to: Address },
}

/// What a session was opened with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A verification code, a key or a machine token, by its hash.
    Secret(SecretHash),
    Certificate(Certificate),
    /// A token of a user's login; tokens made before logins had names have none.
    Login(Option<LoginId>),
}

/// Whose queue a change ends, and with which status: a removed principal's with 410, a reset device's with 403, because
/// what waits was meant for whoever held the old code. Needs no directory, so that the queue can be ended in the very
/// transaction that stores the change.
pub fn ends_queue(change: &Change) -> Option<(Principal, Status)> {
    match (&change.key, &change.entity, change.cause) {
        (EntityKey::Principal(principal), None, _) => Some((principal.clone(), Status::DELETED)),
        (EntityKey::Principal(principal), Some(Entity::Device(_)), Cause::Reset) => {
            Some((principal.clone(), Status::FORBIDDEN))
        }
        (
            EntityKey::Principal(_)
            | EntityKey::Binding { .. }
            | EntityKey::TokenKey(_)
            | EntityKey::Peer(_)
            | EntityKey::Grant { .. },
            _,
            _,
        ) => None,
    }
}

/// What of a principal's state decides whether its sessions may go on.
pub(crate) struct Standing {
    disabled: bool,
    pub(crate) generation: u64,
    pub(crate) role: Option<Role>,
}

/// A state that sessions rest on.
pub(crate) trait Account {
    fn standing(&self) -> Standing;
    /// What of `before` opens nothing any more.
    fn lost_since(&self, before: &Self) -> Vec<Credential>;
}

impl Account for User {
    fn standing(&self) -> Standing {
        Standing {
            disabled: self.disabled,
            // A user's sessions are as old as their tokens: refusing older tokens is a new generation.
            generation: u64::try_from(self.tokens_from.as_millis()).unwrap_or(0),
            role: Some(self.role),
        }
    }

    fn lost_since(&self, before: &User) -> Vec<Credential> {
        let newly = |ended: &&EndedLogin| !before.ended_logins.contains(ended);
        let ended = self.ended_logins.iter().filter(newly);
        lost(&before.tokens, &self.tokens)
            .chain(ended.map(|ended| Credential::Login(Some(ended.login))))
            .collect()
    }
}

impl Account for Device {
    fn standing(&self) -> Standing {
        Standing {
            disabled: self.disabled,
            generation: self.generation,
            role: None,
        }
    }

    fn lost_since(&self, before: &Device) -> Vec<Credential> {
        let hashes = |device: &Device| device.codes.iter().map(|code| code.hash).collect::<Vec<_>>();
        let kept = |certificate: &&Certificate| !self.certificates.contains(certificate);
        let certificates = before.certificates.iter().filter(kept).cloned();
        lost(&hashes(before), &hashes(self))
            .chain(certificates.map(Credential::Certificate))
            .collect()
    }
}

impl Account for Application {
    fn standing(&self) -> Standing {
        Standing {
            disabled: self.disabled,
            generation: self.generation,
            role: None,
        }
    }

    fn lost_since(&self, before: &Application) -> Vec<Credential> {
        lost(&before.keys, &self.keys).collect()
    }
}

fn lost<'a>(before: &'a [SecretHash], now: &'a [SecretHash]) -> impl Iterator<Item = Credential> + use<> {
    let gone: Vec<_> = before
        .iter()
        .filter(|secret| !now.contains(secret))
        .copied()
        .collect();
    gone.into_iter().map(Credential::Secret)
}

/// What follows when a principal's state `before` becomes `after`. `cause` is unknown for a snapshot entry.
pub(crate) fn of_principal<A: Account>(
    principal: &Principal,
    cause: Option<Cause>,
    before: Option<&A>,
    after: Option<&A>,
) -> Vec<Consequence> {
    let principal = principal.clone();
    let end_sessions = |principal, inferred| Consequence::EndSessions {
        principal,
        cause: cause.unwrap_or(inferred),
    };
    match (before, after) {
        (None, _) => Vec::new(),
        (Some(_), None) => vec![
            end_sessions(principal.clone(), Cause::Delete),
            Consequence::EndQueue {
                principal,
                status: Status::DELETED,
            },
        ],
        (Some(before), Some(after)) => {
            let (was, is) = (before.standing(), after.standing());
            if is.generation != was.generation {
                return vec![end_sessions(principal, Cause::Reset)];
            }
            if is.disabled && !was.disabled || is.role != was.role {
                return vec![end_sessions(principal, Cause::Modify)];
            }
            let lost = after.lost_since(before);
            match lost.is_empty() {
                true => Vec::new(),
                false => vec![Consequence::EndLogins { principal, lost }],
            }
        }
    }
}

/// What follows when a binding's state `before` becomes `after`.
pub(crate) fn of_binding(before: Option<&Binding>, after: Option<&Binding>) -> Option<Consequence> {
    let rights = |binding: Option<&Binding>| match binding {
        Some(binding) if binding.owner => Rights::default(),
        Some(binding) => binding.rights,
        None => Rights::NONE,
    };
    let had = before.filter(|_| rights(before).exceeds(rights(after)))?;
    Some(Consequence::RightsLost {
        device: had.device.clone(),
        user: had.user.clone(),
    })
}

impl Standing {
    /// Only someone enabled may log in.
    pub(crate) fn enabled(&self) -> Result<(), Status> {
        if self.disabled {
            Err(Status::FORBIDDEN)
        } else {
            Ok(())
        }
    }
}
