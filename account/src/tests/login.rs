//! Users: passwords, tokens, roles.

use axum::http::Method;
use serde_json::json;

use super::house::{Answer, House};

#[tokio::test]
async fn a_password_gives_a_token_and_the_token_says_who() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let ann = house.user("ann").await;
    assert_eq!(house.get(&ann, "/v1/me").await.is(200)["principal"], "usr/ann");
    let answer = house
        .post(
            "",
            "/v1/login",
            json!({"user": "ann", "password": "password of ann"}),
        )
        .await;
    assert_eq!(answer.headers["cache-control"], "no-store");
    let token = answer.is(200);
    assert_eq!(token["token_type"], "Bearer");
    assert!(token["expires"].is_string());
    assert_eq!(house.get(&house.admin, "/v1/me").await.is(200)["role"], "admin");
    house.get("", "/v1/me").await.problem(401);
    house.get("not a token", "/v1/me").await.problem(401);
    house.stop().await;
}

#[tokio::test]
async fn an_unknown_user_and_a_wrong_password_are_one_answer() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    house.user("ann").await;
    let mut answers = Vec::new();
    for (id, password) in [
        ("ann", "wrong password"),
        ("nobody", "wrong password"),
        ("no id", "x"),
        ("admin", "x"),
    ] {
        answers.push(house.log_in(id, password).await.problem(401));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
    house.stop().await;
}

#[tokio::test]
async fn guessing_is_slowed_down_where_it_comes_from_and_nobody_else_is_locked_out() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    house.user("ann").await;
    let mut last = log_in_from(&house, "10.0.0.66:1", "guess").await;
    while last.status == 401 {
        last = log_in_from(&house, "10.0.0.66:2", "guess").await;
    }
    let wait: u64 = last.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=2).contains(&wait));
    last.problem(429);
    log_in_from(&house, "10.0.0.66:3", "password of ann")
        .await
        .problem(429);
    log_in_from(&house, "10.0.0.1:1", "password of ann").await.is(200);
    house.stop().await;
}

#[tokio::test]
async fn guessing_over_many_names_is_slowed_down_by_network_and_who_is_known_there_still_gets_in() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    for id in ["ann", "bob", "cleo"] {
        house.user(id).await;
    }
    let right = async |id: &str, address: &str| {
        house
            .log_in_from(address, id, &format!("password of {id}"))
            .await
            .status
            .as_u16()
    };
    assert_eq!(right("ann", "[2001:db8::1]:1").await, 200);
    // Longer than any password, so that refusing it costs nothing.
    let guess = "x".repeat(300);
    let mut refused = 0;
    for n in 0..400 {
        // Another name and another address each time: each is a first guess.
        let answer = house
            .log_in_from(&format!("[2001:db8::bad:{n}]:1"), &format!("u{n}"), &guess)
            .await;
        match answer.status.as_u16() {
            401 => {}
            429 => {
                assert!(answer.headers.contains_key("retry-after"));
                refused += 1;
            }
            other => panic!("{other} {}", answer.text),
        }
    }
    assert!((90..=100).contains(&refused), "{refused}");
    assert_eq!(right("ann", "[2001:db8::1]:2").await, 200);
    assert_eq!(right("bob", "[2001:db8::1]:3").await, 429);
    assert_eq!(right("bob", "[2001:db8:0:1::1]:3").await, 200);
    assert_eq!(right("cleo", "192.0.2.1:1").await, 200);
    house.stop().await;

    // Who has a login from there is known after a restart, too.
    let house = House::start(folder.path()).await;
    for n in 0..310 {
        house
            .log_in_from("[2001:db8::1]:1", &format!("u{n}"), &guess)
            .await;
    }
    let again = async |id: &str| {
        let answer = house
            .log_in_from("[2001:db8::1]:2", id, &format!("password of {id}"))
            .await;
        answer.status.as_u16()
    };
    assert_eq!((again("ann").await, again("bob").await), (200, 429));
    house.stop().await;
}

