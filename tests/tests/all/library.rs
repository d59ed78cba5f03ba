//! An attached application by the library: handled once, answered, across the loss of its connection.

use anyhow::Result;
use irsp_application::{Error, Event, Handler, Reply, Settings, run};
use irsp_protocol::{Id, Secret};
use irsp_tests::Platform;
use rusqlite::{Connection, Transaction};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Numbers what it receives.
struct Numbering;

impl Handler for Numbering {
    fn prepare(&mut self, store: &Connection) -> rusqlite::Result<()> {
        store.execute_batch("CREATE TABLE IF NOT EXISTS reading (value TEXT)")
    }

    fn handle(&mut self, event: &Event, store: &Transaction<'_>) -> rusqlite::Result<Reply> {
        let text = String::from_utf8_lossy(&event.data).into_owned();
        if text == "wrong" {
            return Ok(Reply::status(409));
        }
        store.execute("INSERT INTO reading VALUES (?1)", [&text])?;
        let n: i64 = store.query_row("SELECT count(*) FROM reading", [], |row| row.get(0))?;
        Ok(Reply::DONE.with(json!({ "n": n })))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_by_the_library_answers_each_message_once() -> Result<()> {
    let mut platform = Platform::start().await?;
    let key = platform
        .admin
        .register_application_with(json!({ "id": "climate", "delivery": "attached" }))
        .await?;
    let code = platform.admin.register_device("lamp-1").await?;
    let folder = tempfile::tempdir()?;
    let address = platform.doors().tcp;
    let settings = Settings {
        host: address.ip().to_string(),
        port: address.port(),
        tls: None,
        application: Id::new("climate")?,
        key: Secret::new(key),
        group: Some("workers".to_owned()),
        client_id: "replica-1".to_owned(),
        database: folder.path().join("climate.db"),
    };
    let mut lamp = platform.client("dev/lamp-1", &code).connect().await?;
    lamp.hear("status").await?;
    let mut n = 0;
    for _ in 0..2 {
        let stop = CancellationToken::new();
        let mut running = JoinSet::new();
        running.spawn(run(settings.clone(), Numbering, stop.clone()));
        for _ in 0..5 {
            n += 1;
            assert_eq!(lamp.publish("up/climate/n", 1, &n.to_string()).await?, "Success");
            let status = lamp.message().await?.json();
            let body: serde_json::Value = serde_json::from_str(status["answer"]["body"].as_str().unwrap())?;
            assert_eq!(
                (&status["code"], &body),
                (&json!(200), &json!({ "n": n })),
                "{status}"
            );
        }
        assert_eq!(lamp.publish("up/climate/n", 1, "wrong").await?, "Success");
        assert_eq!(lamp.message().await?.json()["code"], 409);
        stop.cancel();
        running.join_next().await.unwrap()??;
    }
    let refused = run(
        Settings {
            key: Secret::new("wrong"),
            ..settings
        },
        Numbering,
        CancellationToken::new(),
    );
    assert!(matches!(refused.await, Err(Error::Login(_))));
    platform.stop().await
}
