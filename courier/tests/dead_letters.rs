//! What a receiver keeps failing at: the dead letter, its retry and its discarding, and the ledger all the while.
#![allow(clippy::unwrap_used, reason = "the helpers are parts of tests")]

mod support;

use std::time::Duration;

use irsp_courier::bus::Attachment;
use irsp_courier::{Hop, Settings, Until};
use irsp_protocol::inquiry::{DeadLetter, Filter, Finding, Inquiry, Operated, Order, PageRequest};
use irsp_protocol::receipt::Answer;
use irsp_protocol::receipt::Stage;
use irsp_protocol::{MessageId, MessageKind, Server, State, Status, Timestamp};
use support::{Faults, House, MINUTE, Once, id_of, join, next, quick};
use tokio_util::task::TaskTracker;

const APP: Hop = Hop::Server(Server::App);

fn patient() -> Settings {
    Settings {
        failures_max: 3,
        ..quick()
    }
}

/// A message server, and an application server that cannot store `poison`.
async fn neighbours(folder: &std::path::Path, settings: Settings) -> (House, House, TaskTracker) {
    let tasks = TaskTracker::new();
    let (message, to_message) = House::open(Server::Message, folder, settings);
    let (app, to_app) = House::open(Server::App, folder, quick());
    sql(
        &app,
        "CREATE TRIGGER IF NOT EXISTS poisoned BEFORE INSERT ON effect WHEN NEW.data = CAST('poison' AS BLOB)
         BEGIN SELECT RAISE(ABORT, 'poisoned'); END",
    )
    .await;
    join(
        vec![(Server::Message, to_message), (Server::App, to_app)],
        Faults::default(),
        &tasks,
    );
    (message, app, tasks)
}

async fn heal(app: &House) {
    sql(app, "DROP TRIGGER poisoned").await;
}

async fn sql(house: &House, text: &'static str) {
    let run = house.courier.write(move |tx| Ok(tx.sql().execute_batch(text)?));
    run.await.unwrap();
}

async fn upload(house: &House, data: &[u8]) -> MessageId {
    let upload = house.envelope(MessageKind::Upload, "app/climate", data);
    id_of(house.accept(upload, APP).await)
}

/// Accepts a poisoned upload and waits until it is a dead letter.
async fn dead_upload(message: &House) -> MessageId {
    let id = upload(message, b"poison").await;
    let outcome = message.courier.outcome(id, MINUTE, Until::End).await;
    assert_eq!(outcome, Some((Status::FAILED, None)));
    id
}

fn all() -> PageRequest {
    PageRequest {
        filter: Filter::default(),
        order: Order::Oldest,
        after: None,
        limit: 100,
    }
}

async fn dead_letters(house: &House) -> Vec<DeadLetter> {
    let Finding::DeadLetters(page) = house.courier.inquire(Inquiry::DeadLetters(all())).await.unwrap() else {
        panic!("not what was asked");
    };
    page.entries
}

async fn order(house: &House, inquiry: Inquiry) -> Operated {
    let Finding::Operated(operated) = house.courier.inquire(inquiry).await.unwrap() else {
        panic!("not what was asked");
    };
    operated
}

async fn retry(house: &House, id: MessageId, expires: Option<Timestamp>) -> Operated {
    order(house, Inquiry::Retry { id, expires }).await
}

/// (accepted, done, failed, in flight) of the uploads.
async fn counts(house: &House) -> (u64, u64, u64, u64) {
    let ledger = house.ledger().await;
    assert!(ledger.is_balanced(), "{ledger:?}");
    let uploads = ledger
        .kinds
        .iter()
        .find(|kind| kind.kind == MessageKind::Upload)
        .unwrap();
    let ended = |code| {
        let of_code = uploads.ended.iter().find(|(status, _)| *status == code);
        of_code.map_or(0, |(_, count)| *count)
    };
    (
        uploads.accepted,
        ended(Status::DONE),
        ended(Status::FAILED),
        uploads.in_flight,
    )
}

