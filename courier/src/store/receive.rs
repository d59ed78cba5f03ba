//! An envelope that came over the bus or from another domain: its effect and the memory of it in one transaction, so that
//! repeats are answered and not done again (design 3.1).

use std::sync::Arc;

use irsp_protocol::frame::Place;
use irsp_protocol::receipt::{Answer, Cause, Ending};
use irsp_protocol::{Envelope, MessageKind, State, Status};

use super::error::StoreError;
use super::message::{self, End, Progress};
use super::order::{Order, Turn};
use super::repeat;
use super::seen;
use super::tx::Tx;
use crate::hop::{Hop, Origin};
use crate::role::{Received, Role};

/// What is answered to an envelope, and what the role decided if it saw it for the first time and for good.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    /// `None`: nothing is answered, and the sender repeats it.
    pub(crate) answer: Option<Status>,
    /// The receiver's own answer.
    pub(crate) said: Option<Answer>,
    /// What the status leaves open.
    pub(crate) cause: Option<Cause>,
    pub(crate) decided: Option<Received>,
}

impl Tx<'_> {
    /// Receives one envelope. An error means that the disk failed; a refusal or a failure of the role is a verdict.
    /// A failure (500, 502, 503, 504) stores nothing and is not remembered: the next try is a first one.
    /// One that comes before its turn is left for its repeat, which comes after what it has overtaken; so is what follows
    /// a failure of the same source for the same destination, because the failed one may yet be taken.
    pub(crate) fn receive(
        &mut self,
        role: &dyn Role,
        from: &Origin,
        place: Place,
        envelope: &Envelope,
        order: &mut Order,
    ) -> Result<Verdict, StoreError> {
        if let Some(status) = seen::find(self.sql(), from, envelope.id)? {
            return again(self, status, envelope);
        }
        match order.turn(self, from, place, envelope)? {
            Turn::Now => {}
            Turn::Early => return Ok(Verdict::default()),
            Turn::Behind => {
                order.passed_by(self, from, place, envelope)?;
                return Ok(Verdict::default());
            }
        }
        let verdict = if envelope.kind == MessageKind::Status {
            ended_elsewhere(self, from, envelope)?
        } else if envelope.expires <= self.now() {
            answered(Status::EXPIRED)
        } else {
            let mut later = false;
            match self.guarded(|tx| decide(tx, role, from, envelope, &mut later)) {
                Ok(verdict) => verdict,
                // Whatever the role had begun is undone with it.
                Err(_) if later => return Ok(Verdict::default()),
                Err(StoreError::Refused { status, detail }) if is_failure(status) => {
                    tracing::warn!(id = %envelope.id, kind = envelope.kind.as_str(), %status, detail,
                        "an envelope cannot be taken; its sender tries again");
                    answered(status)
                }
                Err(StoreError::Refused { status, detail }) => {
                    tracing::debug!(id = %envelope.id, %status, detail, "an envelope is refused");
                    Verdict {
                        decided: Some(Received::Ended(status)),
                        ..answered(status)
                    }
                }
                Err(error) if error.is_disk() => return Err(error),
                Err(error) => {
                    tracing::error!(id = %envelope.id, kind = envelope.kind.as_str(), %error,
                        "the effect of an envelope cannot be stored; its sender tries again");
                    answered(Status::FAILED)
                }
            }
        };
        let (verdict, is_kept) = match (&verdict.decided, verdict.answer) {
            (Some(Received::Forward(_)), _) => (verdict, true),
            // A repeat so late that `seen` has forgotten it: what the role would say of it today does not count.
            (_, Some(status))
                if status != Status::DONE && message::is_from(self.sql(), envelope.id, from)? =>
            {
                (in_custody(self, envelope)?, true)
            }
            _ => (verdict, false),
        };
        match verdict.answer {
            // A failure has stored nothing, so the next try is a first one. It does not hold up what others have sent;
            // what is wanted later does.
            Some(status) if is_failure(status) => order.passed_by(self, from, place, envelope)?,
            Some(status) => {
                order.took(self, from, place, envelope.id)?;
                // How far what we keep has come, and what was answered to it, its row knows.
                let status = if is_kept { Status::QUEUED } else { status };
                seen::remember(self.sql(), from, envelope.id, status, self.now())?;
            }
            None => {}
        }
        Ok(verdict)
    }
}

