//! Presence: the newest by (epoch, seq), told in order, to those who may hear it (clause 8.3.2).

use irsp_protocol::change::{Cause, EntityKey};
use irsp_protocol::presence::Connectivity::{Offline, Online, Unknown};
use irsp_protocol::presence::{Presence, Reason};
use irsp_protocol::{MessageKind, Principal, Server, Status};
use serde_json::{Value, json};

use crate::house::{self, ADMIN, ANN, BOB, CLIMATE, House, NARROW, OPERATOR, from_server, id};

fn principals(body: &Value) -> Vec<&str> {
    body["presence"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["principal"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn stale_news_is_answered_and_dropped() {
    let mut house = House::open().await;
    let mut stream = house.listen(CLIMATE, "/v1/presence/stream", None).await;
    for (epoch, seq, state) in [
        (2, 1, Online),
        (1, 9, Offline),
        (2, 1, Offline),
        (2, 2, Offline),
        (2, 1, Online),
        (3, 1, Online),
    ] {
        assert_eq!(
            house.presence("dev/lamp-1", epoch, seq, state).await,
            Status::DONE
        );
    }
    for (n, epoch, seq, state) in [(1, 2, 1, "online"), (2, 2, 2, "offline"), (3, 3, 1, "online")] {
        let event = stream.next().await.unwrap();
        assert_eq!(
            (event.name.as_str(), event.id),
            ("presence", n),
            "numbers have no gap"
        );
        assert_eq!(
            (
                &event.data["principal"],
                &event.data["epoch"],
                &event.data["seq"],
                &event.data["state"]
            ),
            (&json!("dev/lamp-1"), &json!(epoch), &json!(seq), &json!(state))
        );
    }
    let (code, body) = house.get(CLIMATE, "/v1/presence/dev/lamp-1").await;
    assert_eq!(
        (code.as_u16(), &body["epoch"], &body["state"]),
        (200, &json!(3), &json!("online"))
    );
    house.stop().await;
}

#[tokio::test]
async fn a_snapshot_and_its_number_resume_the_stream_also_after_a_restart() {
    let mut house = House::open().await;
    house.presence("dev/lamp-1", 1, 1, Online).await;
    house.presence("dev/lamp-2", 1, 1, Online).await;
    house.presence("usr/ann", 1, 1, Online).await;
    let (_, first) = house.get(ADMIN, "/v1/presence?limit=2").await;
    assert_eq!(principals(&first), ["dev/lamp-1", "dev/lamp-2"]);
    assert_eq!((&first["at"], &first["next"]), (&json!(3), &json!("dev/lamp-2")));
    let (_, second) = house.get(ADMIN, "/v1/presence?limit=2&after=dev/lamp-2").await;
    assert_eq!(principals(&second), ["usr/ann"]);
    assert_eq!(second["next"], Value::Null);
    house.presence("dev/lamp-1", 1, 2, Offline).await;
    house.restart().await;
    let mut stream = house.listen(ADMIN, "/v1/presence/stream?after=3", None).await;
    let event = stream.next().await.unwrap();
    assert_eq!((event.id, &event.data["state"]), (4, &json!("offline")));
    house.stop().await;
}

#[tokio::test]
async fn everybody_hears_of_whom_they_may() {
    let mut house = House::open().await;
    let mut narrow = house.listen(NARROW, "/v1/presence/stream", None).await;
    for principal in ["dev/lamp-2", "usr/ann", "dev/lamp-1"] {
        house.presence(principal, 1, 1, Online).await;
    }
    assert_eq!(narrow.next().await.unwrap().data["principal"], "dev/lamp-1");
    for (caller, hears) in [
        (ADMIN, vec!["dev/lamp-1", "dev/lamp-2", "usr/ann"]),
        (OPERATOR, vec!["dev/lamp-1", "dev/lamp-2", "usr/ann"]),
        (CLIMATE, vec!["dev/lamp-1", "dev/lamp-2", "usr/ann"]),
        (NARROW, vec!["dev/lamp-1"]),
        (ANN, vec!["dev/lamp-1", "usr/ann"]),
        (BOB, vec!["dev/lamp-1"]),
    ] {
        assert_eq!(
            principals(&house.get(caller, "/v1/presence").await.1),
            hears,
            "{caller}"
        );
    }
    for (caller, path, code) in [
        (NARROW, "dev/lamp-2", 403),
        (BOB, "usr/ann", 403),
        (ANN, "dev/nobody", 403),
        (ADMIN, "dev/nobody", 404),
        (ADMIN, "usr/bob", 404),
        (ADMIN, "srv/app", 400),
        (ADMIN, "lamp/1", 400),
    ] {
        assert_eq!(
            house.get(caller, &format!("/v1/presence/{path}")).await.0,
            code,
            "{caller} {path}"
        );
    }
    let unbound = EntityKey::Binding {
        device: id("lamp-1"),
        user: id("bob"),
    };
    house.change(Cause::Modify, unbound, None).await;
    assert_eq!(
        house.get(BOB, "/v1/presence/dev/lamp-1").await.0,
        403,
        "unbinding acts at once"
    );
    house
        .change(
            Cause::Delete,
            EntityKey::Principal(Principal::device(id("lamp-2"))),
            None,
        )
        .await;
    assert_eq!(house.get(ADMIN, "/v1/presence/dev/lamp-2").await.0, 410);
    assert_eq!(
        principals(&house.get(ADMIN, "/v1/presence").await.1),
        ["dev/lamp-1", "usr/ann"]
    );
    house.stop().await;
}

#[tokio::test]
async fn presence_that_was_lost_here_is_asked_for_at_the_start() {
    let mut house = House::open().await;
    house.presence("dev/lamp-2", 7, 2, Offline).await;
    house.script(|script| {
        script.presence = vec![
            house::presence("dev/lamp-1", 4, 1, Online),
            house::presence("dev/lamp-2", 7, 1, Online),
        ];
    });
    house.restart().await;
    house
        .until(async |house| house.get(ADMIN, "/v1/presence/dev/lamp-1").await.0 == 200)
        .await;
    let (_, body) = house.get(ADMIN, "/v1/presence/dev/lamp-2").await;
    assert_eq!(body["state"], "offline", "what is newer here stays");
    house.stop().await;
}

/// Brings news of another domain's device, as its grant allows one of ours to hear it.
async fn from_abroad(house: &mut House, to: &str, state: Presence) -> Status {
    let mut envelope = from_server(
        Server::Message,
        MessageKind::Presence,
        serde_json::to_vec(&state).unwrap(),
    );
    envelope.source = format!("{}@b.example", state.principal).parse().unwrap();
    envelope.destination = to.parse().unwrap();
    house.deliver(Server::Message, envelope).await
}

#[tokio::test]
async fn a_user_hears_the_device_of_another_domain_that_is_shared_with_them_and_no_other_user_does() {
    let mut house = House::open().await;
    let shared = "/v1/presence/dev/lamp-9@b.example";
    let news = |seq, state| house::presence("dev/lamp-9", 1, seq, state);
    assert_eq!(
        from_abroad(&mut house, "usr/ann", news(1, Online)).await,
        Status::DONE
    );
    house.restart().await;
    assert_eq!(house.get(ANN, shared).await.1["state"], "online");
    assert!(principals(&house.get(ANN, "/v1/presence").await.1).contains(&"dev/lamp-9@b.example"));
    for other in [BOB, CLIMATE] {
        assert_eq!(house.get(other, shared).await.0, 403, "{other}");
        assert!(!principals(&house.get(other, "/v1/presence").await.1).contains(&"dev/lamp-9@b.example"));
    }
    let revoked = Presence {
        state: Unknown,
        reason: Reason::Revoked,
        ..news(1, Online)
    };
    assert_eq!(from_abroad(&mut house, "usr/ann", revoked).await, Status::DONE);
    assert_eq!(house.get(ANN, shared).await.0, 403);
    assert!(!principals(&house.get(ANN, "/v1/presence").await.1).contains(&"dev/lamp-9@b.example"));
    let to_device = from_abroad(&mut house, "dev/lamp-1", news(2, Online)).await;
    assert_eq!(to_device, Status::MALFORMED);
    house.stop().await;
}

#[tokio::test]
async fn foreign_bytes_and_foreign_servers_are_refused() {
    let mut house = House::open().await;
    for data in [&b""[..], b"{}", b"\xff", b"[1]"] {
        let envelope = from_server(Server::Message, MessageKind::Presence, data.to_vec());
        assert_eq!(house.deliver(Server::Message, envelope).await, Status::MALFORMED);
    }
    let data = serde_json::to_vec(&house::presence("dev/lamp-1", 1, 1, Online)).unwrap();
    let envelope = from_server(Server::Account, MessageKind::Presence, data);
    assert_eq!(house.deliver(Server::Account, envelope).await, Status::MALFORMED);
    house.stop().await;
}
