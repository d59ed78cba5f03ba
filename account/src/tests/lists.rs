//! Lists: in pages, narrowed by what is asked for, the same way everywhere.

use serde_json::{Value, json};

use super::house::House;

async fn ids(house: &House, token: &str, path: &str) -> Vec<String> {
    let page = house.get(token, path).await.is(200);
    let id = |item: &Value| {
        let field = if item["id"].is_string() { "id" } else { "device" };
        item[field].as_str().unwrap().to_owned()
    };
    page["items"].as_array().unwrap().iter().map(id).collect()
}

#[tokio::test]
async fn devices_are_found_by_prefix_owner_state_and_attribute() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let (ann, bob) = (house.user("ann").await, house.user("bob").await);
    for (id, attributes) in [
        ("lamp-1", json!({"room": "hall", "maker": "x=y"})),
        ("lamp-2", json!({"room": "attic"})),
        ("lamp", json!({})),
        ("meter-1", json!({"room": "hall"})),
    ] {
        let new = json!({"id": id, "attributes": attributes});
        let code = house.post(&house.admin, "/v1/devices", new).await.is(201)["code"].clone();
        let owner = if id == "lamp-1" { &ann } else { &bob };
        house
            .post(owner, "/v1/bindings", json!({"device": id, "code": code}))
            .await
            .is(201);
    }
    house
        .patch(&house.admin, "/v1/devices/lamp-2", json!({"disabled": true}))
        .await
        .is(200);
    for (query, expected) in [
        ("", &["lamp", "lamp-1", "lamp-2", "meter-1"][..]),
        ("?prefix=lamp", &["lamp", "lamp-1", "lamp-2"]),
        ("?prefix=lamp-", &["lamp-1", "lamp-2"]),
        ("?prefix=lamp-&after=lamp-1", &["lamp-2"]),
        ("?prefix=LAMP", &[]),
        ("?prefix=%25", &[]),
        ("?owner=ann", &["lamp-1"]),
        ("?owner=bob&prefix=lamp", &["lamp", "lamp-2"]),
        ("?owner=nobody", &[]),
        ("?state=disabled", &["lamp-2"]),
        ("?state=enabled&prefix=lamp-", &["lamp-1"]),
        ("?attribute=room", &["lamp-1", "lamp-2", "meter-1"]),
        ("?attribute=room%3Dhall", &["lamp-1", "meter-1"]),
        ("?attribute=room=hall&owner=ann", &["lamp-1"]),
        ("?attribute=maker%3Dx%3Dy", &["lamp-1"]),
        ("?attribute=%22", &[]),
    ] {
        let path = format!("/v1/devices{query}");
        assert_eq!(ids(&house, &house.admin, &path).await, expected, "{query}");
    }
    // A filter shows a user nothing that is not theirs.
    assert_eq!(ids(&house, &ann, "/v1/devices?owner=bob").await, [""; 0]);
    assert_eq!(ids(&house, &ann, "/v1/devices?prefix=lamp").await, ["lamp-1"]);
    assert_eq!(ids(&house, &ann, "/v1/bindings?user=bob").await, [""; 0]);
    assert_eq!(
        ids(&house, &house.admin, "/v1/bindings?user=bob&device=lamp").await,
        ["lamp"]
    );
    for query in ["?state=broken", "?owner=a%20b", "?prefix=a&prefix=b"] {
        let path = format!("/v1/devices{query}");
        house.get(&house.admin, &path).await.problem(400);
    }
    house.stop().await;
}

#[tokio::test]
async fn users_and_applications_are_found_by_prefix_and_state() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    for id in ["ann", "anton", "bob"] {
        house.user(id).await;
        house
            .post(&house.admin, "/v1/apps", json!({"id": id}))
            .await
            .is(201);
    }
    let patch = json!({"disabled": true});
    house
        .patch(&house.admin, "/v1/apps/anton", patch.clone())
        .await
        .is(200);
    house
        .patch(
            &house.admin,
            "/v1/users/anton",
            json!({"disabled": true, "role": "operator"}),
        )
        .await
        .is(200);
    for (path, expected) in [
        ("/v1/users?prefix=an", &["ann", "anton"][..]),
        ("/v1/users?state=disabled", &["anton"]),
        ("/v1/users?role=user", &["ann", "bob"]),
        ("/v1/users?role=admin", &["admin"]),
        ("/v1/apps?prefix=an", &["ann", "anton"]),
        ("/v1/apps?prefix=an&state=enabled", &["ann"]),
    ] {
        assert_eq!(ids(&house, &house.admin, path).await, expected, "{path}");
    }
    house.stop().await;
}
