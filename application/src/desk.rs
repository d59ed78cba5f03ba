//! Each message is handled once: its effect and its answer are stored in one transaction, and a repeat is answered from
//! there.

use std::path::Path;
use std::time::Duration;

use irsp_protocol::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use serde_json::Value;

use crate::event::Event;

/// How long an answer is remembered: the longest expiry of a message, and a day for clocks that disagree.
const REMEMBERED: Duration = Duration::from_secs(31 * 24 * 3600);

/// What an application does with what it receives.
pub trait Handler: Send + 'static {
    /// Makes the handler's own tables, at every start.
    fn prepare(&mut self, _store: &Connection) -> rusqlite::Result<()> {
        Ok(())
    }

    /// Does what `event` asks. What is written through `store` is stored together with the reply, once for each message.
    /// An error stores nothing: the message is given again when the connection is new.
    fn handle(&mut self, event: &Event, store: &Transaction<'_>) -> rusqlite::Result<Reply>;
}

/// The answer: a status, which becomes the end that the sender sees, and a body for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// 200 is done; see docs/profile.md for what other codes become.
    pub status: u16,
    pub body: Option<Value>,
}

impl Reply {
    pub const DONE: Reply = Reply::status(200);

    pub const fn status(status: u16) -> Reply {
        Reply { status, body: None }
    }

    pub fn with(self, body: Value) -> Reply {
        Reply {
            body: Some(body),
            ..self
        }
    }

    /// As it stands on the `ack` topic.
    pub(crate) fn payload(&self) -> String {
        let mut payload = serde_json::json!({ "status": self.status });
        if let Some(body) = &self.body {
            payload["body"] = body.clone();
        }
        payload.to_string()
    }
}

/// A handler with its store.
pub(crate) struct Desk<H> {
    handler: H,
    store: Connection,
}

impl<H: Handler> Desk<H> {
    pub(crate) fn open(path: &Path, mut handler: H) -> rusqlite::Result<Desk<H>> {
        let store = Connection::open(path)?;
        store.pragma_update(None, "journal_mode", "WAL")?;
        // What is answered is forgotten by the platform: it has to be on disk.
        store.pragma_update(None, "synchronous", "FULL")?;
        store.execute_batch(
            "CREATE TABLE IF NOT EXISTS irsp_answered (
                 id     BLOB    PRIMARY KEY,  -- message id
                 at     INTEGER NOT NULL,     -- ms since 1970
                 status INTEGER NOT NULL,
                 body   TEXT                  -- JSON
             ) STRICT, WITHOUT ROWID;
             CREATE INDEX IF NOT EXISTS irsp_answered_at ON irsp_answered (at);",
        )?;
        handler.prepare(&store)?;
        Ok(Desk { handler, store })
    }

    /// The reply to an event: its handler's, or the stored one if it comes again.
    pub(crate) fn answer(&mut self, event: &Event, now: Timestamp) -> rusqlite::Result<Reply> {
        let tx = self.store.transaction()?;
        if let Some(reply) = answered(&tx, event)? {
            return Ok(reply);
        }
        let reply = self.handler.handle(event, &tx)?;
        let body = reply.body.as_ref().map(Value::to_string);
        tx.prepare_cached("INSERT INTO irsp_answered (id, at, status, body) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![event.id.as_bytes(), now.as_millis(), reply.status, body])?;
        let remembered = i64::try_from(REMEMBERED.as_millis()).unwrap_or(i64::MAX);
        // A few for each that comes: the table neither grows nor is swept at once.
        tx.prepare_cached(
            "DELETE FROM irsp_answered WHERE id IN
             (SELECT id FROM irsp_answered WHERE at < ?1 ORDER BY at LIMIT 4)",
        )?
        .execute([now.as_millis().saturating_sub(remembered)])?;
        tx.commit()?;
        Ok(reply)
    }
}

