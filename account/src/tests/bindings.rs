//! A user presents a device's code and becomes its owner.

use axum::http::Method;
use irsp_protocol::Server;
use irsp_protocol::change::Cause;
use serde_json::json;

use super::house::{Followers, House};

#[tokio::test]
async fn the_right_code_makes_an_owner_and_repeating_it_is_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let code = house.device("lamp-1").await;
    let ann = house.user("ann").await;
    let bind = json!({"device": "lamp-1", "code": code});
    let bound = house.post(&ann, "/v1/bindings", bind.clone()).await.is(201);
    assert_eq!(
        (&bound["owner"], &bound["in_effect"]),
        (&json!(true), &json!(true))
    );
    let told = house.followers.changes(Server::App).len();
    let again = house.post(&ann, "/v1/bindings", bind).await.is(200);
    assert_eq!(again["operation"], bound["operation"]);
    assert_eq!(again["in_effect"], true);
    assert_eq!(house.followers.changes(Server::App).len(), told);
    assert_eq!(
        house.get(&ann, "/v1/devices/lamp-1").await.is(200)["owner"],
        "ann"
    );
    assert_eq!(
        house.get(&ann, "/v1/bindings").await.is(200)["items"][0]["device"],
        "lamp-1"
    );
    house.stop().await;
}

#[tokio::test]
async fn strangers_do_not_learn_which_devices_exist() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let code = house.device("lamp-1").await;
    house.device("lamp-2").await;
    house.delete(&house.admin, "/v1/devices/lamp-2").await.is(200);
    let (ann, bob) = (house.user("ann").await, house.user("bob").await);
    let bind = |device: &str, code: &str| json!({"device": device, "code": code});
    house
        .post(&ann, "/v1/bindings", bind("lamp-1", &code))
        .await
        .is(201);

    let mut details = Vec::new();
    for device in ["lamp-1", "lamp-2", "never-made", "no id at all"] {
        let refused = house.post(&bob, "/v1/bindings", bind(device, "wrong")).await;
        details.push(refused.problem(403));
    }
    details.dedup();
    assert_eq!(details.len(), 1, "{details:?}");
    for device in ["lamp-1", "lamp-2", "never-made"] {
        house
            .get(&bob, &format!("/v1/devices/{device}"))
            .await
            .problem(403);
        let reset = format!("/v1/devices/{device}/reset");
        house.call(&bob, Method::POST, &reset, None).await.problem(403);
        house
            .delete(&bob, &format!("/v1/bindings/{device}"))
            .await
            .problem(404);
    }
    // Only who has the code hears that somebody else was first.
    house
        .post(&bob, "/v1/bindings", bind("lamp-1", &code))
        .await
        .problem(409);
    assert_eq!(house.get(&bob, "/v1/bindings").await.is(200)["items"], json!([]));
    assert_eq!(house.get(&bob, "/v1/devices").await.is(200)["items"], json!([]));
    house.stop().await;
}

#[tokio::test]
async fn guessing_a_code_is_slowed_down_for_the_guesser_alone() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let code = house.device("lamp-1").await;
    let (ann, mallory) = (house.user("ann").await, house.user("mallory").await);
    let mut last = house
        .post(&mallory, "/v1/bindings", json!({"device": "lamp-1", "code": "a"}))
        .await;
    while last.status == 403 {
        last = house
            .post(&mallory, "/v1/bindings", json!({"device": "lamp-1", "code": "a"}))
            .await;
    }
    assert!(last.headers.contains_key("retry-after"));
    last.problem(429);
    // Even the right one has to wait now; somebody else does not.
    house
        .post(
            &mallory,
            "/v1/bindings",
            json!({"device": "lamp-1", "code": code}),
        )
        .await
        .problem(429);
    house
        .post(&ann, "/v1/bindings", json!({"device": "lamp-1", "code": code}))
        .await
        .is(201);
    house.stop().await;
}

