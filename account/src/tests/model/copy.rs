//! A follower as the message server and the application server are one: its copy on disk and in memory, by the rules of
//! `irsp_directory`, without the courier's own memory of what came before.

use std::time::{Duration, Instant};

use irsp_directory::follow::{Follower, Step, Verdict};
use irsp_directory::{Directory, HashKey, store};
use irsp_protocol::change::{ChangeBatch, Entity, EntityKey};
use irsp_protocol::frame::{Item, Question, Reply};
use irsp_protocol::{Envelope, Server, Status};
use rusqlite::Connection;
use rusqlite::backup::Backup;

/// After this a question counts as lost.
const PATIENCE: Duration = Duration::from_millis(100);

pub(super) struct Copy {
    server: Server,
    disk: Connection,
    backup: Option<Connection>,
    pub(super) directory: Directory,
    reading: Option<Reading>,
    token: u64,
}

/// A snapshot being read.
struct Reading {
    follower: Follower,
    token: u64,
    asked: Instant,
}

impl Copy {
    pub(super) fn new(server: Server) -> Copy {
        let disk = Connection::open_in_memory().unwrap();
        disk.execute_batch(store::MIGRATION).unwrap();
        Copy {
            server,
            disk,
            backup: None,
            directory: directory(),
            reading: None,
            token: 0,
        }
    }

    /// Killed and started again: what was in memory is gone.
    pub(super) fn restart(&mut self) {
        self.directory = directory();
        store::load(&self.disk, &self.directory).unwrap();
        self.reading = None;
    }

    pub(super) fn back_up(&mut self) {
        self.backup = Some(copied(&self.disk));
    }

    /// The disk as it was at the last backup. A restored follower asks for a snapshot at its start.
    pub(super) fn restore(&mut self) -> Option<Item> {
        self.disk = copied(self.backup.as_ref()?);
        self.restart();
        Some(self.begin())
    }

    /// What it says to what it hears.
    pub(super) fn hear(&mut self, item: Item) -> Option<Item> {
        match item {
            Item::Deliver { envelope, .. } => self.offered(&envelope),
            Item::Reply { token, reply } => self.replied(token, reply),
            Item::Hello { .. } | Item::Answer { .. } | Item::Ask { .. } => None,
        }
    }

    /// Asks again for a snapshot whose page has not come.
    pub(super) fn tick(&mut self) -> Option<Item> {
        let late = self.reading.as_ref()?.asked.elapsed() > PATIENCE;
        late.then(|| self.begin())
    }

    fn offered(&mut self, envelope: &Envelope) -> Option<Item> {
        if envelope.destination.domain.is_some() {
            return Some(self.answer(envelope, Status::DONE));
        }
        let batch: ChangeBatch = serde_json::from_slice(&envelope.data).unwrap();
        let tx = self.disk.unchecked_transaction().unwrap();
        let verdict = store::take(&tx, &batch).unwrap();
        tx.commit().unwrap();
        let status = match verdict {
            Verdict::Apply { .. } | Verdict::Duplicate => Status::DONE,
            Verdict::Malformed => Status::MALFORMED,
            Verdict::Gap => return self.reading.is_none().then(|| self.begin()),
        };
        if matches!(verdict, Verdict::Apply { .. }) {
            for change in &batch.changes {
                self.directory.apply(change);
            }
        }
        Some(self.answer(envelope, status))
    }

    fn answer(&self, envelope: &Envelope, status: Status) -> Item {
        Item::Answer {
            from: self.server,
            id: envelope.id,
            status,
            answer: None,
            cause: None,
        }
    }

    fn begin(&mut self) -> Item {
        self.ask(Follower::new(self.directory.applied()), None)
    }

    fn ask(&mut self, follower: Follower, after: Option<String>) -> Item {
        self.token += 1;
        self.reading = Some(Reading {
            follower,
            token: self.token,
            asked: Instant::now(),
        });
        Item::Ask {
            from: self.server,
            token: self.token,
            question: Question::Directory { after },
        }
    }

    fn replied(&mut self, token: u64, reply: Reply) -> Option<Item> {
        let reading = self.reading.take_if(|reading| reading.token == token)?;
        let Reply::Directory(page) = reply else {
            return Some(self.begin());
        };
        let mut follower = reading.follower;
        let (entities, after, sweep) = match follower.page(page) {
            Step::More { entities, after } => (entities, Some(after), None),
            Step::Last { entities, sweep } => (entities, None, Some(sweep)),
        };
        let tx = self.disk.unchecked_transaction().unwrap();
        store::merge(&tx, &entities).unwrap();
        if let Some(sweep) = &sweep {
            store::sweep(&tx, sweep).unwrap();
        }
        tx.commit().unwrap();
        for (n, entity) in entities {
            self.directory.merge(n, entity);
        }
        if let Some(sweep) = sweep {
            self.directory.sweep(&sweep);
        }
        after.map(|after| self.ask(follower, Some(after)))
    }

    /// Everything on its disk: key, number and state as JSON.
    pub(super) fn rows(&self) -> Vec<(String, u64, Entity)> {
        rows(
            &self.disk,
            "SELECT key, n, entity FROM directory WHERE entity IS NOT NULL ORDER BY key",
        )
    }

    /// What it holds of a key in memory.
    pub(super) fn held(&self, key: &EntityKey) -> Option<Entity> {
        let directory = &self.directory;
        match key {
            EntityKey::Principal(principal) => {
                let id = &principal.id;
                let user = directory.user(id).map(|user| Entity::User((*user).clone()));
                let device = directory
                    .device(id)
                    .map(|device| Entity::Device((*device).clone()));
                let app = directory
                    .application(id)
                    .map(|app| Entity::Application((*app).clone()));
                // The model gives each kind ids of its own.
                user.or(device).or(app)
            }
            EntityKey::Binding { device, user } => directory
                .binding(device, user)
                .map(|binding| Entity::Binding((*binding).clone())),
            EntityKey::TokenKey(id) => directory
                .token_key(id)
                .map(|key| Entity::TokenKey((*key).clone())),
            EntityKey::Peer(domain) => directory.peer(domain).map(|peer| Entity::Peer((*peer).clone())),
            EntityKey::Grant { principal, to } => directory
                .grant(principal, to)
                .map(|grant| Entity::Grant((*grant).clone())),
        }
    }
}

/// The rows a query gives of a directory: key, number, state.
pub(super) fn rows(sql: &Connection, query: &str) -> Vec<(String, u64, Entity)> {
    let mut select = sql.prepare(query).unwrap();
    let rows = select.query_map([], |row| {
        let (key, n, state): (String, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok((key, n.unsigned_abs(), serde_json::from_str(&state).unwrap()))
    });
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

fn directory() -> Directory {
    Directory::new(HashKey::new(&[7; 32]))
}

fn copied(from: &Connection) -> Connection {
    let mut to = Connection::open_in_memory().unwrap();
    Backup::new(from, &mut to)
        .unwrap()
        .run_to_completion(1_000, Duration::ZERO, None)
        .unwrap();
    to
}
