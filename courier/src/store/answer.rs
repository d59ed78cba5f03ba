//! What a principal's answer makes of a message: its end, or, of an application that fails at it, another try.

use irsp_protocol::receipt::Answer;
use irsp_protocol::{Kind, MessageId, Status, Timestamp};

use super::error::StoreError;
use super::message::{self, End};
use super::operate::Failed;
use super::tx::Tx;
use crate::accept::Accepted;
use crate::hop::Hop;

/// What is said to whoever has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// The message has its end.
    Settled(Accepted),
    /// It has none yet: the application may yet take it. It has failed at it so often.
    Again { failures: u32 },
}

impl Tx<'_> {
    /// The principal on `hop` has answered; `None` if no such message was ever for it. An application that fails at it
    /// gets it again, until it has failed `failures_max` times.
    pub(crate) fn answered(
        &mut self,
        hop: &Hop,
        id: MessageId,
        answer: Answer,
        sent_at: Option<Timestamp>,
        failures_max: u32,
    ) -> Result<Option<Told>, StoreError> {
        // What a device's answer means is its sender's to know; an application's is the status of what it was sent.
        let of_application = match hop {
            Hop::Principal(principal) => principal.kind == Kind::Application,
            Hop::Server(_) | Hop::Peer(_) => false,
        };
        let fails = of_application && answer.may_yet_take_it();
        let status = match (of_application, fails) {
            (true, true) => answer.given_up(),
            (true, false) => answer.status(),
            (false, _) => Status::DONE,
        };
        let end = End {
            status,
            answer: Some(answer),
            answered: true,
            sent_at,
            cause: None,
        };
        let ended = if fails {
            match self.failed(id, hop, &end, failures_max)? {
                Failed::Waits { failures } => return Ok(Some(Told::Again { failures })),
                Failed::Ended => true,
                Failed::Past => false,
            }
        } else {
            self.end_with(id, Some(hop), &end)?
                // It was given up, and the application has taken it after all.
                || (of_application
                    && self.heard_of_dead(id, hop, status)?
                    && self.end_with(id, Some(hop), &end)?)
        };
        let known = ended || message::is_for(self.sql(), id, hop)?;
        Ok(known.then_some(Told::Settled(Accepted {
            id,
            duplicate: !ended,
        })))
    }
}
