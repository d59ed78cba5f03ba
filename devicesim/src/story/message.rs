//! What became of one message, as all parties saw it.

use irsp_protocol::MessageId;

use crate::observation::{Facts, Kind, Moment, Number, Party, Print, Stored};

/// One message's way.
#[derive(Clone, Debug)]
pub struct Message {
    pub number: Number,
    pub facts: Facts,
    pub sends: Vec<Moment>,
    pub acknowledged: Option<Moment>,
    pub rejected: Option<(Moment, u16)>,
    pub ends: Vec<End>,
    /// Deliveries of a push at a `down` topic.
    pub pushed: Vec<Delivery>,
    /// First seen by the application (uploads).
    pub heard: Option<Moment>,
    /// Copies of an upload, as observers heard them.
    pub copies: Vec<Heard>,
    /// The receiver's answers, as they went out.
    pub answering: Vec<(Moment, u16)>,
    /// The platform took the answer.
    pub answered: Option<Moment>,
    /// The platform refused the answer.
    pub answer_refused: Option<(Moment, u8)>,
    /// Its places in the store.
    pub stored: Vec<Stored>,
    pub mid: Option<MessageId>,
    /// Whom its statuses name as its destination.
    pub ended_for: Vec<(Moment, Option<Party>)>,
    /// Of a push over HTTP.
    pub receipt: Option<Receipt>,
}

/// A receipt as it stands at the end of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// It says 202.
    pub open: bool,
    pub source: Option<Party>,
    pub to: Option<Party>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    pub at: Moment,
    pub code: u16,
    pub answer: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub at: Moment,
    pub by: Party,
    pub dup: bool,
    pub from: Option<Party>,
    pub print: Print,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    pub at: Moment,
    pub by: Party,
    pub dup: bool,
    pub print: Print,
}

impl Message {
    pub(super) fn new(number: Number, facts: Facts) -> Message {
        Message {
            number,
            facts,
            sends: Vec::new(),
            acknowledged: None,
            rejected: None,
            ends: Vec::new(),
            pushed: Vec::new(),
            heard: None,
            copies: Vec::new(),
            answering: Vec::new(),
            answered: None,
            answer_refused: None,
            stored: Vec::new(),
            mid: None,
            ended_for: Vec::new(),
            receipt: None,
        }
    }

    /// When its expiry is over, counted from this moment on.
    pub fn expires(&self, from: Moment) -> Option<Moment> {
        self.facts.expiry.map(|expiry| from.saturating_add(expiry))
    }

    /// The device it is about: who uploads, or who is pushed to.
    pub fn device(&self) -> Party {
        match self.facts.kind {
            Kind::Upload => self.number.sender(),
            Kind::Push => self.facts.to,
        }
    }
}
