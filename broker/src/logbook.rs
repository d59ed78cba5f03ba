//! Logins over MQTT, on their way to the account server's audit log (clause 7.1).
//!
//! That a client comes back is presence, and no news here: of one principal from one address a login is told once in
//! [`SILENT`], and so is one and the same refusal. What refusals are left pass through a [`Flood`]. Lines travel in batches,
//! so that a fleet that comes back costs a few messages. A line is stored within a second; a server that is killed before
//! that has not told of it.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use irsp_courier::{Courier, Hop};
use irsp_directory::Flood;
use irsp_protocol::note::{Action, Note};
use irsp_protocol::{Envelope, MessageKind, Principal, Server, Status, Timestamp};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// For how long the same is not told again.
const SILENT: Duration = Duration::from_secs(3600);
/// Logins remembered at once. Beyond it all are forgotten, and told once more.
const RECENT_MAX: usize = 200_000;
/// Lines under way before logins wait for the disk.
const LINES_MAX: usize = 4096;
/// Lines in one message.
const BATCH_MAX: usize = 500;
/// For more lines of the same message, and before another try at the disk.
const PAUSE: Duration = Duration::from_secs(1);

/// Where logins are written down.
#[derive(Debug)]
pub(crate) struct Logbook {
    lines: mpsc::Sender<Note>,
    recent: Mutex<Recent>,
    flood: Mutex<Flood>,
}

/// What was told of late, by its hash: two that share one are the worst that can be mistaken.
#[derive(Debug, Default)]
struct Recent {
    hasher: RandomState,
    told: HashMap<u64, Instant>,
}

impl Recent {
    fn is_news(&mut self, who: Option<&Principal>, from: IpAddr, status: Status, now: Instant) -> bool {
        let login = self.hasher.hash_one((who, from, status.code()));
        if let Some(told) = self.told.get(&login)
            && now < *told + SILENT
        {
            return false;
        }
        if self.told.len() >= RECENT_MAX {
            self.told.retain(|_, told| now < *told + SILENT);
            if self.told.len() >= RECENT_MAX {
                self.told.clear();
            }
        }
        self.told.insert(login, now);
        true
    }
}

impl Logbook {
    /// The book, and its lines for [`carry`].
    pub(crate) fn new(now: Timestamp) -> (Logbook, mpsc::Receiver<Note>) {
        let (lines, written) = mpsc::channel(LINES_MAX);
        let book = Logbook {
            lines,
            recent: Mutex::default(),
            flood: Mutex::new(Flood::new(now)),
        };
        (book, written)
    }

    /// A principal has logged in.
    pub(crate) async fn login(&self, who: &Principal, from: IpAddr, now: Timestamp) {
        if self.is_news(Some(who), from, Status::DONE) {
            let line = line(Some(who), from, Status::DONE, now);
            self.write(Note {
                who: Some(who.clone()),
                ..line
            })
            .await;
        }
    }

    /// Somebody who claimed to be `claimed`, if that is a name at all, was refused.
    pub(crate) async fn refused(
        &self,
        claimed: Option<&Principal>,
        from: IpAddr,
        status: Status,
        now: Timestamp,
    ) {
        if !self.is_news(claimed, from, status) {
            return;
        }
        let mut line = line(claimed, from, status, now);
        let admitted = self
            .flood
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .admit(now);
        match admitted {
            None => return,
            Some(0) => {}
            Some(unwritten) => line
                .what
                .push_str(&format!(", and {unwritten} more refused before")),
        }
        self.write(line).await;
    }

    fn is_news(&self, who: Option<&Principal>, from: IpAddr, status: Status) -> bool {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.is_news(who, from.to_canonical(), status, Instant::now())
    }

    async fn write(&self, line: Note) {
        // Nobody listens any more when the server stops, and then nobody has logged in.
        let _ = self.lines.send(line).await;
    }
}

fn line(who: Option<&Principal>, from: IpAddr, status: Status, now: Timestamp) -> Note {
    Note {
        time: now,
        who: None,
        from: Some(from),
        action: Action::LogIn,
        what: who.map_or_else(|| "no name".to_owned(), Principal::to_string),
        status,
        targets: who.cloned().into_iter().collect(),
    }
}

/// Stores lines for the account server, until the book is closed: what comes within a second together, or as many as make a
/// batch. A fleet that comes waits for the disk, and for nothing else.
pub(crate) async fn carry(mut lines: mpsc::Receiver<Note>, courier: Courier, stop: CancellationToken) {
    let mut batch = Vec::new();
    while lines.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let more = async {
            while batch.len() < BATCH_MAX {
                let room = BATCH_MAX - batch.len();
                if lines.recv_many(&mut batch, room).await == 0 {
                    return;
                }
            }
        };
        // Whether time or room ends it: what has come is stored.
        let _ = stop.run_until_cancelled(tokio::time::timeout(PAUSE, more)).await;
        // Structs of strings and numbers always serialise.
        let body = serde_json::to_vec(&batch).unwrap_or_default();
        batch.clear();
        let ends = (Server::Message, Server::Account);
        let (id, now) = (courier.new_id(), courier.now());
        let envelope = Envelope::between_servers(id, MessageKind::Directory, ends, now, body.into());
        loop {
            let envelope = envelope.clone();
            let storing = courier.write(move |tx| tx.accept(envelope.clone(), Hop::Server(Server::Account)));
            let Err(error) = storing.await else {
                break;
            };
            tracing::error!(%error, "logins cannot be stored for the audit log; trying again");
            if stop
                .run_until_cancelled(tokio::time::sleep(PAUSE))
                .await
                .is_none()
            {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DONE: Status = Status::DONE;

    #[test]
    fn one_and_the_same_is_told_once_in_a_while() {
        let (lamp, other): (Principal, Principal) =
            ("dev/lamp-1".parse().unwrap(), "dev/lamp-2".parse().unwrap());
        let [here, there]: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()];
        let (mut recent, now) = (Recent::default(), Instant::now());
        assert!(recent.is_news(Some(&lamp), here, DONE, now));
        assert!(!recent.is_news(Some(&lamp), here, DONE, now + SILENT / 2));
        assert!(recent.is_news(Some(&lamp), there, DONE, now));
        assert!(recent.is_news(Some(&other), here, DONE, now));
        assert!(recent.is_news(Some(&lamp), here, Status::UNAUTHENTICATED, now));
        assert!(recent.is_news(None, here, Status::UNAUTHENTICATED, now));
        assert!(recent.is_news(Some(&lamp), here, DONE, now + SILENT));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut recent, now) = (Recent::default(), Instant::now());
        for n in 0..RECENT_MAX + 10 {
            let from = IpAddr::from(u32::try_from(n).unwrap().to_be_bytes());
            assert!(recent.is_news(None, from, DONE, now));
        }
        assert_eq!(recent.told.len(), 10);
    }
}
