//! What an operator's side asks of the courier of any server: receipts, the ledger, dead letters, the live tail. These
//! are values between servers; over HTTP they are shown as [`crate::api::operator`] says.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::ledger::Ledger;
use crate::message_id::MessageId;
use crate::message_kind::MessageKind;
use crate::receipt::{Receipt, StageReport, base64_bytes};
use crate::state::State;
use crate::status::Status;
use crate::time::Timestamp;

/// A question to a server's courier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inquiry {
    /// What do you know of these messages?
    Messages {
        ids: Vec<MessageId>,
    },
    /// A page of the receipts you hold.
    Receipts(PageRequest),
    /// What has happened to messages since? Answered at once if something has, else after a moment.
    Tail {
        after: Option<TailMark>,
    },
    Ledger,
    /// A page of the dead letters you hold, without their data.
    DeadLetters(PageRequest),
    /// One of them, with its data.
    DeadLetter {
        id: MessageId,
    },
    /// Send a dead letter again; with an expiry of its own, if given.
    Retry {
        id: MessageId,
        expires: Option<Timestamp>,
    },
    /// Drop a dead letter's data; its end stays what it is.
    Discard {
        id: MessageId,
    },
}

/// The answer to each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    Messages(Vec<Known>),
    Receipts(Page<Receipt>),
    Tail(Tail),
    Ledger(Ledger),
    DeadLetters(Page<DeadLetter>),
    DeadLetter(Option<Box<DeadLetter>>),
    /// What became of a retry or a discard.
    Operated(Operated),
}

/// Some of what a server holds, in order of the ids (and so of acceptance).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageRequest {
    pub filter: Filter,
    pub order: Order,
    /// Beyond this id, in the order asked for.
    pub after: Option<MessageId>,
    pub limit: u16,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    #[default]
    Oldest,
    Newest,
}

/// Which messages are meant; what is empty or `None` does not narrow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Its sender or the one it is for, with its domain.
    pub principal: Option<Address>,
    pub states: Vec<State>,
    pub kinds: Vec<MessageKind>,
}

impl Filter {
    /// Whether a message with this receipt is meant.
    pub fn wants(&self, receipt: &Receipt) -> bool {
        self.wants_kind(receipt.kind) && self.wants_state(State::of(receipt.status)) && self.concerns(receipt)
    }

    pub fn wants_kind(&self, kind: MessageKind) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }

    pub fn wants_state(&self, state: State) -> bool {
        self.states.is_empty() || self.states.contains(&state)
    }

    fn concerns(&self, receipt: &Receipt) -> bool {
        let Some(wanted) = &self.principal else {
            return true;
        };
        // An address without a domain is of our own, which the one who asks has filled in.
        let is = |address: &Address| {
            address.principal == wanted.principal
                && (address.domain.is_none() || address.domain == wanted.domain)
        };
        is(&receipt.source) || is(&receipt.destination)
    }
}

/// What one server knows of one message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    pub id: MessageId,
    /// If it had the message in its outbox.
    pub receipt: Option<Receipt>,
    /// If it only received it: its effect is stored, or it was refused.
    pub received: Option<StageReport>,
}

/// A page, and how to go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    pub entries: Vec<T>,
    /// `after` of the next page; `None` after the last. A page may be short, or empty, and still have a next one: a
    /// server looks through a bounded number of messages at a time.
    pub next: Option<MessageId>,
}

/// A message that ended undeliverable and whose data are kept, to be sent again or discarded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    pub receipt: Receipt,
    /// When it became one.
    pub since: Timestamp,
    /// How often the receiver failed at it.
    pub failures: u32,
    /// Bytes of its data.
    pub size: u64,
    pub content_type: Option<String>,
    /// Its data; empty in pages.
    #[serde(with = "base64_bytes", default, skip_serializing_if = "Bytes::is_empty")]
    pub data: Bytes,
}

/// What became of an operator's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operated {
    /// It is so, on disk. A retry of what is in flight, and a discard of what was discarded, change nothing.
    Done,
    /// This server does not hold such a message.
    Unknown,
    /// It has ended with this code and is no dead letter.
    NotDead(Status),
    /// Its expiry has passed: a retry needs a new one.
    Expired,
}

/// A place in a server's tail. It means nothing to another server, nor after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TailMark {
    pub life: MessageId,
    pub number: u64,
}

/// What has happened to messages at one server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tail {
    pub entries: Vec<TailEntry>,
    /// Where to go on.
    pub mark: TailMark,
    /// Events passed over because nobody asked in time.
    pub missed: u64,
}

/// One stage that a message has passed, with its receipt as this server has it now, less the stages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TailEntry {
    pub report: StageReport,
    pub receipt: Receipt,
}
