//! What holds on one server: acceptance, presence, expiry, crashes, a full disk, a newer format.

mod support;

use std::time::Duration;

use irsp_courier::store::{Migration, Store, StoreError};
use irsp_courier::{Hop, Settings, Until};
use irsp_protocol::receipt::{Answer, Stage};
use irsp_protocol::{Id, MessageKind, Principal, Server, Status};
use support::{Faults, House, MINUTE, Once, TABLES, id_of, join, next, quick, soon};
use tokio_util::task::TaskTracker;

fn lamp() -> Hop {
    let id = Id::new("lamp-1").expect("an id");
    Hop::Principal(Principal::device(id))
}

const DONE: Answer = Answer {
    code: 200,
    body: bytes::Bytes::new(),
};

#[tokio::test]
async fn a_senders_own_id_is_accepted_once() {
    let folder = tempfile::tempdir().unwrap();
    let (house, _bus) = House::open(Server::Message, folder.path(), Settings::default());
    let mut first = house.envelope(MessageKind::Upload, "app/climate", b"1");
    first.sender_id = Some("17".into());
    let mut again = house.envelope(MessageKind::Upload, "app/climate", b"1");
    again.sender_id = Some("17".into());
    let mut others = again.clone();
    others.id = house.courier.new_id();
    others.source = "dev/lamp-2".parse().unwrap();
    let id = first.id;
    assert!(
        !house
            .accept(first, Hop::Server(Server::App))
            .await
            .unwrap()
            .duplicate
    );
    let repeat = house.accept(again, Hop::Server(Server::App)).await.unwrap();
    assert!(repeat.duplicate && repeat.id == id);
    assert!(
        !house
            .accept(others, Hop::Server(Server::App))
            .await
            .unwrap()
            .duplicate
    );
    assert_eq!(house.ledger().await.kinds[0].accepted, 2);
}

#[tokio::test]
async fn a_push_waits_for_its_device_through_a_crash_and_comes_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let (house, _bus) = House::open(Server::Message, folder.path(), Settings::default());
    let mut ids = Vec::new();
    for n in 0..200u8 {
        let push = house.envelope(MessageKind::Push, "dev/lamp-1", &[n]);
        ids.push(id_of(house.accept(push, lamp()).await));
    }
    house.crash().await;

    let (mut house, _bus) = House::open(Server::Message, folder.path(), Settings::default());
    assert_eq!(house.ledger().await.in_flight(), 200);
    house.courier.present(lamp());
    for (n, id) in ids.iter().enumerate() {
        let (_, envelope) = next(&mut house.delivered).await;
        assert_eq!((envelope.id, &envelope.data[..]), (*id, &[n as u8][..]));
        let (sink, told) = Once::new();
        house.courier.answered(lamp(), *id, DONE, sink, 0);
        assert!(told.await.unwrap().is_ok());
    }
    let ledger = house.ledger().await;
    assert_eq!((ledger.residue(), ledger.in_flight()), (0, 0));
}

