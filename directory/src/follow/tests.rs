//! Verdicts one by one, and the promise as a whole: whatever the bus does to batches and pages, and whenever the
//! server dies, its copy ends equal to the source.

use std::collections::BTreeMap;

use irsp_protocol::change::Cause;
use proptest::prelude::*;
use rusqlite::Connection;

use super::*;
use crate::directory::Directory;
use crate::sample::{self, binding, delete, device, principal, put, user};
use crate::store;

fn batch(numbers: impl IntoIterator<Item = u64>) -> ChangeBatch {
    let change = |n| put(n, Cause::Register, device(&format!("lamp-{n}")));
    ChangeBatch {
        changes: numbers.into_iter().map(change).collect(),
    }
}

fn page(at: u64, entities: &[(u64, Entity)], next: Option<&str>) -> DirectoryPage {
    DirectoryPage {
        at,
        entities: entities.to_vec(),
        next: next.map(str::to_owned),
    }
}

#[test]
fn batches_are_judged_by_what_is_missing() {
    for (numbers, verdict) in [
        (8..=9, Verdict::Apply { skip: 0 }),
        (6..=9, Verdict::Apply { skip: 2 }),
        (1..=8, Verdict::Apply { skip: 7 }),
        (6..=7, Verdict::Duplicate),
        (1..=1, Verdict::Duplicate),
        (9..=9, Verdict::Gap),
        (10..=11, Verdict::Gap),
    ] {
        let mut follower = Follower::new(7);
        assert_eq!(follower.offer(&batch(numbers.clone())), verdict, "{numbers:?}");
        let applied = if matches!(verdict, Verdict::Apply { .. }) {
            *numbers.end()
        } else {
            7
        };
        assert_eq!(follower.applied(), applied);
    }
}

#[test]
fn a_batch_no_honest_sender_makes_is_malformed() {
    let mut misnamed = batch([8]);
    misnamed.changes[0].key = principal("dev/other");
    for bad in [
        batch([]),
        batch([0]),
        batch([8, 10]),
        batch([9, 8]),
        batch([8, 8]),
        batch([u64::MAX, 0]),
        misnamed,
    ] {
        let mut follower = Follower::new(7);
        assert_eq!(follower.offer(&bad), Verdict::Malformed);
        assert_eq!(follower.applied(), 7);
    }
}

#[test]
fn a_snapshot_counts_as_of_its_first_page() {
    let mut follower = Follower::new(3);
    let more = follower.page(page(10, &[(4, device("lamp-1"))], Some("lamp-1")));
    assert!(matches!(more, Step::More { after, .. } if after == "lamp-1"));
    assert_eq!(follower.applied(), 3, "half a snapshot proves nothing");
    let Step::Last { sweep, .. } = follower.page(page(12, &[(12, device("lamp-3"))], None)) else {
        panic!("it was the last page");
    };
    assert_eq!(follower.applied(), 10);
    assert!(!sweep.removes(4, &principal("dev/lamp-1")));
    assert!(sweep.removes(2, &principal("dev/lamp-2")));
    assert!(!sweep.removes(11, &principal("dev/lamp-2")), "registered since");
}

#[test]
fn an_older_snapshot_takes_nothing_back() {
    let mut follower = Follower::new(20);
    assert!(matches!(follower.page(page(10, &[], None)), Step::Last { .. }));
    assert_eq!(follower.applied(), 20);
}

#[test]
fn a_snapshot_begun_anew_forgets_the_half_one() {
    let mut follower = Follower::new(0);
    follower.page(page(5, &[(1, device("lamp-1"))], Some("lamp-1")));
    follower.begin();
    let Step::Last { sweep, .. } = follower.page(page(8, &[], None)) else {
        panic!("it was the last page");
    };
    assert_eq!(sweep.at(), 8);
    assert!(sweep.removes(1, &principal("dev/lamp-1")));
}

/// The account server: its log, and its present state.
#[derive(Default)]
struct Source {
    log: Vec<Change>,
    state: BTreeMap<EntityKey, (u64, Entity)>,
}

impl Source {
    /// Entity `which` of a few is put, or removed.
    fn change(&mut self, which: usize, removed: bool) {
        let n = self.log.len() as u64 + 1;
        let mut entity = match which % 4 {
            0 => device(&format!("lamp-{which}")),
            1 => user(&format!("user-{which}")),
            2 => binding(&format!("lamp-{}", which - 2), &format!("user-{}", which - 1)),
            _ => sample::application(&format!("app-{which}")),
        };
        if let Entity::Device(device) = &mut entity {
            device.generation = n;
        }
        let key = entity.key();
        if removed {
            self.state.remove(&key);
            self.log.push(delete(n, key));
        } else {
            self.state.insert(key, (n, entity.clone()));
            self.log.push(put(n, Cause::Modify, entity));
        }
    }

