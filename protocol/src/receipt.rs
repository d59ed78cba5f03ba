//! The receipt: the stored history of one message, joined from what each server on its way knows.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::message_id::MessageId;
use crate::message_kind::MessageKind;
use crate::state::State;
use crate::status::{self, Status};
use crate::time::Timestamp;
use crate::topic::Channel;

/// A point on a message's way, in the order in which a server passes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// On this server's disk.
    Accepted,
    /// Allowed, and its next hop known.
    Routed,
    /// Given to the next hop for the first time.
    Sent,
    /// The next hop has answered.
    Answered,
    /// Ended with its one final code.
    Ended,
}

/// One stage with its time and who reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageReport {
    pub stage: Stage,
    pub time: Timestamp,
    /// The reporting server, for example `srv/message@home.example`.
    pub reporter: Address,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Status>,
}

/// How the receiver of a push answered: its own code and body, never mixed with the platform's codes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The receiver's own code; 200 means done.
    pub code: u16,
    /// The receiver's body, JSON or any bytes.
    #[serde(with = "base64_bytes", default, skip_serializing_if = "Bytes::is_empty")]
    pub body: Bytes,
}

impl Answer {
    /// The status that an application's answer ends an upload or a message with: 2xx is done, a code of the registry
    /// that a message may end with is itself, any other 4xx is 400, the rest 500.
    pub fn status(&self) -> Status {
        let ends = |status: &Status| status.entry().stages.contains(&status::Stage::End);
        match (self.code, Status::from_code(self.code).filter(ends)) {
            (200..=299, _) => Status::DONE,
            (_, Some(status)) => status,
            (400..=499, None) => Status::MALFORMED,
            (_, None) => Status::FAILED,
        }
    }

    /// Whether an application says that it may take the same message later: 429 and every 5xx.
    pub fn may_yet_take_it(&self) -> bool {
        matches!(self.code, 429 | 500..=599)
    }

    /// What ends a message whose receiver has said so to the last: its status, or 503 where that is no failure.
    pub fn given_up(&self) -> Status {
        let status = self.status();
        if State::of(status) == State::Undeliverable {
            status
        } else {
            Status::UNAVAILABLE
        }
    }
}

/// Why a message ended as it did, where its code does not say it all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum Cause {
    /// 208: the same push had been accepted before, as this message.
    Duplicate { of: MessageId },
    /// 409: this newer push with the same supersede key took its place.
    Superseded { by: MessageId },
    /// 409: it was for another epoch than its receiver's presence had at delivery.
    EpochChanged { epoch: u64 },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Duplicate { of } => write!(f, "accepted before as {of}"),
            Cause::Superseded { by } => write!(f, "superseded by {by}"),
            Cause::EpochChanged { epoch } => write!(f, "the receiver's presence has epoch {epoch}"),
        }
    }
}

/// What one server, or all of them together, know of one message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    pub id: MessageId,
    pub kind: MessageKind,
    pub source: Address,
    pub destination: Address,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_id: Option<String>,
    pub expires: Timestamp,
    /// 202 until the message has ended, then its final code.
    pub status: Status,
    pub stages: Vec<StageReport>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

impl Receipt {
    /// Joins what another server knows of the same message: stages in order of time, and the end if either has it.
    pub fn join(mut self, other: Receipt) -> Receipt {
        self.stages.extend(other.stages);
        self.order();
        // The end is told by the server that reached it; one that handed the message on still says 202.
        if self.status == Status::QUEUED {
            self.status = other.status;
        }
        self.answer = self.answer.or(other.answer);
        self.cause = self.cause.or(other.cause);
        self
    }

    /// Adds what a server reports that had it not in its outbox.
    pub fn with(mut self, report: StageReport) -> Receipt {
        self.stages.push(report);
        self.order();
        self
    }

    pub fn without_stages(mut self) -> Receipt {
        self.stages.clear();
        self
    }

    fn order(&mut self) {
        self.stages.sort_by_key(|report| (report.time, report.stage));
        self.stages.dedup();
    }
}

/// Body of a `Status` envelope: tells the server that handed a message over how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    pub message: MessageId,
    pub status: Status,
    pub at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_applications_answer_is_the_status() {
        for (code, status) in [
            (200, 200),
            (204, 200),
            (404, 404),
            (409, 409),
            (422, 400),
            (401, 400),
            (500, 500),
            (503, 503),
            (599, 500),
            (0, 500),
            (302, 500),
        ] {
            let answer = Answer {
                code,
                body: Bytes::new(),
            };
            assert_eq!(answer.status().code(), status, "{code}");
        }
    }
}

pub(crate) mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub(crate) fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Bytes::from).map_err(D::Error::custom)
    }
}
