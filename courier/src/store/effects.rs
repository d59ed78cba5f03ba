//! What a transaction has changed: once it is on disk, somebody acts on it.

use std::sync::Arc;

use irsp_protocol::receipt::{Answer, Cause};
use irsp_protocol::{Envelope, MessageId, MessageKind, Status, Timestamp};

use crate::hop::{Hop, Origin};

/// What a transaction has changed that somebody acts on after its commit.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) stored: Vec<Stored>,
    pub(crate) left: Vec<Left>,
}

/// A message has come into the outbox.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) seq: i64,
    pub(crate) hop: Hop,
    pub(crate) envelope: Arc<Envelope>,
    /// The code it had ended with, if it is a dead letter that is sent again: the ledger has counted it before.
    pub(crate) reopens: Option<Status>,
}

/// A message waits for its hop no more.
#[derive(Clone, Debug)]
pub(crate) struct Left {
    pub(crate) id: MessageId,
    pub(crate) hop: Hop,
    /// `None` if another server has custody now.
    pub(crate) end: Option<EndedRow>,
}

#[derive(Clone, Debug)]
pub(crate) struct EndedRow {
    pub(crate) kind: MessageKind,
    pub(crate) head: String,
    pub(crate) origin: Option<Origin>,
    pub(crate) expires: Timestamp,
    pub(crate) status: Status,
    /// Its next hop said so.
    pub(crate) answered: bool,
    pub(crate) answer: Option<Answer>,
    pub(crate) cause: Option<Cause>,
    pub(crate) at: Timestamp,
}

impl Left {
    /// Whether its hop has spoken, in contrast to expiry, deletion and the like.
    pub(crate) fn is_answered(&self) -> bool {
        self.end.as_ref().is_none_or(|end| end.answered)
    }
}

impl Effects {
    pub(crate) fn is_empty(&self) -> bool {
        self.stored.is_empty() && self.left.is_empty()
    }
}
