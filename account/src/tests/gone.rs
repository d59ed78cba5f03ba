//! What was deleted answers 410, to those who may know that it was there.

use axum::http::Method;
use serde_json::{Value, json};

use super::house::{Answer, House};

async fn bind(house: &House, token: &str, code: &str) {
    let body = json!({"device": "lamp-1", "code": code});
    house.post(token, "/v1/bindings", body).await.is(201);
}

async fn share(house: &House, token: &str, user: &str, headers: &[(&str, &str)]) -> Answer {
    let (path, body) = (
        format!("/v1/bindings/lamp-1/{user}"),
        json!({"rights": ["presence"]}),
    );
    house
        .call_with(token, Method::PUT, &path, Some(body), headers)
        .await
}

#[tokio::test]
async fn who_ended_a_binding_hears_that_it_ended_and_a_later_owner_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let code = house.device("lamp-1").await;
    let (ann, bob) = (house.user("ann").await, house.user("bob").await);
    let cleo = house.user("cleo").await;
    bind(&house, &ann, &code).await;
    share(&house, &ann, "cleo", &[]).await.is(201);
    let (own, shared) = ("/v1/bindings/lamp-1/ann", "/v1/bindings/lamp-1/cleo");
    assert_eq!(
        house.get(&ann, shared).await.is(200)["rights"],
        json!(["presence"])
    );
    house.get(&bob, shared).await.problem(403);
    house.delete(&ann, shared).await.is(200);
    for token in [&ann, &cleo, &house.admin] {
        house.get(token, shared).await.problem(410);
        house.delete(token, shared).await.problem(410);
    }
    house.get(&ann, "/v1/bindings/lamp-1/bob").await.problem(404);
    house.delete(&ann, own).await.is(200);

    bind(&house, &bob, &code).await;
    for path in [own, shared, "/v1/bindings/lamp-1/nobody"] {
        house.get(&bob, path).await.problem(404);
        house.delete(&bob, path).await.problem(404);
    }
    house.get(&ann, own).await.problem(410);
    house.stop().await;
}

#[tokio::test]
async fn a_later_owner_does_not_hear_what_was_granted_before() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let code = house.device("lamp-1").await;
    let (ann, bob) = (house.user("ann").await, house.user("bob").await);
    bind(&house, &ann, &code).await;
    let grant = json!({"principal": "dev/lamp-1", "to": "app/climate@b.example", "hears": true});
    house.post(&ann, "/v1/grants", grant).await.is(201);
    house
        .post(&ann, "/v1/bindings/lamp-1/transfer", json!({"to": "bob"}))
        .await
        .is(200);
    let which = "/v1/grants?principal=dev/lamp-1&to=app/climate@b.example";
    house.delete(&ann, which).await.problem(403);
    house.delete(&bob, which).await.problem(404);
    house.delete(&house.admin, which).await.problem(410);
    house.stop().await;
}

#[tokio::test]
async fn an_owner_does_not_learn_by_conditions_which_users_exist() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let code = house.device("lamp-1").await;
    let ann = house.user("ann").await;
    for user in ["there", "gone", "bob"] {
        house.user(user).await;
    }
    house.delete(&house.admin, "/v1/users/gone").await.is(200);
    bind(&house, &ann, &code).await;
    for tags in ["*", "\"0\""] {
        let mut details = Vec::new();
        for user in ["there", "gone", "never"] {
            let refused = share(&house, &ann, user, &[("if-match", tags)]).await;
            details.push(refused.problem(412));
        }
        details.dedup();
        assert_eq!(details.len(), 1, "{details:?}");
        for to in ["there", "gone", "never"] {
            if tags == "*" {
                continue;
            }
            house
                .call_with(
                    &ann,
                    Method::POST,
                    "/v1/bindings/lamp-1/transfer",
                    Some(json!({ "to": to })),
                    &[("if-match", tags)],
                )
                .await
                .problem(412);
        }
    }
    // Nobody new, whether there was one or not, is one answer.
    let told = |answer: Answer, user: &str| answer.problem(404).replace(user, "?");
    let gone = told(share(&house, &ann, "gone", &[]).await, "gone");
    assert_eq!(gone, told(share(&house, &ann, "never", &[]).await, "never"));

    // With its own version a share is changed, and ended.
    let made = share(&house, &ann, "bob", &[]).await;
    let tag = made.headers["etag"].to_str().unwrap().to_owned();
    made.is(201);
    let path = "/v1/bindings/lamp-1/bob";
    assert_eq!(house.get(&ann, path).await.headers["etag"], tag.as_str());
    let rights = Some(json!({"rights": ["push"]}));
    let changed = house
        .call_with(&ann, Method::PUT, path, rights, &[("if-match", &tag)])
        .await;
    let newer = changed.headers["etag"].to_str().unwrap().to_owned();
    changed.is(200);
    for (tag, code) in [(&tag, 412), (&newer, 200)] {
        let ended = house
            .call_with(&ann, Method::DELETE, path, None, &[("if-match", tag)])
            .await;
        assert_eq!(ended.status, code, "{}", ended.text);
    }
    house.stop().await;
}

#[tokio::test]
async fn a_peer_has_a_version_and_what_is_deleted_of_it_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let fingerprint = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9";
    let peer = json!({"domain": "b.example", "fingerprint": fingerprint});
    house.post(&house.admin, "/v1/peers", peer).await.is(201);
    let path = "/v1/peers/b.example";
    let tag = |answer: Answer| answer.headers["etag"].to_str().unwrap().to_owned();
    let first = tag(house.get(&house.admin, path).await);
    let under = async |method: Method, tag: &str, body: Option<Value>| {
        house
            .call_with(&house.admin, method, path, body, &[("if-match", tag)])
            .await
    };
    let paused = Some(json!({"state": "paused"}));
    let second = tag(under(Method::PATCH, &first, paused.clone()).await);
    assert_ne!(first, second);
    under(Method::PATCH, &first, paused).await.problem(412);
    under(Method::DELETE, &first, None).await.problem(412);
    under(Method::DELETE, &second, None).await.is(200);
    for method in [Method::GET, Method::DELETE] {
        house.call(&house.admin, method, path, None).await.problem(410);
    }
    house.get(&house.admin, "/v1/peers/c.example").await.problem(404);
    house.stop().await;
}