#[tokio::test]
async fn what_was_on_disk_when_the_power_went_is_there_after_it() {
    let (folder, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (house, _bus) = House::open(Server::Message, folder.path(), Settings::default());
    let push = house.envelope(MessageKind::Push, "dev/lamp-1", b"on");
    let id = id_of(house.accept(push, lamp()).await);
    for file in ["message.db", "message.db-wal"] {
        std::fs::copy(folder.path().join(file), copy.path().join(file)).unwrap();
    }
    let (mut after, _bus) = House::open(Server::Message, copy.path(), Settings::default());
    after.courier.present(lamp());
    assert_eq!(next(&mut after.delivered).await.1.id, id);
}

#[tokio::test]
async fn unanswered_pushes_come_again_when_the_device_returns() {
    let folder = tempfile::tempdir().unwrap();
    let (mut house, _bus) = House::open(Server::Message, folder.path(), Settings::default());
    house.courier.present(lamp());
    let first = house.envelope(MessageKind::Push, "dev/lamp-1", b"1");
    let first = id_of(house.accept(first, lamp()).await);
    assert_eq!(next(&mut house.delivered).await.1.id, first);
    house.courier.absent(&lamp());
    let second = house.envelope(MessageKind::Push, "dev/lamp-1", b"2");
    let second = id_of(house.accept(second, lamp()).await);
    house.courier.present(lamp());
    assert_eq!(next(&mut house.delivered).await.1.id, first);
    assert_eq!(next(&mut house.delivered).await.1.id, second);
    let receipt = house.courier.receipt(first).await.unwrap().unwrap();
    assert_eq!(receipt.status, Status::QUEUED);
    assert_eq!(receipt.stages.last().unwrap().stage, Stage::Sent);
}

#[tokio::test]
async fn only_the_receivers_own_answer_counts_and_only_once() {
    let folder = tempfile::tempdir().unwrap();
    let (house, _bus) = House::open(Server::Message, folder.path(), Settings::default());
    let push = house.envelope(MessageKind::Push, "dev/lamp-1", b"on");
    let id = id_of(house.accept(push, lamp()).await);
    let answer = async |hop: Hop, id| {
        let (sink, told) = Once::new();
        house.courier.answered(hop, id, DONE, sink, 0);
        told.await.unwrap()
    };
    let foreign = Hop::Principal("dev/lamp-2".parse().unwrap());
    assert_eq!(answer(foreign, id).await.err(), Some(Status::NOT_FOUND));
    assert_eq!(
        answer(lamp(), house.courier.new_id()).await.err(),
        Some(Status::NOT_FOUND)
    );
    assert!(!answer(lamp(), id).await.unwrap().duplicate);
    assert!(answer(lamp(), id).await.unwrap().duplicate);
}

#[tokio::test]
async fn an_expired_push_ends_with_408_at_its_origin_and_a_late_answer_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = TaskTracker::new();
    let (message, to_message) = House::open(Server::Message, folder.path(), quick());
    let (app, to_app) = House::open(Server::App, folder.path(), quick());
    join(
        vec![(Server::Message, to_message), (Server::App, to_app)],
        Faults::default(),
        &tasks,
    );
    let mut push = app.envelope(MessageKind::Push, "dev/lamp-1", b"on");
    push.expires = soon(&app.courier, 300);
    let id = id_of(app.accept(push, Hop::Server(Server::Message)).await);
    let outcome = app.courier.outcome(id, MINUTE, Until::End).await;
    assert_eq!(outcome, Some((Status::EXPIRED, None)));
    let (sink, told) = Once::new();
    message.courier.answered(lamp(), id, DONE, sink, 0);
    assert!(told.await.unwrap().unwrap().duplicate);
    let receipt = message.courier.receipt(id).await.unwrap().unwrap();
    assert_eq!((receipt.status, receipt.answer), (Status::EXPIRED, None));
}

#[tokio::test]
async fn a_message_in_lost_custody_expires_after_the_grace_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = TaskTracker::new();
    let settings = Settings {
        custody_grace: Duration::from_millis(300),
        ..quick()
    };
    let (message, to_message) = House::open(Server::Message, folder.path(), quick());
    let (app, to_app) = House::open(Server::App, folder.path(), settings.clone());
    join(
        vec![(Server::Message, to_message), (Server::App, to_app)],
        Faults::default(),
        &tasks,
    );
    let mut push = app.envelope(MessageKind::Push, "dev/lamp-1", b"on");
    // Long enough for a slow machine to take custody.
    push.expires = soon(&app.courier, 5_000);
    let id = id_of(app.accept(push, Hop::Server(Server::Message)).await);
    let custody = app.courier.outcome(id, MINUTE, Until::Custody).await;
    assert_eq!(custody, Some((Status::QUEUED, None)));
    message.crash().await;
    app.crash().await;
    let (app, _bus) = House::open(Server::App, folder.path(), settings);
    let outcome = app.courier.outcome(id, MINUTE, Until::End).await;
    assert_eq!(outcome, Some((Status::EXPIRED, None)));
    assert_eq!(app.ledger().await.residue(), 0);
}

#[tokio::test]
async fn a_message_whose_answer_was_lost_is_not_expired_before_its_receiver_was_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let (app, mut bus) = House::open(Server::App, folder.path(), quick());
    let mut push = app.envelope(MessageKind::Push, "dev/lamp-1", b"on");
    let expires = soon(&app.courier, 300);
    push.expires = expires;
    let id = id_of(app.accept(push, Hop::Server(Server::Message)).await);
    assert_eq!(support::delivered(&mut bus).await, id);
    // The receiver has done it; its answer is lost with the sender's process.
    app.crash().await;
    let (app, mut bus) = House::open(Server::App, folder.path(), quick());
    while app.courier.now() <= expires {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(support::delivered(&mut bus).await, id);
    support::answer(&bus, Server::Message, id, Status::DONE).await;
    let outcome = app.courier.outcome(id, MINUTE, Until::End).await;
    assert_eq!(outcome, Some((Status::DONE, None)));
}

#[tokio::test]
async fn a_deleted_devices_queue_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let (mut house, _bus) = House::open(Server::Message, folder.path(), Settings::default());
    for _ in 0..3 {
        let push = house.envelope(MessageKind::Push, "dev/lamp-1", b"on");
        house.accept(push, lamp()).await.unwrap();
    }
    let ended = house
        .courier
        .write(|tx| {
            assert_eq!(tx.waiting(&lamp())?, 3);
            tx.end_hop(&lamp(), Status::DELETED)
        })
        .await;
    assert_eq!(ended.unwrap(), 3);
    for _ in 0..3 {
        assert_eq!(next(&mut house.ended).await.status, Status::DELETED);
    }
    assert_eq!(house.ledger().await.residue(), 0);
}

