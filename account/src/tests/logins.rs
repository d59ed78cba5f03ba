//! Logins: refresh tokens, logout, and passwords reset by a code.

use axum::body::Body;
use axum::http::{Method, Request};
use irsp_protocol::change::Entity;
use serde_json::{Value, json};

use super::house::{Answer, House};

/// The tokens of a fresh login of a user that exists.
struct Tokens {
    token: String,
    refresh: String,
    login: String,
}

impl Tokens {
    fn of(body: &Value) -> Tokens {
        let text = |field: &str| body[field].as_str().unwrap().to_owned();
        Tokens {
            token: text("token"),
            refresh: text("refresh_token"),
            login: text("login"),
        }
    }
}

async fn log_in(house: &House, id: &str) -> Tokens {
    Tokens::of(&house.log_in(id, &format!("password of {id}")).await.is(200))
}

async fn refresh(house: &House, token: &str) -> Answer {
    house
        .post("", "/v1/refresh", json!({"refresh_token": token}))
        .await
}

/// What followers were last told of ann.
fn told(house: &House) -> irsp_protocol::change::User {
    let changes = house.followers.changes(irsp_protocol::Server::Message);
    let user = changes.into_iter().rev().find_map(|change| match change.entity {
        Some(Entity::User(user)) if user.id.as_str() == "ann" => Some(user),
        _ => None,
    });
    user.unwrap()
}

#[tokio::test]
async fn a_refresh_token_is_good_once_and_for_the_same_login() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    house.user("ann").await;
    let first = log_in(&house, "ann").await;
    let second = Tokens::of(&refresh(&house, &first.refresh).await.is(200));
    assert_eq!(second.login, first.login);
    assert_ne!(second.refresh, first.refresh);
    for token in [&first.token, &second.token] {
        house.get(token, "/v1/me").await.is(200);
    }
    refresh(&house, &second.refresh).await.is(200);
    for wrong in ["", "x", "x.y", &second.token] {
        refresh(&house, wrong).await.problem(401);
    }
    house.stop().await;
}

#[tokio::test]
async fn a_refresh_token_shown_twice_ends_its_login_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    house.user("ann").await;
    let (stolen, other) = (log_in(&house, "ann").await, log_in(&house, "ann").await);
    let thief = Tokens::of(&refresh(&house, &stolen.refresh).await.is(200));
    refresh(&house, &stolen.refresh).await.problem(401);
    refresh(&house, &thief.refresh).await.problem(401);
    house.get(&thief.token, "/v1/me").await.problem(401);
    house.get(&stolen.token, "/v1/me").await.problem(401);
    house.get(&other.token, "/v1/me").await.is(200);
    refresh(&house, &other.refresh).await.is(200);
    // Followers refuse the tokens offline, by what they were told.
    let ended: Vec<String> = told(&house)
        .ended_logins
        .iter()
        .map(|ended| ended.login.to_string())
        .collect();
    assert_eq!(ended, [stolen.login]);
    let audit = house
        .get(&house.admin, "/v1/audit?action=login.reuse")
        .await
        .is(200);
    assert_eq!(audit["items"][0]["what"], "usr/ann");
    house.stop().await;
}

#[tokio::test]
async fn logout_ends_one_login_by_either_token() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    house.user("ann").await;
    let (first, second, third) = (
        log_in(&house, "ann").await,
        log_in(&house, "ann").await,
        log_in(&house, "ann").await,
    );
    let gone = house
        .call(&first.token, Method::POST, "/v1/logout", None)
        .await
        .is(200);
    assert_eq!(gone["login"], first.login.as_str());
    assert_eq!(gone["in_effect"], true);
    house
        .post("", "/v1/logout", json!({"refresh_token": second.refresh}))
        .await
        .is(200);
    for ended in [&first, &second] {
        house.get(&ended.token, "/v1/me").await.problem(401);
        refresh(&house, &ended.refresh).await.problem(401);
        house
            .post("", "/v1/logout", json!({"refresh_token": ended.refresh}))
            .await
            .problem(401);
    }
    house.get(&third.token, "/v1/me").await.is(200);
    house
        .call(&house.admin, Method::POST, "/v1/logout", None)
        .await
        .problem(409);
    house
        .call("", Method::POST, "/v1/logout", None)
        .await
        .problem(401);
    house.stop().await;
}

#[tokio::test]
async fn logins_are_seen_and_ended_by_their_user_and_by_administrators() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    house.user("ann").await;
    let bob = house.user("bob").await;
    let (here, there) = (log_in(&house, "ann").await, log_in(&house, "ann").await);
    let listed = house.get(&here.token, "/v1/users/ann/logins").await.is(200);
    let logins = listed["logins"].as_array().unwrap();
    assert_eq!(logins.len(), 3, "the house logged in once");
    for login in logins {
        assert_eq!(login["current"], login["id"] == here.login.as_str());
        assert_eq!(login["from"], "127.0.0.1");
    }
    let path = format!("/v1/users/ann/logins/{}", there.login);
    house.get(&bob, "/v1/users/ann/logins").await.problem(403);
    house.delete(&bob, &path).await.problem(403);
    house.delete(&bob, "/v1/users/ann/logins").await.problem(403);
    house.delete(&bob, &path.replace("ann", "bob")).await.problem(404);
    house
        .delete(&here.token, "/v1/users/ann/logins/7")
        .await
        .problem(400);
    house.delete(&here.token, &path).await.is(200);
    house.delete(&here.token, &path).await.problem(404);
    house.get(&there.token, "/v1/me").await.problem(401);
    house.get(&here.token, "/v1/me").await.is(200);
    house.delete(&house.admin, "/v1/users/ann/logins").await.is(200);
    house.get(&here.token, "/v1/me").await.problem(401);
    refresh(&house, &here.refresh).await.problem(401);
    log_in(&house, "ann").await;
    house.stop().await;
}

