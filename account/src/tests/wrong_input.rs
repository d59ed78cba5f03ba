//! Wrong input at every door: each gets its code and a problem.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};

use super::house::House;

#[tokio::test]
async fn bodies_that_are_not_as_described_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    house.device("lamp-1").await;
    house
        .post(&house.admin, "/v1/apps", json!({"id": "climate"}))
        .await
        .is(201);
    let many: serde_json::Map<String, Value> = (0..65).map(|n| (n.to_string(), json!("x"))).collect();
    let long = "x".repeat(1025);
    for (method, path, body) in [
        ("POST", "/v1/users", json!({"id": "ann"})),
        ("POST", "/v1/users", json!({"id": "ann", "password": "short"})),
        (
            "POST",
            "/v1/users",
            json!({"id": "ann", "password": "x".repeat(257)}),
        ),
        (
            "POST",
            "/v1/users",
            json!({"id": "a b", "password": "long enough"}),
        ),
        (
            "POST",
            "/v1/users",
            json!({"id": "ann", "password": "long enough", "role": "king"}),
        ),
        (
            "POST",
            "/v1/users",
            json!({"id": "ann", "password": "long enough", "rôle": "user"}),
        ),
        ("POST", "/v1/users", json!([])),
        ("PATCH", "/v1/users/admin", json!({"password": "long enough"})),
        ("POST", "/v1/login", json!({"id": "ann"})),
        ("POST", "/v1/login", json!({"id": 7, "password": "x"})),
        ("POST", "/v1/devices", json!({})),
        ("POST", "/v1/devices", json!({"id": ""})),
        ("POST", "/v1/devices", json!({"id": "../etc"})),
        ("POST", "/v1/devices", json!({"id": "x".repeat(65)})),
        ("POST", "/v1/devices", json!({"id": "lamp-2", "answers": "maybe"})),
        ("POST", "/v1/devices", json!({"id": "lamp-2", "code": "my own"})),
        (
            "POST",
            "/v1/devices",
            json!({"id": "lamp-2", "attributes": {"a": 1}}),
        ),
        (
            "POST",
            "/v1/devices",
            json!({"id": "lamp-2", "attributes": {"": "x"}}),
        ),
        (
            "POST",
            "/v1/devices",
            json!({"id": "lamp-2", "attributes": {"a": long}}),
        ),
        ("POST", "/v1/devices", json!({"id": "lamp-2", "attributes": many})),
        ("PATCH", "/v1/devices/lamp-1", json!({"generation": 7})),
        ("PATCH", "/v1/devices/lamp-1", json!({"attributes": many})),
        // A record's fields without their names.
        ("POST", "/v1/login", json!(["ann", "password of ann"])),
        ("POST", "/v1/devices", json!(["lamp-9", "ack", {}, []])),
        ("POST", "/v1/devices/lamp-1/reset", json!([true])),
        ("POST", "/v1/devices/lamp-1/reset", json!({"unbind": "yes"})),
        ("POST", "/v1/devices/bulk", json!({"prefix": "x"})),
        ("POST", "/v1/devices/bulk", json!({"prefix": "x", "count": -1})),
        (
            "POST",
            "/v1/devices/bulk",
            json!({"prefix": "x", "count": 1_000_000}),
        ),
        ("POST", "/v1/apps", json!({"id": "other", "hears": "all"})),
        (
            "POST",
            "/v1/apps",
            json!({"id": "other", "hears": {"only": ["lamp-1"]}}),
        ),
        (
            "POST",
            "/v1/apps",
            json!({"id": "other", "pushes": {"only": ["srv/message"]}}),
        ),
        ("PATCH", "/v1/apps/climate", json!({"key": "mine"})),
        ("POST", "/v1/bindings", json!({"device": "lamp-1"})),
        (
            "POST",
            "/v1/bindings",
            json!({"device": "lamp-1", "code": "x", "user": "bob"}),
        ),
    ] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = house.call(&house.admin, method, path, Some(body.clone())).await;
        assert_eq!(answer.status, 400, "{path} {body} {}", answer.text);
        answer.problem(400);
    }
    house.get(&house.admin, "/v1/devices/lamp-2").await.problem(404);
    house.stop().await;
}

