//! What a sender may ask of a push: an idempotency key, to take the place of an older one, one epoch only.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use bytes::Bytes;
use irsp_courier::{Courier, Hop, Settings, Until};
use irsp_protocol::options::PushOptions;
use irsp_protocol::receipt::{Answer, Cause, Receipt, Stage};
use irsp_protocol::{Envelope, MessageId, MessageKind, Server, Status};
use support::{Faults, House, MINUTE, Once, id_of, join, next, quick};
use tokio_util::task::TaskTracker;

const TO_MESSAGE: Hop = Hop::Server(Server::Message);

fn lamp() -> Hop {
    Hop::Principal("dev/lamp-1".parse().unwrap())
}

fn push(courier: &Courier, data: &str) -> Envelope {
    Envelope {
        id: courier.new_id(),
        kind: MessageKind::Push,
        source: "app/climate".parse().unwrap(),
        destination: "dev/lamp-1".parse().unwrap(),
        channel: Some("set".to_owned().try_into().unwrap()),
        time: courier.now(),
        expires: courier.now().plus(10 * MINUTE),
        sender_id: None,
        content_type: None,
        options: PushOptions::default(),
        attributes: Vec::new(),
        data: Bytes::copy_from_slice(data.as_bytes()),
    }
}

fn named(courier: &Courier, id: &str, data: &str) -> Envelope {
    Envelope {
        sender_id: Some(id.to_owned()),
        ..push(courier, data)
    }
}

fn keyed(courier: &Courier, key: &str, data: &str) -> Envelope {
    let mut envelope = push(courier, data);
    envelope.options.supersede_key = Some(key.parse().unwrap());
    envelope
}

fn for_epoch(courier: &Courier, epoch: u64, data: &str) -> Envelope {
    let mut envelope = push(courier, data);
    envelope.options.only_if_epoch = Some(epoch.try_into().unwrap());
    envelope
}

async fn receipt(house: &House, id: MessageId) -> Receipt {
    house.courier.receipt(id).await.unwrap().unwrap()
}

/// The receipt, once the message has ended.
async fn ended(house: &House, id: MessageId) -> Receipt {
    house.courier.outcome(id, MINUTE, Until::End).await.unwrap();
    receipt(house, id).await
}

async fn answer(house: &House, id: MessageId) {
    let (sink, told) = Once::new();
    let done = Answer {
        code: 200,
        body: Bytes::new(),
    };
    house.courier.answered(lamp(), id, done, sink, 0);
    told.await.unwrap().unwrap();
}

/// Data of the next deliveries, each answered.
async fn delivered(house: &mut House, count: usize) -> Vec<Bytes> {
    let mut data = Vec::new();
    for _ in 0..count {
        let envelope = next(&mut house.delivered).await.1;
        answer(house, envelope.id).await;
        data.push(envelope.data.clone());
    }
    data
}

