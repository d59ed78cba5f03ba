//! Devices and applications: made, changed, reset, deleted; and the followers hear each of it (clause 8.2).

use axum::http::Method;
use irsp_protocol::Server;
use irsp_protocol::change::{Cause, Entity};
use serde_json::json;

use super::house::House;

#[tokio::test]
async fn each_change_reaches_both_followers_in_order_with_its_cause() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let made = house
        .post(
            &house.admin,
            "/v1/devices",
            json!({"id": "lamp-1", "answers": "mqtt"}),
        )
        .await
        .is(201);
    assert_eq!(made["in_effect"], true);
    assert_eq!(made["answers"], "mqtt");
    let code = made["code"].as_str().unwrap();
    let path = "/v1/devices/lamp-1";
    let changed = house
        .patch(
            &house.admin,
            path,
            json!({"answers": "ack", "attributes": {"room": "hall"}}),
        )
        .await;
    assert_eq!(changed.is(200)["attributes"]["room"], "hall");
    let reset = house
        .call(&house.admin, Method::POST, "/v1/devices/lamp-1/reset", None)
        .await
        .is(200);
    assert_ne!(reset["code"], code);
    assert_eq!(reset["generation"], 2);
    let gone = house.delete(&house.admin, path).await.is(200);
    assert_eq!(
        (&gone["id"], &gone["in_effect"]),
        (&json!("lamp-1"), &json!(true))
    );

    for follower in [Server::Message, Server::App] {
        let changes = house.followers.changes(follower);
        assert!(
            changes.iter().map(|change| change.n).eq(1..=6),
            "numbered without gaps"
        );
        let story = house.followers.story(follower);
        assert_eq!(story[0], (Cause::Register, "usr/admin".into()));
        assert_eq!(story[1], (Cause::Register, "token key".into()));
        let lamp = |cause| (cause, "dev/lamp-1".to_owned());
        assert_eq!(
            story[2..],
            [Cause::Register, Cause::Modify, Cause::Reset, Cause::Delete].map(lamp)
        );
        let codes = |n: usize| match &changes[n].entity {
            Some(Entity::Device(device)) => device.codes.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(codes(2), codes(3));
        assert_ne!(codes(3), codes(4));
        assert_eq!(codes(4).len(), 1, "the old code is over");
    }
    house.stop().await;
}

#[tokio::test]
async fn what_was_deleted_is_gone_and_its_id_is_not_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let admin = house.admin.clone();
    house.device("lamp-1").await;
    house
        .post(&admin, "/v1/apps", json!({"id": "climate"}))
        .await
        .is(201);
    house.user("ann").await;
    let new_user = json!({"id": "ann", "password": "password of ann"});
    for (list, path, new) in [
        ("/v1/devices", "/v1/devices/lamp-1", json!({"id": "lamp-1"})),
        ("/v1/apps", "/v1/apps/climate", json!({"id": "climate"})),
        ("/v1/users", "/v1/users/ann", new_user),
    ] {
        house.post(&admin, list, new.clone()).await.problem(409);
        house.delete(&admin, path).await.is(200);
        house.get(&admin, path).await.problem(410);
        house
            .patch(&admin, path, json!({"disabled": true}))
            .await
            .problem(410);
        house.delete(&admin, path).await.problem(410);
        let detail = house.post(&admin, list, new).await.problem(409);
        assert!(detail.contains("not used again"), "{detail}");
    }
    let post = Method::POST;
    house
        .call(&admin, post, "/v1/devices/lamp-1/reset", None)
        .await
        .problem(410);
    house.stop().await;
}

#[tokio::test]
async fn a_patch_sets_what_it_names_and_tells_only_what_followers_keep() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    house.device("lamp-1").await;
    let before = house.followers.changes(Server::Message).len();
    let path = "/v1/devices/lamp-1";
    house
        .patch(
            &house.admin,
            path,
            json!({"attributes": {"room": "hall", "floor": "1"}}),
        )
        .await
        .is(200);
    let patched = house
        .patch(&house.admin, path, json!({"attributes": {"floor": null}}))
        .await
        .is(200);
    assert_eq!(patched["attributes"], json!({"room": "hall"}));
    assert_eq!(patched["in_effect"], true);
    house
        .patch(&house.admin, path, json!({"disabled": false}))
        .await
        .is(200);
    assert_eq!(house.followers.changes(Server::Message).len(), before);
    let disabled = house
        .patch(&house.admin, path, json!({"disabled": true}))
        .await
        .is(200);
    assert_eq!(disabled["disabled"], true);
    assert_eq!(house.followers.changes(Server::Message).len(), before + 1);
    house.stop().await;
}

#[tokio::test]
async fn an_application_has_a_key_that_opens_its_own_page_until_it_is_rotated() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let only = json!({"id": "climate", "hears": {"only": ["dev/lamp-1"]}, "pushes": "everyone"});
    let made = house.post(&house.admin, "/v1/apps", only).await.is(201);
    assert_eq!(made["hears"], json!({"only": ["dev/lamp-1"]}));
    let key = made["key"].as_str().unwrap();
    house
        .post(&house.admin, "/v1/apps", json!({"id": "other"}))
        .await
        .is(201);

    let me = house.get(key, "/v1/me").await.is(200);
    assert_eq!(
        (&me["principal"], &me["domain"]),
        (&json!("app/climate"), &json!("home.example"))
    );
    assert!(
        house
            .get(key, "/v1/apps/climate")
            .await
            .is(200)
            .get("key")
            .is_none(),
        "shown once"
    );
    house.get(key, "/v1/apps/other").await.problem(403);
    house.get(key, "/v1/devices").await.problem(403);

    let path = "/v1/apps/climate/keys/rotate";
    let second = house
        .post(&house.admin, path, json!({"overlap": true}))
        .await
        .is(200);
    let second = second["key"].as_str().unwrap();
    house.get(key, "/v1/me").await.is(200);
    house.get(second, "/v1/me").await.is(200);
    let third = house.call(&house.admin, Method::POST, path, None).await.is(200);
    house.get(key, "/v1/me").await.problem(401);
    house.get(second, "/v1/me").await.problem(401);
    house.get(third["key"].as_str().unwrap(), "/v1/me").await.is(200);
    house.stop().await;
}

#[tokio::test]
async fn lists_come_in_pages() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    for id in ["a", "b", "c", "d", "e"] {
        house.device(id).await;
    }
    let (mut ids, mut path) = (Vec::new(), "/v1/devices?limit=2".to_owned());
    loop {
        let page = house.get(&house.admin, &path).await.is(200);
        ids.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["id"].as_str().unwrap().to_owned()),
        );
        match page["next"].as_str() {
            Some(next) => path = format!("/v1/devices?limit=2&after={next}"),
            None => break,
        }
    }
    assert_eq!(ids, ["a", "b", "c", "d", "e"]);
    house.stop().await;
}
