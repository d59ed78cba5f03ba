//! Uploads: stored once, shown in pages (clause 8.3.1).

use std::time::Duration;

use irsp_protocol::change::{Cause, EntityKey};
use irsp_protocol::{Principal, Server, Status, Timestamp};
use serde_json::{Value, json};

use crate::house::{ADMIN, ANN, CLIMATE, House, NARROW, OPERATOR, id, upload};

const UPLOADS: &str = "/v1/apps/climate/uploads";

fn column(body: &Value, list: &str, field: &str) -> Vec<Value> {
    body[list]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry[field].clone())
        .collect()
}

#[tokio::test]
async fn an_upload_delivered_twice_is_stored_once_and_answered_twice() {
    let mut house = House::open().await;
    let envelope = upload("dev/lamp-1", "app/climate", "temp", b"21.50");
    assert_eq!(
        house.deliver(Server::Message, envelope.clone()).await,
        Status::DONE
    );
    assert_eq!(
        house.deliver(Server::Message, envelope.clone()).await,
        Status::DONE
    );
    let (code, body) = house.get(CLIMATE, UPLOADS).await;
    assert_eq!(code, 200);
    assert_eq!(body["uploads"].as_array().unwrap().len(), 1, "{body}");
    let stored = &body["uploads"][0];
    assert_eq!(stored["id"], envelope.id.to_string());
    assert_eq!(stored["source"], "dev/lamp-1");
    assert_eq!(stored["device"], "lamp-1");
    assert_eq!(stored["channel"], "temp");
    assert_eq!(stored["time"], envelope.time.to_string());
    assert_eq!(stored["data"], 21.5);
    assert_eq!(body["next"], Value::Null);
    house.stop().await;
}

#[tokio::test]
async fn metadata_is_kept_and_data_is_shown_as_what_it_is() {
    let mut house = House::open().await;
    let mut envelope = upload(
        "usr/ann@home.example",
        "app/climate@home.example",
        "a/b",
        b"\xff\xfe",
    );
    envelope.content_type = Some("image/raw".into());
    envelope.sender_id = Some("17".into());
    envelope.attributes = vec![("unit".into(), "K".into()), ("unit".into(), "C".into())];
    assert_eq!(house.deliver(Server::Message, envelope).await, Status::DONE);
    assert_eq!(house.upload("note", b"warm").await, Status::DONE);
    assert_eq!(house.upload("note", b"").await, Status::DONE);
    let (_, body) = house.get(CLIMATE, UPLOADS).await;
    let first = &body["uploads"][0];
    assert_eq!(first["source"], "usr/ann");
    assert_eq!(first.get("device"), None);
    assert_eq!(first["content_type"], "image/raw");
    assert_eq!(first["sender_id"], "17");
    assert_eq!(first["attributes"], json!([["unit", "K"], ["unit", "C"]]));
    assert_eq!(first["data_base64"], "//4=");
    assert_eq!(
        column(&body, "uploads", "text"),
        [Value::Null, "warm".into(), "".into()]
    );
    house.stop().await;
}

#[tokio::test]
async fn what_is_not_for_a_hosted_application_is_refused_with_the_right_status() {
    let mut house = House::open().await;
    for (to, status) in [
        ("app/nobody", Status::NOT_FOUND),
        ("dev/lamp-2", Status::MALFORMED),
        ("app/climate@away.example", Status::WRONG_DOMAIN),
    ] {
        let envelope = upload("dev/lamp-1", to, "temp", b"1");
        assert_eq!(house.deliver(Server::Message, envelope).await, status, "{to}");
    }
    let narrow = EntityKey::Principal(Principal::application(id("narrow")));
    house.change(Cause::Delete, narrow, None).await;
    let envelope = upload("dev/lamp-1", "app/narrow", "temp", b"1");
    assert_eq!(house.deliver(Server::Message, envelope).await, Status::DELETED);
    let envelope = upload("dev/lamp-1", "app/climate", "temp", b"1");
    assert_eq!(
        house.deliver(Server::Account, envelope).await,
        Status::MALFORMED,
        "uploads come from the message server"
    );
    house.stop().await;
}

