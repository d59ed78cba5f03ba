//! A restored store: what it lacks and others hold is found out and mended (clause 8.2).

use irsp_courier::store;
use irsp_directory::follow::{Follower, Step, Verdict};
use irsp_protocol::change::{ChangeBatch, EntityKey};
use irsp_protocol::{Principal, Server, Timestamp};
use serde_json::json;

use super::house::House;

fn now() -> Timestamp {
    Timestamp::from(std::time::SystemTime::now())
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

    store::mark_restored(&copy, now()).unwrap();
    std::fs::rename(&copy, &path).unwrap();
    for log in ["account.db-wal", "account.db-shm"] {
        let _ = std::fs::remove_file(folder.path().join(log));
    }
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
