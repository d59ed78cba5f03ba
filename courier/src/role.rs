//! What a server tells its courier, and what the courier asks of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use irsp_protocol::frame::{Question, Reply};
use irsp_protocol::receipt::{Answer, Cause};
use irsp_protocol::{Domain, Envelope, MessageId, Principal, Server, Status, Timestamp};

use crate::hop::{Hop, Origin};
use crate::store::{StoreError, Tx};

/// What a server does with an envelope that came over the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// The effect, or the refusal, stands in this transaction; this is the answer.
    Ended(Status),
    /// This server takes custody and sends it on. The sender hears 202 now and the end later.
    Forward(Hop),
    /// Not now: nothing is stored or answered, and the sender repeats it.
    Later,
}

/// A message that this courier held has ended, on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its data may be gone already.
    pub envelope: Arc<Envelope>,
    pub hop: Hop,
    /// Who handed it to us; `None` if we accepted it from the sender itself.
    pub origin: Option<Origin>,
    pub status: Status,
    pub answer: Option<Answer>,
    pub cause: Option<Cause>,
    pub at: Timestamp,
}

/// A boxed future, as [`Role::answer`] gives it.
pub type ReplyFuture<'a> = Pin<Box<dyn Future<Output = Reply> + Send + 'a>>;

/// The server a courier works for. Calls come from the courier's own tasks; none may block for long.
pub trait Role: Send + Sync + 'static {
    /// Decides on and stores the effect of an envelope that came over the bus from `from`. Runs inside the
    /// transaction that also remembers the envelope as seen, at most once per envelope that commits; it may run again
    /// when a transaction failed, so it changes nothing but the database.
    fn receive(&self, tx: &mut Tx<'_>, from: Server, envelope: &Envelope) -> Result<Received, StoreError>;

    /// The same for an envelope of another domain. Only the message server is linked to any.
    fn receive_from_peer(
        &self,
        _tx: &mut Tx<'_>,
        _peer: &Domain,
        _envelope: &Envelope,
    ) -> Result<Received, StoreError> {
        Ok(Received::Ended(Status::FORBIDDEN))
    }

    /// The transaction of `receive` has committed.
    fn received(&self, envelope: Envelope, outcome: &Received);

    /// Hands envelopes to a principal that is present, in order. Only the message server has such hops.
    fn deliver(&self, to: &Principal, envelopes: Vec<Arc<Envelope>>);

    /// An application that is present has failed at a message it was handed, for the `failures`th time, and may yet take
    /// it: to be handed over again after a while. Must not block.
    fn again(&self, _to: &Principal, _id: MessageId, _failures: u32) {}

    /// A message for a third party's service (`ext/...`) is on disk. Such a hop has no lane: its gateway reads what waits
    /// (`store::service_head`) and tells how it ended. Must not block.
    fn waits(&self, _for_service: &Principal, _envelope: &Envelope) {}

    /// The epoch of a principal's presence; `None` if it never had one. Asked before a push that is for one epoch only
    /// is handed over, in the transaction that writes that down; an error leaves the push for another try.
    fn epoch(&self, _tx: &Tx<'_>, _of: &Principal) -> Result<Option<u64>, StoreError> {
        Ok(None)
    }

    /// A message this courier held has ended.
    fn ended(&self, ended: Ended);

    /// Replies to another server's question.
    fn answer(&self, question: Question) -> ReplyFuture<'_>;
}
