//! Promise 1 and 2: whatever the bus does, what is accepted takes effect exactly once, and its end comes back.

mod support;

use std::collections::BTreeSet;

use irsp_courier::{Hop, Origin, Until};
use irsp_protocol::receipt::{Answer, Stage};
use irsp_protocol::{MessageKind, Server, Status};
use support::{Faults, House, MINUTE, Once, accept, id_of, join, next, quick};
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

const UPLOADS: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn every_upload_takes_effect_once_on_a_bus_that_loses_repeats_and_reorders() {
    for seed in 1..=4 {
        let folder = tempfile::tempdir().unwrap();
        let tasks = TaskTracker::new();
        let (message, to_message) = House::open(Server::Message, folder.path(), quick());
        let (app, to_app) = House::open(Server::App, folder.path(), quick());
        let faults = Faults {
            seed,
            lost: 20,
            repeated: 30,
            late: 30,
        };
        join(
            vec![(Server::Message, to_message), (Server::App, to_app)],
            faults,
            &tasks,
        );
        let mut uploads = JoinSet::new();
        for n in 0..UPLOADS {
            let upload = message.envelope(MessageKind::Upload, "app/climate", n.to_string().as_bytes());
            let courier = message.courier.clone();
            uploads.spawn(async move {
                let id = id_of(accept(&courier, upload, Hop::Server(Server::App)).await);
                courier.outcome(id, MINUTE, Until::End).await
            });
        }
        while let Some(outcome) = uploads.join_next().await {
            assert_eq!(outcome.unwrap(), Some((Status::DONE, None)));
        }
        let effects = app.effects().await;
        assert_eq!(effects.len(), UPLOADS);
        assert_eq!(effects.into_iter().collect::<BTreeSet<_>>().len(), UPLOADS);
        let ledger = message.ledger().await;
        assert_eq!((ledger.residue(), ledger.in_flight()), (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn order_is_kept_when_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = TaskTracker::new();
    let (message, to_message) = House::open(Server::Message, folder.path(), Default::default());
    let (app, to_app) = House::open(Server::App, folder.path(), Default::default());
    // More than a window, before the other side can hear: the rest is loaded from disk.
    let mut last = None;
    for n in 0u32..3000 {
        let upload = message.envelope(MessageKind::Upload, "app/climate", &n.to_be_bytes());
        let (sink, told) = Once::new();
        message.courier.accept(upload, Hop::Server(Server::App), sink, 0);
        last = Some(told);
    }
    let last = id_of(last.unwrap().await.unwrap());
    join(
        vec![(Server::Message, to_message), (Server::App, to_app)],
        Faults::default(),
        &tasks,
    );
    let outcome = message.courier.outcome(last, MINUTE, Until::End).await;
    assert_eq!(outcome, Some((Status::DONE, None)));
    let expected: Vec<_> = (0u32..3000).map(|n| n.to_be_bytes().to_vec()).collect();
    assert_eq!(app.effects().await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn order_is_kept_on_a_bus_that_loses_repeats_and_reorders() {
    for seed in 1..=3 {
        let folder = tempfile::tempdir().unwrap();
        let tasks = TaskTracker::new();
        let (message, to_message) = House::open(Server::Message, folder.path(), quick());
        let (app, to_app) = House::open(Server::App, folder.path(), quick());
        let faults = Faults {
            seed,
            lost: 20,
            repeated: 20,
            late: 20,
        };
        join(
            vec![(Server::Message, to_message), (Server::App, to_app)],
            faults,
            &tasks,
        );
        let mut last = None;
        for n in 0u32..200 {
            let upload = message.envelope(MessageKind::Upload, "app/climate", &n.to_be_bytes());
            // Each in a commit and so in a frame of its own.
            last = Some(id_of(message.accept(upload, Hop::Server(Server::App)).await));
        }
        let outcome = message.courier.outcome(last.unwrap(), MINUTE, Until::End).await;
        assert_eq!(outcome, Some((Status::DONE, None)));
        let expected: Vec<_> = (0u32..200).map(|n| n.to_be_bytes().to_vec()).collect();
        assert_eq!(app.effects().await, expected, "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_ends_at_its_origin_with_the_answer_of_the_device() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = TaskTracker::new();
    let (mut message, to_message) = House::open(Server::Message, folder.path(), quick());
    let (mut app, to_app) = House::open(Server::App, folder.path(), quick());
    let faults = Faults {
        seed: 7,
        lost: 20,
        repeated: 30,
        late: 20,
    };
    join(
        vec![(Server::Message, to_message), (Server::App, to_app)],
        faults,
        &tasks,
    );
    let lamp = Hop::Principal("dev/lamp-1".parse().unwrap());
    let mut ids = Vec::new();
    for n in 0..100u8 {
        let push = app.envelope(MessageKind::Push, "dev/lamp-1", &[n]);
        ids.push(id_of(app.accept(push, Hop::Server(Server::Message)).await));
    }
    for id in &ids {
        let custody = app.courier.outcome(*id, MINUTE, Until::Custody).await;
        assert_eq!(custody, Some((Status::QUEUED, None)));
    }
    message.courier.present(lamp.clone());
    for _ in &ids {
        let (_, envelope) = next(&mut message.delivered).await;
        let answer = Answer {
            code: 204,
            body: b"on".as_slice().into(),
        };
        let (sink, told) = Once::new();
        message
            .courier
            .answered(lamp.clone(), envelope.id, answer, sink, 0);
        assert!(!told.await.unwrap().unwrap().duplicate);
    }
    for id in &ids {
        let (status, answer) = app.courier.outcome(*id, MINUTE, Until::End).await.unwrap();
        assert_eq!((status, answer.unwrap().code), (Status::DONE, 204));
    }
    let ended = next(&mut app.ended).await;
    assert_eq!((ended.origin, ended.envelope.kind), (None, MessageKind::Push));
    let forwarded = next(&mut message.ended).await;
    assert_eq!(forwarded.origin, Some(Origin::Server(Server::App)));

    let here = app.courier.receipt(ids[0]).await.unwrap().unwrap();
    let there = message.courier.receipt(ids[0]).await.unwrap().unwrap();
    let stages: Vec<_> = here.stages.iter().map(|report| report.stage).collect();
    let every = [
        Stage::Accepted,
        Stage::Routed,
        Stage::Sent,
        Stage::Answered,
        Stage::Ended,
    ];
    assert_eq!(stages, every);
    assert_eq!(here.stages[3].code, Some(Status::QUEUED));
    assert_eq!(there.stages[0].reporter.to_string(), "srv/message@home.example");
    assert_eq!(there.join(here).status, Status::DONE);
    assert_eq!(app.ledger().await.residue(), 0);
    assert_eq!(message.ledger().await.residue(), 0);
}
