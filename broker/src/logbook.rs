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
use prometheus_client::metrics::counter::Counter;
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
    news: Mutex<News>,
    unwritten: Counter,
}

/// What is to be told of all that happens.
#[derive(Debug)]
struct News {
    recent: Recent,
    refusals: Flood,
}

/// What was told of late, by its hash: two that share one are the worst that can be mistaken.
#[derive(Debug, Default)]
struct Recent {
    hasher: RandomState,
    told: HashMap<u64, Instant>,
}

impl Recent {
    fn is_news(&self, login: u64, now: Instant) -> bool {
        self.told.get(&login).is_none_or(|told| now >= *told + SILENT)
    }

    fn told(&mut self, login: u64, now: Instant) {
        if self.told.len() >= RECENT_MAX {
            self.told.retain(|_, told| now < *told + SILENT);
            if self.told.len() >= RECENT_MAX {
                self.told.clear();
            }
        }
        self.told.insert(login, now);
    }

    fn hash(&self, line: &Note) -> u64 {
        let from = line.from.map(|from| from.to_canonical());
        self.hasher.hash_one((&line.what, from, line.status.code()))
    }
}

impl News {
    /// Whether this line is to be written. What a flood of refusals keeps out is `None`, and told by the next that is
    /// admitted.
    fn admit(&mut self, line: &mut Note, now: Instant) -> Option<bool> {
        let login = self.recent.hash(line);
        if !self.recent.is_news(login, now) {
            return Some(false);
        }
        if line.status != Status::DONE {
            let unwritten = self.refusals.admit(line.time)?;
            if unwritten > 0 {
                line.what
                    .push_str(&format!(", and {unwritten} more refused before"));
            }
        }
        self.recent.told(login, now);
        Some(true)
    }
}

impl Logbook {
    /// The book, and its lines for [`carry`]. `unwritten` counts the refusals that get no line.
    pub(crate) fn new(now: Timestamp, unwritten: Counter) -> (Logbook, mpsc::Receiver<Note>) {
        let (lines, written) = mpsc::channel(LINES_MAX);
        let news = News {
            recent: Recent::default(),
            refusals: Flood::new(now),
        };
        let book = Logbook {
            lines,
            news: Mutex::new(news),
            unwritten,
        };
        (book, written)
    }

    /// A principal has logged in.
    pub(crate) async fn login(&self, who: &Principal, from: IpAddr, now: Timestamp) {
        let line = Note {
            who: Some(who.clone()),
            ..line(Some(who), from, Status::DONE, now)
        };
        self.write(line).await;
    }

    /// Somebody who claimed to be `claimed`, if that is a name at all, was refused.
    pub(crate) async fn refused(
        &self,
        claimed: Option<&Principal>,
        from: IpAddr,
        status: Status,
        now: Timestamp,
    ) {
        self.write(line(claimed, from, status, now)).await;
    }

    async fn write(&self, mut line: Note) {
        let admitted = {
            let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
            news.admit(&mut line, Instant::now())
        };
        match admitted {
            Some(true) => {
                // Nobody listens any more when the server stops, and then nobody has logged in.
                let _ = self.lines.send(line).await;
            }
            Some(false) => {}
            None => {
                self.unwritten.inc();
            }
        }
    }
}

fn line(claimed: Option<&Principal>, from: IpAddr, status: Status, now: Timestamp) -> Note {
    Note {
        time: now,
        who: None,
        from: Some(from),
        action: Action::LogIn,
        what: claimed.map_or_else(|| "no name".to_owned(), Principal::to_string),
        status,
        targets: claimed.cloned().into_iter().collect(),
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

    const REFUSED: Status = Status::UNAUTHENTICATED;

    fn news() -> News {
        News {
            recent: Recent::default(),
            refusals: Flood::new(Timestamp::from_millis(0)),
        }
    }

    #[test]
    fn one_and_the_same_is_told_once_in_a_while() {
        let (mut news, start) = (news(), Instant::now());
        let mut told = |who: Option<&str>, from: &str, status, after| {
            let who: Option<Principal> = who.map(|who| who.parse().unwrap());
            let mut line = line(
                who.as_ref(),
                from.parse().unwrap(),
                status,
                Timestamp::from_millis(0),
            );
            news.admit(&mut line, start + after)
        };
        let (lamp, here, done, soon) = (Some("dev/lamp-1"), "192.0.2.1", Status::DONE, Duration::ZERO);
        assert_eq!(told(lamp, here, done, soon), Some(true));
        assert_eq!(told(lamp, here, done, SILENT / 2), Some(false));
        assert_eq!(told(lamp, "::ffff:192.0.2.1", done, soon), Some(false));
        assert_eq!(told(lamp, "192.0.2.2", done, soon), Some(true));
        assert_eq!(told(Some("dev/lamp-2"), here, done, soon), Some(true));
        assert_eq!(told(lamp, here, REFUSED, soon), Some(true));
        assert_eq!(told(None, here, REFUSED, soon), Some(true));
        assert_eq!(told(lamp, here, done, SILENT), Some(true));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut recent, now) = (Recent::default(), Instant::now());
        (0..RECENT_MAX as u64 + 10).for_each(|login| recent.told(login, now));
        assert_eq!(recent.told.len(), 10);
    }

    #[test]
    fn a_refusal_that_a_flood_kept_out_is_news_when_it_comes_again() {
        let (mut news, now) = (news(), Instant::now());
        let refused = |name: u32, ms| {
            let from = IpAddr::from(name.to_be_bytes());
            line(None, from, REFUSED, Timestamp::from_millis(ms))
        };
        let written = (0..1_000).filter(|name| news.admit(&mut refused(*name, 0), now) == Some(true));
        let written = u32::try_from(written.count()).unwrap();
        assert!(written < 1_000, "{written}");
        let mut late = refused(999, 60_000);
        assert_eq!(news.admit(&mut late, now), Some(true));
        let unwritten = 1_000 - written;
        assert_eq!(late.what, format!("no name, and {unwritten} more refused before"));
    }
}