fn decide(
    tx: &mut Tx<'_>,
    role: &dyn Role,
    from: &Origin,
    envelope: &Envelope,
    later: &mut bool,
) -> Result<Verdict, StoreError> {
    // No error: one would make all that shares the transaction run again.
    if let Origin::Peer(peer) = from
        && tx.is_owed_all(peer, envelope.data.len() as u64)
    {
        return Ok(Verdict {
            decided: Some(Received::Ended(Status::OVER_QUOTA)),
            ..answered(Status::OVER_QUOTA)
        });
    }
    let decided = match from {
        Origin::Server(server) => role.receive(tx, *server, envelope)?,
        Origin::Peer(peer) => role.receive_from_peer(tx, peer, envelope)?,
    };
    let answer = match &decided {
        Received::Ended(status) if is_failure(*status) => {
            return Err(StoreError::refused(*status, "the server cannot take it"));
        }
        Received::Ended(status) => *status,
        Received::Forward(hop) => return take_custody(tx, from, envelope, hop),
        Received::Later => {
            *later = true;
            return Err(StoreError::refused(Status::UNAVAILABLE, "later"));
        }
    };
    Ok(Verdict {
        decided: Some(decided),
        ..answered(answer)
    })
}

/// Whether the sender tries again, and keeps what it cannot get rid of as a dead letter.
fn is_failure(status: Status) -> bool {
    State::of(status) == State::Undeliverable
}

fn take_custody(
    tx: &mut Tx<'_>,
    from: &Origin,
    envelope: &Envelope,
    hop: &Hop,
) -> Result<Verdict, StoreError> {
    let head = serde_json::to_string(envelope)?;
    let accepted = tx.insert(&Arc::new(envelope.clone()), &head, hop, Some(from))?;
    if accepted.id != envelope.id {
        // The sender has given it to us before, by another way.
        return Ok(Verdict {
            cause: Some(Cause::Duplicate { of: accepted.id }),
            decided: Some(Received::Ended(Status::DUPLICATE)),
            ..answered(Status::DUPLICATE)
        });
    }
    if accepted.duplicate && !message::is_from(tx.sql(), envelope.id, from)? {
        // Ids are made by who accepts a message first: nobody may take another one's, nor learn how it stands.
        return Err(StoreError::refused(
            Status::CONFLICT,
            "another message has this id",
        ));
    }
    // A repeat so late that `seen` has forgotten it: its row knows more.
    let verdict = match accepted.duplicate {
        true => in_custody(tx, envelope)?,
        false => answered(Status::QUEUED),
    };
    Ok(Verdict {
        decided: Some(Received::Forward(hop.clone())),
        ..verdict
    })
}

/// What is answered to a repeat of what we have taken into custody: its end, if it has one, because the news of that may
/// have found its origin not waiting. A failure of ours is told by the news alone: as an answer it would ask for another try.
fn in_custody(tx: &Tx<'_>, envelope: &Envelope) -> Result<Verdict, StoreError> {
    Ok(match message::progress(tx.sql(), envelope.id)? {
        Progress::Ended(status, said) if !is_failure(status) => Verdict {
            said,
            ..answered(status)
        },
        Progress::Ended(..) | Progress::Unknown | Progress::Waiting | Progress::HandedOver => {
            answered(Status::QUEUED)
        }
    })
}

/// The server that took custody of one of our messages tells its end. An end we know already changes nothing, unless it
/// was that nobody had taken the message.
fn ended_elsewhere(tx: &mut Tx<'_>, from: &Origin, envelope: &Envelope) -> Result<Verdict, StoreError> {
    let Ok(ending) = serde_json::from_slice::<Ending>(&envelope.data) else {
        tracing::warn!(id = %envelope.id, server = %from, "a status envelope is not understood");
        return Ok(answered(Status::MALFORMED));
    };
    let end = End {
        status: ending.status,
        answer: ending.answer,
        answered: true,
        sent_at: None,
        cause: ending.cause,
    };
    let (id, hop) = (ending.message, from.hop());
    // Who tells its end had it in custody, even if that word is late: it is no dead letter of ours.
    if is_failure(end.status) {
        tx.hand_over(id, &hop, None)?;
    }
    if !tx.end_with(id, Some(&hop), &end)? && tx.heard_of_dead(id, &hop, end.status)? {
        tx.end_with(id, Some(&hop), &end)?;
    }
    Ok(answered(Status::DONE))
}

fn answered(status: Status) -> Verdict {
    Verdict {
        answer: Some(status),
        ..Verdict::default()
    }
}

/// What is answered to a repeat, by the status that is remembered.
fn again(tx: &Tx<'_>, status: Status, envelope: &Envelope) -> Result<Verdict, StoreError> {
    match status {
        Status::QUEUED => in_custody(tx, envelope),
        Status::DUPLICATE => Ok(Verdict {
            cause: repeat::earlier(tx.sql(), envelope)?.map(|of| Cause::Duplicate { of }),
            ..answered(status)
        }),
        _ => Ok(answered(status)),
    }
}