#[tokio::test]
async fn what_a_receiver_keeps_failing_at_is_a_dead_letter_and_others_go_past_it() {
    let folder = tempfile::tempdir().unwrap();
    let (message, app, _tasks) = neighbours(folder.path(), patient()).await;
    let id = upload(&message, b"poison").await;
    let behind = upload(&message, b"21").await;
    let outcome = message.courier.outcome(id, MINUTE, Until::End).await;
    assert_eq!(outcome, Some((Status::FAILED, None)));
    let outcome = message.courier.outcome(behind, MINUTE, Until::End).await;
    assert_eq!(outcome, Some((Status::DONE, None)));
    assert_eq!(app.effects().await, ["21"]);

    let letters = dead_letters(&message).await;
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].receipt.id, letters[0].failures), (id, 3));
    assert_eq!(
        (letters[0].size, letters[0].data.len()),
        (6, 0),
        "a page has no data"
    );
    let found = message.courier.inquire(Inquiry::DeadLetter { id }).await.unwrap();
    let Finding::DeadLetter(Some(letter)) = found else {
        panic!("{found:?}");
    };
    assert_eq!(letter.data, "poison");
    assert_eq!(State::of(letter.receipt.status), State::Undeliverable);
    assert_eq!(counts(&message).await, (2, 1, 1, 0));
}

#[tokio::test]
async fn what_follows_a_failure_waits_for_it_and_what_others_send_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        failures_max: u32::MAX,
        ..quick()
    };
    let (message, app, _tasks) = neighbours(folder.path(), settings).await;
    let failed = upload(&message, b"poison").await;
    let behind = [upload(&message, b"1").await, upload(&message, b"2").await];
    let elsewhere = message.envelope(MessageKind::Upload, "app/garden", b"elsewhere");
    let elsewhere = id_of(message.accept(elsewhere, APP).await);
    let mut other = message.envelope(MessageKind::Upload, "app/climate", b"other");
    other.source = "dev/lamp-2".parse().unwrap();
    let other = id_of(message.accept(other, APP).await);
    for id in [elsewhere, other] {
        let outcome = message.courier.outcome(id, MINUTE, Until::End).await;
        assert_eq!(outcome, Some((Status::DONE, None)));
    }
    assert_eq!(app.effects().await, ["elsewhere", "other"]);
    heal(&app).await;
    for id in [behind[1], failed, behind[0]] {
        let outcome = message.courier.outcome(id, MINUTE, Until::End).await;
        assert_eq!(outcome, Some((Status::DONE, None)));
    }
    assert_eq!(app.effects().await, ["elsewhere", "other", "poison", "1", "2"]);
}

#[tokio::test]
async fn a_dead_letter_sent_again_is_in_flight_again_and_takes_effect_once() {
    let folder = tempfile::tempdir().unwrap();
    let (message, app, _tasks) = neighbours(folder.path(), patient()).await;
    let id = dead_upload(&message).await;
    app.crash().await;
    // With nobody there to answer, it stays in flight.
    assert_eq!(retry(&message, id, None).await, Operated::Done);
    assert_eq!(counts(&message).await, (1, 0, 0, 1));
    assert_eq!(
        retry(&message, id, None).await,
        Operated::Done,
        "it is as it was to be"
    );
    assert!(dead_letters(&message).await.is_empty());
    let receipt = message.courier.receipt(id).await.unwrap().unwrap();
    assert_eq!(receipt.status, Status::QUEUED);
    message.crash().await;

    let (message, app, _tasks) = neighbours(folder.path(), patient()).await;
    let outcome = message.courier.outcome(id, MINUTE, Until::End).await;
    assert_eq!(outcome, Some((Status::FAILED, None)), "it fails again");
    heal(&app).await;
    assert_eq!(retry(&message, id, None).await, Operated::Done);
    let outcome = message.courier.outcome(id, MINUTE, Until::End).await;
    assert_eq!(outcome, Some((Status::DONE, None)));
    assert_eq!(app.effects().await, ["poison"]);
    assert_eq!(counts(&message).await, (1, 1, 0, 0));
    assert_eq!(retry(&message, id, None).await, Operated::NotDead(Status::DONE));
}

#[tokio::test]
async fn a_retried_letter_goes_out_behind_what_waits_and_is_never_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        server_window: 2,
        ..patient()
    };
    let (message, app, _tasks) = neighbours(folder.path(), settings).await;
    let id = dead_upload(&message).await;
    heal(&app).await;
    let mut last = id;
    for n in 0..10u8 {
        last = upload(&message, &[n]).await;
    }
    assert_eq!(retry(&message, id, None).await, Operated::Done);
    for id in [last, id] {
        let outcome = message.courier.outcome(id, MINUTE, Until::End).await;
        assert_eq!(outcome, Some((Status::DONE, None)));
    }
    assert_eq!(app.effects().await.len(), 11);
    assert_eq!(counts(&message).await, (11, 11, 0, 0));
}

