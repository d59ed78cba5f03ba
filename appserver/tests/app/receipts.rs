//! Receipts, joined from both servers, for those whom the message concerns.

use irsp_protocol::receipt::{Answer, Receipt, Stage, StageReport};
use irsp_protocol::{MessageId, MessageKind, Status};
use serde_json::{Value, json};

use crate::house::{ADMIN, ANN, BOB, CLIMATE, House, NARROW, OPERATOR, new_id, now};

fn known_by_message_server(
    id: MessageId,
    kind: MessageKind,
    from: &str,
    to: &str,
    status: Status,
) -> Receipt {
    let report = |stage, code| StageReport {
        stage,
        time: now(),
        reporter: "srv/message".parse().unwrap(),
        code,
    };
    Receipt {
        id,
        kind,
        source: from.parse().unwrap(),
        destination: to.parse().unwrap(),
        channel: Some("set".to_owned().try_into().unwrap()),
        sender_id: None,
        expires: now(),
        status,
        stages: vec![report(Stage::Accepted, None), report(Stage::Ended, Some(status))],
        answer: Some(Answer {
            code: 200,
            body: "{\"on\":1}".into(),
        }),
        cause: None,
    }
}

#[tokio::test]
async fn a_receipt_is_joined_from_both_servers() {
    let house = House::open().await;
    let (_, _, pushed) = house
        .push(
            CLIMATE,
            json!({"to": "dev/lamp-1", "channel": "set", "text": "on"}),
        )
        .await;
    let id: MessageId = pushed["id"].as_str().unwrap().parse().unwrap();
    let path = format!("/v1/messages/{id}");
    let theirs = known_by_message_server(id, MessageKind::Push, "app/climate", "dev/lamp-1", Status::DONE);
    house.script(|script| script.receipts.push(theirs));
    let (code, body) = house.get(CLIMATE, &path).await;
    assert_eq!(code, 200, "{body}");
    assert_eq!(body["id"], pushed["id"]);
    assert_eq!(body["kind"], "push");
    assert_eq!(body["source"], "app/climate@home.example");
    assert_eq!(body["destination"], "dev/lamp-1@home.example");
    assert_eq!((&body["status"], &body["name"]), (&json!(200), &json!("done")));
    assert_eq!(body["answer"], json!({"code": 200, "data": {"on": 1}}));
    assert_eq!(body.get("partial"), None);
    let reporters: Vec<&Value> = body["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stage| &stage["reporter"])
        .collect();
    assert!(reporters.contains(&&json!("srv/app@home.example")), "{body}");
    assert!(reporters.contains(&&json!("srv/message@home.example")), "{body}");
    let end = body["stages"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&end["stage"], &end["code"], &end["name"]),
        (&json!("ended"), &json!(200), &json!("done"))
    );
    for (caller, seen) in [
        (ANN, 200),
        (BOB, 404),
        (NARROW, 404),
        (OPERATOR, 200),
        (ADMIN, 200),
        ("Bearer x", 401),
    ] {
        assert_eq!(house.get(caller, &path).await.0, seen, "{caller}");
    }
    house.stop().await;
}

#[tokio::test]
async fn a_message_only_the_message_server_knows_is_shown_to_whom_it_concerns() {
    let house = House::open().await;
    let (upload, presence) = (new_id(), new_id());
    house.script(|script| {
        script.receipts = vec![
            known_by_message_server(
                upload,
                MessageKind::Upload,
                "dev/lamp-1",
                "app/narrow",
                Status::DONE,
            ),
            known_by_message_server(
                presence,
                MessageKind::Presence,
                "srv/message",
                "srv/app",
                Status::DONE,
            ),
        ];
    });
    for (id, caller, code) in [
        (upload, NARROW, 200),
        (upload, CLIMATE, 404),
        (upload, OPERATOR, 200),
        (presence, CLIMATE, 404),
        (presence, ADMIN, 200),
        (new_id(), ADMIN, 404),
    ] {
        assert_eq!(
            house.get(caller, &format!("/v1/messages/{id}")).await.0,
            code,
            "{caller}"
        );
    }
    house.stop().await;
}

#[tokio::test]
async fn while_the_message_server_is_silent_a_receipt_is_partial_or_unavailable() {
    let house = House::open().await;
    house.script(|script| script.knows_receipts = false);
    let (_, _, pushed) = house
        .push(
            CLIMATE,
            json!({"to": "dev/lamp-1", "channel": "set", "text": "on"}),
        )
        .await;
    let (code, body) = house
        .get(
            CLIMATE,
            &format!("/v1/messages/{}", pushed["id"].as_str().unwrap()),
        )
        .await;
    assert_eq!(
        (code.as_u16(), &body["status"], &body["partial"]),
        (200, &json!(202), &json!(true))
    );
    let (code, _) = house.get(CLIMATE, &format!("/v1/messages/{}", new_id())).await;
    assert_eq!(code, 503);
    house.stop().await;
}
