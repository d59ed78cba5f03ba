//! How a copy keeps up with the account server's numbered changes (clause 8.2). No IO: batches, pages and positions
//! go in, verdicts come out.
//!
//! ```text
//! applied = 7   batch  6..=7  -> Duplicate    batch 8..=9 -> Apply (skip 0)
//!               batch 10..=11 -> Gap          batch 6..=9 -> Apply (skip 2)
//! ```
//!
//! After a gap the follower asks for a snapshot, page by page. The account server may change while it is read, so
//! entries carry the number of the change that last touched them, and what counts is the first page's `at`: every
//! change up to it shows in the pages, everything after it comes (again) as a change.

use std::collections::HashSet;

use irsp_protocol::change::{Change, ChangeBatch, DirectoryPage, Entity, EntityKey};

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Take over the changes after the first `skip`, in order.
    Apply { skip: usize },
    /// All of it is known: answer as the first time.
    Duplicate,
    /// Something is missing before it: ask for a snapshot; the batch will come again.
    Gap,
    /// Not consecutive, empty, or an entity under another one's key: no honest sender made it.
    Malformed,
}

/// What to do with a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Merge the entities, then ask for the page after `after`.
    More {
        entities: Vec<(u64, Entity)>,
        after: String,
    },
    /// Merge the entities, then sweep: the snapshot is complete.
    Last {
        entities: Vec<(u64, Entity)>,
        sweep: Sweep,
    },
}

/// The end of a snapshot: what it names, and as of when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sweep {
    at: u64,
    named: HashSet<EntityKey>,
}

/// A position in the account server's changes, and the snapshot being read, if one is.
#[derive(Debug)]
pub struct Follower {
    applied: u64,
    reading: Option<Sweep>,
}

impl Follower {
    pub fn new(applied: u64) -> Follower {
        Follower {
            applied,
            reading: None,
        }
    }

    /// The number of the last change up to which nothing is missing.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Judges a batch, and counts it as taken over if it is to be applied.
    pub fn offer(&mut self, batch: &ChangeBatch) -> Verdict {
        let verdict = judge(self.applied, &batch.changes);
        if let (Verdict::Apply { .. }, Some(last)) = (verdict, batch.changes.last()) {
            self.applied = last.n;
        }
        verdict
    }

    /// Starts a snapshot anew: the next page is its first.
    pub fn begin(&mut self) {
        self.reading = None;
    }

    /// Takes a page of the snapshot, in the order of reading.
    pub fn page(&mut self, page: DirectoryPage) -> Step {
        let mut reading = self.reading.take().unwrap_or_else(|| Sweep {
            at: page.at,
            named: HashSet::new(),
        });
        let entities = page.entities;
        reading
            .named
            .extend(entities.iter().map(|(_, entity)| entity.key()));
        match page.next {
            Some(after) => {
                self.reading = Some(reading);
                Step::More { entities, after }
            }
            None => {
                self.applied = self.applied.max(reading.at);
                Step::Last {
                    entities,
                    sweep: reading,
                }
            }
        }
    }
}

impl Sweep {
    /// The change up to which the snapshot speaks.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Whether an entity last touched by change `n` is gone. One that change `at` itself touched was there when
    /// the snapshot began; if it is not named, its end comes as a later change.
    pub fn removes(&self, n: u64, key: &EntityKey) -> bool {
        n < self.at && !self.named.contains(key)
    }
}

fn judge(applied: u64, changes: &[Change]) -> Verdict {
    let (Some(first), Some(last)) = (changes.first(), changes.last()) else {
        return Verdict::Malformed;
    };
    let consecutive = changes
        .windows(2)
        .all(|pair| pair[0].n.checked_add(1) == Some(pair[1].n));
    let honest = |change: &Change| {
        change
            .entity
            .as_ref()
            .is_none_or(|entity| entity.key() == change.key)
    };
    if first.n == 0 || !consecutive || !changes.iter().all(honest) {
        Verdict::Malformed
    } else if last.n <= applied {
        Verdict::Duplicate
    } else if first.n > applied + 1 {
        Verdict::Gap
    } else {
        Verdict::Apply {
            skip: changes.iter().take_while(|change| change.n <= applied).count(),
        }
    }
}

#[cfg(test)]
mod tests;