#[tokio::test]
async fn what_ends_in_the_commit_that_stored_it_is_not_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let (mut house, _bus) = House::open(Server::Message, folder.path(), Settings::default());
    house.courier.present(lamp());
    let first = house.envelope(MessageKind::Push, "dev/lamp-1", b"1");
    let first = id_of(house.accept(first, lamp()).await);
    assert_eq!(next(&mut house.delivered).await.1.id, first);
    let revoked = house.envelope(MessageKind::Push, "dev/lamp-1", b"2");
    let change = house.courier.write(move |tx| {
        tx.accept(revoked.clone(), lamp())?;
        tx.end(revoked.id, Status::FORBIDDEN, None)
    });
    change.await.unwrap();
    let second = house.envelope(MessageKind::Push, "dev/lamp-1", b"3");
    let second = id_of(house.accept(second, lamp()).await);
    assert_eq!(next(&mut house.delivered).await.1.id, second);
}

#[tokio::test]
async fn the_end_of_a_push_outlives_its_receipt_until_the_origin_has_heard_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = TaskTracker::new();
    let brief = Settings {
        receipt_retention: Duration::ZERO,
        ..quick()
    };
    let (mut message, to_message) = House::open(Server::Message, folder.path(), brief.clone());
    let (app, to_app) = House::open(Server::App, folder.path(), quick());
    join(
        vec![(Server::Message, to_message), (Server::App, to_app)],
        Faults::default(),
        &tasks,
    );
    let push = app.envelope(MessageKind::Push, "dev/lamp-1", b"on");
    let id = id_of(app.accept(push, Hop::Server(Server::Message)).await);
    let custody = app.courier.outcome(id, MINUTE, Until::Custody).await;
    assert_eq!(custody, Some((Status::QUEUED, None)));
    app.crash().await;
    message.courier.present(lamp());
    assert_eq!(next(&mut message.delivered).await.1.id, id);
    let (sink, told) = Once::new();
    message.courier.answered(lamp(), id, DONE, sink, 0);
    assert!(told.await.unwrap().is_ok());
    message.crash().await;

    let (_message, to_message) = House::open(Server::Message, folder.path(), brief);
    let (app, to_app) = House::open(Server::App, folder.path(), quick());
    join(
        vec![(Server::Message, to_message), (Server::App, to_app)],
        Faults::default(),
        &tasks,
    );
    let (status, answer) = app.courier.outcome(id, MINUTE, Until::End).await.unwrap();
    assert_eq!((status, answer.unwrap()), (Status::DONE, DONE));
}

#[tokio::test]
async fn a_transaction_that_says_no_leaves_nothing_and_harms_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (house, _bus) = House::open(Server::Message, folder.path(), Settings::default());
    let push = house.envelope(MessageKind::Push, "dev/lamp-1", b"on");
    let refused = house.courier.write(move |tx| {
        tx.accept(push.clone(), lamp())?;
        Err::<(), _>(StoreError::refused(Status::CONFLICT, "exists"))
    });
    let panicking = house
        .courier
        .write(|_| -> Result<(), StoreError> { panic!("a fault of the role") });
    let fine = house.courier.write(|tx| Ok(tx.now()));
    let (refused, panicking, fine) = tokio::join!(refused, panicking, fine);
    assert_eq!(refused.unwrap_err().status(), Status::CONFLICT);
    assert_eq!(panicking.unwrap_err().status(), Status::FAILED);
    assert!(fine.is_ok());
    assert_eq!(house.ledger().await.kinds, []);
}

#[tokio::test]
async fn an_effect_that_cannot_be_stored_is_repeated_until_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = TaskTracker::new();
    let (message, to_message) = House::open(Server::Message, folder.path(), quick());
    let (app, to_app) = House::open(Server::App, folder.path(), quick());
    *app.shop.refuse.lock().unwrap() = Some(StoreError::Corrupt("a passing fault".into()));
    join(
        vec![(Server::Message, to_message), (Server::App, to_app)],
        Faults::default(),
        &tasks,
    );
    let upload = message.envelope(MessageKind::Upload, "app/climate", b"21");
    let id = id_of(message.accept(upload, Hop::Server(Server::App)).await);
    let outcome = message.courier.outcome(id, MINUTE, Until::End).await;
    assert_eq!(outcome, Some((Status::DONE, None)));
    assert_eq!(app.effects().await.len(), 1);
}

