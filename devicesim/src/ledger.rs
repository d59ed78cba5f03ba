//! What was sent, acknowledged and reported, and what the store says of it. Pure: everything is told to it.
//!
//! Each device keeps a [`Lane`], one entry per upload. At the end the lanes are joined and held against the store's
//! [`Shelf`]: an upload that was acknowledged and is not in the store is *lost*; one that is there more than once is
//! *duplicated*; one that is there and was never sent is *invented*.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use hdrhistogram::{CreationError, Histogram};
use irsp_protocol::Id;
use serde::Serialize;

use crate::schedule::Schedule;

/// Significant digits of the latency histograms: 0.1 %.
const LATENCY_DIGITS: u8 = 3;
/// Highest latency a histogram can hold, in microseconds: over an hour, and as much as a ledger entry holds.
const LATENCY_US_MAX: u32 = u32::MAX;
/// Most findings named one by one; the counts are always complete.
pub const FINDINGS_MAX: usize = 20;

/// The uploads of one device.
#[derive(Debug)]
pub struct Lane {
    device: Id,
    position: u64,
    devices: u64,
    entries: Vec<Entry>,
    /// Sent and without a final status, in the order of sending.
    without_status: VecDeque<u64>,
    statuses: BTreeMap<u16, u64>,
    surplus: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// How often it went out: more than once when it was not acknowledged on an earlier connection.
    sends: u16,
    answer: Answer,
    status: Option<Late>,
}

/// How the message server answered the publish.
#[derive(Clone, Copy, Debug, Default)]
enum Answer {
    #[default]
    None,
    Acknowledged(Late),
    Refused,
}

/// Microseconds after the upload was due.
#[derive(Clone, Copy, Debug)]
struct Late(u32);

impl Late {
    fn new(after_due: Duration) -> Late {
        Late(u32::try_from(after_due.as_micros()).unwrap_or(LATENCY_US_MAX))
    }
}

/// Whether something was told for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    First,
    Again,
}

impl Lane {
    pub fn new(device: Id, schedule: &Schedule, position: u64) -> Lane {
        Lane {
            device,
            position,
            devices: schedule.devices().max(1),
            entries: vec![Entry::default(); schedule.count(position) as usize],
            without_status: VecDeque::new(),
            statuses: BTreeMap::new(),
            surplus: 0,
        }
    }

    /// Its position in the schedule.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The upload went out on a connection.
    pub fn sent(&mut self, n: u64) -> Told {
        let Some(entry) = self.entry(n) else {
            return Told::Again;
        };
        entry.sends = entry.sends.saturating_add(1);
        if entry.sends > 1 {
            return Told::Again;
        }
        self.without_status.push_back(n);
        Told::First
    }

    /// PUBACK or PUBCOMP.
    pub fn acknowledged(&mut self, n: u64, after_due: Duration) -> Told {
        self.answer(n, Answer::Acknowledged(Late::new(after_due)))
    }

    /// PUBACK or PUBREC with a reason code that refuses it.
    pub fn refused(&mut self, n: u64) -> Told {
        self.answer(n, Answer::Refused)
    }

    fn answer(&mut self, n: u64, answer: Answer) -> Told {
        match self.entry(n) {
            Some(entry) if matches!(entry.answer, Answer::None) => {
                entry.answer = answer;
                Told::First
            }
            Some(_) | None => Told::Again,
        }
    }

    /// Which upload a final status is for: the one it names, else the oldest without one. An MQTT 3.1.1 upload has no
    /// id of its own, so there the counts are exact and the latencies are by order.
    pub fn status_for(&mut self, named: Option<u64>, code: u16) -> Option<u64> {
        *self.statuses.entry(code).or_default() += 1;
        if let Some(n) = named {
            let open = self.entry(n).is_some_and(|entry| entry.status.is_none());
            if !open {
                self.surplus += 1;
            }
            return open.then_some(n);
        }
        while let Some(n) = self.without_status.pop_front() {
            if self.entry(n).is_some_and(|entry| entry.status.is_none()) {
                return Some(n);
            }
        }
        self.surplus += 1;
        None
    }

