//! Two domains whose message servers are linked (clause 8.5): a link that is cut loses nothing and repeats nothing, and
//! a peer has a say in its own messages only.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use irsp_courier::store::StoreError;
use irsp_courier::{Courier, Hop, PeerAnswer, PeerFrame, PeerPort, Settings, Until};
use irsp_protocol::frame::{self, Item, Place};
use irsp_protocol::receipt::{Answer, Cause, Ending};
use irsp_protocol::{Domain, Envelope, MessageKind, Server, Status};
use support::{House, MINUTE, Once, id_of, next, quick};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

fn a() -> Domain {
    Domain::new("a.example").unwrap()
}

fn b() -> Domain {
    Domain::new("b.example").unwrap()
}

/// The two message servers, not yet linked.
fn houses(folder: &Path) -> (House, House) {
    let (at, bt) = (folder.join("a"), folder.join("b"));
    std::fs::create_dir_all(&at).unwrap();
    std::fs::create_dir_all(&bt).unwrap();
    let (house_a, _) = House::of("a.example", Server::Message, &at, quick());
    let (house_b, _) = House::of("b.example", Server::Message, &bt, quick());
    (house_a, house_b)
}

/// A link that carries so many frames in each direction and is then cut.
async fn link(courier_a: &Courier, courier_b: &Courier, frames: usize) {
    let (port_a, from_a) = courier_a.link_peer(b(), None);
    let (port_b, from_b) = courier_b.link_peer(a(), None);
    let mut ways = JoinSet::new();
    ways.spawn(carry(from_a, port_b, frames));
    ways.spawn(carry(from_b, port_a, frames));
    // Either way's end is the end of the link.
    ways.join_next().await.unwrap().unwrap();
}

async fn carry(mut from: mpsc::Receiver<Bytes>, to: PeerPort, frames: usize) {
    for _ in 0..frames {
        let Some(frame) = from.recv().await else { return };
        to.take(read(frame)).await;
    }
}

