//! ETag, If-Match, If-None-Match and Idempotency-Key: nobody overwrites what they have not seen, and a repeat is not a
//! second order.

use axum::http::Method;
use irsp_protocol::Server;
use serde_json::{Value, json};

use super::house::{Answer, House};

async fn patch_if(house: &House, path: &str, tag: &str, body: Value) -> Answer {
    house
        .call_with(
            &house.admin,
            Method::PATCH,
            path,
            Some(body),
            &[("if-match", tag)],
        )
        .await
}

async fn post_under(house: &House, key: &str, path: &str, body: Value) -> Answer {
    house
        .call_with(
            &house.admin,
            Method::POST,
            path,
            Some(body),
            &[("idempotency-key", key)],
        )
        .await
}

fn tag(answer: &Answer) -> String {
    answer.headers["etag"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_change_of_what_was_changed_meanwhile_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    house.device("lamp-1").await;
    house.user("ann").await;
    house
        .post(&house.admin, "/v1/apps", json!({"id": "climate"}))
        .await
        .is(201);
    for path in ["/v1/devices/lamp-1", "/v1/users/ann", "/v1/apps/climate"] {
        let seen = tag(&house.get(&house.admin, path).await);
        let first = patch_if(&house, path, &seen, json!({"disabled": true})).await;
        let newer = tag(&first);
        assert_ne!(newer, seen, "{path}");
        first.is(200);
        patch_if(&house, path, &seen, json!({"disabled": false}))
            .await
            .problem(412);
        assert_eq!(house.get(&house.admin, path).await.is(200)["disabled"], true);
        for tags in [&format!("\"0\", {newer}"), "*"] {
            let answer = patch_if(&house, path, tags, json!({"disabled": true})).await;
            assert_eq!(answer.status, 200, "{path} {tags}");
        }
        let newest = tag(&house.get(&house.admin, path).await);
        // A weak tag is never the same (RFC 9110, 13.1.1).
        for tags in [format!("W/{newest}"), "\"\"".to_owned(), "no tag".to_owned()] {
            let headers = [("if-match", tags.as_str())];
            house
                .call_with(&house.admin, Method::DELETE, path, None, &headers)
                .await
                .problem(412);
        }
        let headers = [("if-match", newest.as_str())];
        let gone = house
            .call_with(&house.admin, Method::DELETE, path, None, &headers)
            .await;
        gone.is(200);
        // What is gone is gone, whatever version is named.
        house
            .call_with(&house.admin, Method::DELETE, path, None, &headers)
            .await
            .problem(410);
    }
    house.stop().await;
}

#[tokio::test]
async fn what_a_caller_has_is_not_sent_again_until_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let code = house.device("lamp-1").await;
    let ann = house.user("ann").await;
    let path = "/v1/devices/lamp-1";
    let seen = tag(&house.get(&house.admin, path).await);
    let ask = async |tags: &str| {
        let headers = [("if-none-match", tags)];
        house
            .call_with(&house.admin, Method::GET, path, None, &headers)
            .await
    };
    for tags in [&seen, &format!("W/{seen}"), &format!("\"x\",{seen}"), "*"] {
        let answer = ask(tags).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text.as_str()),
            (304, ""),
            "{tags}"
        );
        assert_eq!(tag(&answer), seen);
    }
    // A device shows its owner, so a binding changes what is seen of it.
    house
        .post(&ann, "/v1/bindings", json!({"device": "lamp-1", "code": code}))
        .await
        .is(201);
    assert_eq!(ask(&seen).await.is(200)["owner"], "ann");
    house.stop().await;
}