fn answered(store: &Connection, event: &Event) -> rusqlite::Result<Option<Reply>> {
    store
        .prepare_cached("SELECT status, body FROM irsp_answered WHERE id = ?1")?
        .query_row([event.id.as_bytes()], |row| {
            let body: Option<String> = row.get(1)?;
            let body = body.map(|text| serde_json::from_str(&text)).transpose();
            Ok(Reply {
                status: row.get(0)?,
                body: body.map_err(|error| {
                    rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, Box::new(error))
                })?,
            })
        })
        .optional()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_392_000_000);

    /// Counts readings in the store; refuses what is no number, and fails at 13.
    struct Count;

    impl Handler for Count {
        fn prepare(&mut self, store: &Connection) -> rusqlite::Result<()> {
            store.execute_batch("CREATE TABLE IF NOT EXISTS reading (value REAL)")
        }

        fn handle(&mut self, event: &Event, store: &Transaction<'_>) -> rusqlite::Result<Reply> {
            let Ok(value) = event.json::<f64>() else {
                return Ok(Reply::status(400));
            };
            store.execute("INSERT INTO reading VALUES (?1)", [value])?;
            if value == 13.0 {
                return Err(rusqlite::Error::InvalidQuery);
            }
            Ok(Reply::DONE.with(json!({ "readings": count(store) })))
        }
    }

    fn count(store: &Connection) -> i64 {
        store
            .query_row("SELECT count(*) FROM reading", [], |row| row.get(0))
            .unwrap()
    }

    fn event(id: u8, data: &'static str) -> Event {
        let golden = include_bytes!("../../docs/golden/upload.json");
        Event {
            id: irsp_protocol::MessageId::from_bytes([id; 16]),
            data: data.into(),
            ..Event::read(golden).unwrap()
        }
    }

    #[test]
    fn a_repeat_is_answered_alike_and_done_once_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("climate.db");
        let mut desk = Desk::open(&path, Count).unwrap();
        let first = desk.answer(&event(1, "21.5"), NOW).unwrap();
        assert_eq!(first, Reply::DONE.with(json!({ "readings": 1 })));
        assert_eq!(desk.answer(&event(1, "21.5"), NOW).unwrap(), first);
        assert_eq!(desk.answer(&event(2, "\"warm\""), NOW).unwrap().status, 400);
        drop(desk);
        let mut desk = Desk::open(&path, Count).unwrap();
        assert_eq!(desk.answer(&event(1, "21.5"), NOW).unwrap(), first);
        assert_eq!(count(&desk.store), 1);
    }

    #[test]
    fn a_failure_stores_nothing_and_the_next_try_is_a_first_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut desk = Desk::open(&folder.path().join("climate.db"), Count).unwrap();
        assert!(desk.answer(&event(1, "13"), NOW).is_err());
        assert_eq!(count(&desk.store), 0);
        assert_eq!(desk.answer(&event(1, "14"), NOW).unwrap().status, 200);
    }

    #[test]
    fn what_cannot_come_again_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let mut desk = Desk::open(&folder.path().join("climate.db"), Count).unwrap();
        desk.answer(&event(1, "1"), NOW).unwrap();
        desk.answer(&event(2, "2"), NOW.plus(REMEMBERED)).unwrap();
        let later = NOW.plus(REMEMBERED).plus(Duration::from_secs(1));
        desk.answer(&event(3, "3"), later).unwrap();
        let held: i64 = desk
            .store
            .query_row("SELECT count(*) FROM irsp_answered", [], |row| row.get(0))
            .unwrap();
        assert_eq!(held, 2);
    }

    #[test]
    fn a_reply_stands_on_the_topic_as_the_contract_has_it() {
        assert_eq!(Reply::DONE.payload(), r#"{"status":200}"#);
        let reply = Reply::status(409).with(json!([1]));
        assert_eq!(reply.payload(), r#"{"body":[1],"status":409}"#);
    }
}
