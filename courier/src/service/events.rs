//! What the pump hears: what the writer has done, and what callers ask.

use std::num::NonZeroU32;
use std::sync::Arc;

use irsp_protocol::frame::Question;
use irsp_protocol::receipt::Answer;
use irsp_protocol::{Domain, Envelope, MessageId, Principal, Server, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::answer::PrincipalAnswer;
use super::peer::{Outlet, PeerFrame};
use crate::accept::AcceptSink;
use crate::hop::{Hop, Origin};
use crate::store::{Effects, StoreError, Swept, Verdict};

/// What the writer has done.
pub(super) enum Event {
    Committed(Effects),
    Received {
        delivered: Vec<((Origin, Envelope), Verdict)>,
        /// What was answered and waited for no answer.
        stale: Vec<(Hop, MessageId)>,
        /// Of a frame that came from another domain.
        permit: Option<OwnedSemaphorePermit>,
    },
    /// Principals' answers are stored, or refused; those that are neither are to be tried again.
    Settled {
        settled: Vec<(Hop, MessageId)>,
        /// What its receiver has failed at, and how often: it stays under way.
        again: Vec<(Hop, MessageId, u32)>,
        unstored: Vec<PrincipalAnswer>,
    },
    Swept(Result<Swept, StoreError>),
    /// That these pushes go to their receiver is on disk; without those that have ended.
    Handed {
        to: Principal,
        ticket: u64,
        envelopes: Result<Vec<Arc<Envelope>>, StoreError>,
    },
}

/// What callers ask of the pump.
pub(super) enum Command {
    Present(Hop),
    Absent(Hop),
    Answered {
        hop: Hop,
        id: MessageId,
        answer: Answer,
        /// Who hears of it, and its token; `None`: nobody, so that it is kept until it is stored.
        teller: Option<(Arc<dyn AcceptSink>, u64)>,
    },
    /// A link to another domain is up. The ticket tells it from the one before and after it.
    PeerLinked {
        peer: Domain,
        ticket: u64,
        rate_max: Option<NonZeroU32>,
        outlet: Outlet,
    },
    PeerParted {
        peer: Domain,
        ticket: u64,
    },
    /// What a linked domain has sent.
    PeerSaid {
        peer: Domain,
        said: PeerFrame,
        permit: OwnedSemaphorePermit,
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