#[tokio::test]
async fn a_repeat_is_answered_and_not_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let orders = [
        ("/v1/devices", json!({"id": "lamp-1"}), "code"),
        ("/v1/devices/lamp-1/reset", json!({}), "code"),
        ("/v1/devices/bulk", json!({"prefix": "x", "count": 2}), "devices"),
        ("/v1/apps", json!({"id": "climate"}), "key"),
        ("/v1/apps/climate/keys/rotate", json!({}), "key"),
        ("/v1/users", json!({"id": "ann", "password": "long enough"}), "id"),
    ];
    let mut heard = 0;
    for (n, (path, body, field)) in orders.iter().enumerate() {
        let key = format!("order {n}");
        let first = post_under(&house, &key, path, body.clone()).await;
        let status = first.status;
        assert!(status.is_success(), "{path} {}", first.text);
        assert!(!first.headers.contains_key("idempotent-replayed"));
        heard = house.followers.changes(Server::Message).len();
        let again = post_under(&house, &key, path, body.clone()).await;
        assert_eq!(again.status, status, "{path} {}", again.text);
        assert_eq!(again.headers["idempotent-replayed"], "true");
        assert_eq!(again.body, first.body);
        assert!(!again.body[field].is_null());
        assert_eq!(house.followers.changes(Server::Message).len(), heard, "{path}");
        let used = post_under(&house, &key, "/v1/devices", json!({"id": "other"})).await;
        assert!(used.problem(409).contains("Idempotency-Key"), "{path}");
    }
    assert_ne!(heard, 0);
    // A key is the caller's own, and what was refused was not carried out: it may be ordered again.
    let ann = house.log_in("ann", "long enough").await.is(200)["token"].clone();
    let headers = [("idempotency-key", "order 0")];
    let body = Some(json!({"id": "lamp-2"}));
    house
        .call_with(
            ann.as_str().unwrap(),
            Method::POST,
            "/v1/devices",
            body.clone(),
            &headers,
        )
        .await
        .problem(403);
    post_under(&house, "new", "/v1/devices", json!({"id": "lamp-1"}))
        .await
        .problem(409);
    post_under(&house, "new", "/v1/devices", json!({"id": "lamp-2"}))
        .await
        .is(201);
    for key in ["", &"x".repeat(256)] {
        post_under(&house, key, "/v1/devices", json!({"id": "lamp-3"}))
            .await
            .problem(400);
    }
    house.stop().await;
}

#[tokio::test]
async fn repeats_at_the_same_time_make_one_thing() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let order = || post_under(&house, "k", "/v1/devices", json!({"id": "lamp-1"}));
    let answers: [Answer; 4] = tokio::join!(order(), order(), order(), order()).into();
    let codes: Vec<Value> = answers
        .into_iter()
        .map(|answer| answer.is(201)["code"].clone())
        .collect();
    assert!(codes.iter().all(|code| *code == codes[0]), "{codes:?}");
    house.stop().await;
}

#[tokio::test]
async fn the_kept_answer_shows_no_secret_and_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let first = post_under(&house, "k", "/v1/devices", json!({"id": "lamp-1"}))
        .await
        .is(201);
    house.stop().await;
    let code = first["code"].as_str().unwrap();
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        assert!(
            !bytes.windows(code.len()).any(|found| found == code.as_bytes()),
            "{}",
            path.display()
        );
    }
    let house = House::start(folder.path()).await;
    let again = post_under(&house, "k", "/v1/devices", json!({"id": "lamp-1"}))
        .await
        .is(201);
    assert_eq!(again, first);
    house.stop().await;

    // An hour later the code is not given again, a day later the key is forgotten.
    let sql = rusqlite::Connection::open(folder.path().join("account.db")).unwrap();
    let age = |hours: i64| {
        let aged = sql.execute("UPDATE repeat SET time = time - ?1 * 3600000", [hours]);
        assert_eq!(aged.unwrap(), 1);
    };
    age(2);
    let house = House::start(folder.path()).await;
    let late = post_under(&house, "k", "/v1/devices", json!({"id": "lamp-1"})).await;
    assert!(late.problem(409).contains("carried out before"));
    house.stop().await;
    age(23);
    let house = House::start(folder.path()).await;
    let late = post_under(&house, "k", "/v1/devices", json!({"id": "lamp-1"})).await;
    assert!(late.problem(409).contains("exists"));
    house.stop().await;
}
