//! Other domains, and what their applications are granted.

use axum::http::Method;
use irsp_protocol::Server;
use irsp_protocol::change::Entity;
use serde_json::{Value, json};

use super::house::House;

const FINGERPRINT: &str = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9";

fn peer() -> Value {
    json!({"domain": "b.example", "fingerprint": FINGERPRINT, "urls": ["irsp://b.example:7443"]})
}

#[tokio::test]
async fn a_peer_is_registered_changed_and_removed_and_the_followers_hear_it() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let made = house.post(&house.admin, "/v1/peers", peer()).await.is(201);
    assert_eq!(
        (&made["state"], &made["in_effect"]),
        (&json!("active"), &json!(true))
    );
    assert_eq!(
        made["in"]["kinds"],
        json!(["upload", "push", "message", "presence"])
    );
    house.post(&house.admin, "/v1/peers", peer()).await.problem(409);
    let paused = house
        .patch(&house.admin, "/v1/peers/b.example", json!({"state": "paused"}))
        .await
        .is(200);
    assert_eq!(
        (&paused["state"], &paused["urls"]),
        (&json!("paused"), &made["urls"])
    );
    for (patch, is) in [
        (json!({"out_rate_max": 5}), json!(5)),
        (json!({"rate_max": 7}), json!(5)),
        (json!({"out_rate_max": null}), Value::Null),
    ] {
        let path = "/v1/peers/b.example";
        let changed = house.patch(&house.admin, path, patch.clone()).await.is(200);
        assert_eq!(changed["out_rate_max"], is, "{patch}");
    }
    let shown = house.get(&house.admin, "/v1/peers/b.example").await.is(200);
    assert_eq!(
        (&shown["state"], &shown["link"]),
        (&json!("paused"), &Value::Null)
    );
    house.delete(&house.admin, "/v1/peers/b.example").await.is(200);
    house.get(&house.admin, "/v1/peers/b.example").await.problem(410);
    house.post(&house.admin, "/v1/peers", peer()).await.is(201);

    let heard = house.followers.changes(Server::Message);
    let states = heard
        .iter()
        .filter(|change| change.key.to_string() == "as/b.example");
    let states: Vec<Option<&str>> = states
        .map(|change| match &change.entity {
            Some(Entity::Peer(peer)) => Some(peer.state.as_str()),
            _ => None,
        })
        .collect();
    let (active, paused) = (Some("active"), Some("paused"));
    assert_eq!(states, [active, paused, paused, paused, paused, None, active]);
    house.stop().await;
}

#[tokio::test]
async fn a_peer_that_cannot_be_known_or_is_nobodys_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    for (field, value) in [
        ("domain", json!("home.example")),
        ("domain", json!("B example")),
        ("fingerprint", Value::Null),
        ("fingerprint", json!("b9")),
        ("ca", json!("no certificate")),
        ("urls", json!(["https://b.example"])),
        ("rate_max", json!(0)),
        ("out_rate_max", json!(0)),
        ("in", json!({"kinds": ["directory"]})),
        ("trusted", json!(true)),
    ] {
        let mut body = peer();
        body[field] = value;
        house.post(&house.admin, "/v1/peers", body).await.problem(400);
    }
    // "AAAA" in PEM is no certificate, and none beside a good one.
    let good = rcgen::generate_simple_self_signed(["b.example".to_owned()]).unwrap();
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let both = json!({"domain": "c.example", "ca": format!("{}{broken}", good.cert.pem())});
    let told = house.post(&house.admin, "/v1/peers", both).await.problem(400);
    assert!(told.contains("ca: block 2 is no X.509 certificate"), "{told}");
    let right = json!({"domain": "c.example", "ca": good.cert.pem()});
    house.post(&house.admin, "/v1/peers", right).await.is(201);
    let path = "/v1/peers/c.example";
    house
        .patch(&house.admin, path, json!({"ca": broken}))
        .await
        .problem(400);
    let ann = house.user("ann").await;
    house.post(&ann, "/v1/peers", peer()).await.problem(403);
    house.get(&ann, "/v1/peers").await.problem(403);
    house.stop().await;
}

