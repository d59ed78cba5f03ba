//! Live streams: no gap, no repeat, and an end when the right to listen ends.

use irsp_protocol::change::{Cause, EntityKey};
use irsp_protocol::{Principal, Server, Status};
use serde_json::json;

use crate::house::{ADMIN, CLIMATE, House, NARROW, OPERATOR, id, upload};

const STREAM: &str = "/v1/apps/climate/uploads/stream";

#[tokio::test]
async fn a_stream_resumes_without_a_gap_or_a_repeat() {
    let mut house = House::open().await;
    for n in 0..700 {
        let envelope = upload("dev/lamp-1", "app/climate", "temp", n.to_string().as_bytes());
        house.send(Server::Message, envelope).await;
    }
    assert_eq!(house.upload("temp", b"700").await, Status::DONE);
    let mut stream = house.listen(CLIMATE, STREAM, Some("0")).await;
    let mut last = 0;
    for n in 0..300 {
        let event = stream.next().await.unwrap();
        assert_eq!((event.name.as_str(), &event.data["data"]), ("upload", &json!(n)));
        assert_eq!(event.data["seq"], event.id);
        assert!(event.id > last);
        last = event.id;
    }
    drop(stream);
    // Uploads come while the stream is read, some before and some after it has caught up.
    let mut stream = house.listen(CLIMATE, STREAM, Some(&last.to_string())).await;
    for n in 701..1000 {
        let envelope = upload("dev/lamp-1", "app/climate", "temp", n.to_string().as_bytes());
        house.send(Server::Message, envelope).await;
    }
    for n in 300..1000 {
        assert_eq!(stream.next().await.unwrap().data["data"], json!(n));
    }
    assert_eq!(house.upload("temp", b"1000").await, Status::DONE);
    assert_eq!(stream.next().await.unwrap().data["data"], json!(1000));
    house.stop().await;
}

#[tokio::test]
async fn a_stream_without_a_number_begins_now_and_shows_only_what_is_asked_for() {
    let mut house = House::open().await;
    assert_eq!(house.upload("temp", b"0").await, Status::DONE);
    let mut all = house.listen(ADMIN, STREAM, None).await;
    let mut light = house
        .listen(OPERATOR, &format!("{STREAM}?device=lamp-1&channel=light"), None)
        .await;
    let other = upload("dev/lamp-1", "app/narrow", "temp", b"9");
    assert_eq!(house.deliver(Server::Message, other).await, Status::DONE);
    assert_eq!(house.upload("temp", b"1").await, Status::DONE);
    assert_eq!(house.upload("light", b"2").await, Status::DONE);
    assert_eq!(all.next().await.unwrap().data["data"], 1);
    assert_eq!(all.next().await.unwrap().data["data"], 2);
    assert_eq!(light.next().await.unwrap().data["data"], 2);
    house.stop().await;
}

#[tokio::test]
async fn a_listener_that_falls_behind_misses_nothing() {
    let mut house = House::open().await;
    let mut slow = house.listen(CLIMATE, STREAM, None).await;
    // Each is its own batch, and more than the feed holds.
    for n in 0..200 {
        assert_eq!(house.upload("temp", n.to_string().as_bytes()).await, Status::DONE);
    }
    for n in 0..200 {
        assert_eq!(slow.next().await.unwrap().data["data"], json!(n));
    }
    house.stop().await;
}

#[tokio::test]
async fn a_stream_ends_with_the_right_to_it_and_with_the_server() {
    let mut house = House::open().await;
    let mut narrow = house.listen(NARROW, "/v1/apps/narrow/uploads/stream", None).await;
    let mut climate = house.listen(CLIMATE, STREAM, None).await;
    let key = EntityKey::Principal(Principal::application(id("narrow")));
    house.change(Cause::Delete, key, None).await;
    let goodbye = narrow.block().await.unwrap();
    assert!(goodbye.starts_with(": closed: 401"), "{goodbye}");
    assert_eq!(narrow.next().await, None);
    assert_eq!(house.upload("temp", b"1").await, Status::DONE);
    assert_eq!(climate.next().await.unwrap().data["data"], 1, "others listen on");
    house.stop().await;
    assert_eq!(climate.next().await, None);
}

#[tokio::test]
async fn there_is_a_limit_to_streams_and_a_closed_one_gives_its_place_back() {
    let house = House::open_with(|settings| settings.streams_max = 1).await;
    let stream = house.listen(CLIMATE, STREAM, None).await;
    let (code, _) = house.get(CLIMATE, STREAM).await;
    assert_eq!(code, 503);
    drop(stream);
    house.listen(CLIMATE, STREAM, None).await;
    house.stop().await;
}
