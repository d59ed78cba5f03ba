//! The operator's side: receipts found by principal and state over both servers, and the ledger that adds up.

use anyhow::Result;
use irsp_tests::{Platform, eventually};
use serde_json::{Value, json};

fn ids(page: &Value) -> Vec<String> {
    let messages = page["messages"].as_array().unwrap();
    messages
        .iter()
        .map(|message| message["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_both_servers_are_one_list_in_order() -> Result<()> {
    let mut platform = Platform::start().await?;
    let key = platform.admin.register_application("climate").await?;
    let climate = platform.admin.with(&key);
    let code = platform.admin.register_device("lamp-1").await?;
    let mut lamp = platform.client("dev/lamp-1", &code).connect().await?;
    let mut sent = Vec::new();
    for n in 0..3 {
        lamp.publish("up/climate/temp", 1, &n.to_string()).await?;
        let uploads = eventually("the upload", async || {
            let uploads = climate.uploads("climate").await.unwrap();
            (uploads.len() == n + 1).then_some(uploads)
        })
        .await;
        sent.push(uploads[n]["id"].as_str().unwrap().to_owned());
        let push = json!({ "to": "dev/lamp-1", "channel": "set", "data": n });
        sent.push(climate.post("/v1/push", push).await?.text("id")?);
    }
    let page = climate.get("/v1/messages").await?;
    assert_eq!((page.status, ids(&page.body)), (200, sent.clone()), "{page:?}");
    assert_eq!(page.body["next"], Value::Null);

    // Pages of two, in both directions, whichever server holds what.
    for (order, expected) in [
        ("asc", sent.clone()),
        ("desc", sent.iter().rev().cloned().collect()),
    ] {
        let (mut found, mut after) = (Vec::new(), String::new());
        loop {
            let path = format!("/v1/messages?limit=2&order={order}{after}");
            let page = climate.get(&path).await?.body;
            found.extend(ids(&page));
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        assert_eq!(found, expected, "{order}");
    }
    eventually("the uploads have ended", async || {
        let done = platform
            .admin
            .get("/v1/messages?state=done&kind=upload")
            .await
            .unwrap();
        (ids(&done.body).len() == 3).then_some(())
    })
    .await;
    let waiting = platform
        .admin
        .get("/v1/messages?principal=dev/lamp-1&state=in-flight")
        .await?;
    assert_eq!(
        ids(&waiting.body),
        [sent[1].clone(), sent[3].clone(), sent[5].clone()]
    );
    platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_of_the_domain_adds_up_and_is_for_operators() -> Result<()> {
    let mut platform = Platform::start().await?;
    let key = platform.admin.register_application("climate").await?;
    let code = platform.admin.register_device("lamp-1").await?;
    let mut lamp = platform.client("dev/lamp-1", &code).connect().await?;
    lamp.publish("up/climate/temp", 1, "21").await?;
    let push = json!({ "to": "dev/lamp-1", "channel": "set", "data": 1, "expiry": "2s" });
    platform.admin.with(&key).post("/v1/push", push).await?;
    let ledger = eventually("the push has expired at both servers", async || {
        let ledger = platform.admin.get("/v1/ledger").await.unwrap().body;
        assert_eq!(
            (&ledger["residue"], &ledger["balanced"]),
            (&json!(0), &json!(true)),
            "{ledger}"
        );
        let kinds = |server: &str| {
            let servers = ledger["servers"].as_array().unwrap();
            let found = servers.iter().find(|part| part["server"] == server).unwrap();
            found["kinds"].as_array().unwrap().clone()
        };
        let expired = ["message", "app"].into_iter().all(|server| {
            let push = kinds(server).into_iter().find(|kind| kind["kind"] == "push");
            push.is_some_and(|push| push["ended"][0]["state"] == "expired" && push["in_flight"] == 0)
        });
        expired.then_some(ledger.clone())
    })
    .await;
    assert_eq!(ledger["silent"], json!([]));
    assert_eq!(platform.admin.with(&key).get("/v1/ledger").await?.status, 403);
    assert_eq!(platform.anybody().get("/v1/ledger").await?.status, 401);
    platform.stop().await
}
