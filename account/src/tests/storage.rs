//! The database: an older program, a newer one, a damaged file, and another process that holds it.

use irsp_courier::store::{Store, StoreError};
use irsp_courier::{bus, store};
use irsp_protocol::{Domain, Timestamp};
use rusqlite::Connection;
use serde_json::json;

use super::house::House;
use crate::store::MIGRATIONS;
use crate::{AccountServer, Settings, StartError};

/// Why an account server does not start in this folder.
async fn refused(folder: &std::path::Path) -> String {
    let (link, _bus) = bus::link();
    let settings = Settings::new(folder.to_owned(), Domain::new("home.example").unwrap());
    let Err(error) = AccountServer::start(settings, link).await else {
        panic!("it starts");
    };
    assert!(matches!(error, StartError::Store(_)), "{error:?}");
    let said = error.to_string();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("account.db"), "it names the file: {said}");
    said
}

#[tokio::test]
async fn a_program_one_step_back_works_with_the_data_and_the_newer_one_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    house.device("lamp-1").await;
    house.user("ann").await;
    let login = house.log_in("ann", "password of ann").await.is(200);
    house.stop().await;
    let path = folder.path().join("account.db");
    for known in 1..MIGRATIONS.len() {
        drop(Store::open(&path, &MIGRATIONS[..known]).unwrap());
    }
    // What the older program does in the tables it knows: a later time from which tokens are good, and nothing of logins.
    let sql = Connection::open(&path).unwrap();
    let state: String = sql
        .query_row("SELECT state FROM entity WHERE key = 'usr/ann'", [], |row| {
            row.get(0)
        })
        .unwrap();
    let mut state: serde_json::Value = serde_json::from_str(&state).unwrap();
    state["user"]["tokens_from"] = json!(Timestamp::from_millis(4_102_444_800_000));
    sql.execute(
        "UPDATE entity SET state = ?1 WHERE key = 'usr/ann'",
        [state.to_string()],
    )
    .unwrap();
    drop(sql);
    let house = House::start(folder.path()).await;
    house.get(&house.admin, "/v1/devices/lamp-1").await.is(200);
    house
        .post(
            "",
            "/v1/refresh",
            json!({"refresh_token": login["refresh_token"]}),
        )
        .await
        .problem(401);
    house.device("lamp-2").await;
    house.stop().await;
}

#[tokio::test]
async fn a_format_that_breaks_this_program_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    house.stop().await;
    let path = folder.path().join("account.db");
    let sql = Connection::open(&path).unwrap();
    sql.execute("UPDATE format SET version = 99 WHERE part LIKE 'role%'", [])
        .unwrap();
    drop(sql);
    let before = std::fs::read(&path).unwrap();
    let said = refused(folder.path()).await;
    assert!(said.contains("format 99"), "{said}");
    assert!(said.contains("start the newer program"), "{said}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_damaged_database_is_refused_and_left_as_it_is() {
    for damage in [0..100, 8_192..60_000] {
        let folder = tempfile::tempdir().unwrap();
        let house = House::start(folder.path()).await;
        house
            .post(
                &house.admin,
                "/v1/devices/bulk",
                json!({"prefix": "sim-", "count": 300}),
            )
            .await
            .is(201);
        house.stop().await;
        let (path, whole) = (folder.path().join("account.db"), folder.path().join("whole.db"));
        store::copy(&path, &whole).unwrap();
        crate::inspect(&whole).unwrap();
        let mut bytes = std::fs::read(&whole).unwrap();
        assert!(bytes.len() > damage.end, "{}", bytes.len());
        bytes[damage.clone()].fill(0xa5);
        for log in ["account.db-wal", "account.db-shm"] {
            let _ = std::fs::remove_file(folder.path().join(log));
        }
        std::fs::write(&path, &bytes).unwrap();
        assert!(crate::inspect(&path).is_err(), "{damage:?}");
        refused(folder.path()).await;
        // Nothing is lost: the copy starts, with everything in it.
        for log in ["account.db-wal", "account.db-shm"] {
            let _ = std::fs::remove_file(folder.path().join(log));
        }
        std::fs::rename(&whole, &path).unwrap();
        let house = House::start(folder.path()).await;
        house.get(&house.admin, "/v1/devices/sim-300").await.is(200);
        house.stop().await;
    }
}

#[tokio::test]
async fn a_database_that_another_process_holds_refuses_changes_and_goes_on_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let other = Connection::open(folder.path().join("account.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let said = house
        .post(&house.admin, "/v1/devices", json!({"id": "lamp-1"}))
        .await
        .problem(503);
    assert!(
        !said.contains("account.db"),
        "a caller does not learn files: {said}"
    );
    house.get(&house.admin, "/v1/devices/lamp-1").await.problem(404);
    other.execute_batch("ROLLBACK").unwrap();
    house.device("lamp-1").await;
    house.stop().await;
}

#[test]
fn what_the_database_cannot_do_has_a_code() {
    use irsp_protocol::Status;
    for (error, status) in [
        (StoreError::Full, Status::QUEUE_FULL),
        (StoreError::Unavailable("locked".into()), Status::UNAVAILABLE),
        (StoreError::Io("failed".into()), Status::UNAVAILABLE),
        (StoreError::Corrupt("page".into()), Status::FAILED),
    ] {
        assert_eq!(error.status(), status);
    }
}