#[tokio::test]
async fn pages_by_device_channel_time_and_order() {
    let mut house = House::open().await;
    let day = |n: i64| Timestamp::from_millis(1_795_392_000_000 + n * 86_400_000);
    for n in 0..5_i64 {
        let device = if n % 2 == 0 { "dev/lamp-1" } else { "dev/lamp-2" };
        let mut envelope = upload(
            device,
            "app/climate",
            if n < 3 { "temp" } else { "light" },
            n.to_string().as_bytes(),
        );
        envelope.time = day(n);
        assert_eq!(house.deliver(Server::Message, envelope).await, Status::DONE);
    }
    let (from, to) = (day(1), day(3));
    for (query, wanted) in [
        (String::new(), vec![0, 1, 2, 3, 4]),
        ("?order=desc".into(), vec![4, 3, 2, 1, 0]),
        ("?device=lamp-1".into(), vec![0, 2, 4]),
        ("?device=dev/lamp-2@home.example".into(), vec![1, 3]),
        ("?channel=light".into(), vec![3, 4]),
        ("?device=lamp-1&channel=light".into(), vec![4]),
        (format!("?from={from}&to={to}"), vec![1, 2]),
        ("?device=usr/ann".into(), vec![]),
    ] {
        let (code, body) = house.get(CLIMATE, &format!("{UPLOADS}{query}")).await;
        assert_eq!(code, 200, "{query}: {body}");
        assert_eq!(
            column(&body, "uploads", "data"),
            wanted.iter().map(|n| json!(n)).collect::<Vec<_>>(),
            "{query}"
        );
    }
    for order in ["asc", "desc"] {
        let mut seen = Vec::new();
        let mut after = String::new();
        loop {
            let (_, body) = house
                .get(CLIMATE, &format!("{UPLOADS}?limit=2&order={order}{after}"))
                .await;
            seen.extend(column(&body, "uploads", "data"));
            let Some(next) = body["next"].as_u64() else { break };
            after = format!("&after={next}");
        }
        if order == "desc" {
            seen.reverse();
        }
        assert_eq!(seen, (0..5).map(|n| json!(n)).collect::<Vec<_>>(), "{order}");
    }
    house.stop().await;
}

#[tokio::test]
async fn the_latest_of_each_device_and_channel() {
    let mut house = House::open().await;
    for (device, channel, data) in [
        ("dev/lamp-1", "temp", "1"),
        ("dev/lamp-2", "temp", "2"),
        ("dev/lamp-1", "light", "3"),
        ("dev/lamp-1", "temp", "4"),
    ] {
        let envelope = upload(device, "app/climate", channel, data.as_bytes());
        assert_eq!(house.deliver(Server::Message, envelope).await, Status::DONE);
    }
    let (code, body) = house.get(CLIMATE, "/v1/apps/climate/latest").await;
    assert_eq!(code, 200);
    assert_eq!(column(&body, "latest", "data"), [json!(3), json!(4), json!(2)]);
    let (_, body) = house.get(CLIMATE, "/v1/apps/climate/latest?device=lamp-2").await;
    assert_eq!(column(&body, "latest", "data"), [json!(2)]);
    let (_, body) = house.get(CLIMATE, "/v1/apps/climate/latest?limit=2").await;
    let next = body["next"].as_str().unwrap().replace(' ', "%20");
    let (_, body) = house
        .get(CLIMATE, &format!("/v1/apps/climate/latest?limit=2&after={next}"))
        .await;
    assert_eq!(column(&body, "latest", "data"), [json!(2)]);
    assert_eq!(body["next"], Value::Null);
    house.stop().await;
}

#[tokio::test]
async fn only_the_application_and_those_who_read_everything_see_uploads() {
    let mut house = House::open().await;
    assert_eq!(house.upload("temp", b"1").await, Status::DONE);
    for path in ["uploads", "uploads/stream", "latest"] {
        for caller in [NARROW, ANN] {
            for app in ["climate", "nobody"] {
                let (code, _) = house.get(caller, &format!("/v1/apps/{app}/{path}")).await;
                assert_eq!(code, 403, "{caller} {app}/{path}: existence is not told");
            }
        }
        let (code, _) = house.get(OPERATOR, &format!("/v1/apps/nobody/{path}")).await;
        assert_eq!(code, 404);
    }
    for caller in [CLIMATE, ADMIN, OPERATOR, "Basic YXBwL2NsaW1hdGU6Y2xpbWF0ZS1rZXk="] {
        let (code, body) = house.get(caller, UPLOADS).await;
        assert_eq!(
            (code.as_u16(), column(&body, "uploads", "data")),
            (200, vec![json!(1)]),
            "{caller}"
        );
    }
    house.stop().await;
}

