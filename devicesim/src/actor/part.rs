//! Who a member is: how it logs in, what it says by itself, how it behaves.

use std::time::Duration;

use irsp_protocol::Secret;
use tokio::time::Instant;

use crate::dice::Dice;
use crate::model::Model;
use crate::observation::{Kind, Party};
use crate::options::MqttVersion;
use crate::scenario::{Answers, Flap, Manners, Roam};

/// What a source's messages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// With a status at its end.
    Message(Kind),
    /// Plain publish/subscribe.
    Live { retain: bool },
}

/// Messages a member sends by itself.
#[derive(Clone, Debug)]
pub struct Source {
    pub model: Model,
    pub says: Says,
    /// Receiver and topic, one after the other.
    pub targets: Vec<(Party, String)>,
    pub channel: String,
    pub expiry: Option<Duration>,
    pub qos: u8,
    pub size: usize,
}

/// Who a member is and how it behaves.
#[derive(Clone, Debug)]
pub struct Part {
    pub party: Party,
    pub client_id: String,
    pub code: Secret,
    pub version: MqttVersion,
    pub keep_alive: Duration,
    /// Filters, each with the QoS asked for.
    pub filters: Vec<(String, u8)>,
    pub sources: Vec<Source>,
    pub answers: Answers,
    pub flap: Option<Flap>,
    pub roam: Option<Roam>,
    pub clock_skew_ms: i64,
    pub slow: Option<Duration>,
    /// The topic of its will.
    pub will: Option<String>,
    pub manners: Manners,
    pub dice: Dice,
    /// When it connects.
    pub opens: Instant,
}