    /// The final status of the upload [`Lane::status_for`] has found.
    pub fn ended(&mut self, n: u64, after_due: Duration) {
        if let Some(entry) = self.entry(n) {
            entry.status = Some(Late::new(after_due));
        }
    }

    fn entry(&mut self, n: u64) -> Option<&mut Entry> {
        let index = n.checked_sub(self.position)?;
        if index % self.devices != 0 {
            return None;
        }
        self.entries.get_mut((index / self.devices) as usize)
    }

    fn numbered(&self) -> impl Iterator<Item = (u64, &Entry)> {
        (0..)
            .map(|index| self.position + index * self.devices)
            .zip(&self.entries)
    }
}

/// How often each upload of this run stands in the store.
#[derive(Debug, Default)]
pub struct Shelf {
    times: Vec<u16>,
    distinct: u64,
}

impl Shelf {
    pub fn put(&mut self, n: u64) {
        // A number far above what can have been sent is kept as the last one: invented either way.
        let index = usize::try_from(n).map_or(NUMBER_MAX, |n| n.min(NUMBER_MAX));
        if index >= self.times.len() {
            self.times.resize(index + 1, 0);
        }
        if self.times[index] == 0 {
            self.distinct += 1;
        }
        self.times[index] = self.times[index].saturating_add(1);
    }

    /// How many different uploads are there.
    pub fn distinct(&self) -> u64 {
        self.distinct
    }

    fn times(&self, n: u64) -> u16 {
        usize::try_from(n)
            .ok()
            .and_then(|n| self.times.get(n))
            .copied()
            .unwrap_or(0)
    }
}

/// Bounds the shelf, whatever number the store shows: 128 MB of counts, above `options::UPLOADS_MAX`.
const NUMBER_MAX: usize = 64_000_000;

/// Whether a repeat by the sender itself may stand in the store twice: at QoS 1 without an id it may
/// [MQTT-4.3.2]; at QoS 2 or with an id the platform has to know it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeats {
    Allowed,
    Forbidden,
}

/// The whole run, in numbers.
#[derive(Debug)]
pub struct Account {
    /// Sent at least once.
    pub sent: u64,
    /// Sent again because no acknowledgement had come.
    pub resent: u64,
    pub acknowledged: u64,
    pub refused: u64,
    /// Sent and neither acknowledged nor refused.
    pub unanswered: u64,
    /// Final statuses by code.
    pub statuses: BTreeMap<u16, u64>,
    /// Acknowledged and without a final status.
    pub without_status: u64,
    /// Final statuses of nothing that was waiting for one.
    pub surplus_statuses: u64,
    /// Publish, counted from when it was due, to PUBACK or PUBCOMP, in microseconds.
    pub to_acknowledged: Histogram<u64>,
    /// The same to the final status.
    pub to_status: Histogram<u64>,
    pub store: Option<StoreAccount>,
}

/// What the store says of the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StoreAccount {
    /// Different uploads in the store.
    pub stored: u64,
    /// Acknowledged and not in the store.
    pub lost: u64,
    /// In the store more than once.
    pub duplicated: u64,
    /// Those of them that the sender itself sent as often, at QoS 1 without an id.
    pub duplicated_by_sender: u64,
    /// In the store and never sent.
    pub invented: u64,
    /// Sent, not acknowledged, not in the store: no promise is broken.
    pub unacknowledged_and_not_stored: u64,
    /// The first of the findings, by name.
    pub findings: Vec<Finding>,
}

/// One broken promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub fault: Fault,
    pub n: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// How often it was sent.
    pub sent: u16,
    /// How often it stands in the store.
    pub stored: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    Lost,
    Duplicated,
    Invented,
}

impl Fault {
    pub const fn as_str(self) -> &'static str {
        match self {
            Fault::Lost => "lost",
            Fault::Duplicated => "duplicated",
            Fault::Invented => "invented",
        }
    }
}

impl StoreAccount {
    fn find(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }
}

