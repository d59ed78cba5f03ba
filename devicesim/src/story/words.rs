//! What was said on a `live` topic, or left as a will: when it went out, who took it, who heard it.

use crate::observation::{Moment, Party};

/// One `live` message or will.
#[derive(Clone, Debug, Default)]
pub struct Word {
    /// When it went out; a will does not.
    pub said: Vec<Moment>,
    pub taken: Option<Moment>,
    pub refused: bool,
    pub is_will: bool,
    /// Its payload.
    pub data: Option<u64>,
    pub heard: Vec<Listened>,
}

/// It was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listened {
    pub at: Moment,
    pub by: Party,
    /// Whose topic it came on.
    pub of: Option<Party>,
    pub retained: bool,
    pub data: u64,
}

impl Word {
    /// Whether anybody is known to have said it, or to have left it.
    pub fn is_known(&self) -> bool {
        self.is_will || !self.said.is_empty()
    }
}
