//! Secrets are shown once and stand nowhere: not in the files, not in the audit log, not in later answers.

use axum::http::Method;
use serde_json::json;

use super::house::House;

#[tokio::test]
async fn no_secret_stands_in_the_database_or_in_a_later_answer() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let code = house.device("lamp-1").await;
    let ann = house.user("ann").await;
    let key = house
        .post(&house.admin, "/v1/apps", json!({"id": "climate"}))
        .await
        .is(201)["key"]
        .clone();
    house
        .post(&ann, "/v1/bindings", json!({"device": "lamp-1", "code": code}))
        .await
        .is(201);
    let reset = house
        .call(&ann, Method::POST, "/v1/devices/lamp-1/reset", None)
        .await
        .is(200)["code"]
        .clone();
    house.log_in("ann", "a password that is wrong").await.problem(401);
    let bulk = house
        .post(
            &house.admin,
            "/v1/devices/bulk",
            json!({"prefix": "x", "count": 1}),
        )
        .await
        .is(201);
    let tokens = house.log_in("ann", "password of ann").await.is(200);
    let next = house
        .post(
            "",
            "/v1/refresh",
            json!({"refresh_token": tokens["refresh_token"]}),
        )
        .await
        .is(200);
    let reset_code = house
        .call(&house.admin, Method::POST, "/v1/users/ann/reset", None)
        .await
        .is(200)["code"]
        .clone();
    let (family, turn) = tokens["refresh_token"].as_str().unwrap().split_once('.').unwrap();
    let secrets = [
        code.as_str(),
        family,
        turn,
        next["refresh_token"].as_str().unwrap().split_once('.').unwrap().1,
        reset_code.as_str().unwrap(),
        reset.as_str().unwrap(),
        key.as_str().unwrap(),
        bulk["devices"][0]["code"].as_str().unwrap(),
        "password of ann",
        "a password that is wrong",
        &ann,
        &house.admin,
    ];
    for path in [
        "/v1/devices",
        "/v1/devices/lamp-1",
        "/v1/apps",
        "/v1/users",
        "/v1/users/ann/logins",
        "/v1/audit?limit=1000",
    ] {
        let text = house.get(&house.admin, path).await.text;
        assert!(secrets.iter().all(|secret| !text.contains(secret)), "{path}");
        assert!(!text.contains("argon2"), "{path}");
    }
    let secrets = secrets.map(str::to_owned);
    // Before the stop the write-ahead log holds the newest; after it, the database itself.
    search(folder.path(), &secrets);
    house.stop().await;
    search(folder.path(), &secrets);
}

fn search(folder: &std::path::Path, secrets: &[String]) {
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.file_name().is_some_and(|name| name == "admin.token") {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        for secret in secrets {
            let found = bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes());
            assert!(!found, "{} holds a secret", path.display());
        }
    }
}