/// An empty histogram of latencies in microseconds. Its range is given at once: one that grows on demand does not grow
/// under `saturating_record`, and books what is above its range as its lowest values.
pub fn latencies() -> Result<Histogram<u64>, CreationError> {
    Histogram::new_with_bounds(1, u64::from(LATENCY_US_MAX), LATENCY_DIGITS)
}

/// Joins the lanes, and holds them against the store when it was read.
pub fn settle(lanes: &[Lane], shelf: Option<&Shelf>, repeats: Repeats) -> Result<Account, CreationError> {
    let mut account = Account {
        sent: 0,
        resent: 0,
        acknowledged: 0,
        refused: 0,
        unanswered: 0,
        statuses: BTreeMap::new(),
        without_status: 0,
        surplus_statuses: 0,
        to_acknowledged: latencies()?,
        to_status: latencies()?,
        store: shelf.map(|_| StoreAccount::default()),
    };
    let mut known = 0;
    for lane in lanes {
        account.surplus_statuses += lane.surplus;
        for (code, count) in &lane.statuses {
            *account.statuses.entry(*code).or_default() += count;
        }
        for (n, entry) in lane.numbered() {
            account.add(entry);
            if let (Some(shelf), Some(store)) = (shelf, &mut account.store) {
                known += u64::from(shelf.times(n) > 0);
                hold(entry, shelf.times(n), repeats, n, &lane.device, store);
            }
        }
    }
    if let (Some(shelf), Some(store)) = (shelf, &mut account.store) {
        store.stored = shelf.distinct();
        // Numbers that belong to no lane at all.
        let strangers = shelf.distinct().saturating_sub(known);
        if strangers > 0 {
            store.invented += strangers;
            find_strangers(lanes, shelf, store);
        }
    }
    Ok(account)
}

impl Account {
    fn add(&mut self, entry: &Entry) {
        if entry.sends > 0 {
            self.sent += 1;
            self.resent += u64::from(entry.sends - 1);
        }
        match entry.answer {
            Answer::Acknowledged(late) => {
                self.acknowledged += 1;
                self.to_acknowledged.saturating_record(u64::from(late.0));
                self.without_status += u64::from(entry.status.is_none());
            }
            Answer::Refused => self.refused += 1,
            Answer::None => self.unanswered += u64::from(entry.sends > 0),
        }
        if let Some(late) = entry.status {
            self.to_status.saturating_record(u64::from(late.0));
        }
    }
}

/// Holds one upload against the store.
fn hold(entry: &Entry, stored: u16, repeats: Repeats, n: u64, device: &Id, store: &mut StoreAccount) {
    let finding = |fault| Finding {
        fault,
        n,
        device: Some(format!("dev/{device}")),
        sent: entry.sends,
        stored,
    };
    match (entry.sends, stored) {
        (0, 0) => {}
        (0, _) => {
            store.invented += 1;
            store.find(finding(Fault::Invented));
        }
        (_, 0) => match entry.answer {
            Answer::Acknowledged(_) => {
                store.lost += 1;
                store.find(finding(Fault::Lost));
            }
            Answer::None | Answer::Refused => store.unacknowledged_and_not_stored += 1,
        },
        (_, 1) => {}
        (sends, stored) => {
            store.duplicated += 1;
            if repeats == Repeats::Allowed && stored <= sends {
                store.duplicated_by_sender += 1;
            } else {
                store.find(finding(Fault::Duplicated));
            }
        }
    }
}

fn find_strangers(lanes: &[Lane], shelf: &Shelf, store: &mut StoreAccount) {
    let known = |n: u64| lanes.iter().any(|lane| lane.numbered_contains(n));
    let strangers = (0u64..)
        .zip(&shelf.times)
        .filter(|(n, stored)| **stored > 0 && !known(*n))
        .take(FINDINGS_MAX);
    for (n, stored) in strangers {
        store.find(Finding {
            fault: Fault::Invented,
            n,
            device: None,
            sent: 0,
            stored: *stored,
        });
    }
}

impl Lane {
    fn numbered_contains(&self, n: u64) -> bool {
        n.checked_sub(self.position)
            .is_some_and(|i| i % self.devices == 0 && i / self.devices < self.entries.len() as u64)
    }
}

#[cfg(test)]
mod tests;
