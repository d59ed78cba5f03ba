//! Account changes reach the message server (clauses 8.2.1 to 8.2.4) and take effect at once.

use anyhow::Result;
use irsp_tests::{Platform, eventually};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_ends_the_live_session_and_the_old_code() -> Result<()> {
    let mut platform = Platform::start().await?;
    let old = platform.admin.register_device("lamp-1").await?;
    let mut lamp = platform
        .client("dev/lamp-1", &old)
        .keeps_session()
        .connect()
        .await?;
    let reset = platform.admin.post("/v1/devices/lamp-1/reset", json!({})).await?;
    let new = reset.secret("code")?;
    assert_eq!(lamp.lost().await?, "NotAuthorized");
    assert_eq!(
        platform.client("dev/lamp-1", &old).refused().await?,
        "BadUserNamePassword"
    );
    let lamp = platform
        .client("dev/lamp-1", &new)
        .keeps_session()
        .connect()
        .await?;
    assert!(!lamp.resumed(), "the old session has ended with its code");
    let presence = eventually("presence of the new session", async || {
        let presence = platform.admin.presence("dev/lamp-1").await.unwrap();
        (presence["epoch"] == 2).then_some(presence)
    })
    .await;
    assert_eq!(presence["state"], "online");
    platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_device_is_disconnected_refused_and_its_queue_purged() -> Result<()> {
    let mut platform = Platform::start().await?;
    let key = platform.admin.register_application("climate").await?;
    let climate = platform.admin.with(&key);
    let code = platform.admin.register_device("lamp-1").await?;
    let push = json!({ "to": "dev/lamp-1", "channel": "set", "data": 1 });
    let queued = climate.post("/v1/push", push.clone()).await?;
    assert_eq!(queued.status, 202, "{queued:?}");
    // Connected, but not listening to pushes: the queue stays.
    let mut lamp = platform.client("dev/lamp-1", &code).connect().await?;

    platform.admin.delete("/v1/devices/lamp-1").await?.in_effect()?;

    assert_eq!(lamp.lost().await?, "NotAuthorized");
    assert_eq!(
        platform.client("dev/lamp-1", &code).refused().await?,
        "BadUserNamePassword"
    );
    let id = queued.text("id")?;
    eventually("the end of the queued push", async || {
        let receipt = climate.receipt(&id).await.unwrap();
        (receipt["status"] == 410).then_some(())
    })
    .await;
    assert_eq!(climate.post("/v1/push", push).await?.status, 410);
    platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_device_is_out_until_it_is_enabled() -> Result<()> {
    let mut platform = Platform::start().await?;
    let code = platform.admin.register_device("lamp-1").await?;
    let mut lamp = platform.client("dev/lamp-1", &code).connect().await?;
    let disabled = |disabled: bool| {
        platform
            .admin
            .patch("/v1/devices/lamp-1", json!({ "disabled": disabled }))
    };
    disabled(true).await?.in_effect()?;
    assert_eq!(lamp.lost().await?, "NotAuthorized");
    assert_eq!(
        platform.client("dev/lamp-1", &code).refused().await?,
        "NotAuthorized"
    );
    disabled(false).await?.in_effect()?;
    platform.client("dev/lamp-1", &code).connect().await?;
    platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_is_unbound_hears_and_commands_no_longer() -> Result<()> {
    let mut platform = Platform::start().await?;
    let code = platform.admin.register_device("lamp-1").await?;
    let token = platform.admin.register_user("ann").await?;
    let ann_over_http = platform.admin.with(&token);
    ann_over_http.bind("lamp-1", &code).await?;
    let mut lamp = platform.client("dev/lamp-1", &code).connect().await?;
    let mut ann = platform.client("usr/ann", &token).connect().await?;
    ann.hear_all("v1/dev/lamp-1/live/#").await?;
    lamp.publish("live/color", 1, "red").await?;
    assert_eq!(ann.message().await?.text(), "red");

    ann_over_http.delete("/v1/bindings/lamp-1").await?.in_effect()?;

    lamp.publish("live/color", 1, "blue").await?;
    assert_eq!(ann.messages_so_far().await?, [], "nothing after the status");
    assert_eq!(ann.subscribe("v1/dev/lamp-1/live/#", 1).await?, "NotAuthorized");
    assert_eq!(ann.publish("to/dev/lamp-1/set", 1, "on").await?, "NotAuthorized");
    platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_whose_grant_is_narrowed_hears_less_at_once() -> Result<()> {
    let mut platform = Platform::start().await?;
    let key = platform.admin.register_application("climate").await?;
    let code = platform.admin.register_device("lamp-1").await?;
    let mut lamp = platform.client("dev/lamp-1", &code).connect().await?;
    let mut climate = platform.client("app/climate", &key).connect().await?;
    climate.hear_all("v1/dev/+/live/#").await?;
    lamp.publish("live/color", 1, "red").await?;
    assert_eq!(climate.message().await?.text(), "red");

    let narrowed = json!({ "hears": { "only": ["dev/lamp-2"] } });
    platform
        .admin
        .patch("/v1/apps/climate", narrowed)
        .await?
        .in_effect()?;

    lamp.publish("live/color", 1, "blue").await?;
    assert_eq!(climate.messages_so_far().await?, [], "nothing after the status");
    assert_eq!(climate.subscribe("v1/dev/+/live/#", 1).await?, "NotAuthorized");
    platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_ends_the_sessions_of_the_old_one() -> Result<()> {
    let mut platform = Platform::start().await?;
    let old = platform.admin.register_application("climate").await?;
    let mut climate = platform.client("app/climate", &old).connect().await?;
    let rotated = platform
        .admin
        .post("/v1/apps/climate/keys/rotate", json!({}))
        .await?;
    let new = rotated.secret("key")?;
    assert_eq!(climate.lost().await?, "NotAuthorized");
    assert_eq!(
        platform.client("app/climate", &old).refused().await?,
        "BadUserNamePassword"
    );
    platform.client("app/climate", &new).connect().await?;
    platform.stop().await
}
