//! Many devices at once: all or none.

use std::collections::HashSet;

use irsp_protocol::Server;
use irsp_protocol::change::{Entity, Scope};
use serde_json::json;

use super::house::{House, import};

#[tokio::test]
async fn ten_thousand_devices_are_made_at_once_and_told_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let new = json!({"prefix": "sim-", "count": 10_000});
    let made = house
        .post(&house.admin, "/v1/devices/bulk", new.clone())
        .await
        .is(201);
    assert_eq!(made["in_effect"], true);
    let devices = made["devices"].as_array().unwrap();
    assert_eq!(devices[9_999]["id"], "sim-10000");
    let codes: HashSet<&str> = devices
        .iter()
        .map(|device| device["code"].as_str().unwrap())
        .collect();
    assert_eq!(codes.len(), 10_000);
    for follower in [Server::Message, Server::App] {
        let changes = house.followers.changes(follower);
        assert!(changes.iter().map(|change| change.n).eq(1..=10_002));
    }
    let detail = house
        .post(&house.admin, "/v1/devices/bulk", new)
        .await
        .problem(409);
    assert!(detail.contains("dev/sim-1 "), "{detail}");
    house.stop().await;
}

#[tokio::test]
async fn five_hundred_large_applications_at_once_make_no_frame_that_the_bus_does_not_take() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let named: Vec<String> = (0..800).map(|n| format!("dev/{n:-<56}{n:04}")).collect();
    let mut text = String::new();
    for n in 0..500 {
        let app = json!({"id": format!("app-{n}"), "hears": {"only": named}});
        text.push_str(&format!("{app}\n"));
    }
    assert!(text.len() > 24 << 20, "{}", text.len());
    let done = import(&house.server, &house.admin, "/v1/import/apps", &text).await;
    assert_eq!(done.is(201)["in_effect"], true);
    for follower in [Server::Message, Server::App] {
        let changes = house.followers.changes(follower);
        assert!(changes.iter().map(|change| change.n).eq(1..=502));
    }
    let longest = house.followers.longest_frame();
    assert!(longest < 1 << 20, "{longest}");
    house.stop().await;
}

#[tokio::test]
async fn nothing_is_made_when_one_of_them_exists() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    house.device("b").await;
    let detail = house
        .post(&house.admin, "/v1/devices/bulk", json!({"ids": ["a", "b", "c"]}))
        .await
        .problem(409);
    assert!(detail.contains("dev/b "), "{detail}");
    house.get(&house.admin, "/v1/devices/a").await.problem(404);
    house.get(&house.admin, "/v1/devices/c").await.problem(404);
    house.stop().await;
}

#[tokio::test]
async fn devices_for_an_application_are_put_on_its_grants() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let new = json!({"ids": ["a", "b"], "app": "climate"});
    house
        .post(&house.admin, "/v1/devices/bulk", new.clone())
        .await
        .problem(404);
    house.get(&house.admin, "/v1/devices/a").await.problem(404);
    house
        .post(
            &house.admin,
            "/v1/apps",
            json!({"id": "climate", "hears": {"only": []}}),
        )
        .await
        .is(201);
    house.post(&house.admin, "/v1/devices/bulk", new).await.is(201);
    let last = house.followers.changes(Server::Message).pop().unwrap();
    match last.entity {
        Some(Entity::Application(app)) => {
            assert_eq!(
                app.hears,
                Scope::Only(vec!["dev/a".parse().unwrap(), "dev/b".parse().unwrap()])
            );
            assert_eq!(app.pushes, Scope::Everyone);
        }
        other => panic!("{other:?}"),
    }
    house.stop().await;
}
