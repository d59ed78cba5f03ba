//! What a principal answers, until it is stored.

use std::sync::Arc;

use irsp_protocol::receipt::Answer;
use irsp_protocol::{MessageId, Status, Timestamp};

use crate::accept::{AcceptSink, Accepted};
use crate::hop::Hop;

/// One answer of a principal.
pub(super) struct PrincipalAnswer {
    pub(super) hop: Hop,
    pub(super) id: MessageId,
    pub(super) answer: Answer,
    pub(super) sent_at: Option<Timestamp>,
    pub(super) teller: Option<(Arc<dyn AcceptSink>, u64)>,
}

impl PrincipalAnswer {
    pub(super) fn tell(&self, result: Result<Accepted, Status>) {
        if let Some((sink, token)) = &self.teller {
            sink.settled(*token, result);
        }
    }
}