#[tokio::test]
async fn what_is_not_json_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let too_long = format!("{{\"id\":\"{}\"}}", "x".repeat(3 << 20));
    for (media_type, body, code) in [
        ("application/json", "", 400),
        ("application/json", "{", 400),
        ("application/json", "{\"id\":\"lamp-1\"} {}", 400),
        ("application/json", "{\"id\":\"lamp-1\",\"id\":\"lamp-2\"}", 400),
        ("application/json", "\u{0}", 400),
        ("text/plain", "{\"id\":\"lamp-1\"}", 400),
        ("application/x-www-form-urlencoded", "id=lamp-1", 400),
        ("application/json", too_long.as_str(), 413),
    ] {
        let request = Request::post("/v1/devices")
            .header("authorization", format!("Bearer {}", house.admin))
            .header("content-type", media_type)
            .body(Body::from(body.to_owned()))
            .unwrap();
        house.send(request, "127.0.0.1:1").await.problem(code);
    }
    house.get(&house.admin, "/v1/devices/lamp-1").await.problem(404);
    house.stop().await;
}

#[tokio::test]
async fn wrong_paths_methods_and_queries_are_problems_too() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    for path in [
        "/",
        "/v2/devices",
        "/v1/device",
        "/v1/devices/lamp-1/codes",
        "/v1/devices/never-made",
    ] {
        house.get(&house.admin, path).await.problem(404);
    }
    for path in [
        "/v1/devices/%20",
        "/v1/devices/%ff",
        "/v1/devices?limit=0",
        "/v1/devices?limit=1001",
        "/v1/devices?limit=many",
        "/v1/devices?colour=red",
        "/v1/operations/first",
        "/v1/operations/-1",
    ] {
        house.get(&house.admin, path).await.problem(400);
    }
    house
        .delete(&house.admin, "/v1/bindings/lamp-1?user=a%20b")
        .await
        .problem(400);
    house
        .get(&house.admin, "/v1/operations/18446744073709551615")
        .await
        .problem(404);
    let answer = house.call(&house.admin, Method::PUT, "/v1/devices", None).await;
    assert_eq!(answer.status, 405);
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    let allowed = answer.headers["allow"].to_str().unwrap();
    assert!(allowed.contains("GET") && allowed.contains("POST"), "{allowed}");
    house.stop().await;
}

#[tokio::test]
async fn every_path_asks_for_credentials_unless_the_body_brings_them() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let api = serde_json::to_value(crate::openapi()).unwrap();
    let mut doors = 0;
    for (path, methods) in api["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).unwrap();
            let path = path
                .replace("{id}", "x")
                .replace("{device}", "x")
                .replace("{user}", "x")
                .replace("{code}", "x")
                .replace("{login}", "x")
                .replace("{records}", "devices")
                .replace("{operation}", "1");
            if ["/v1/login", "/v1/refresh", "/v1/password"].contains(&path.as_str()) {
                continue;
            }
            doors += 1;
            let answer = house.call("", method, &path, None).await;
            assert!(answer.headers.contains_key("www-authenticate"), "{path}");
            answer.problem(401);
        }
    }
    assert_eq!(doors, 49);
    house.stop().await;
}

#[tokio::test]
async fn the_description_names_every_answer_and_no_schema_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let text = serde_json::to_string(&crate::openapi()).unwrap();
    let api: Value = serde_json::from_str(&text).unwrap();
    let schemas = api["components"]["schemas"].as_object().unwrap();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name}");
    }
    for methods in api["paths"].as_object().unwrap().values() {
        for described in methods.as_object().unwrap().values() {
            assert!(described["responses"].get("4XX").is_some(), "{described}");
            assert!(
                described["responses"]
                    .as_object()
                    .unwrap()
                    .keys()
                    .any(|code| code.starts_with('2'))
            );
        }
    }
    house.stop().await;
}