/// Fails at a message until it is a dead letter; the test itself is the next server.
async fn dies(sender: &House, bus: &mut Attachment, to: Server, id: MessageId) {
    for _ in 0..3 {
        assert_eq!(support::delivered(bus).await, id);
        support::answer(bus, to, id, Status::FAILED).await;
    }
    let outcome = sender.courier.outcome(id, MINUTE, Until::End).await;
    assert_eq!(outcome, Some((Status::FAILED, None)));
    assert_eq!(dead_letters(sender).await.len(), 1);
}

/// Waits until the receipt has this status.
async fn stands(house: &House, id: MessageId, status: Status) {
    let stands = async || {
        let receipt = house.courier.receipt(id).await.unwrap();
        receipt.is_some_and(|receipt| receipt.status == status)
    };
    tokio::time::timeout(MINUTE, async {
        while !stands().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
}

/// The bus has delivered a copy of it after it was given up, and the receiver was well by then.
#[tokio::test]
async fn a_dead_letter_that_was_taken_after_all_is_done_and_its_sender_hears_it() {
    let folder = tempfile::tempdir().unwrap();
    let (mut message, mut bus) = House::open(Server::Message, folder.path(), patient());
    let id = upload(&message, b"21").await;
    dies(&message, &mut bus, Server::App, id).await;
    assert_eq!(next(&mut message.ended).await.status, Status::FAILED);
    support::answer(&bus, Server::App, id, Status::UNAVAILABLE).await;
    support::answer(&bus, Server::App, id, Status::DONE).await;
    support::answer(&bus, Server::App, id, Status::DONE).await;
    assert_eq!(next(&mut message.ended).await.status, Status::DONE);
    stands(&message, id, Status::DONE).await;
    assert_eq!(counts(&message).await, (1, 1, 0, 0));
    assert!(dead_letters(&message).await.is_empty());
    assert_eq!(retry(&message, id, None).await, Operated::NotDead(Status::DONE));
}

#[tokio::test]
async fn a_dead_letter_that_was_discarded_keeps_its_end_whatever_is_heard_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (message, mut bus) = House::open(Server::Message, folder.path(), patient());
    let id = upload(&message, b"21").await;
    dies(&message, &mut bus, Server::App, id).await;
    assert_eq!(order(&message, Inquiry::Discard { id }).await, Operated::Done);
    support::answer(&bus, Server::App, id, Status::DONE).await;
    let behind = upload(&message, b"22").await;
    assert_eq!(support::delivered(&mut bus).await, behind);
    support::answer(&bus, Server::App, behind, Status::DONE).await;
    stands(&message, behind, Status::DONE).await;
    stands(&message, id, Status::FAILED).await;
    assert_eq!(counts(&message).await, (2, 1, 1, 0));
}

/// A push that was given up is in the message server's custody after all, and ends by its word.
#[tokio::test]
async fn a_dead_letter_in_late_custody_is_in_flight_until_its_end_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (app, mut bus) = House::open(Server::App, folder.path(), patient());
    let push = app.envelope(MessageKind::Push, "dev/lamp-1", b"on");
    let id = id_of(app.accept(push, Hop::Server(Server::Message)).await);
    dies(&app, &mut bus, Server::Message, id).await;
    support::answer(&bus, Server::Message, id, Status::QUEUED).await;
    stands(&app, id, Status::QUEUED).await;
    assert!(dead_letters(&app).await.is_empty());
    let ledger = app.ledger().await;
    assert!(ledger.is_balanced() && ledger.in_flight() == 1, "{ledger:?}");

    support::tell_end(&app, &bus, Server::Message, id, Status::DONE).await;
    stands(&app, id, Status::DONE).await;
    let ledger = app.ledger().await;
    assert!(ledger.is_balanced() && ledger.in_flight() == 0, "{ledger:?}");
}

