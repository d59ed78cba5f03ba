//! Who may push to whom (clause 8.3.3).
//!
//! | from | to | |
//! |---|---|---|
//! | application | device or user in its scope | 404, 410 or 403 if the target is unknown, deleted or disabled |
//! | application | any other | 403 |
//! | user | a device of theirs, one shared with the right to push, oneself | |
//! | user | any other | 403, whether it exists or not; an admin hears 404 and 410 |
//! | anyone else | | 403 |

use irsp_protocol::change::{Right, Role};
use irsp_protocol::{Kind, Principal, Status};

use crate::directory::{Directory, State};

impl Directory {
    /// Whether a principal exists and is enabled; else 404, 410 (it was deleted) or 403.
    pub fn check(&self, principal: &Principal) -> Result<(), Status> {
        self.read().check(principal)
    }

    /// Whether `from` may push to `to`; the error is the status the push ends with.
    pub fn may_push(&self, from: &Principal, to: &Principal) -> Result<(), Status> {
        let state = self.read();
        match from.kind {
            Kind::Application => state.application_may_push(from, to),
            Kind::User => state.user_may_push(from, to),
            Kind::Device | Kind::External | Kind::Peer | Kind::Server => Err(Status::FORBIDDEN),
        }
    }
}

impl State {
    fn application_may_push(&self, from: &Principal, to: &Principal) -> Result<(), Status> {
        self.sender(from)?;
        let app = self.find_application(&from.id)?;
        if !takes_pushes(to.kind) || !app.pushes.includes(to) {
            return Err(Status::FORBIDDEN);
        }
        self.check(to)
    }

    fn user_may_push(&self, from: &Principal, to: &Principal) -> Result<(), Status> {
        self.sender(from)?;
        if from == to {
            return Ok(());
        }
        if self.find_user(&from.id)?.role == Role::Admin && takes_pushes(to.kind) {
            self.check(to)?;
        }
        if to.kind == Kind::Device && self.has_right(&to.id, &from.id, Right::Push) {
            self.check(to)
        } else {
            Err(Status::FORBIDDEN)
        }
    }

    /// A sender that is gone may do nothing; that it is gone is not the target's status.
    fn sender(&self, from: &Principal) -> Result<(), Status> {
        self.check(from).map_err(|_| Status::FORBIDDEN)
    }
}

fn takes_pushes(kind: Kind) -> bool {
    matches!(kind, Kind::Device | Kind::User)
}

#[cfg(test)]
mod tests;