fn read(mut frame: Bytes) -> PeerFrame {
    let mut said = PeerFrame::default();
    while let Some(item) = frame::read(&mut frame).unwrap() {
        match item {
            Item::Deliver { place, envelope, .. } => said.delivered.push((place, envelope)),
            Item::Answer {
                id,
                status,
                answer,
                cause,
                ..
            } => said.answers.push(PeerAnswer {
                id,
                status,
                answer,
                cause,
            }),
            other @ (Item::Hello { .. } | Item::Ask { .. } | Item::Reply { .. }) => {
                panic!("not for a peer: {other:?}")
            }
        }
    }
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_over_a_link_that_is_cut_again_and_again_take_effect_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let (house_a, house_b) = houses(folder.path());
    let mut last = None;
    for n in 0..300u32 {
        let upload = house_a.envelope(MessageKind::Upload, "app/climate@b.example", &n.to_be_bytes());
        last = Some(id_of(house_a.accept(upload, Hop::Peer(b())).await));
    }
    let (waiting, oldest) = house_a.courier.queue(Hop::Peer(b())).await.unwrap();
    assert_eq!((waiting, oldest.is_some()), (300, true));
    let end = house_a.courier.outcome(last.unwrap(), MINUTE, Until::End);
    let linking = async {
        for frames in 0.. {
            link(&house_a.courier, &house_b.courier, frames).await;
        }
    };
    let end = tokio::select! {
        end = end => end,
        () = linking => None,
    };
    assert_eq!(end, Some((Status::DONE, None)));
    let expected: Vec<_> = (0u32..300).map(|n| n.to_be_bytes().to_vec()).collect();
    assert_eq!(house_b.effects().await, expected);
    for house in [&house_a, &house_b] {
        let ledger = house.ledger().await;
        assert_eq!((ledger.residue(), ledger.in_flight()), (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_ends_in_the_other_domain_and_its_origin_hears_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    let (house_a, mut house_b) = houses(folder.path());
    let push = house_a.envelope(MessageKind::Push, "dev/lamp-2@b.example", b"on");
    let id = id_of(house_a.accept(push, Hop::Peer(b())).await);
    let lamp = Hop::Principal("dev/lamp-2".parse().unwrap());
    let courier_b = house_b.courier.clone();
    courier_b.present(lamp.clone());
    let story = async {
        let (_, envelope) = next(&mut house_b.delivered).await;
        assert_eq!(envelope.source.to_string(), "dev/lamp-1@a.example");
        let answer = Answer {
            code: 204,
            body: Bytes::from_static(b"on"),
        };
        let (sink, told) = Once::new();
        courier_b.answered(lamp, envelope.id, answer, sink, 0);
        told.await.unwrap().unwrap();
        house_a.courier.outcome(id, MINUTE, Until::End).await
    };
    let end = tokio::select! {
        end = story => end,
        () = link(&house_a.courier, &courier_b, usize::MAX) => None,
    };
    let (status, answer) = end.unwrap();
    assert_eq!((status, answer.unwrap().code), (Status::DONE, 204));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_has_no_say_in_messages_that_are_not_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (house_a, house_b) = houses(folder.path());
    let lamp = Hop::Principal("dev/lamp-1".parse().unwrap());
    let own = house_a.envelope(MessageKind::Push, "dev/lamp-1", b"on");
    let own_id = id_of(house_a.accept(own.clone(), lamp).await);
    let (port, mut answers) = house_a.courier.link_peer(b(), None);

    // It answers, ends and sends what is not its own.
    let mut taken = own.clone();
    taken.data = Bytes::from_static(b"mine now");
    let mut status = house_b.envelope(MessageKind::Status, "srv/message@a.example", b"");
    let ending = Ending {
        message: own_id,
        status: Status::DONE,
        at: house_b.courier.now(),
        answer: None,
        cause: None,
    };
    status.data = serde_json::to_vec(&ending).unwrap().into();
    let status_id = status.id;
    port.take(PeerFrame {
        delivered: vec![
            (Place { seq: 1, after: 0 }, taken),
            (Place { seq: 2, after: 1 }, status),
        ],
        answers: vec![PeerAnswer {
            id: own_id,
            status: Status::DONE,
            answer: None,
            cause: None,
        }],
    })
    .await;
    let said = read(answers.recv().await.unwrap()).answers;
    let said: Vec<_> = said.iter().map(|answer| (answer.id, answer.status)).collect();
    assert_eq!(said, [(own_id, Status::CONFLICT), (status_id, Status::DONE)]);
    let receipt = house_a.courier.receipt(own_id).await.unwrap().unwrap();
    assert_eq!(receipt.status, Status::QUEUED, "it still waits for its device");
}

/// What a peer is answered that delivers one envelope.
async fn deliver(house: &House, envelope: &Envelope) -> (Status, Option<Answer>) {
    let (port, mut answers) = house.courier.link_peer(a(), None);
    port.take(PeerFrame {
        delivered: vec![(Place { seq: 1, after: 0 }, envelope.clone())],
        answers: Vec::new(),
    })
    .await;
    let answer = loop {
        let said = read(answers.recv().await.unwrap());
        // The news of the end may come first.
        if let Some(answer) = said.answers.into_iter().next() {
            break answer;
        }
    };
    (answer.status, answer.answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_repeat_hears_how_its_push_has_ended_whatever_is_thought_of_it_by_then() {
    let folder = tempfile::tempdir().unwrap();
    let (house_a, mut house_b) = houses(folder.path());
    let mut push = house_a.envelope(MessageKind::Push, "dev/lamp-2", b"on");
    push.source.domain = Some(a());
    assert_eq!(deliver(&house_b, &push).await.0, Status::QUEUED);
    let lamp = Hop::Principal("dev/lamp-2".parse().unwrap());
    house_b.courier.present(lamp.clone());
    next(&mut house_b.delivered).await;
    let on = Answer {
        code: 204,
        body: Bytes::from_static(b"on"),
    };
    let (sink, told) = Once::new();
    house_b.courier.answered(lamp, push.id, on.clone(), sink, 0);
    told.await.unwrap().unwrap();
    house_b.crash().await;

    // The start forgets that it has seen the envelope; what it kept of it has its own time.
    let settings = Settings {
        seen_retention: Duration::ZERO,
        ..quick()
    };
    let (house_b, _) = House::of("b.example", Server::Message, &folder.path().join("b"), settings);
    let gone = StoreError::refused(Status::FORBIDDEN, "the grant was withdrawn meanwhile");
    *house_b.shop.refuse.lock().unwrap() = Some(gone);
    for time in ["forgotten", "remembered"] {
        let told = deliver(&house_b, &push).await;
        assert_eq!(told, (Status::DONE, Some(on.clone())), "{time}");
    }
    let refused = house_b.shop.refuse.lock().unwrap().is_none();
    assert!(refused, "the server was asked");
}

/// A message of an application of b.example, as its link hands it on.
fn from_b(house: &House, n: u8) -> Envelope {
    let mut sent = house.envelope(MessageKind::Push, "dev/lamp-2", &[n]);
    sent.source = format!("app/x{n}@b.example").parse().unwrap();
    sent
}

/// What a peer is answered to an envelope; all that waits for it comes as well, and stays unanswered.
async fn answered(port: &PeerPort, from: &mut mpsc::Receiver<Bytes>, envelope: Envelope) -> u16 {
    let id = envelope.id;
    port.take(PeerFrame {
        delivered: vec![(Place { seq: 1, after: 0 }, envelope)],
        answers: Vec::new(),
    })
    .await;
    loop {
        let said = read(from.recv().await.unwrap());
        if let Some(answer) = said.answers.iter().find(|answer| answer.id == id) {
            return answer.status.code();
        }
    }
}

/// Room for four messages of a domain, and for what waits for it.
fn narrow() -> Settings {
    let mut settings = quick();
    settings.bounds.application.messages_max = 4;
    settings
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_that_takes_no_news_of_its_ends_is_refused_until_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let (house, _bus) = House::of("a.example", Server::Message, folder.path(), narrow());
    let lamp = Hop::Principal("dev/lamp-2".parse().unwrap());
    let (port, mut from) = house.courier.link_peer(b(), None);
    let mut codes = Vec::new();
    for n in 0..6 {
        codes.push(answered(&port, &mut from, from_b(&house, n)).await);
        let hop = lamp.clone();
        house
            .courier
            .write(move |tx| tx.end_hop(&hop, Status::DELETED))
            .await
            .unwrap();
    }
    assert_eq!(codes, [202, 202, 202, 202, 429, 429]);
    let own = house.envelope(MessageKind::Push, "dev/lamp-2", b"on");
    house.accept(own, lamp).await.unwrap();
    let to_b = house.envelope(MessageKind::Upload, "app/x@b.example", b"1");
    house.accept(to_b, Hop::Peer(b())).await.unwrap();
    drop((port, from));
    house.crash().await;

    let (house, _bus) = House::of("a.example", Server::Message, folder.path(), narrow());
    let (port, mut from) = house.courier.link_peer(b(), None);
    assert_eq!(
        answered(&port, &mut from, from_b(&house, 7)).await,
        429,
        "after a restart, too"
    );
    drop((port, from));
    let hop = Hop::Peer(b());
    house
        .courier
        .write(move |tx| tx.end_hop(&hop, Status::DONE))
        .await
        .unwrap();
    let (port, mut from) = house.courier.link_peer(b(), None);
    assert_eq!(answered(&port, &mut from, from_b(&house, 8)).await, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_presence_told_to_a_domain_the_newest_waits_and_counts_for_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = quick();
    settings.bounds.principal.messages_max = 2;
    let (mut house, _bus) = House::of("a.example", Server::Message, folder.path(), settings);
    let mut told = Vec::new();
    for (to, taken) in [("app/x@b.example", true), ("app/y@b.example", false)] {
        for n in 0..4u8 {
            let presence = house.envelope(MessageKind::Presence, to, &[n]);
            let id = id_of(house.accept(presence, Hop::Peer(b())).await);
            if taken {
                let (port, mut from) = house.courier.link_peer(b(), None);
                while !read(from.recv().await.unwrap())
                    .delivered
                    .iter()
                    .any(|(_, sent)| sent.id == id)
                {}
                drop(port);
            }
            told.push(id);
        }
    }
    let (waiting, _) = house.courier.queue(Hop::Peer(b())).await.unwrap();
    assert_eq!(waiting, 2, "one for each application");
    let ended = next(&mut house.ended).await;
    assert_eq!((ended.envelope.id, ended.status), (told[0], Status::CONFLICT));
    assert_eq!(ended.cause, Some(Cause::Superseded { by: told[1] }));
    let upload = house.envelope(MessageKind::Upload, "app/climate", b"1");
    house.accept(upload, Hop::Server(Server::App)).await.unwrap();
    assert_eq!(house.ledger().await.residue(), 0);
}