#[tokio::test]
async fn a_new_password_ends_the_old_one_and_its_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let (ann, bob) = (house.user("ann").await, house.user("bob").await);
    let path = "/v1/users/ann/password";
    let put = async |token: &str, body| house.call(token, Method::PUT, path, Some(body)).await;
    put(&ann, json!({"password": "new password"})).await.problem(403);
    put(&ann, json!({"old": "wrong", "password": "new password"}))
        .await
        .problem(403);
    put(
        &bob,
        json!({"old": "password of ann", "password": "new password"}),
    )
    .await
    .problem(403);
    put(&ann, json!({"old": "password of ann", "password": "short"}))
        .await
        .problem(400);
    put(
        &ann,
        json!({"old": "password of ann", "password": "new password"}),
    )
    .await
    .is(200);
    house.get(&ann, "/v1/me").await.problem(401);
    house.log_in("ann", "password of ann").await.problem(401);
    let ann = house.log_in("ann", "new password").await.is(200);
    house.get(ann["token"].as_str().unwrap(), "/v1/me").await.is(200);
    put(&house.admin, json!({"password": "set by the admin"}))
        .await
        .is(200);
    house.log_in("ann", "set by the admin").await.is(200);
    house.stop().await;
}

#[tokio::test]
async fn an_admin_too_shows_the_old_password_to_change_the_own_one() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let put = async |token: &str, id: &str, body| {
        let path = format!("/v1/users/{id}/password");
        house.call(token, Method::PUT, &path, Some(body)).await
    };
    house.user("ann").await;
    let role = json!({"role": "admin"});
    house.patch(&house.admin, "/v1/users/ann", role).await.is(200);
    let ann = house.log_in("ann", "password of ann").await.is(200);
    let ann = ann["token"].as_str().unwrap();
    for body in [
        json!({"password": "new password"}),
        json!({"old": "a guess", "password": "new password"}),
    ] {
        put(ann, "ann", body).await.problem(403);
    }
    let right = json!({"old": "password of ann", "password": "new password"});
    put(ann, "ann", right).await.is(200);

    // Who has the admin token sets the first password of its user, and shows it for the next.
    let first = json!({"password": "the first one"});
    put(&house.admin, "admin", first.clone()).await.is(200);
    put(&house.admin, "admin", first).await.problem(403);
    let next = json!({"old": "the first one", "password": "the next one"});
    put(&house.admin, "admin", next).await.is(200);
    house.log_in("admin", "the next one").await.is(200);
    house.stop().await;
}

#[tokio::test]
async fn roles_allow_what_they_say() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let (ann, olga) = (house.user("ann").await, house.user("olga").await);
    house
        .patch(&house.admin, "/v1/users/olga", json!({"role": "operator"}))
        .await
        .is(200);
    for path in ["/v1/users", "/v1/apps", "/v1/audit", "/v1/users/olga"] {
        house.get(&ann, path).await.problem(403);
        house.get(&olga, path).await.is(200);
    }
    house.get(&ann, "/v1/users/ann").await.is(200);
    for token in [&ann, &olga] {
        house
            .post(token, "/v1/devices", json!({"id": "lamp-1"}))
            .await
            .problem(403);
        house
            .post(token, "/v1/devices/bulk", json!({"prefix": "x", "count": 1}))
            .await
            .problem(403);
        house.delete(token, "/v1/users/ann").await.problem(403);
        house
            .patch(token, "/v1/users/ann", json!({"role": "admin"}))
            .await
            .problem(403);
    }
    house.stop().await;
}

#[tokio::test]
async fn a_disabled_user_is_out_at_once_and_the_admin_stays() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let ann = house.user("ann").await;
    house
        .patch(&house.admin, "/v1/users/ann", json!({"disabled": true}))
        .await
        .is(200);
    house.get(&ann, "/v1/me").await.problem(403);
    house.log_in("ann", "password of ann").await.problem(403);
    house.log_in("ann", "wrong password").await.problem(401);
    for body in [json!({"disabled": true}), json!({"role": "user"})] {
        house
            .patch(&house.admin, "/v1/users/admin", body)
            .await
            .problem(409);
    }
    house.delete(&house.admin, "/v1/users/admin").await.problem(409);
    house.stop().await;
}

async fn log_in_from(house: &House, address: &str, password: &str) -> Answer {
    house.log_in_from(address, "ann", password).await
}
