//! What is in flight is bounded at acceptance: 429 for a principal's quota, 507 when the server is full. And the memory
//! of what was seen is bounded by count and time.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::time::Duration;

use bytes::BytesMut;
use irsp_courier::bus::{Attachment, Incoming};
use irsp_courier::{Bounds, Held, Hop, Quota, Settings, Until};
use irsp_protocol::frame::{self, Item, Place};
use irsp_protocol::{Envelope, MessageId, MessageKind, Server, Status};
use support::{Faults, House, MINUTE, id_of, join, next, quick};
use tokio_util::task::TaskTracker;

const TO_APP: Hop = Hop::Server(Server::App);

fn lamp() -> Hop {
    Hop::Principal("dev/lamp-1".parse().unwrap())
}

fn quota(messages_max: u64) -> Quota {
    Quota {
        messages_max,
        bytes_max: 1 << 20,
    }
}

/// Three messages for a device, ten for an application, five in all.
fn narrow() -> Settings {
    Settings {
        bounds: Bounds {
            principal: quota(3),
            application: quota(10),
            all: quota(5),
        },
        ..quick()
    }
}

fn upload(house: &House, from: &str) -> Envelope {
    Envelope {
        source: from.parse().unwrap(),
        ..house.envelope(MessageKind::Upload, "app/climate", b"21")
    }
}

fn code(result: Result<irsp_courier::Accepted, Status>) -> u16 {
    result.map_or_else(Status::code, |_| 202)
}

#[tokio::test]
async fn a_device_over_its_quota_is_429_and_a_full_server_is_507_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (house, _bus) = House::open(Server::Message, folder.path(), narrow());
    let mut codes = Vec::new();
    for from in ["dev/lamp-1"; 4] {
        codes.push(code(house.accept(upload(&house, from), TO_APP).await));
    }
    assert_eq!(codes, [202, 202, 202, 429]);
    let held = house.courier.in_flight().held;
    assert_eq!(held.messages, 3);
    house.crash().await;

    let (house, _bus) = House::open(Server::Message, folder.path(), narrow());
    let mut codes = Vec::new();
    for from in ["dev/lamp-1", "dev/lamp-2", "dev/lamp-2", "dev/lamp-3"] {
        codes.push(code(house.accept(upload(&house, from), TO_APP).await));
    }
    assert_eq!(codes, [429, 202, 202, 507]);
    let in_flight = house.courier.in_flight();
    assert_eq!(in_flight.held.messages, 5);
    assert_eq!((in_flight.refused_over_quota, in_flight.refused_full), (1, 1));
    assert_eq!(in_flight.held.bytes / held.bytes, 1);
    assert_eq!(
        house.ledger().await.in_flight(),
        5,
        "nothing was accepted and dropped"
    );
}

#[tokio::test]
async fn what_waits_for_a_device_is_bounded_and_an_end_makes_room() {
    let folder = tempfile::tempdir().unwrap();
    let (house, _bus) = House::open(Server::Message, folder.path(), narrow());
    let push = |key: Option<&str>, id: Option<&str>| {
        let mut push = house.envelope(MessageKind::Push, "dev/lamp-1", b"on");
        push.source = "app/climate".parse().unwrap();
        push.options.supersede_key = key.map(|key| key.parse().unwrap());
        push.sender_id = id.map(str::to_owned);
        push
    };
    let first = id_of(house.accept(push(None, Some("17")), lamp()).await);
    house.accept(push(Some("power"), None), lamp()).await.unwrap();
    house.accept(push(None, None), lamp()).await.unwrap();
    assert_eq!(code(house.accept(push(None, None), lamp()).await), 429);
    let repeat = house.accept(push(None, Some("17")), lamp()).await.unwrap();
    assert!(repeat.duplicate, "a repeat needs no room");
    let newer = house.accept(push(Some("power"), None), lamp()).await;
    assert_eq!(code(newer), 202, "what takes another's place needs no more room");
    house
        .courier
        .write(move |tx| tx.end(first, Status::DELETED, None))
        .await
        .unwrap();
    assert_eq!(code(house.accept(push(None, None), lamp()).await), 202);
    house
        .courier
        .write(|tx| tx.end_hop(&lamp(), Status::DELETED))
        .await
        .unwrap();
    assert_eq!(house.courier.in_flight().held, Held::default());
    assert_eq!(house.ledger().await.residue(), 0);
}