    /// Two entities a page, in order of their keys on the wire.
    fn page(&self, after: Option<&str>) -> DirectoryPage {
        let mut rest = self
            .state
            .iter()
            .map(|(key, entry)| (serde_json::to_string(key).unwrap(), entry))
            .collect::<Vec<_>>();
        rest.sort_by(|a, b| a.0.cmp(&b.0));
        rest.retain(|(key, _)| after.is_none_or(|after| key.as_str() > after));
        let next = (rest.len() > 2).then(|| rest[1].0.clone());
        rest.truncate(2);
        DirectoryPage {
            at: self.log.len() as u64,
            entities: rest.into_iter().map(|(_, entry)| entry.clone()).collect(),
            next,
        }
    }
}

/// A server that follows: its disk, and what it forgets when it dies.
struct Server {
    disk: Connection,
    directory: Directory,
    follower: Follower,
    /// Where the next page starts, while a snapshot is read.
    after: Option<String>,
}

impl Server {
    fn start(disk: Connection) -> Server {
        let directory = Directory::new(sample::key());
        store::load(&disk, &directory).unwrap();
        let follower = Follower::new(store::applied(&disk).unwrap());
        assert_eq!(directory.applied(), follower.applied());
        Server {
            disk,
            directory,
            follower,
            after: None,
        }
    }

    fn receive(&mut self, changes: &[Change]) {
        let batch = ChangeBatch {
            changes: changes.to_vec(),
        };
        let verdict = store::take(&self.disk, &batch).unwrap();
        assert_eq!(self.follower.offer(&batch), verdict, "disk and memory agree");
        if let Verdict::Apply { skip } = verdict {
            for change in &batch.changes[skip..] {
                self.directory.apply(change);
            }
        }
    }

    fn read_page(&mut self, source: &Source) {
        let merge = |server: &Server, entities: Vec<(u64, Entity)>| {
            store::merge(&server.disk, &entities).unwrap();
            for (n, entity) in entities {
                server.directory.merge(n, entity);
            }
        };
        match self.follower.page(source.page(self.after.as_deref())) {
            Step::More { entities, after } => {
                merge(self, entities);
                self.after = Some(after);
            }
            Step::Last { entities, sweep } => {
                merge(self, entities);
                store::sweep(&self.disk, &sweep).unwrap();
                self.directory.sweep(&sweep);
                self.after = None;
            }
        }
    }

    fn abandon_snapshot(&mut self) {
        self.follower.begin();
        self.after = None;
    }
}

#[derive(Clone, Debug)]
enum Event {
    Change {
        which: usize,
        removed: bool,
    },
    /// A batch arrives: any part of the log, early, late or again.
    Batch {
        from: usize,
        len: usize,
    },
    Page,
    AbandonSnapshot,
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        5 => (0usize..12, prop::bool::weighted(0.4)).prop_map(|(which, removed)| Event::Change { which, removed }),
        4 => (0usize..40, 1usize..6).prop_map(|(from, len)| Event::Batch { from, len }),
        3 => Just(Event::Page),
        1 => Just(Event::AbandonSnapshot),
        1 => Just(Event::Restart),
    ]
}

fn equal(server: &Server, source: &Source) -> Result<(), TestCaseError> {
    prop_assert_eq!(server.directory.entities(), source.state.clone());
    let reloaded = Directory::new(sample::key());
    store::load(&server.disk, &reloaded).unwrap();
    prop_assert_eq!(reloaded.entities(), source.state.clone());
    prop_assert_eq!(reloaded.applied(), server.directory.applied());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn whatever_happens_on_the_way_the_copy_ends_equal_to_the_source(
        events in prop::collection::vec(event(), 1..80),
        by_snapshot in any::<bool>(),
    ) {
        let disk = Connection::open_in_memory().unwrap();
        disk.execute_batch(store::MIGRATION).unwrap();
        let mut source = Source::default();
        let mut server = Server::start(disk);
        for event in events {
            match event {
                Event::Change { which, removed } => source.change(which, removed),
                Event::Batch { from, len } => {
                    let from = from.min(source.log.len());
                    let to = (from + len).min(source.log.len());
                    if from < to {
                        server.receive(&source.log[from..to]);
                    }
                }
                Event::Page => server.read_page(&source),
                Event::AbandonSnapshot => server.abandon_snapshot(),
                Event::Restart => server = Server::start(server.disk),
            }
        }
        // The bus heals: the account server's outbox repeats what was not answered, or a snapshot comes through.
        if by_snapshot {
            while server.after.is_some() {
                server.read_page(&source);
            }
            server.abandon_snapshot();
            server.read_page(&source);
            while server.after.is_some() {
                server.read_page(&source);
            }
        } else if !source.log.is_empty() {
            server.receive(&source.log);
        }
        prop_assert_eq!(server.directory.applied(), source.log.len() as u64);
        equal(&server, &source)?;
    }
}