async fn quiet(house: &House) {
    let ledger = house.ledger().await;
    assert_eq!((ledger.residue(), ledger.in_flight()), (0, 0));
    assert_eq!(house.courier.in_flight().held, irsp_courier::Held::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_push_by_both_ways_is_one_push() {
    for lost in [0, 50] {
        let (folder, tasks) = (tempfile::tempdir().unwrap(), TaskTracker::new());
        let (mut message, to_message) = House::open(Server::Message, folder.path(), quick());
        let (app, to_app) = House::open(Server::App, folder.path(), quick());
        let faults = Faults {
            seed: 7,
            lost,
            repeated: lost,
            ..Faults::default()
        };
        join(
            vec![(Server::Message, to_message), (Server::App, to_app)],
            faults,
            &tasks,
        );
        // First at the message server, as by MQTT, then through the application server, as by HTTP.
        let first = id_of(message.accept(named(&message.courier, "17", "on"), lamp()).await);
        let second = id_of(app.accept(named(&app.courier, "17", "on"), TO_MESSAGE).await);
        let receipt = ended(&app, second).await;
        assert_eq!(receipt.status, Status::DUPLICATE);
        assert_eq!(receipt.cause, Some(Cause::Duplicate { of: first }));
        // And the other way round.
        let first = id_of(app.accept(named(&app.courier, "18", "off"), TO_MESSAGE).await);
        app.courier.outcome(first, MINUTE, Until::Custody).await.unwrap();
        let again = message.accept(named(&message.courier, "18", "off"), lamp()).await;
        let again = again.unwrap();
        assert!(again.duplicate && again.id == first);

        message.courier.present(lamp());
        assert_eq!(delivered(&mut message, 2).await, ["on", "off"]);
        assert_eq!(ended(&app, first).await.status, Status::DONE);
        quiet(&app).await;
        assert_eq!(message.ledger().await.residue(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_push_under_the_same_id_is_a_conflict_by_both_ways() {
    let (folder, tasks) = (tempfile::tempdir().unwrap(), TaskTracker::new());
    let (message, to_message) = House::open(Server::Message, folder.path(), quick());
    let (app, to_app) = House::open(Server::App, folder.path(), quick());
    join(
        vec![(Server::Message, to_message), (Server::App, to_app)],
        Faults::default(),
        &tasks,
    );
    id_of(message.accept(named(&message.courier, "17", "on"), lamp()).await);
    let other = named(&message.courier, "17", "off");
    assert_eq!(message.accept(other, lamp()).await.err(), Some(Status::CONFLICT));
    let other = id_of(app.accept(named(&app.courier, "17", "off"), TO_MESSAGE).await);
    assert_eq!(ended(&app, other).await.status, Status::CONFLICT);
    let again = app.accept(named(&app.courier, "17", "on"), TO_MESSAGE).await;
    assert_eq!(
        again.err(),
        Some(Status::CONFLICT),
        "the first one here was another"
    );

    // What is not its content may differ, and so may the kind of message and the sender.
    let mut labelled = named(&message.courier, "17", "on");
    labelled.content_type = Some("text/plain".to_owned());
    labelled.expires = labelled.expires.plus(MINUTE);
    assert!(message.accept(labelled, lamp()).await.unwrap().duplicate);
    for (kind, source) in [
        (MessageKind::Upload, "app/climate"),
        (MessageKind::Push, "app/garden"),
    ] {
        let mut other = named(&message.courier, "17", "else");
        other.kind = kind;
        other.source = source.parse().unwrap();
        assert!(!message.accept(other, lamp()).await.unwrap().duplicate);
    }
    assert_eq!(message.ledger().await.residue(), 0);
}

#[tokio::test]
async fn the_newest_with_a_key_takes_the_place_of_the_undelivered_ones() {
    let folder = tempfile::tempdir().unwrap();
    let (mut house, _bus) = House::open(Server::Message, folder.path(), Settings::default());
    let mut ids = Vec::new();
    let mut other_sender = keyed(&house.courier, "power", "5");
    other_sender.source = "app/garden".parse().unwrap();
    for envelope in [
        keyed(&house.courier, "power", "1"),
        keyed(&house.courier, "colour", "2"),
        push(&house.courier, "3"),
        keyed(&house.courier, "power", "4"),
        other_sender,
        keyed(&house.courier, "power", "6"),
    ] {
        ids.push(id_of(house.accept(envelope, lamp()).await));
    }
    for (old, new) in [(0, 3), (3, 5)] {
        let receipt = receipt(&house, ids[old]).await;
        assert_eq!(receipt.status, Status::CONFLICT);
        assert_eq!(receipt.cause, Some(Cause::Superseded { by: ids[new] }));
        let heard = next(&mut house.ended).await;
        assert_eq!((heard.envelope.id, heard.cause), (ids[old], receipt.cause));
    }
    house.courier.present(lamp());
    assert_eq!(delivered(&mut house, 4).await, ["2", "3", "5", "6"]);
    quiet(&house).await;
}

#[tokio::test]
async fn what_was_handed_over_keeps_its_place_even_through_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let (mut house, _bus) = House::open(Server::Message, folder.path(), Settings::default());
    house.courier.present(lamp());
    let first = id_of(house.accept(keyed(&house.courier, "power", "1"), lamp()).await);
    assert_eq!(next(&mut house.delivered).await.1.id, first);
    house.crash().await;

    let (mut house, _bus) = House::open(Server::Message, folder.path(), Settings::default());
    let second = id_of(house.accept(keyed(&house.courier, "power", "2"), lamp()).await);
    let third = id_of(house.accept(keyed(&house.courier, "power", "3"), lamp()).await);
    let kept = receipt(&house, first).await;
    assert_eq!(kept.status, Status::QUEUED);
    assert!(kept.stages.iter().any(|report| report.stage == Stage::Sent));
    assert_eq!(
        receipt(&house, second).await.cause,
        Some(Cause::Superseded { by: third })
    );
    house.courier.present(lamp());
    assert_eq!(delivered(&mut house, 2).await, ["1", "3"]);
    quiet(&house).await;
}

#[tokio::test]
async fn a_push_for_another_epoch_ends_and_the_rest_keeps_its_order() {
    let folder = tempfile::tempdir().unwrap();
    let (mut house, _bus) = House::open(Server::Message, folder.path(), Settings::default());
    *house.shop.epochs.lock().unwrap() = vec![Ok(7)];
    let mut ids = Vec::new();
    for envelope in [
        push(&house.courier, "1"),
        for_epoch(&house.courier, 6, "2"),
        for_epoch(&house.courier, 7, "3"),
        push(&house.courier, "4"),
        for_epoch(&house.courier, 8, "5"),
        keyed(&house.courier, "power", "6"),
    ] {
        ids.push(id_of(house.accept(envelope, lamp()).await));
    }
    house.courier.present(lamp());
    assert_eq!(delivered(&mut house, 4).await, ["1", "3", "4", "6"]);
    for id in [ids[1], ids[4]] {
        let receipt = ended(&house, id).await;
        assert_eq!(receipt.status, Status::CONFLICT);
        assert_eq!(receipt.cause, Some(Cause::EpochChanged { epoch: 7 }));
    }
    quiet(&house).await;
}

#[tokio::test]
async fn while_the_epoch_is_not_known_a_push_waits() {
    let folder = tempfile::tempdir().unwrap();
    let (mut house, _bus) = House::open(Server::Message, folder.path(), Settings::default());
    *house.shop.epochs.lock().unwrap() = vec![Err(Status::UNAVAILABLE), Ok(7)];
    house.courier.present(lamp());
    for envelope in [for_epoch(&house.courier, 7, "1"), push(&house.courier, "2")] {
        house.accept(envelope, lamp()).await.unwrap();
    }
    assert_eq!(delivered(&mut house, 2).await, ["1", "2"]);
    quiet(&house).await;
}
