//! What an operator or an application has ordered of a server that keeps no audit log, for the account server's. It is
//! the body of a `Directory` envelope from that server.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::address::Principal;

/// One order that was carried out. It never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    pub who: Principal,
    /// The caller's address, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
    pub action: Action,
    /// What it was done to, in words: a message's id, an application.
    pub what: String,
    /// By whom the line is found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Principal>,
}

/// What was ordered, as the audit log names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Action {
    #[serde(rename = "dead-letter.retry")]
    RetryDeadLetter,
    #[serde(rename = "dead-letter.discard")]
    DiscardDeadLetter,
    #[serde(rename = "endpoint.set")]
    SetEndpoint,
    #[serde(rename = "endpoint.delete")]
    DeleteEndpoint,
}

impl Action {
    pub const fn as_str(self) -> &'static str {
        match self {
            Action::RetryDeadLetter => "dead-letter.retry",
            Action::DiscardDeadLetter => "dead-letter.discard",
            Action::SetEndpoint => "endpoint.set",
            Action::DeleteEndpoint => "endpoint.delete",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_written_as_the_audit_log_names_it() {
        for action in [
            Action::RetryDeadLetter,
            Action::DiscardDeadLetter,
            Action::SetEndpoint,
            Action::DeleteEndpoint,
        ] {
            assert_eq!(
                serde_json::to_string(&action).unwrap(),
                format!("{:?}", action.as_str())
            );
        }
    }
}