/// The end is told before the word of custody arrives, which then changes nothing: nobody would tell another end.
#[tokio::test]
async fn what_has_failed_in_custody_stays_so_though_the_word_of_custody_comes_late() {
    let folder = tempfile::tempdir().unwrap();
    let (app, mut bus) = House::open(Server::App, folder.path(), patient());
    let push = app.envelope(MessageKind::Push, "dev/lamp-1", b"on");
    let id = id_of(app.accept(push, Hop::Server(Server::Message)).await);
    assert_eq!(support::delivered(&mut bus).await, id);
    support::tell_end(&app, &bus, Server::Message, id, Status::FAILED).await;
    stands(&app, id, Status::FAILED).await;
    support::answer(&bus, Server::Message, id, Status::QUEUED).await;
    let behind = id_of(
        app.accept(
            app.envelope(MessageKind::Push, "dev/lamp-1", b"off"),
            Hop::Server(Server::Message),
        )
        .await,
    );
    assert_eq!(support::delivered(&mut bus).await, behind);
    support::answer(&bus, Server::Message, behind, Status::DONE).await;
    stands(&app, behind, Status::DONE).await;
    stands(&app, id, Status::FAILED).await;
    assert!(dead_letters(&app).await.is_empty(), "its data is with who had it");
    let ledger = app.ledger().await;
    assert!(ledger.is_balanced() && ledger.in_flight() == 0, "{ledger:?}");
}

#[tokio::test]
async fn a_discarded_letter_keeps_its_end_and_its_receipt() {
    let folder = tempfile::tempdir().unwrap();
    let (message, _app, _tasks) = neighbours(folder.path(), patient()).await;
    let id = dead_upload(&message).await;
    assert_eq!(order(&message, Inquiry::Discard { id }).await, Operated::Done);
    assert_eq!(order(&message, Inquiry::Discard { id }).await, Operated::Done);
    assert_eq!(retry(&message, id, None).await, Operated::NotDead(Status::FAILED));
    assert!(dead_letters(&message).await.is_empty());
    let receipt = message.courier.receipt(id).await.unwrap().unwrap();
    assert_eq!(receipt.status, Status::FAILED);
    assert_eq!(counts(&message).await, (1, 0, 1, 0));
    let nobody = message.courier.new_id();
    assert_eq!(retry(&message, nobody, None).await, Operated::Unknown);
    assert_eq!(
        order(&message, Inquiry::Discard { id: nobody }).await,
        Operated::Unknown
    );
}

#[tokio::test]
async fn a_letter_whose_expiry_has_passed_needs_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let (message, app, _tasks) = neighbours(folder.path(), patient()).await;
    let id = dead_upload(&message).await;
    heal(&app).await;
    let passed = Timestamp::from_millis(message.courier.now().as_millis() - 1);
    assert_eq!(retry(&message, id, Some(passed)).await, Operated::Expired);
    assert_eq!(dead_letters(&message).await.len(), 1);
    let again = message.courier.now().plus(MINUTE);
    assert_eq!(retry(&message, id, Some(again)).await, Operated::Done);
    let outcome = message.courier.outcome(id, MINUTE, Until::End).await;
    assert_eq!(outcome, Some((Status::DONE, None)));
    let receipt = message.courier.receipt(id).await.unwrap().unwrap();
    assert_eq!(receipt.expires, again);
}

#[tokio::test]
async fn a_letter_outlives_receipts_but_not_its_own_time() {
    let folder = tempfile::tempdir().unwrap();
    let (message, _app, _tasks) = neighbours(folder.path(), patient()).await;
    let id = dead_upload(&message).await;
    message.crash().await;
    let short = Settings {
        receipt_retention: Duration::ZERO,
        ..patient()
    };
    let (message, _bus) = House::open(Server::Message, folder.path(), short.clone());
    // The first sweep is queued at the start, before this write.
    message.courier.write(|_| Ok(())).await.unwrap();
    assert_eq!(dead_letters(&message).await.len(), 1);
    assert!(message.courier.receipt(id).await.unwrap().is_some());
    message.crash().await;
    let none = Settings {
        dead_letter_retention: Duration::ZERO,
        ..short
    };
    let (message, _bus) = House::open(Server::Message, folder.path(), none);
    // The first sweep comes with the start.
    while !dead_letters(&message).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(counts(&message).await, (1, 0, 1, 0));
}

