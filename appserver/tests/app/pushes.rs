//! Pushes: queued, refused, answered, repeated, too late (clause 8.3.3).

use std::time::{Duration, Instant};

use irsp_protocol::receipt::Answer;
use irsp_protocol::{MessageKind, Status};
use serde_json::{Value, json};

use crate::house::{ADMIN, ANN, BOB, CLIMATE, Custody, House, NARROW, OPERATOR, PATIENCE};

fn to(to: &str) -> Value {
    json!({"to": to, "channel": "set", "data": {"on": true}})
}

fn with(mut push: Value, more: Value) -> Value {
    push.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    push
}

#[tokio::test]
async fn a_push_in_the_message_servers_custody_is_queued() {
    let mut house = House::open().await;
    let (code, headers, body) = house.push(CLIMATE, to("dev/lamp-1")).await;
    assert_eq!(code, 202, "{body}");
    assert_eq!(body["status"], 202);
    assert_eq!(body["name"], "queued");
    assert_eq!(
        headers["location"],
        format!("/v1/messages/{}", body["id"].as_str().unwrap())
    );
    let sent = house.pushes.recv().await.unwrap();
    assert_eq!(sent.kind, MessageKind::Push);
    assert_eq!(sent.id.to_string(), body["id"]);
    assert_eq!(sent.source.to_string(), "app/climate");
    assert_eq!(sent.destination.to_string(), "dev/lamp-1");
    assert_eq!(sent.data, r#"{"on":true}"#);
    house.stop().await;
}

#[tokio::test]
async fn a_push_while_the_message_server_is_away_is_queued_and_survives_a_restart() {
    let mut house = House::open_with(|settings| settings.push.custody_wait = Duration::from_millis(50)).await;
    house.script(|script| script.custody = Custody::Away);
    let (code, _, body) = house.push(CLIMATE, to("dev/lamp-1")).await;
    assert_eq!(code, 202);
    house.restart_into(|script| script.custody = Custody::Taken).await;
    let sent = tokio::time::timeout(PATIENCE, house.pushes.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(sent.id.to_string(), body["id"]);
    house.stop().await;
}

#[tokio::test]
async fn a_refusal_of_the_message_server_is_the_answer() {
    let house = House::open().await;
    house.script(|script| script.custody = Custody::Refused(Status::QUEUE_FULL));
    let (code, headers, body) = house.push(CLIMATE, to("dev/lamp-1")).await;
    assert_eq!(code, 507);
    assert_eq!(body["title"], "queue-full");
    assert!(
        headers["location"].to_str().unwrap().starts_with("/v1/messages/"),
        "it has a receipt"
    );
    house.stop().await;
}

#[tokio::test]
async fn who_waits_hears_the_receivers_answer() {
    let house = House::open().await;
    for (answer, shown) in [
        (
            Answer {
                code: 200,
                body: "{\"was\":1}".into(),
            },
            json!({"code": 200, "data": {"was": 1}}),
        ),
        (
            Answer {
                code: 299,
                body: "ok".into(),
            },
            json!({"code": 299, "text": "ok"}),
        ),
        (
            Answer {
                code: 500,
                body: vec![0xff].into(),
            },
            json!({"code": 500, "data_base64": "/w=="}),
        ),
        (
            Answer {
                code: 200,
                body: "".into(),
            },
            json!({"code": 200}),
        ),
    ] {
        house.script(|script| script.custody = Custody::Ended(Status::DONE, Some(answer)));
        let (code, _, body) = house
            .push(CLIMATE, with(to("dev/lamp-1"), json!({"wait": "10s"})))
            .await;
        assert_eq!(code, 200, "{body}");
        assert_eq!((&body["status"], &body["name"]), (&json!(200), &json!("done")));
        assert_eq!(body["answer"], shown);
    }
    house.script(|script| script.custody = Custody::Ended(Status::EXPIRED, None));
    let (code, _, _) = house
        .push(CLIMATE, with(to("dev/lamp-1"), json!({"wait": 10})))
        .await;
    assert_eq!(code, 408);
    house.script(|script| script.custody = Custody::Taken);
    let (code, _, body) = house
        .push(CLIMATE, with(to("dev/lamp-1"), json!({"wait": "100ms"})))
        .await;
    assert_eq!(
        (code.as_u16(), &body["status"]),
        (202, &json!(202)),
        "not ended in time"
    );
    house.stop().await;
}

#[tokio::test]
async fn a_push_repeated_under_its_id_is_made_once() {
    let mut house = House::open().await;
    let push = with(to("dev/lamp-1"), json!({"id": "order-17"}));
    let (code, _, first) = house.push(CLIMATE, push.clone()).await;
    assert_eq!(code, 202);
    let (code, headers, second) = house.push(CLIMATE, push.clone()).await;
    assert_eq!(code, 208, "{second}");
    assert_eq!(second["id"], first["id"]);
    assert_eq!(
        headers["location"],
        format!("/v1/messages/{}", first["id"].as_str().unwrap())
    );
    // The id is the sender's own: another sender's is another message.
    let (code, _, other) = house.push(NARROW, push).await;
    assert_eq!(code, 202);
    assert_ne!(other["id"], first["id"]);
    let sent = [
        house.pushes.recv().await.unwrap(),
        house.pushes.recv().await.unwrap(),
    ];
    assert_eq!(json!([sent[0].id, sent[1].id]), json!([first["id"], other["id"]]));
    house.stop().await;
}

#[tokio::test]
async fn a_push_that_comes_too_late_is_refused_at_once() {
    let mut house = House::open().await;
    for late in [
        json!({"expires": "2020-01-01T00:00:00Z"}),
        json!({"expiry": "0s"}),
        json!({"expiry": 0}),
    ] {
        let (code, _, body) = house.push(CLIMATE, with(to("dev/lamp-1"), late)).await;
        assert_eq!((code.as_u16(), &body["title"]), (408, &json!("expired")));
    }
    assert!(house.pushes.try_recv().is_err());
    house.stop().await;
}

#[tokio::test]
async fn a_push_expires_while_nobody_takes_it() {
    let house = House::open().await;
    house.script(|script| script.custody = Custody::Away);
    let begun = Instant::now();
    let push = with(to("dev/lamp-1"), json!({"expiry": "300ms", "wait": "20s"}));
    let (code, _, _) = house.push(CLIMATE, push).await;
    assert_eq!(code, 408);
    assert!(begun.elapsed() < PATIENCE);
    house.stop().await;
}

#[tokio::test]
async fn who_may_push_to_whom() {
    let house = House::open().await;
    for (caller, push, code) in [
        (CLIMATE, to("usr/ann"), 202),
        (NARROW, to("dev/lamp-1"), 202),
        (NARROW, to("dev/lamp-2"), 403),
        (CLIMATE, to("dev/nobody"), 404),
        (ANN, to("dev/lamp-1"), 202),
        (BOB, to("dev/lamp-1"), 202),
        (ANN, to("dev/lamp-2"), 403),
        (ANN, to("dev/nobody"), 403),
        (ANN, to("usr/bob"), 403),
        (
            OPERATOR,
            with(to("dev/lamp-1"), json!({"from": "app/climate"})),
            403,
        ),
        (ANN, with(to("dev/lamp-1"), json!({"from": "app/climate"})), 403),
        (ADMIN, with(to("dev/lamp-2"), json!({"from": "app/climate"})), 202),
        (ADMIN, with(to("dev/lamp-2"), json!({"from": "app/narrow"})), 403),
        (ADMIN, with(to("dev/lamp-2"), json!({"from": "dev/lamp-1"})), 403),
        (CLIMATE, to("app/narrow"), 400),
        (CLIMATE, to("dev/lamp-1@away.example"), 421),
        ("Bearer wrong", to("dev/lamp-1"), 401),
    ] {
        let (given, _, body) = house.push(caller, push.clone()).await;
        assert_eq!(given, code, "{caller} {push} {body}");
    }
    house.stop().await;
}

#[tokio::test]
async fn a_push_to_several_has_a_receipt_for_each() {
    let mut house = House::open().await;
    let several = json!(["dev/lamp-1", "dev/nobody", "usr/ann", "app/narrow"]);
    let push = json!({"to": several, "channel": "set", "data": 1, "id": "all"});
    let (code, _, body) = house.push(CLIMATE, push.clone()).await;
    assert_eq!(code, 200, "{body}");
    let found = |field: &str, body: &Value| -> Vec<Value> {
        let pushes = body["pushes"].as_array().unwrap();
        pushes.iter().map(|push| push[field].clone()).collect()
    };
    assert_eq!(found("to", &body), *several.as_array().unwrap());
    assert_eq!(found("status", &body), [202, 404, 202, 400]);
    assert_eq!(found("id", &body)[1], Value::Null, "refused, nothing was stored");
    for to in ["dev/lamp-1", "usr/ann"] {
        let sent = house.pushes.recv().await.unwrap();
        assert_eq!(
            (sent.destination.to_string(), sent.sender_id),
            (to.to_owned(), Some(format!("all:{to}")))
        );
    }
    let (_, _, again) = house.push(CLIMATE, push).await;
    assert_eq!(found("status", &again), [208, 404, 208, 400]);
    assert_eq!(found("id", &again)[0], found("id", &body)[0]);
    for wrong in [
        json!([]),
        json!(["dev/lamp-1", "dev/lamp-1"]),
        json!("app/climate/devices"),
    ] {
        let push = json!({"to": wrong, "channel": "set", "data": 1});
        assert_eq!(house.push(CLIMATE, push).await.0, 400, "{wrong}");
    }
    house.stop().await;
}

#[tokio::test]
async fn a_push_to_all_devices_of_a_user_goes_to_those_the_sender_may_reach() {
    let house = House::open().await;
    let push = json!({"to": "usr/ann/devices", "channel": "set", "data": 1});
    for caller in [CLIMATE, ANN] {
        let (code, _, body) = house.push(caller, push.clone()).await;
        assert_eq!(code, 200, "{body}");
        let pushes = body["pushes"].as_array().unwrap();
        assert_eq!(pushes.len(), 1, "{body}");
        assert_eq!(
            (&pushes[0]["to"], &pushes[0]["status"]),
            (&json!("dev/lamp-1"), &json!(202))
        );
    }
    assert_eq!(
        house.push(NARROW, push.clone()).await.0,
        403,
        "not granted the user"
    );
    assert_eq!(house.push(BOB, push).await.0, 403);
    house.stop().await;
}