#[tokio::test]
async fn a_full_disk_is_507_and_passes() {
    let folder = tempfile::tempdir().unwrap();
    let (house, _bus) = House::open(Server::Message, folder.path(), Settings::default());
    let limit = |pages: u32| {
        house.courier.write(move |tx| {
            tx.sql()
                .pragma_update(None, "max_page_count", pages)
                .map_err(StoreError::from)
        })
    };
    limit(40).await.unwrap();
    let mut accepted = 0;
    let refused = loop {
        let push = house.envelope(MessageKind::Push, "dev/lamp-1", &[0; 4096]);
        match house.accept(push, lamp()).await {
            Ok(_) => accepted += 1,
            Err(status) => break status,
        }
    };
    assert_eq!(refused, Status::QUEUE_FULL);
    assert!(accepted > 0);
    let ledger = house.ledger().await;
    assert_eq!((ledger.in_flight(), ledger.residue()), (accepted, 0));
    limit(100_000).await.unwrap();
    let push = house.envelope(MessageKind::Push, "dev/lamp-1", &[0; 4096]);
    assert!(house.accept(push, lamp()).await.is_ok());
}

#[tokio::test]
async fn nothing_is_accepted_after_closing_and_everything_before_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (house, _bus) = House::open(Server::Message, folder.path(), Settings::default());
    let push = house.envelope(MessageKind::Push, "dev/lamp-1", b"1");
    let (sink, told) = Once::new();
    house.courier.accept(push, lamp(), sink, 0);
    house.courier.close().await;
    assert!(told.await.unwrap().is_ok());
    let push = house.envelope(MessageKind::Push, "dev/lamp-1", b"2");
    assert_eq!(house.accept(push, lamp()).await.err(), Some(Status::UNAVAILABLE));
    assert_eq!(house.ledger().await.in_flight(), 1);
}

#[tokio::test]
async fn old_receipts_are_forgotten_and_the_ledger_still_adds_up() {
    let folder = tempfile::tempdir().unwrap();
    let (house, _bus) = House::open(Server::Message, folder.path(), Settings::default());
    let push = house.envelope(MessageKind::Push, "dev/lamp-1", b"1");
    let id = id_of(house.accept(push, lamp()).await);
    house
        .courier
        .write(move |tx| tx.end(id, Status::CONFLICT, None))
        .await
        .unwrap();
    assert_eq!(
        house.courier.receipt(id).await.unwrap().unwrap().status,
        Status::CONFLICT
    );
    house.crash().await;
    let settings = Settings {
        receipt_retention: Duration::ZERO,
        ..Settings::default()
    };
    let (house, _bus) = House::open(Server::Message, folder.path(), settings);
    // The first sweep comes with the start.
    while house.courier.receipt(id).await.unwrap().is_some() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let ledger = house.ledger().await;
    assert_eq!((ledger.kinds[0].accepted, ledger.residue()), (1, 0));
}

#[tokio::test]
async fn a_newer_format_that_only_adds_is_worked_with_and_left_as_it_is() {
    static FIRST: &[Migration] = &[Migration {
        version: 1,
        sql: "CREATE TABLE effect (n INTEGER PRIMARY KEY);",
    }];
    static NEWER: &[Migration] = &[
        FIRST[0],
        Migration {
            version: 2,
            sql: "ALTER TABLE effect ADD COLUMN more INTEGER NOT NULL DEFAULT 7;",
        },
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let more = |store: &Store| {
        let more =
            store.read_now(|sql| Ok(sql.query_row("SELECT sum(more) FROM effect", [], |row| row.get(0))?));
        more.unwrap()
    };
    drop(Store::open(&path, NEWER).unwrap());
    drop(Store::open(&path, FIRST).unwrap());
    let sql = rusqlite::Connection::open(&path).unwrap();
    sql.execute("INSERT INTO effect (n) VALUES (1)", []).unwrap();
    let sum: Option<i64> = more(&Store::open(&path, NEWER).unwrap());
    assert_eq!(sum, Some(7));
}

#[tokio::test]
async fn a_newer_format_is_refused_in_one_line() {
    static NEWER: &[Migration] = &[
        TABLES_1,
        Migration {
            version: 2,
            sql: "-- Breaks older programs.\nCREATE TABLE more (x INTEGER);",
        },
    ];
    const TABLES_1: Migration = Migration {
        version: 1,
        sql: "CREATE TABLE effect (n INTEGER PRIMARY KEY);",
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/app.db");
    drop(Store::open(&path, NEWER).unwrap());
    let Err(error) = Store::open(&path, TABLES) else {
        panic!("a newer format was opened");
    };
    assert!(matches!(
        error,
        StoreError::NewerFormat {
            found: 2,
            known: 1,
            ..
        }
    ));
    assert!(error.to_string().contains("app.db") && !error.to_string().contains('\n'));
}