#[tokio::test]
async fn receipts_are_read_in_pages_by_principal_state_and_kind() {
    let folder = tempfile::tempdir().unwrap();
    let (message, app, _tasks) = neighbours(folder.path(), patient()).await;
    let mut ids = Vec::new();
    for n in 0..5u8 {
        ids.push(upload(&message, &[n]).await);
    }
    let mut other = message.envelope(MessageKind::Upload, "app/garden", b"x");
    other.source = "dev/lamp-2".parse().unwrap();
    let other = id_of(message.accept(other, APP).await);
    let dead = dead_upload(&message).await;
    for id in ids.iter().chain([&other]) {
        let outcome = message.courier.outcome(*id, MINUTE, Until::End).await;
        assert_eq!(outcome, Some((Status::DONE, None)));
    }
    let read = async |change: &dyn Fn(&mut PageRequest)| {
        let mut request = all();
        change(&mut request);
        let found = message.courier.inquire(Inquiry::Receipts(request)).await.unwrap();
        let Finding::Receipts(page) = found else {
            panic!("{found:?}");
        };
        let ids = page.entries.iter().map(|receipt| receipt.id).collect();
        (ids, page.next)
    };
    let (everything, next): (Vec<MessageId>, _) = read(&|_| {}).await;
    assert_eq!((everything.len(), next), (7, None));
    let (first, next) = read(&|request| request.limit = 3).await;
    assert_eq!((first, next), (ids[..3].to_vec(), Some(ids[2])));
    let after = next;
    let (rest, next) = read(&|request| request.after = after).await;
    assert_eq!((rest, next), (vec![ids[3], ids[4], other, dead], None));
    let (newest, _) = read(&|request| (request.order, request.limit) = (Order::Newest, 2)).await;
    assert_eq!(newest, [dead, other]);
    let (of_lamp, _) = read(&|request| request.filter.principal = Some("dev/lamp-2".parse().unwrap())).await;
    assert_eq!(of_lamp, [other]);
    let (to_garden, _) =
        read(&|request| request.filter.principal = Some("app/garden".parse().unwrap())).await;
    assert_eq!(to_garden, [other]);
    let (failed, _) = read(&|request| request.filter.states = vec![State::Undeliverable]).await;
    assert_eq!(failed, [dead]);
    let (pushes, _) = read(&|request| request.filter.kinds = vec![MessageKind::Push]).await;
    assert_eq!(pushes, []);

    let asked = Inquiry::Messages {
        ids: vec![ids[0], dead],
    };
    let Finding::Messages(known) = app.courier.inquire(asked).await.unwrap() else {
        panic!("not what was asked");
    };
    let received = known[0].received.as_ref().unwrap();
    assert_eq!(
        (received.stage, received.code),
        (Stage::Accepted, Some(Status::DONE))
    );
    assert_eq!(
        (&known[0].receipt, &known[1].receipt, &known[1].received),
        (&None, &None, &None)
    );
}

#[tokio::test]
async fn an_attached_application_that_has_taken_it_after_all_corrects_its_dead_letter() {
    let folder = tempfile::tempdir().unwrap();
    let (mut house, _bus) = House::open(Server::Message, folder.path(), patient());
    let app = Hop::Principal("app/climate".parse().unwrap());
    house.courier.present(app.clone());
    let upload = house.envelope(MessageKind::Upload, "app/climate", b"21");
    let id = id_of(house.accept(upload, app.clone()).await);
    assert_eq!(next(&mut house.delivered).await.1.id, id);
    let answer = async |code| {
        let (sink, told) = Once::new();
        let answer = Answer {
            code,
            body: bytes::Bytes::new(),
        };
        house.courier.answered(app.clone(), id, answer, sink, 0);
        told.await.unwrap().map(|accepted| accepted.duplicate)
    };
    for _ in 0..3 {
        answer(500).await.unwrap();
    }
    assert_eq!(
        (dead_letters(&house).await.len(), counts(&house).await),
        (1, (1, 0, 1, 0))
    );
    assert_eq!(answer(500).await, Ok(true), "one more failure changes nothing");
    assert_eq!(answer(200).await, Ok(false));
    assert_eq!(
        (dead_letters(&house).await.len(), counts(&house).await),
        (0, (1, 1, 0, 0))
    );
    assert_eq!(answer(500).await, Ok(true), "it has its end");
}