#[tokio::test]
async fn an_owner_resets_and_unbinds_and_the_next_one_binds() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let code = house.device("lamp-1").await;
    let (ann, bob) = (house.user("ann").await, house.user("bob").await);
    house
        .post(&ann, "/v1/bindings", json!({"device": "lamp-1", "code": code}))
        .await
        .is(201);
    let reset = house
        .call(&ann, Method::POST, "/v1/devices/lamp-1/reset", None)
        .await
        .is(200);
    assert_eq!(reset["owner"], "ann", "a reset keeps the bindings");
    let code = reset["code"].clone();
    house
        .delete(&ann, "/v1/bindings/lamp-1?user=bob")
        .await
        .problem(404);
    house.delete(&ann, "/v1/bindings/lamp-1").await.is(200);
    house.delete(&ann, "/v1/bindings/lamp-1").await.problem(410);
    house
        .post(&bob, "/v1/bindings", json!({"device": "lamp-1", "code": code}))
        .await
        .is(201);

    let unbound = house
        .post(&house.admin, "/v1/devices/lamp-1/reset", json!({"unbind": true}))
        .await
        .is(200);
    assert!(unbound.get("owner").is_none());
    let story = house.followers.story(Server::Message);
    let expected = [
        (Cause::Register, "bind/lamp-1/ann"),
        (Cause::Reset, "dev/lamp-1"),
        (Cause::Delete, "bind/lamp-1/ann"),
        (Cause::Register, "bind/lamp-1/bob"),
        (Cause::Delete, "bind/lamp-1/bob"),
        (Cause::Reset, "dev/lamp-1"),
    ];
    let expected = expected.map(|(cause, key)| (cause, key.to_owned()));
    assert_eq!(story[story.len() - expected.len()..], expected);
    house.stop().await;
}

#[tokio::test]
async fn where_a_reset_unbinds_by_policy_the_request_may_keep_the_bindings() {
    let folder = tempfile::tempdir().unwrap();
    let unbinds = Followers::default();
    let house = House::start_as(folder.path(), unbinds, |settings| settings.reset_unbinds = true).await;
    let code = house.device("lamp-1").await;
    let ann = house.user("ann").await;
    let bind = json!({"device": "lamp-1", "code": code});
    house.post(&ann, "/v1/bindings", bind).await.is(201);
    let path = "/v1/devices/lamp-1/reset";
    let kept = house.post(&ann, path, json!({"unbind": false})).await.is(200);
    assert_eq!(kept["owner"], "ann");
    let ended = house.post(&ann, path, json!({})).await.is(200);
    assert!(ended.get("owner").is_none());
    house.call(&ann, Method::POST, path, None).await.problem(403);
    house.stop().await;
}

#[tokio::test]
async fn bindings_go_with_the_user_and_with_the_device() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let (ann, bob) = (house.user("ann").await, house.user("bob").await);
    for (device, user) in [("lamp-1", &ann), ("lamp-2", &bob)] {
        let code = house.device(device).await;
        house
            .post(user, "/v1/bindings", json!({"device": device, "code": code}))
            .await
            .is(201);
    }
    house.delete(&house.admin, "/v1/users/ann").await.is(200);
    house.get(&ann, "/v1/me").await.problem(401);
    house.delete(&house.admin, "/v1/devices/lamp-2").await.is(200);
    assert_eq!(
        house.get(&house.admin, "/v1/bindings").await.is(200)["items"],
        json!([])
    );
    assert!(
        house
            .get(&house.admin, "/v1/devices/lamp-1")
            .await
            .is(200)
            .get("owner")
            .is_none()
    );
    house.stop().await;
}

/// The body of a share with these rights.
fn rights<const N: usize>(names: [&str; N]) -> serde_json::Value {
    json!({ "rights": names.to_vec() })
}

