//! Clause 8.2 when followers are silent, refuse, come late, and across a restart.

use std::time::Duration;

use irsp_protocol::change::EntityKey;
use irsp_protocol::{Server, Status};
use serde_json::{Value, json};

use super::house::{Followers, House};
use crate::Settings;

const SHORT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn a_silent_follower_makes_an_operation_that_is_in_effect_later() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start_with(folder.path(), SHORT, Followers::default()).await;
    house.followers.fall_silent(Server::App);
    let made = house
        .post(&house.admin, "/v1/devices", json!({"id": "lamp-1"}))
        .await
        .is(202);
    assert_eq!(made["in_effect"], false);
    assert!(made["code"].is_string(), "the code is shown all the same");
    let path = format!("/v1/operations/{}", made["operation"]);
    let pending = until(&house, &path, |operation| {
        operation["followers"][0]["state"] == "in_force"
    })
    .await;
    assert_eq!(
        pending["followers"][1],
        json!({"server": "app", "state": "pending"})
    );
    assert_eq!(pending["in_effect"], false);
    house.followers.speak();
    let done = until(&house, &path, |operation| operation["in_effect"] == true).await;
    assert_eq!(done["followers"][1]["status"], 200);
    house.stop().await;
}

#[tokio::test]
async fn a_refusal_of_a_follower_shows() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start_with(folder.path(), SHORT, Followers::default()).await;
    house.followers.answer_with(Status::MALFORMED);
    let made = house
        .post(&house.admin, "/v1/devices", json!({"id": "lamp-1"}))
        .await
        .is(202);
    let path = format!("/v1/operations/{}", made["operation"]);
    let refused = until(&house, &path, |operation| {
        operation["followers"][0]["state"] == "refused"
    })
    .await;
    assert_eq!(refused["followers"][0]["status"], 400);
    house.get(&house.admin, "/v1/operations/99999").await.problem(404);
    house.stop().await;
}

#[tokio::test]
async fn a_restart_keeps_everything_and_goes_on_telling() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start_with(folder.path(), SHORT, Followers::silent()).await;
    let made = house
        .post(&house.admin, "/v1/devices", json!({"id": "lamp-1"}))
        .await
        .is(202);
    house
        .post(&house.admin, "/v1/devices", json!({"id": "lamp-2"}))
        .await
        .is(202);
    house.delete(&house.admin, "/v1/devices/lamp-2").await.is(202);
    house
        .post(
            &house.admin,
            "/v1/users",
            json!({"id": "ann", "password": "password of ann"}),
        )
        .await
        .is(202);
    let token = house.log_in("ann", "password of ann").await.is(200)["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let bind = json!({"device": "lamp-1", "code": made["code"]});
    house.post(&token, "/v1/bindings", bind).await.is(202);
    let admin = house.admin.clone();
    house.stop().await;

    let house = House::start(folder.path()).await;
    assert_eq!(house.admin, admin);
    assert_eq!(
        house.get(&token, "/v1/bindings").await.is(200)["items"][0]["device"],
        "lamp-1"
    );
    house.get(&admin, "/v1/devices/lamp-2").await.problem(410);
    house.log_in("ann", "password of ann").await.is(200);
    let path = format!("/v1/operations/{}", made["operation"]);
    until(&house, &path, |operation| operation["in_effect"] == true).await;
    house.device("lamp-3").await;
    for follower in [Server::Message, Server::App] {
        let changes = house.followers.changes(follower);
        assert!(
            changes.iter().map(|change| change.n).eq(1..=8),
            "{:?}",
            house.followers.story(follower)
        );
    }
    house.stop().await;
}

#[tokio::test]
async fn operations_that_every_server_has_answered_are_forgotten_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start_with(folder.path(), SHORT, Followers::default()).await;
    let answered = house
        .post(&house.admin, "/v1/devices", json!({"id": "lamp-1"}))
        .await
        .body["operation"]
        .clone();
    let answered = format!("/v1/operations/{answered}");
    until(&house, &answered, |operation| operation["in_effect"] == true).await;
    house.followers.fall_silent(Server::App);
    let waiting = house
        .post(&house.admin, "/v1/devices", json!({"id": "lamp-2"}))
        .await
        .is(202)["operation"]
        .clone();
    let waiting = format!("/v1/operations/{waiting}");
    house.stop().await;

    let forgetful = |settings: &mut Settings| {
        settings.operation_retention = Duration::ZERO;
        settings.effect_wait = SHORT;
    };
    let house = House::start_as(folder.path(), Followers::silent(), forgetful).await;
    let gone = async {
        while house.get(&house.admin, &answered).await.status != 410 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.unwrap();
    assert_eq!(
        house.get(&house.admin, &waiting).await.is(200)["in_effect"],
        false,
        "what a server has not answered is kept"
    );
    house.stop().await;
}

#[tokio::test]
async fn a_late_follower_is_shown_the_present_state_page_by_page() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    house
        .post(
            &house.admin,
            "/v1/devices/bulk",
            json!({"prefix": "sim-", "count": 1_200}),
        )
        .await
        .is(201);
    house.delete(&house.admin, "/v1/devices/sim-7").await.is(200);
    let (mut keys, mut after, mut sizes) = (Vec::new(), None, Vec::new());
    loop {
        let page = house.page(after).await;
        assert_eq!(page.at, 1_203);
        sizes.push(page.entities.len());
        keys.extend(page.entities.into_iter().map(|(n, entity)| (entity.key(), n)));
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(sizes, [500, 500, 201]);
    let sim = |id: &str| EntityKey::Principal(id.parse().unwrap());
    assert!(keys.contains(&(sim("dev/sim-1"), 3)));
    assert!(!keys.iter().any(|(key, _)| *key == sim("dev/sim-7")));
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 1_201);
    house.stop().await;
}

/// Asks again until the operation is as wanted.
async fn until(house: &House, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let asking = async {
        loop {
            let operation = house.get(&house.admin, path).await.is(200);
            if wanted(&operation) {
                return operation;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asking)
        .await
        .unwrap()
}
