//! What the pump hears: what the writer has done, and what callers ask.

use std::sync::Arc;

use irsp_protocol::frame::Question;
use irsp_protocol::receipt::Answer;
use irsp_protocol::{Envelope, MessageId, Server, Timestamp};
use tokio::sync::oneshot;

use crate::accept::AcceptSink;
use crate::hop::Hop;
use crate::store::{Effects, StoreError, Swept, Verdict};

/// What the writer has done.
pub(super) enum Event {
    Committed(Effects),
    Received {
        delivered: Vec<(Delivered, Verdict)>,
        settled: Vec<(Hop, MessageId)>,
    },
    /// Principals' answers are stored, or refused.
    Settled(Vec<(Hop, MessageId)>),
    Swept(Result<Swept, StoreError>),
}

/// An envelope that came over the bus.
pub(super) struct Delivered {
    pub(super) from: Server,
    /// To be seen before it.
    pub(super) after: Option<MessageId>,
    pub(super) envelope: Envelope,
}

/// What callers ask of the pump.
pub(super) enum Command {
    Present(Hop),
    Absent(Hop),
    Answered {
        hop: Hop,
        id: MessageId,
        answer: Answer,
        sink: Arc<dyn AcceptSink>,
        token: u64,
    },
    Ask {
        server: Server,
        token: u64,
        question: Question,
    },
    SentAt {
        hop: Hop,
        id: MessageId,
        tell: oneshot::Sender<Option<Timestamp>>,
    },
}