#[tokio::test]
async fn bytes_are_bounded_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = narrow();
    settings.bounds.principal.bytes_max = 4_096;
    let (house, _bus) = House::open(Server::Message, folder.path(), settings);
    let large = Envelope {
        data: vec![0; 3_000].into(),
        ..upload(&house, "dev/lamp-1")
    };
    assert_eq!(code(house.accept(large, TO_APP).await), 202);
    let large = Envelope {
        data: vec![0; 3_000].into(),
        ..upload(&house, "dev/lamp-1")
    };
    assert_eq!(code(house.accept(large, TO_APP).await), 429);
    assert_eq!(
        code(house.accept(upload(&house, "dev/lamp-1"), TO_APP).await),
        202
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_the_next_server_has_no_room_for_ends_with_its_code() {
    let (folder, tasks) = (tempfile::tempdir().unwrap(), TaskTracker::new());
    let (message, to_message) = House::open(Server::Message, folder.path(), narrow());
    let (app, to_app) = House::open(Server::App, folder.path(), quick());
    join(
        vec![(Server::Message, to_message), (Server::App, to_app)],
        Faults::default(),
        &tasks,
    );
    let mut outcomes = Vec::new();
    for _ in 0..4 {
        let mut push = app.envelope(MessageKind::Push, "dev/lamp-9", b"on");
        push.source = "app/climate".parse().unwrap();
        let id = id_of(app.accept(push, Hop::Server(Server::Message)).await);
        let outcome = app.courier.outcome(id, MINUTE, Until::Custody).await;
        outcomes.push(outcome.unwrap().0.code());
    }
    assert_eq!(outcomes, [202, 202, 202, 429]);
    assert_eq!(message.courier.in_flight().held.messages, 3);
    // Here they still count, but their bytes are the other server's now.
    let held = Held {
        messages: 3,
        bytes: 0,
    };
    assert_eq!(app.courier.in_flight().held, held);
    assert_eq!(app.ledger().await.residue(), 0);
}

/// Sends an upload by hand and waits until it is answered.
async fn send(bus: &mut Attachment, upload: &Envelope) -> Status {
    let mut frame = BytesMut::new();
    let from = Server::Message;
    let envelope = upload.clone();
    let place = Place::default();
    frame::write(
        &Item::Deliver {
            from,
            place,
            envelope,
        },
        &mut frame,
    );
    bus.incoming.send(Incoming::Frame(frame.freeze())).await.unwrap();
    loop {
        let (_, mut frame) = tokio::time::timeout(MINUTE, bus.outgoing.recv())
            .await
            .unwrap()
            .unwrap();
        while let Some(item) = frame::read(&mut frame).unwrap() {
            if let Item::Answer { id, status, .. } = item
                && id == upload.id
            {
                return status;
            }
        }
    }
}

#[tokio::test]
async fn repeats_are_recognised_as_far_back_as_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (house, mut bus) = House::open(Server::App, folder.path(), Settings::default());
    let uploads: Vec<Envelope> = (0..5).map(|_| upload(&house, "dev/lamp-1")).collect();
    for upload in uploads.iter().chain(&uploads) {
        assert_eq!(send(&mut bus, upload).await, Status::DONE);
    }
    assert_eq!(house.effects().await.len(), 5);
    house.crash().await;

    // Of five the newest three are remembered once it is swept, which a start does first.
    let settings = Settings {
        seen_max: 3,
        ..Settings::default()
    };
    let (house, mut bus) = House::open(Server::App, folder.path(), settings);
    assert_eq!(send(&mut bus, &uploads[2]).await, Status::DONE);
    assert_eq!(house.effects().await.len(), 5, "the third newest");
    assert_eq!(send(&mut bus, &uploads[1]).await, Status::DONE);
    assert_eq!(house.effects().await.len(), 6, "the limit of the memory");
    house.crash().await;

    let settings = Settings {
        seen_retention: Duration::ZERO,
        ..Settings::default()
    };
    let (house, mut bus) = House::open(Server::App, folder.path(), settings);
    assert_eq!(send(&mut bus, &uploads[4]).await, Status::DONE);
    assert_eq!(house.effects().await.len(), 7, "nothing is remembered");
    let mut late = uploads[0].clone();
    late.id = MessageId::from_bytes([9; 16]);
    late.expires = house.courier.now();
    assert_eq!(send(&mut bus, &late).await, Status::EXPIRED);
    assert_eq!(house.effects().await.len(), 7, "what has expired takes no effect");
}

#[tokio::test]
async fn receipts_are_kept_for_as_many_messages_as_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (house, _bus) = House::open(Server::Message, folder.path(), Settings::default());
    let mut ids = Vec::new();
    for _ in 0..5 {
        let push = house.envelope(MessageKind::Push, "dev/lamp-1", b"on");
        ids.push(id_of(house.accept(push, lamp()).await));
    }
    // The second does not end.
    for id in [ids[0], ids[2], ids[3], ids[4]] {
        let end = house.courier.write(move |tx| tx.end(id, Status::DONE, None));
        end.await.unwrap();
    }
    house.crash().await;

    let settings = Settings {
        receipts_max: 2,
        ..Settings::default()
    };
    let (house, _bus) = House::open(Server::Message, folder.path(), settings);
    // The first sweep comes with the start.
    while house.courier.receipt(ids[2]).await.unwrap().is_some() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut kept = Vec::new();
    for (n, id) in ids.iter().enumerate() {
        kept.extend(house.courier.receipt(*id).await.unwrap().map(|_| n));
    }
    assert_eq!(kept, [1, 3, 4], "what is in flight, and the last two that ended");
    assert!(house.ledger().await.is_balanced());
}

#[tokio::test]
async fn every_message_that_is_refused_is_heard_of_and_none_ends_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let (mut house, _bus) = House::open(Server::Message, folder.path(), narrow());
    house.courier.present(lamp());
    let mut accepted = 0;
    for _ in 0..10 {
        let mut push = house.envelope(MessageKind::Push, "dev/lamp-1", b"on");
        push.source = "app/climate".parse().unwrap();
        accepted += u64::from(house.accept(push, lamp()).await.is_ok());
    }
    for _ in 0..accepted {
        next(&mut house.delivered).await;
    }
    let in_flight = house.courier.in_flight();
    assert_eq!((accepted, in_flight.refused_over_quota), (3, 7));
    assert_eq!(house.ledger().await.in_flight(), 3);
}