#[tokio::test]
async fn an_owner_shares_a_device_changes_the_rights_and_withdraws_them() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let code = house.device("lamp-1").await;
    let (ann, bob) = (house.user("ann").await, house.user("bob").await);
    let carl = house.user("carl").await;
    let bind = json!({"device": "lamp-1", "code": code});
    house.post(&ann, "/v1/bindings", bind.clone()).await.is(201);
    let path = "/v1/bindings/lamp-1/bob";
    let put = async |token: &str, path: &str, body| house.call(token, Method::PUT, path, Some(body)).await;

    let shared = put(&ann, path, rights(["presence", "receive"])).await.is(201);
    assert_eq!(
        (&shared["owner"], &shared["rights"], &shared["in_effect"]),
        (&json!(false), &json!(["presence", "receive"]), &json!(true))
    );
    let told = house.followers.changes(Server::App).len();
    let again = put(&ann, path, rights(["receive", "presence"])).await.is(200);
    assert_eq!(again["operation"], shared["operation"]);
    assert_eq!(house.followers.changes(Server::App).len(), told);
    let wider = put(&ann, path, rights(["push"])).await.is(200);
    assert_eq!(
        (&wider["rights"], &wider["since"]),
        (&json!(["push"]), &shared["since"])
    );

    let of = async |token: &str| {
        let listed = house.get(token, "/v1/bindings").await.is(200);
        let users = listed["items"].as_array().unwrap().iter();
        users
            .map(|item| item["user"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(of(&ann).await, ["ann", "bob"], "an owner sees the shares");
    assert_eq!(of(&bob).await, ["bob"], "who shares sees the own one alone");
    assert_eq!(of(&carl).await, Vec::<String>::new());

    house.get(&bob, "/v1/devices/lamp-1").await.is(200);
    // With the code a second user learns that it is owned; one who shares it changes nothing by showing it.
    house.post(&carl, "/v1/bindings", bind.clone()).await.problem(409);
    assert_eq!(
        house.post(&bob, "/v1/bindings", bind).await.is(200)["owner"],
        false
    );

    // Nobody but the owner gives or takes, and strangers do not learn which devices exist.
    let mut details = Vec::new();
    for device in ["lamp-1", "never-made"] {
        let path = format!("/v1/bindings/{device}/carl");
        for token in [&bob, &carl] {
            details.push(put(token, &path, rights(["push"])).await.problem(403));
            let transfer = format!("/v1/bindings/{device}/transfer");
            details.push(
                house
                    .post(token, &transfer, json!({"to": "carl"}))
                    .await
                    .problem(403),
            );
            let path = format!("/v1/bindings/{device}/ann");
            details.push(house.delete(token, &path).await.problem(403));
        }
    }
    details.dedup();
    assert_eq!(details.len(), 1, "{details:?}");

    put(&ann, "/v1/bindings/lamp-1/ann", rights(["push"]))
        .await
        .problem(409);
    put(&ann, "/v1/bindings/lamp-1/nobody", rights(["push"]))
        .await
        .problem(404);
    put(&ann, path, rights([])).await.problem(400);
    put(&ann, path, rights(["own"])).await.problem(400);
    house.delete(&ann, path).await.is(200);
    house.delete(&ann, path).await.problem(410);
    house.get(&bob, "/v1/devices/lamp-1").await.problem(403);
    put(&ann, path, rights(["presence"])).await.is(201);
    house.delete(&bob, path).await.is(200);
    house.stop().await;
}

#[tokio::test]
async fn a_transfer_keeps_the_shares_and_unbinding_by_the_owner_ends_them() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let code = house.device("lamp-1").await;
    let (ann, bob) = (house.user("ann").await, house.user("bob").await);
    house.user("carl").await;
    house
        .post(&ann, "/v1/bindings", json!({"device": "lamp-1", "code": code}))
        .await
        .is(201);
    for user in ["bob", "carl"] {
        let path = format!("/v1/bindings/lamp-1/{user}");
        house
            .call(&ann, Method::PUT, &path, Some(rights(["presence"])))
            .await
            .is(201);
    }
    let transfer = "/v1/bindings/lamp-1/transfer";
    let given = house
        .post(&ann, transfer, json!({"to": "bob", "keep": ["receive"]}))
        .await
        .is(200);
    assert_eq!(
        (&given["user"], &given["owner"], &given["rights"]),
        (
            &json!("bob"),
            &json!(true),
            &json!(["presence", "receive", "push"])
        )
    );
    house
        .post(&ann, transfer, json!({"to": "ann"}))
        .await
        .problem(403);
    house
        .post(&bob, transfer, json!({"to": "bob"}))
        .await
        .problem(409);
    let all = async || {
        let listed = house.get(&house.admin, "/v1/bindings").await.is(200);
        let items = listed["items"].as_array().unwrap().iter();
        items
            .map(|item| (item["user"].as_str().unwrap().to_owned(), item["owner"] == true))
            .collect::<Vec<_>>()
    };
    let bound = |users: &[(&str, bool)]| {
        let users = users.iter().map(|(user, owner)| ((*user).to_owned(), *owner));
        users.collect::<Vec<_>>()
    };
    assert_eq!(
        all().await,
        bound(&[("ann", false), ("bob", true), ("carl", false)])
    );
    assert_eq!(
        house.get(&bob, "/v1/devices/lamp-1").await.is(200)["owner"],
        "bob"
    );
    // Without `keep` nothing is left.
    house
        .post(&house.admin, transfer, json!({"to": "ann"}))
        .await
        .is(200);
    assert_eq!(all().await, bound(&[("ann", true), ("carl", false)]));
    house.delete(&ann, "/v1/bindings/lamp-1").await.is(200);
    assert_eq!(all().await, []);
    house
        .post(&house.admin, transfer, json!({"to": "ann"}))
        .await
        .problem(409);
    house.stop().await;
}