#[tokio::test]
async fn a_grant_is_the_owners_to_give_and_to_take_back() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let code = house.device("lamp-1").await;
    let (ann, bob) = (house.user("ann").await, house.user("bob").await);
    let bind = json!({"device": "lamp-1", "code": code});
    house.post(&ann, "/v1/bindings", bind).await.is(201);
    let grant = json!({"principal": "dev/lamp-1", "to": "app/climate@b.example", "hears": true});
    house.post(&bob, "/v1/grants", grant.clone()).await.problem(403);
    let given = house.post(&ann, "/v1/grants", grant.clone()).await.is(201);
    assert_eq!((&given["hears"], &given["pushes"]), (&json!(true), &json!(false)));
    let listed = house.get(&ann, "/v1/grants?principal=dev/lamp-1").await.is(200);
    assert_eq!(listed["items"][0]["to"], "app/climate@b.example");
    house
        .get(&bob, "/v1/grants?principal=dev/lamp-1")
        .await
        .problem(403);
    for (field, value) in [
        ("to", json!("app/climate")),
        ("to", json!("app/climate@home.example")),
        ("to", json!("dev/x@b.example")),
        ("to", json!("usr/bob@home.example")),
        ("hears", json!(false)),
    ] {
        let mut body = grant.clone();
        body[field] = value;
        house.post(&ann, "/v1/grants", body).await.problem(400);
    }
    let which = "/v1/grants?principal=dev/lamp-1&to=app/climate@b.example";
    house.delete(&bob, which).await.problem(403);
    house.delete(&ann, which).await.is(200);
    house.delete(&ann, which).await.problem(410);

    house.post(&house.admin, "/v1/grants", grant).await.is(201);
    house.delete(&house.admin, "/v1/devices/lamp-1").await.is(200);
    let left = house.get(&house.admin, "/v1/grants").await.is(200);
    assert_eq!(
        left["items"],
        json!([]),
        "what was granted about a device goes with it"
    );
    house.stop().await;
}

#[tokio::test]
async fn a_device_is_shared_with_a_user_of_another_domain_by_its_owner_and_nobody_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let code = house.device("lamp-1").await;
    let (ann, bob) = (house.user("ann").await, house.user("bob").await);
    let bind = json!({"device": "lamp-1", "code": code});
    house.post(&ann, "/v1/bindings", bind).await.is(201);
    let share = json!({"principal": "dev/lamp-1", "to": "usr/bob@b.example", "hears": true, "pushes": true});
    house.post(&bob, "/v1/grants", share.clone()).await.problem(403);
    house.post(&ann, "/v1/grants", share.clone()).await.is(201);
    let mut herself = share.clone();
    herself["principal"] = json!("usr/ann");
    house.post(&ann, "/v1/grants", herself).await.problem(400);
    let mut receive = share;
    receive["receive"] = json!(true);
    house.post(&ann, "/v1/grants", receive).await.problem(400);
    let shares = "/v1/grants?principal=dev/lamp-1";
    assert_eq!(
        house.get(&ann, shares).await.is(200)["items"][0]["to"],
        "usr/bob@b.example"
    );
    let local = house
        .call(
            &ann,
            Method::PUT,
            "/v1/bindings/lamp-1/bob@b.example",
            Some(json!({"rights": ["receive"]})),
        )
        .await;
    assert!(local.problem(400).contains("/v1/grants"));
    house.delete(&house.admin, "/v1/users/ann").await.is(200);
    assert_eq!(
        house.get(&house.admin, shares).await.is(200)["items"],
        json!([]),
        "shares end with their owner"
    );
    house.stop().await;
}

#[tokio::test]
async fn a_deletion_is_told_to_every_domain_that_was_ever_granted_something_and_its_word_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    house.device("lamp-1").await;
    house.device("lamp-2").await;
    for to in ["app/climate@b.example", "app/shop@b.example", "app/x@c.example"] {
        let grant = json!({"principal": "dev/lamp-1", "to": to, "hears": true});
        house.post(&house.admin, "/v1/grants", grant).await.is(201);
    }
    let withdrawn = "/v1/grants?principal=dev/lamp-1&to=app/x@c.example";
    house.delete(&house.admin, withdrawn).await.is(200);
    let nobody = house.get(&house.admin, "/v1/deletions").await.is(200);
    assert_eq!(nobody["items"], json!([]));
    for device in ["lamp-1", "lamp-2"] {
        house
            .delete(&house.admin, &format!("/v1/devices/{device}"))
            .await
            .is(200);
    }
    let told = loop {
        let told = house
            .get(&house.admin, "/v1/deletions?principal=dev/lamp-1")
            .await
            .is(200);
        if told["items"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["status"] == 200)
        {
            break told["items"].clone();
        }
        tokio::task::yield_now().await;
    };
    let domains: Vec<&Value> = told
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["domain"])
        .collect();
    assert_eq!(
        domains,
        [&json!("b.example"), &json!("c.example")],
        "each once, copies outlive grants"
    );
    assert!(told[0]["ended"].is_string());
    let all = house.get(&house.admin, "/v1/deletions?limit=1").await.is(200);
    assert_eq!(all["next"], "dev/lamp-1/b.example");
    let rest = house
        .get(&house.admin, "/v1/deletions?after=dev/lamp-1/b.example")
        .await
        .is(200);
    assert_eq!(rest["items"][0]["domain"], "c.example");
    let ann = house.user("ann").await;
    house.get(&ann, "/v1/deletions").await.problem(403);
    house.stop().await;
}
