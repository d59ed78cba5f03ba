//! The state of a message: in flight, or one of seven ends. The final code decides which, so that receipts, ledger and
//! operators say the same of the same message.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::status::Status;

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Accepted and not ended, wherever it waits.
    InFlight,
    /// The receiver has done it.
    Done,
    /// The receiver cannot take it, now or later: 400, 404, 413, 421.
    Rejected,
    /// 408.
    Expired,
    /// The right or the principal it rested on is gone: 403, 410.
    Revoked,
    /// Something newer, or what is so by now, stands in its way: 409.
    Superseded,
    /// No room for its sender: 429, 507.
    OverQuota,
    /// The platform failed to deliver what might still be taken: 500, 502, 503, 504. A dead letter.
    Undeliverable,
}

impl State {
    pub const ALL: [State; 8] = [
        State::InFlight,
        State::Done,
        State::Rejected,
        State::Expired,
        State::Revoked,
        State::Superseded,
        State::OverQuota,
        State::Undeliverable,
    ];

    /// The state of a message whose receipt says `status`: 202 until it has ended, then its final code.
    pub const fn of(status: Status) -> State {
        match status {
            Status::QUEUED => State::InFlight,
            Status::DONE | Status::DUPLICATE => State::Done,
            Status::EXPIRED => State::Expired,
            Status::FORBIDDEN | Status::DELETED => State::Revoked,
            Status::CONFLICT => State::Superseded,
            Status::OVER_QUOTA | Status::QUEUE_FULL => State::OverQuota,
            Status::FAILED | Status::PEER_REFUSED | Status::UNAVAILABLE | Status::PEER_TIMED_OUT => {
                State::Undeliverable
            }
            // 400, 401, 404, 413, 421.
            _ => State::Rejected,
        }
    }

    /// The word for it in JSON, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::InFlight => "in-flight",
            State::Done => "done",
            State::Rejected => "rejected",
            State::Expired => "expired",
            State::Revoked => "revoked",
            State::Superseded => "superseded",
            State::OverQuota => "over-quota",
            State::Undeliverable => "undeliverable",
        }
    }

    pub fn parse(word: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{REGISTRY, Stage};

    #[test]
    fn every_final_code_is_one_end_and_only_the_retryable_and_502_make_dead_letters() {
        for entry in REGISTRY {
            let state = State::of(entry.status);
            let ends = entry.stages.contains(&Stage::End);
            assert!(!ends || state != State::InFlight, "{}", entry.name);
            // Over quota may pass, but is the sender's matter: nothing is kept to be sent again.
            if ends && state != State::OverQuota {
                let dead = entry.retryable || entry.status == Status::PEER_REFUSED;
                assert_eq!(state == State::Undeliverable, dead, "{}", entry.name);
            }
        }
    }

    #[test]
    fn a_state_is_written_as_it_is_read() {
        for state in State::ALL {
            assert_eq!(State::parse(state.as_str()), Some(state));
            let json = serde_json::to_string(&state).unwrap();
            assert_eq!(json, format!("\"{state}\""));
        }
        assert_eq!(State::parse("dead"), None);
    }
}
