//! What the simulator sees, as it sees it: one log for each party, in the order of its time. Nothing is judged here.

use irsp_protocol::MessageId;
use irsp_protocol::presence::Reason;

/// Microseconds since the run began.
pub type Moment = u64;

/// A principal of the run, by its place in the cast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Party(pub u32);

/// A message of the run. It stands in the payload (`n`), so that whoever hears it knows which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number(pub u64);

impl Number {
    /// The `index`-th message of this sender. Below 2^53, so that JSON keeps it.
    pub fn of(sender: Party, index: u32) -> Number {
        Number(u64::from(sender.0) << 32 | u64::from(index))
    }

    pub fn sender(self) -> Party {
        Party((self.0 >> 32) as u32)
    }
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Upload,
    Push,
}

/// How a message was given to the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    Mqtt,
    Http,
}

/// What must come out of a message as it went in, each as a number that another one hardly has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Print {
    pub data: u64,
    pub channel: u64,
}

/// What is known of a message before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    pub kind: Kind,
    pub door: Door,
    pub to: Party,
    /// When it was to be sent: what every latency counts from.
    pub due: Moment,
    /// How long the platform may take, in microseconds.
    pub expiry: Option<u64>,
    pub qos: u8,
    /// It carries an id, so that a repeat is known again.
    pub named: bool,
    pub print: Print,
}

/// How a connection ended, as the client knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Goodbye,
    /// The client or the network closed it.
    Broken,
    /// The server ended it, with this reason code (0 when it gave none).
    ByServer(u8),
    /// The client says nothing any more: the server may find out until this moment.
    Silent {
        until: Moment,
    },
}

/// One thing that one party saw or did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Connecting,
    Connected,
    /// CONNACK with a refusal.
    Refused,
    Unreachable,
    SubscriptionRefused,
    /// The subscriptions of a connection went out.
    Subscribing,
    /// They were answered, granted or refused.
    Subscribed,
    Gone(Ending),
    /// A message is to be sent; comes before its first `Sent`.
    Due(Number, Facts),
    Sent {
        message: Number,
        again: bool,
    },
    /// PUBACK, PUBCOMP or an HTTP answer that takes it; HTTP names it.
    Acknowledged {
        message: Number,
        mid: Option<MessageId>,
    },
    /// A reason code or HTTP status that refuses it.
    Rejected {
        message: Number,
        code: u16,
    },
    /// A final status; `answer` is the receiver's own number.
    Ended {
        message: Number,
        code: u16,
        answer: Option<u16>,
        mid: Option<MessageId>,
    },
    /// A final status of nothing that this party knows.
    EndedUnknown {
        code: u16,
    },
    /// A status that cannot be read.
    EndedUnreadable,
    /// The status of another principal.
    EndedOther {
        of: Option<Party>,
    },
    /// A push has come on the own `down` topic, as from this party.
    Pushed {
        message: Number,
        mid: MessageId,
        dup: bool,
        from: Option<Party>,
        print: Print,
    },
    /// An upload of this device, or a push to it, that nobody can read.
    Unreadable {
        of: Party,
    },
    /// A push for somebody else, or an upload where this party may not hear it.
    Overheard {
        message: Number,
    },
    /// An upload where this party may hear it.
    Heard {
        message: Number,
        dup: bool,
        print: Print,
    },
    /// The own answer to a push has gone out.
    Answering {
        message: Number,
        code: u16,
    },
    /// The platform has taken the answer.
    Answered {
        message: Number,
    },
    /// The platform has refused the answer.
    AnswerRefused {
        message: Number,
        code: u8,
    },
    /// The receipt of a push over HTTP, as it stands at the end of the run: whether it has not ended, and whom it names.
    Receipt {
        message: Number,
        open: bool,
        source: Option<Party>,
        to: Option<Party>,
    },
    /// Presence as it was told to this party.
    Presence {
        of: Party,
        epoch: u64,
        seq: u64,
        /// By the platform's clock, in milliseconds since this run's moment zero.
        since: Option<i64>,
        online: bool,
        reason: Reason,
    },
    /// Presence as the application server says it at the end, when it is asked.
    PresenceAsked {
        of: Party,
        epoch: u64,
        seq: u64,
        since: Option<i64>,
        online: bool,
    },
    /// A `live` message or a will is made; this is its payload.
    Worded {
        message: Number,
        data: u64,
    },
    /// Whom a status names as the destination of its message.
    EndedFor {
        message: Number,
        to: Option<Party>,
    },
    /// A `live` message went out.
    Said {
        message: Number,
    },
    /// The server has taken it.
    SaidTaken {
        message: Number,
    },
    /// The server has refused it.
    SaidRefused {
        message: Number,
    },
    /// The will of the connection that has just begun.
    Testament {
        message: Number,
    },
    /// A `live` message or a will has come, from the topics of this party.
    Listened {
        message: Number,
        of: Option<Party>,
        retained: bool,
        data: u64,
    },
    /// The director: an account change was asked for.
    Revoking {
        of: Party,
        how: Revocation,
    },
    /// The director: the platform says that it is in effect.
    Revoked {
        of: Party,
    },
    /// The director: the new code was given to the device.
    Restored {
        of: Party,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revocation {
    Reset,
    Deleted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    pub at: Moment,
    pub what: What,
}

/// All that one party saw.
#[derive(Clone, Debug)]
pub struct Log {
    pub party: Party,
    pub seen: Vec<Observation>,
}

impl Log {
    pub fn new(party: Party) -> Log {
        Log {
            party,
            seen: Vec::new(),
        }
    }

    pub fn add(&mut self, at: Moment, what: What) {
        self.seen.push(Observation { at, what });
    }
}

/// One upload as it stands in the application's store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its place: rises.
    pub seq: u64,
    pub message: Number,
    pub source: Option<Party>,
    pub mid: Option<MessageId>,
    pub print: Print,
}
