//! `kill -9` at any time: what was acknowledged is there once, and presence becomes true again (promises 1 to 3).

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use irsp_protocol::Server;
use irsp_tests::{Client, Layout, Platform, Setup, eventually};
use serde_json::json;

/// Uploads given to the message server at once.
const FLOOD: u32 = 400;
/// Acknowledgements after which it is killed, in the middle of the flood.
const KILLED_AFTER: u32 = 100;

/// What is stored, by value, with how often; once all of `expected` are there.
async fn stored(platform: &Platform, expected: &[u32]) -> BTreeMap<u32, usize> {
    eventually("everything that was acknowledged", async || {
        let mut found = BTreeMap::new();
        for upload in platform.admin.uploads("climate").await.ok()? {
            let value = u32::try_from(upload["data"].as_u64()?).ok()?;
            *found.entry(value).or_insert(0) += 1;
        }
        expected
            .iter()
            .all(|value| found.contains_key(value))
            .then_some(found)
    })
    .await
}

/// Sends numbered uploads without waiting; returns how many were acknowledged before `after` of them.
async fn flood(lamp: &mut Client, after: u32) -> Result<u32> {
    for n in 0..FLOOD {
        lamp.send("v1/dev/lamp-1/up/climate/n", 1, false, &n.to_string())
            .await?;
    }
    for _ in 0..after {
        assert_eq!(lamp.published().await?, "Success");
    }
    Ok(after)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_upload_survives_before_it_was_forwarded() -> Result<()> {
    let Some(mut platform) = Platform::apart().await? else {
        return Ok(());
    };
    platform.admin.register_application("climate").await?;
    let code = platform.admin.register_device("lamp-1").await?;
    let mut lamp = platform.client("dev/lamp-1", &code).connect().await?;
    // Nobody takes what the message server forwards: it has nothing but its disk.
    platform.kill(Server::App).await?;
    for n in 0..20 {
        assert_eq!(lamp.publish("up/climate/n", 1, &n.to_string()).await?, "Success");
    }
    platform.kill(Server::Message).await?;
    platform.start_again().await?;
    let expected: Vec<u32> = (0..20).collect();
    let found = stored(&platform, &expected).await;
    assert!(found.values().all(|times| *times == 1), "{found:?}");
    platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_cut_by_a_kill_loses_and_doubles_nothing_that_was_acknowledged() -> Result<()> {
    for (layout, killed) in [
        (Layout::One, Server::Message),
        (Layout::Three, Server::Message),
        (Layout::Three, Server::App),
    ] {
        let Some(mut platform) = Platform::processes(layout, Setup::default()).await? else {
            return Ok(());
        };
        platform.admin.register_application("climate").await?;
        let code = platform.admin.register_device("lamp-1").await?;
        let mut lamp = platform.client("dev/lamp-1", &code).connect().await?;
        let mut acknowledged = flood(&mut lamp, KILLED_AFTER).await?;
        platform.kill(killed).await?;
        // Acknowledgements come in order, so the first ones are the lowest numbers.
        while acknowledged < FLOOD && lamp.published().await.is_ok_and(|code| code == "Success") {
            acknowledged += 1;
        }
        platform.start_again().await?;
        let expected: Vec<u32> = (0..acknowledged).collect();
        let found = stored(&platform, &expected).await;
        assert!(
            found.values().all(|times| *times == 1),
            "{layout:?}, {killed}: {found:?}"
        );
        platform.stop().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_push_survives_a_kill_of_every_server() -> Result<()> {
    let Some(mut platform) = Platform::apart().await? else {
        return Ok(());
    };
    let key = platform.admin.register_application("climate").await?;
    let climate = platform.admin.with(&key);
    let code = platform.admin.register_device("lamp-1").await?;
    let push = |n: u32| json!({ "to": "dev/lamp-1", "channel": "set", "data": n });
    let mut ids = Vec::new();
    for n in 0..5 {
        let queued = climate.post("/v1/push", push(n)).await?;
        assert_eq!(queued.status, 202, "{queued:?}");
        ids.push(queued.text("id")?);
    }
    for server in Server::ALL {
        platform.kill(server).await?;
    }
    platform.start_again().await?;
    let mut lamp = platform.client("dev/lamp-1", &code).connect().await?;
    lamp.hear("down/#").await?;
    for (n, id) in ids.iter().enumerate() {
        let down = lamp.message().await?;
        assert_eq!((down.level(5), down.json()), (id.as_str(), json!(n)));
        lamp.publish(&format!("ack/{id}"), 1, "200").await?;
    }
    for id in &ids {
        eventually("the push's end", async || {
            let receipt = climate.receipt(id).await.ok()?;
            (receipt["status"] == 200).then_some(())
        })
        .await;
    }
    platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_is_true_again_after_a_kill() -> Result<()> {
    let setup = Setup {
        presence_grace: Duration::from_secs(2),
        ..Setup::default()
    };
    let Some(mut platform) = Platform::processes(Layout::Three, setup).await? else {
        return Ok(());
    };
    let back = platform.admin.register_device("back").await?;
    let gone = platform.admin.register_device("gone").await?;
    let _one = platform.client("dev/back", &back).connect().await?;
    let _two = platform.client("dev/gone", &gone).connect().await?;
    for device in ["dev/back", "dev/gone"] {
        known(&platform, device, &json!([1, 1, "online"])).await;
    }
    platform.kill(Server::Message).await?;
    platform.start_again().await?;
    let _back = platform.client("dev/back", &back).connect().await?;
    known(&platform, "dev/back", &json!([2, 1, "online"])).await;
    known(&platform, "dev/gone", &json!([1, 2, "offline"])).await;
    platform.stop().await
}

async fn known(platform: &Platform, principal: &str, expected: &serde_json::Value) {
    eventually("the true presence", async || {
        let presence = platform.admin.presence(principal).await.ok()?;
        let brief = json!([presence["epoch"], presence["seq"], presence["state"]]);
        (brief == *expected).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn account_changes_made_while_the_message_server_is_away_reach_it() -> Result<()> {
    let Some(mut platform) = Platform::apart().await? else {
        return Ok(());
    };
    let old = platform.admin.register_device("lamp-1").await?;
    platform.kill(Server::Message).await?;
    let reset = platform.admin.post("/v1/devices/lamp-1/reset", json!({})).await?;
    assert_eq!(
        (reset.status, &reset.body["in_effect"]),
        (202, &json!(false)),
        "{reset:?}"
    );
    let new = reset.text("code")?;
    platform.kill(Server::Account).await?;
    platform.start_again().await?;
    eventually("the reset at the message server", async || {
        platform.client("dev/lamp-1", &new).connect().await.ok().map(drop)
    })
    .await;
    assert_eq!(
        platform.client("dev/lamp-1", &old).refused().await?,
        "BadUserNamePassword"
    );
    platform.stop().await
}
