//! A restored store: what it lacks and others hold is found out and mended (clause 8.2).

use std::path::Path;
use std::time::Duration;

use axum::http::Method;
use irsp_courier::store;
use irsp_directory::follow::{Follower, Step, Verdict};
use irsp_protocol::change::{ChangeBatch, Entity, EntityKey};
use irsp_protocol::{Principal, Server, Timestamp};
use serde_json::{Value, json};

use super::house::House;

fn now() -> Timestamp {
    Timestamp::from(std::time::SystemTime::now())
}

/// Puts a copy in the place of the database, as `irsp restore` does.
fn restore(folder: &Path, copy: &Path) {
    store::mark_restored(copy, now()).unwrap();
    std::fs::rename(copy, folder.join("account.db")).unwrap();
    for log in ["account.db-wal", "account.db-shm"] {
        let _ = std::fs::remove_file(folder.join(log));
    }
}

#[tokio::test]
async fn what_was_ended_since_the_backup_does_not_come_back_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("account.db"), folder.path().join("copy.db"));
    let house = House::start(folder.path()).await;
    let code = house.device("lamp-1").await;
    let ann = house.user("ann").await;
    let bind = json!({"device": "lamp-1", "code": code});
    house.post(&ann, "/v1/bindings", bind).await.is(201);
    let app = json!({"id": "climate"});
    house.post(&house.admin, "/v1/apps", app).await.is(201);
    let peer = json!({"domain": "b.example", "fingerprint": "b9".repeat(32)});
    house.post(&house.admin, "/v1/peers", peer).await.is(201);
    let login = house.log_in("ann", "password of ann").await.is(200);
    let reset = house
        .call(&house.admin, Method::POST, "/v1/users/ann/reset", None)
        .await
        .is(200);
    store::copy(&path, &copy).unwrap();

    // Versions are given, the refresh token and the reset code are used, and a login begins.
    let records = [
        ("/v1/devices/lamp-1", json!({"answers": "mqtt"})),
        ("/v1/users/ann", json!({"role": "operator"})),
        ("/v1/apps/climate", json!({"delivery": "attached"})),
        ("/v1/peers/b.example", json!({"state": "paused"})),
        ("/v1/bindings/lamp-1/ann", Value::Null),
    ];
    let mut tags = Vec::new();
    for (path, patch) in &records {
        tags.push((*path, house.get(&house.admin, path).await.headers["etag"].clone()));
        if !patch.is_null() {
            house.patch(&house.admin, path, patch.clone()).await.is(200);
            tags.push((*path, house.get(&house.admin, path).await.headers["etag"].clone()));
        }
    }
    let renew = json!({"refresh_token": login["refresh_token"]});
    let renewed = house.post("", "/v1/refresh", renew.clone()).await.is(200);
    let late = house.log_in("ann", "password of ann").await.is(200);
    let redeem = json!({"id": "ann", "code": reset["code"], "password": "another password"});
    house.post("", "/v1/password", redeem.clone()).await.is(200);
    house.stop().await;
    restore(folder.path(), &copy);

    let house = House::start(folder.path()).await;
    for refresh in [&login, &renewed, &late] {
        let again = json!({"refresh_token": refresh["refresh_token"]});
        house.post("", "/v1/refresh", again).await.problem(401);
        let token = refresh["token"].as_str().unwrap();
        house.get(token, "/v1/me").await.problem(401);
    }
    house.get(&ann, "/v1/me").await.problem(401);
    house.post("", "/v1/password", redeem).await.problem(401);
    for (path, tag) in tags {
        let tag = tag.to_str().unwrap();
        let answer = house
            .call_with(&house.admin, Method::DELETE, path, None, &[("if-match", tag)])
            .await;
        assert_eq!(answer.status, 412, "{path} {tag}");
        let ask = [("if-none-match", tag)];
        let shown = house.call_with(&house.admin, Method::GET, path, None, &ask).await;
        assert_eq!(shown.status, 200, "{path} {tag}");
    }
    // The followers refuse the tokens, too, by what the snapshot says.
    let page = house.page(None).await;
    let refused = |(_, entity): &(u64, Entity)| matches!(entity, Entity::User(user) if user.id.as_str() == "ann" && user.tokens_from > made(&late));
    assert!(page.entities.iter().any(refused), "{page:?}");
    // People log in again, with the password of the backup.
    let ann = house.log_in("ann", "password of ann").await.is(200);
    house.get(ann["token"].as_str().unwrap(), "/v1/me").await.is(200);
    house.stop().await;
}

/// When a token was made.
fn made(login: &Value) -> Timestamp {
    let expires: Timestamp = login["expires"].as_str().unwrap().parse().unwrap();
    expires.minus(Duration::from_secs(3600))
}

#[tokio::test]
async fn followers_of_a_restored_store_miss_something_and_its_snapshot_is_newer_than_all_they_hold() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("account.db"), folder.path().join("copy.db"));
    let house = House::start(folder.path()).await;
    house.device("lamp-1").await;
    store::copy(&path, &copy).unwrap();
    // What comes after the copy is known to the followers alone.
    house.delete(&house.admin, "/v1/devices/lamp-1").await.is(200);
    house.device("lamp-2").await;
    let held = house.followers.changes(Server::Message);
    house.stop().await;
    let last = held.last().unwrap().n;
    let mut follower = Follower::new(last);

    restore(folder.path(), &copy);
    let house = House::start(folder.path()).await;
    house
        .patch(&house.admin, "/v1/devices/lamp-1", json!({"disabled": true}))
        .await
        .is(200);
    let told = house.followers.changes(Server::Message);
    let changes: Vec<_> = told.iter().filter(|change| change.n > last).cloned().collect();
    assert_eq!(changes.len(), 2, "{changes:?}");
    for change in changes {
        let batch = ChangeBatch {
            changes: vec![change],
        };
        assert_eq!(follower.offer(&batch), Verdict::Gap);
    }
    let page = house.page(None).await;
    assert!(page.entities.iter().all(|(n, _)| *n > last), "{page:?}");
    let Step::Last { sweep, .. } = follower.page(page) else {
        panic!("one page holds all");
    };
    for change in held.iter().filter(|change| change.entity.is_some()) {
        let gone =
            matches!(&change.key, EntityKey::Principal(Principal { id, .. }) if id.as_str() == "lamp-2");
        assert_eq!(sweep.removes(change.n, &change.key), gone, "{change:?}");
    }
    house.stop().await;

    // It goes on from there; nothing is numbered anew twice.
    let house = House::start(folder.path()).await;
    house.device("lamp-3").await;
    let next = house.followers.changes(Server::Message);
    assert_eq!(next.len(), 1);
    assert_eq!(next[0].n, sweep.at() + 1);
    let audit = house.get(&house.admin, "/v1/audit?action=store").await.is(200);
    assert_eq!(audit["items"].as_array().unwrap().len(), 1);
    house.stop().await;
}