#[tokio::test]
async fn a_new_password_and_a_disabled_user_refresh_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    house.user("ann").await;
    let before = log_in(&house, "ann").await;
    let disable = |disabled: bool| house.patch(&house.admin, "/v1/users/ann", json!({"disabled": disabled}));
    disable(true).await.is(200);
    refresh(&house, &before.refresh).await.problem(403);
    disable(false).await.is(200);
    let after = Tokens::of(&refresh(&house, &before.refresh).await.is(200));
    house
        .call(
            &house.admin,
            Method::PUT,
            "/v1/users/ann/password",
            Some(json!({"password": "another one"})),
        )
        .await
        .is(200);
    refresh(&house, &after.refresh).await.problem(401);
    house.stop().await;
}

#[tokio::test]
async fn a_reset_code_sets_a_password_once() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let ann = house.user("ann").await;
    house
        .call(&ann, Method::POST, "/v1/users/ann/reset", None)
        .await
        .problem(403);
    house
        .call(&house.admin, Method::POST, "/v1/users/bob/reset", None)
        .await
        .problem(404);
    let make = async || {
        let made = house
            .call(&house.admin, Method::POST, "/v1/users/ann/reset", None)
            .await
            .is(200);
        made["code"].as_str().unwrap().to_owned()
    };
    let (void, code) = (make().await, make().await);
    let redeem = async |id: &str, code: &str, password: &str| {
        let body = json!({"id": id, "code": code, "password": password}).to_string();
        let request = Request::post("/v1/password").header("content-type", "application/json");
        // Each from an address of its own: who guesses is slowed down where it comes from.
        let address = format!("10.0.0.{}:1", code.len() + id.len());
        house
            .send(request.body(Body::from(body)).unwrap(), &address)
            .await
    };
    let mut answers = Vec::new();
    for (id, code) in [("ann", "wrong"), ("bob", "wrong"), ("no id", "x"), ("ann", &void)] {
        answers.push(redeem(id, code, "a new password").await.problem(401));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "a stranger learns nothing");
    redeem("ann", &code, "short").await.problem(400);
    house.log_in("ann", "password of ann").await.is(200);
    redeem("ann", &code, "a new password").await.is(200);
    house.get(&ann, "/v1/me").await.problem(401);
    house.log_in("ann", "password of ann").await.problem(401);
    house.log_in("ann", "a new password").await.is(200);
    redeem("ann", &code, "yet another one").await.problem(401);
    house.stop().await;
}

#[tokio::test]
async fn many_logins_and_logouts_leave_a_bounded_record() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    house.user("ann").await;
    let first = log_in(&house, "ann").await;
    for _ in 0..66 {
        log_in(&house, "ann").await;
    }
    let listed = house.get(&house.admin, "/v1/users/ann/logins").await.is(200);
    assert_eq!(listed["logins"].as_array().unwrap().len(), 64);
    refresh(&house, &first.refresh).await.problem(401);
    // The login that made room is not in the list any more; its token still ends with a logout.
    house.get(&first.token, "/v1/me").await.is(200);
    house
        .call(&first.token, Method::POST, "/v1/logout", None)
        .await
        .is(200);
    house.get(&first.token, "/v1/me").await.problem(401);
    house.stop().await;
}

#[tokio::test]
async fn logins_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    house.user("ann").await;
    let (kept, ended) = (log_in(&house, "ann").await, log_in(&house, "ann").await);
    house
        .call(&ended.token, Method::POST, "/v1/logout", None)
        .await
        .is(200);
    house.stop().await;
    let house = House::start(folder.path()).await;
    house.get(&ended.token, "/v1/me").await.problem(401);
    refresh(&house, &ended.refresh).await.problem(401);
    house.get(&kept.token, "/v1/me").await.is(200);
    refresh(&house, &kept.refresh).await.is(200);
    house.stop().await;
}

#[tokio::test]
async fn a_change_whose_caller_hangs_up_is_in_force_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    house.user("ann").await;
    let tokens = log_in(&house, "ann").await;
    let body = json!({"disabled": true});
    let mut call = Box::pin(house.call(&house.admin, Method::PATCH, "/v1/users/ann", Some(body)));
    // As far as the disk, and no further.
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(call.as_mut().poll(&mut context).is_pending());
    drop(call);
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while house.get(&tokens.token, "/v1/me").await.status.is_success() {
        assert!(tokio::time::Instant::now() < deadline, "the token is still good");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_login_whose_password_was_replaced_meanwhile_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    house.user("ann").await;
    let mut racing = Box::pin(house.log_in("ann", "password of ann"));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    // The old password is looked up, and being compared.
    assert!(racing.as_mut().poll(&mut context).is_pending());
    let body = Some(json!({"password": "another one of ann"}));
    house
        .call(&house.admin, Method::PUT, "/v1/users/ann/password", body)
        .await
        .is(200);
    let late = racing.await;
    // Whoever was first: no login outlives the change.
    if late.status.is_success() {
        let tokens = Tokens::of(&late.body);
        house.get(&tokens.token, "/v1/me").await.problem(401);
        refresh(&house, &tokens.refresh).await.problem(401);
    } else {
        late.problem(401);
    }
    house.log_in("ann", "another one of ann").await.is(200);
}
