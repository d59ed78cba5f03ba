//! What whoever gives the courier a message hears of it.

use irsp_protocol::{MessageId, Status};

/// A message has been accepted: it is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub id: MessageId,
    /// The sender had given the same sender id before; `id` is that first message's, and nothing was stored again.
    pub duplicate: bool,
}

/// Hears of acceptance and of answers stored. Called on the writer's thread: it must not block.
pub trait AcceptSink: Send + Sync {
    /// `token` is what the caller gave with its request. An error is the status to refuse it with.
    fn settled(&self, token: u64, result: Result<Accepted, Status>);
}
