//! The application server follows the account server's changes (clause 8.2).

use std::time::Duration;

use irsp_protocol::change::{Cause, Change, ChangeBatch, DirectoryPage, Entity};
use irsp_protocol::{MessageKind, Server, Status};

use crate::house::{ADMIN, CLIMATE, House, from_server, upload};

fn page(house: &House) -> DirectoryPage {
    let entities: Vec<(u64, Entity)> = (1..).zip(house.furniture()).collect();
    DirectoryPage {
        at: entities.len() as u64,
        entities,
        next: None,
    }
}

#[tokio::test]
async fn a_server_that_holds_nothing_asks_until_it_has_a_snapshot() {
    let mut house = House::empty(|_| {});
    assert_eq!(
        house.get(ADMIN, "/v1/presence").await.0,
        401,
        "nobody is known yet"
    );
    let envelope = upload("dev/lamp-1", "app/climate", "temp", b"1");
    let waiting = envelope.id;
    house.send(Server::Message, envelope.clone()).await;
    house.script({
        let page = page(&house);
        |script| script.directory = Some(page)
    });
    house
        .until(async |house| house.get(CLIMATE, "/v1/apps/climate/uploads").await.0 == 200)
        .await;
    // The upload was put off, not refused: its sender repeats it.
    house.send(Server::Message, envelope).await;
    assert_eq!(house.answer_to(waiting).await, Status::DONE);
    house.restart().await;
    assert_eq!(
        house.get(CLIMATE, "/v1/apps/climate/uploads").await.0,
        200,
        "the directory is on disk"
    );
    house.stop().await;
}

#[tokio::test]
async fn a_missing_change_is_made_up_for_by_a_snapshot() {
    let mut house = House::open_with(|settings| settings.catch_up_retry = Duration::from_millis(20)).await;
    let entities = page(&house);
    let at = entities.at;
    let mut news = house.furniture().remove(4);
    if let Entity::Device(device) = &mut news {
        device.generation = 2;
    }
    let change = Change {
        n: at + 2,
        cause: Cause::Reset,
        key: news.key(),
        entity: Some(news),
    };
    let batch = serde_json::to_vec(&ChangeBatch {
        changes: vec![change],
    })
    .unwrap();
    let envelope = from_server(Server::Account, MessageKind::Directory, batch);
    let id = envelope.id;
    house.send(Server::Account, envelope.clone()).await;
    house.script(|script| {
        script.directory = Some(DirectoryPage {
            at: at + 1,
            ..entities
        })
    });
    // Repeated by its sender until the gap is closed.
    let mut tries = 0;
    let status = loop {
        tries += 1;
        house.send(Server::Account, envelope.clone()).await;
        match tokio::time::timeout(Duration::from_millis(100), house.answer_to(id)).await {
            Ok(status) => break status,
            Err(_) => assert!(tries < 200, "the gap is never closed"),
        }
    };
    assert_eq!(status, Status::DONE);
    house.stop().await;
}

#[tokio::test]
async fn foreign_bytes_are_refused() {
    let mut house = House::open().await;
    for data in [&b""[..], b"{\"changes\":[]}", b"null"] {
        let envelope = from_server(Server::Account, MessageKind::Directory, data.to_vec());
        assert_eq!(house.deliver(Server::Account, envelope).await, Status::MALFORMED);
    }
    let envelope = from_server(
        Server::Message,
        MessageKind::Directory,
        b"{\"changes\":[]}".to_vec(),
    );
    assert_eq!(house.deliver(Server::Message, envelope).await, Status::MALFORMED);
    house.stop().await;
}
