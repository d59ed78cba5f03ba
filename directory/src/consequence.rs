//! What a change means for what is live: sessions, queues, subscriptions.
//!
//! - Removed, disabled, another generation, another role, or a secret gone: the sessions end.
//! - Removed: what waits for the principal ends with 410. Reset: what waits for the device ends with 403
//!   ([`ends_queue`]).
//! - A binding removed: the user's sessions lose what the binding gave.
//!
//! A principal that was not held before has no sessions, so nothing follows from it.

use irsp_protocol::change::{Application, Cause, Change, Device, Entity, EntityKey, Role, User};
use irsp_protocol::secret::SecretHash;
use irsp_protocol::{Id, Principal, Status};

/// One thing to do because of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// Disconnect every session of the principal.
    EndSessions { principal: Principal, cause: Cause },
    /// End every message that waits for the principal.
    EndQueue { principal: Principal, status: Status },
    /// The user may no longer see or push to the device.
    Unbound { device: Id, user: Id },
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
        (EntityKey::Principal(_) | EntityKey::Binding { .. } | EntityKey::TokenKey(_), _, _) => None,
    }
}

/// What of a principal's state decides whether its sessions may go on.
pub(crate) struct Standing<'a> {
    disabled: bool,
    pub(crate) generation: u64,
    pub(crate) secrets: &'a [SecretHash],
    pub(crate) role: Option<Role>,
}

impl<'a> From<&'a User> for Standing<'a> {
    fn from(user: &'a User) -> Standing<'a> {
        Standing {
            disabled: user.disabled,
            // A user's sessions are as old as their tokens: refusing older tokens is a new generation.
            generation: u64::try_from(user.tokens_from.as_millis()).unwrap_or(0),
            secrets: &user.tokens,
            role: Some(user.role),
        }
    }
}

impl<'a> From<&'a Device> for Standing<'a> {
    fn from(device: &'a Device) -> Standing<'a> {
        Standing {
            disabled: device.disabled,
            generation: device.generation,
            secrets: &device.codes,
            role: None,
        }
    }
}

impl<'a> From<&'a Application> for Standing<'a> {
    fn from(app: &'a Application) -> Standing<'a> {
        Standing {
            disabled: app.disabled,
            generation: app.generation,
            secrets: &app.keys,
            role: None,
        }
    }
}

/// What follows when a principal's state `before` becomes `after`. `cause` is unknown for a snapshot entry.
pub(crate) fn of_principal(
    principal: &Principal,
    cause: Option<Cause>,
    before: Option<Standing<'_>>,
    after: Option<Standing<'_>>,
) -> Vec<Consequence> {
    let end_sessions = |inferred| Consequence::EndSessions {
        principal: principal.clone(),
        cause: cause.unwrap_or(inferred),
    };
    match (before, after) {
        (None, _) => Vec::new(),
        (Some(_), None) => vec![
            end_sessions(Cause::Delete),
            Consequence::EndQueue {
                principal: principal.clone(),
                status: Status::DELETED,
            },
        ],
        (Some(before), Some(after)) => {
            if after.generation != before.generation {
                vec![end_sessions(Cause::Reset)]
            } else if after.loses_something_of(&before) {
                vec![end_sessions(Cause::Modify)]
            } else {
                Vec::new()
            }
        }
    }
}

impl Standing<'_> {
    /// Any session may have been opened by any of the old secrets, in the old role.
    fn loses_something_of(&self, before: &Standing<'_>) -> bool {
        (self.disabled && !before.disabled)
            || self.role != before.role
            || before.secrets.iter().any(|secret| !self.secrets.contains(secret))
    }

    /// Only someone enabled may log in.
    pub(crate) fn enabled(&self) -> Result<(), Status> {
        if self.disabled {
            Err(Status::FORBIDDEN)
        } else {
            Ok(())
        }
    }
}