#[tokio::test]
async fn a_restart_keeps_everything_and_repeats_are_still_known() {
    let mut house = House::open().await;
    let envelope = upload("dev/lamp-1", "app/climate", "temp", b"1");
    assert_eq!(
        house.deliver(Server::Message, envelope.clone()).await,
        Status::DONE
    );
    house.restart().await;
    assert_eq!(house.deliver(Server::Message, envelope).await, Status::DONE);
    assert_eq!(house.upload("temp", b"2").await, Status::DONE);
    let (code, body) = house.get(CLIMATE, UPLOADS).await;
    assert_eq!(code, 200);
    assert_eq!(column(&body, "uploads", "data"), [json!(1), json!(2)]);
    assert_eq!(house.server().ledger().await.unwrap().residue(), 0);
    house.stop().await;
}

#[tokio::test]
async fn a_page_of_large_uploads_ends_early_and_goes_on() {
    let mut house = House::open().await;
    let large = vec![b'x'; 1_000_000];
    for _ in 0..6 {
        assert_eq!(house.upload("image", &large).await, Status::DONE);
    }
    let (_, body) = house.get(CLIMATE, UPLOADS).await;
    let first = body["uploads"].as_array().unwrap().len();
    assert!((1..6).contains(&first), "{first}");
    let (_, body) = house
        .get(CLIMATE, &format!("{UPLOADS}?after={}", body["next"]))
        .await;
    assert_eq!(first + body["uploads"].as_array().unwrap().len(), 6);
    house.stop().await;
}

#[tokio::test]
async fn retention_keeps_the_newest() {
    let mut house = House::open().await;
    for n in 0..5 {
        assert_eq!(house.upload("temp", n.to_string().as_bytes()).await, Status::DONE);
    }
    house.keep(|retention| retention.count = Some(2));
    house.restart().await;
    house
        .until(async |house| {
            let (_, body) = house.get(CLIMATE, UPLOADS).await;
            column(&body, "uploads", "data") == [json!(3), json!(4)]
        })
        .await;
    house.keep(|retention| retention.age = Some(Duration::ZERO));
    house.restart().await;
    house
        .until(async |house| house.get(CLIMATE, UPLOADS).await.1["uploads"] == json!([]))
        .await;
    // Numbers are never used again.
    assert_eq!(house.upload("temp", b"5").await, Status::DONE);
    house.stop().await;
}

#[tokio::test]
async fn everything_is_exported_as_lines_and_as_a_table() {
    let mut house = House::open().await;
    for n in 0..600 {
        assert_eq!(house.upload("n", n.to_string().as_bytes()).await, Status::DONE);
    }
    assert_eq!(house.upload("note", b"warm, \"very\"").await, Status::DONE);
    let (code, kind, text) = house.text(CLIMATE, "/v1/apps/climate/uploads/export").await;
    assert_eq!((code.as_u16(), kind.as_str()), (200, "application/x-ndjson"));
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 601);
    assert!((0..600).all(|n| lines[n]["data"] == n));

    let csv = "/v1/apps/climate/uploads/export?format=csv&channel=note";
    let (_, kind, text) = house.text(CLIMATE, csv).await;
    assert_eq!(kind, "text/csv; charset=utf-8");
    let rows: Vec<&str> = text.split("\r\n").collect();
    assert!(rows[0].starts_with("seq,id,kind,source,channel,time,"), "{text}");
    assert!(rows[1].starts_with("601,"), "{text}");
    assert!(rows[1].ends_with(r#",text,"warm, ""very""""#), "{text}");
    assert_eq!(rows[2..], [""]);
    let after = "/v1/apps/climate/uploads/export?after=600";
    assert_eq!(house.text(CLIMATE, after).await.2.lines().count(), 1);
    for (caller, path, code) in [
        (NARROW, "/v1/apps/climate/uploads/export", 403),
        (CLIMATE, "/v1/apps/climate/uploads/export?format=xml", 400),
    ] {
        assert_eq!(house.get(caller, path).await.0, code, "{path}");
    }
    house.stop().await;
}
