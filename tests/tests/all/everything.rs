//! One story through every server, told to the roles in one process and in three: stories do not see the difference.

use std::time::Duration;

use anyhow::Result;
use irsp_tests::{Layout, Platform, Setup, eventually};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn the_same_story_in_this_process() -> Result<()> {
    story(Platform::start().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_story_in_one_process() -> Result<()> {
    match Platform::processes(Layout::One, Setup::default()).await? {
        Some(platform) => story(platform).await,
        None => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_story_in_three_processes() -> Result<()> {
    match Platform::apart().await? {
        Some(platform) => story(platform).await,
        None => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_clients_or_servers_that_have_left() -> Result<()> {
    // Longer than any story waits: a stop that needs its deadline is seen.
    let setup = || Setup {
        stop_deadline: Duration::from_secs(600),
        ..Setup::default()
    };
    for layout in [Layout::One, Layout::Three] {
        let Some(mut platform) = Platform::processes(layout, setup()).await? else {
            return Ok(());
        };
        let code = platform.admin.register_device("lamp-1").await?;
        platform
            .client("dev/lamp-1", &code)
            .connect()
            .await?
            .leave()
            .await?;
        let mut lamp = platform.client("dev/lamp-1", &code).connect().await?;
        platform.stop().await?;
        assert_eq!(lamp.lost().await?, "ServerShuttingDown");
    }
    Ok(())
}

/// Ann gets a lamp, its readings are stored, she turns it on, the application dims it, and she gives it away.
async fn story(mut platform: Platform) -> Result<()> {
    let key = platform.admin.register_application("climate").await?;
    let code = platform.admin.register_device("lamp-1").await?;
    let token = platform.admin.register_user("ann").await?;
    let (climate, ann_over_http) = (platform.admin.with(&key), platform.admin.with(&token));
    ann_over_http.bind("lamp-1", &code).await?;

    let mut developer = platform.client("app/climate", &key).tls().connect().await?;
    developer.hear_all("v1/dev/+/up/climate/#").await?;
    developer.hear_all("v1/dev/+/presence").await?;
    let mut lamp = platform.client("dev/lamp-1", &code).tls().connect().await?;
    lamp.hear("status").await?;
    lamp.hear("down/#").await?;
    assert_eq!(developer.message().await?.json()["state"], "online");

    assert_eq!(lamp.publish("up/climate/temp", 1, "21.5").await?, "Success");
    assert_eq!(developer.message().await?.text(), "21.5");
    assert_eq!(lamp.message().await?.json()["code"], 200);
    assert_eq!(climate.uploads("climate").await?.len(), 1);

    let mut ann = platform.client("usr/ann", &token).connect().await?;
    ann.hear("status").await?;
    assert_eq!(ann.publish("to/dev/lamp-1/power", 1, "on").await?, "Success");
    let power = lamp.message().await?;
    assert_eq!((power.level(4), power.text()), ("usr:ann", "on".to_owned()));
    lamp.publish(&format!("ack/{}", power.level(5)), 1, "200").await?;
    assert_eq!(ann.message().await?.json()["code"], 200);

    let dim = json!({ "to": "dev/lamp-1", "channel": "dim", "data": 40 });
    let id = climate.post("/v1/push", dim).await?.text("id")?;
    assert_eq!(lamp.message().await?.level(5), id);
    lamp.publish(&format!("ack/{id}"), 1, "200").await?;
    eventually("the receipt's end", async || {
        let receipt = climate.receipt(&id).await.unwrap();
        (receipt["status"] == 200).then_some(())
    })
    .await;

    ann_over_http.delete("/v1/bindings/lamp-1").await?.in_effect()?;
    assert_eq!(
        ann.publish("to/dev/lamp-1/power", 1, "off").await?,
        "NotAuthorized"
    );
    platform.admin.delete("/v1/devices/lamp-1").await?.in_effect()?;
    assert_eq!(lamp.lost().await?, "NotAuthorized");
    eventually("no presence of who is gone", async || {
        let presence = climate.get("/v1/presence/dev/lamp-1").await.unwrap();
        (presence.status == 410).then_some(())
    })
    .await;

    platform.stop().await?;
    assert_eq!(developer.lost().await?, "ServerShuttingDown");
    Ok(())
}
