//! An attached application in Rust: keeps readings in its own database and answers each upload and message.
//!
//! `IRSP_KEY=... cargo run -p irsp-application --example climate -- 127.0.0.1 1883 climate climate.db [group]`

use std::env;

use irsp_application::{Event, Handler, Reply, Settings, run};
use irsp_protocol::{Id, Secret};
use rusqlite::{Connection, Transaction};
use serde_json::json;
use tokio_util::sync::CancellationToken;

struct Climate;

impl Handler for Climate {
    fn prepare(&mut self, store: &Connection) -> rusqlite::Result<()> {
        store.execute_batch("CREATE TABLE IF NOT EXISTS reading (source TEXT, value REAL)")
    }

    fn handle(&mut self, event: &Event, store: &Transaction<'_>) -> rusqlite::Result<Reply> {
        let Ok(value) = event.json::<f64>() else {
            return Ok(Reply::status(400).with(json!({ "why": "a reading is a number" })));
        };
        let source = event.source.to_string();
        store.execute("INSERT INTO reading VALUES (?1, ?2)", (&source, value))?;
        let readings: i64 = store.query_row(
            "SELECT count(*) FROM reading WHERE source = ?1",
            [&source],
            |row| row.get(0),
        )?;
        Ok(Reply::DONE.with(json!({ "readings": readings })))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    let [host, port, application, database, group @ ..] = words.as_slice() else {
        anyhow::bail!("give host, port, application and database, and a group if there is one");
    };
    let settings = Settings {
        host: host.clone(),
        port: port.parse()?,
        tls: None,
        application: Id::new(application)?,
        key: Secret::new(env::var("IRSP_KEY")?),
        group: group.first().cloned(),
        client_id: format!("{application}-{}", std::process::id()),
        database: database.into(),
    };
    Ok(run(settings, Climate, CancellationToken::new()).await?)
}
