//! What was done at a server that keeps no audit log, for the account server's: orders of operators and applications,
//! logins over MQTT. A list of notes is the body of a `Directory` envelope from that server.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::address::Principal;
use crate::status::Status;
use crate::time::Timestamp;

/// One line of the audit log. It never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// When it was done.
    pub time: Timestamp,
    /// Missing: somebody who has not shown who they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<Principal>,
    /// The caller's address, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
    pub action: Action,
    /// What it was done to, in words: a message's id, an application.
    pub what: String,
    /// [`Status::DONE`], or why it was refused.
    pub status: Status,
    /// By whom the line is found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Principal>,
}

macro_rules! actions {
    ($($name:ident = $word:literal,)*) => {
        /// What was done, as the audit log names it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Action {
            $(#[serde(rename = $word)] $name,)*
        }

        impl Action {
            pub const ALL: &[Action] = &[$(Action::$name,)*];

            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Action::$name => $word,)*
                }
            }
        }
    };
}

actions! {
    LogIn = "login.mqtt",
    RetryDeadLetter = "dead-letter.retry",
    DiscardDeadLetter = "dead-letter.discard",
    SetEndpoint = "endpoint.set",
    ConfirmEndpoint = "endpoint.confirm",
    PauseEndpoint = "endpoint.pause",
    ResumeEndpoint = "endpoint.resume",
    RotateEndpoint = "endpoint.rotate",
    ReplayEndpoint = "endpoint.replay",
    DeleteEndpoint = "endpoint.delete",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_written_as_the_audit_log_names_it() {
        for action in Action::ALL {
            assert_eq!(
                serde_json::to_string(action).unwrap(),
                format!("{:?}", action.as_str())
            );
        }
    }
}
