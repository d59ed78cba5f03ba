//! Online and offline (clause 8.3.2), ordered by epoch and sequence, for whoever observes.

use std::time::Duration;

use anyhow::Result;
use irsp_tests::{Client, Connecting, Platform, Setup, Version, eventually};
use serde_json::{Value, json};

/// A domain with `lamp-1` and a developer who observes its presence.
struct Home {
    platform: Platform,
    code: String,
    key: String,
}

async fn home(setup: Setup) -> Result<Home> {
    let platform = Platform::start_with(setup).await?;
    let key = platform.admin.register_application("climate").await?;
    let code = platform.admin.register_device("lamp-1").await?;
    Ok(Home { platform, code, key })
}

impl Home {
    fn lamp(&self) -> Connecting {
        self.platform.client("dev/lamp-1", &self.code)
    }

    async fn observer(&self) -> Result<Client> {
        let mut observer = self.platform.client("app/climate", &self.key).connect().await?;
        observer.hear_all("v1/dev/+/presence").await?;
        Ok(observer)
    }

    /// The application server comes to know the same.
    async fn known_over_http(&self, expected: &Value) {
        eventually("presence over HTTP", async || {
            let known = self.platform.admin.presence("dev/lamp-1").await.unwrap();
            (brief(&known) == *expected).then_some(())
        })
        .await;
    }
}

fn brief(presence: &Value) -> Value {
    json!([
        presence["epoch"],
        presence["seq"],
        presence["state"],
        presence["reason"]
    ])
}

async fn heard(observer: &mut Client) -> Result<Value> {
    Ok(brief(&observer.message().await?.json()))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_session_has_an_epoch_and_ends_with_a_reason() -> Result<()> {
    let mut home = home(Setup::default()).await?;
    let mut observer = home.observer().await?;

    let lamp = home.lamp().connect().await?;
    assert_eq!(heard(&mut observer).await?, json!([1, 1, "online", "connected"]));
    lamp.leave().await?;
    assert_eq!(
        heard(&mut observer).await?,
        json!([1, 2, "offline", "disconnected"])
    );

    home.lamp().connect().await?.cut().await;
    assert_eq!(heard(&mut observer).await?, json!([2, 1, "online", "connected"]));
    assert_eq!(
        heard(&mut observer).await?,
        json!([2, 2, "offline", "connection-lost"])
    );

    let last = json!([2, 2, "offline", "connection-lost"]);
    home.known_over_http(&last).await;
    let mut late = home.observer().await?;
    let retained = late.message().await?;
    assert!(retained.retain, "a late observer is told");
    assert_eq!(brief(&retained.json()), last);
    home.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_ends_the_old_session_before_the_new_one_begins() -> Result<()> {
    let mut home = home(Setup::default()).await?;
    let mut observer = home.observer().await?;
    let mut old = home.lamp().id("one").connect().await?;
    let _new = home.lamp().id("another").connect().await?;
    assert_eq!(old.lost().await?, "SessionTakenOver");
    assert_eq!(heard(&mut observer).await?, json!([1, 1, "online", "connected"]));
    assert_eq!(
        heard(&mut observer).await?,
        json!([1, 2, "offline", "taken-over"])
    );
    assert_eq!(heard(&mut observer).await?, json!([2, 1, "online", "connected"]));
    home.known_over_http(&json!([2, 1, "online", "connected"])).await;
    home.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_client_is_offline_after_its_keep_alive_and_its_will_is_published() -> Result<()> {
    let mut home = home(Setup::default()).await?;
    let mut observer = home.observer().await?;
    let mut watcher = home.platform.client("app/climate", &home.key).connect().await?;
    watcher.hear_all("v1/dev/lamp-1/live/#").await?;
    let lamp = home
        .lamp()
        .version(Version::V311)
        .keep_alive(Duration::from_secs(1))
        .will("v1/dev/lamp-1/live/gone", "bye")
        .connect()
        .await?;
    lamp.freeze();
    assert_eq!(heard(&mut observer).await?, json!([1, 1, "online", "connected"]));
    assert_eq!(
        heard(&mut observer).await?,
        json!([1, 2, "offline", "keep-alive-timeout"])
    );
    assert_eq!(watcher.message().await?.text(), "bye");
    home.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_online_while_any_session_is() -> Result<()> {
    let mut home = home(Setup::default()).await?;
    let token = home.platform.admin.register_user("ann").await?;
    let mut observer = home.platform.client("app/climate", &home.key).connect().await?;
    observer.hear_all("v1/usr/+/presence").await?;
    let phone = home
        .platform
        .client("usr/ann", &token)
        .id("phone")
        .connect()
        .await?;
    let tablet = home
        .platform
        .client("usr/ann", &token)
        .id("tablet")
        .connect()
        .await?;
    phone.leave().await?;
    tablet.leave().await?;
    assert_eq!(heard(&mut observer).await?, json!([1, 1, "online", "connected"]));
    assert_eq!(
        heard(&mut observer).await?,
        json!([1, 2, "offline", "disconnected"])
    );
    home.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_makes_no_offline_event_for_who_comes_back_in_the_grace_time() -> Result<()> {
    let mut home = home(Setup::default()).await?;
    let mut lamp = home.lamp().connect().await?;
    home.known_over_http(&json!([1, 1, "online", "connected"])).await;
    home.platform.stop().await?;
    assert_eq!(lamp.lost().await?, "ServerShuttingDown");
    home.platform.start_again().await?;

    let mut observer = home.observer().await?;
    assert_eq!(
        heard(&mut observer).await?,
        json!([1, 1, "online", "connected"]),
        "still believed"
    );
    let _lamp = home.lamp().connect().await?;
    assert_eq!(
        heard(&mut observer).await?,
        json!([2, 1, "online", "connected"]),
        "no offline between"
    );
    home.known_over_http(&json!([2, 1, "online", "connected"])).await;
    home.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_come_back_after_a_restart_is_offline_when_the_grace_time_is_over() -> Result<()> {
    let setup = Setup {
        presence_grace: Duration::from_millis(300),
        ..Setup::default()
    };
    let mut home = home(setup).await?;
    let _lamp = home.lamp().connect().await?;
    home.known_over_http(&json!([1, 1, "online", "connected"])).await;
    home.platform.stop().await?;
    home.platform.start_again().await?;
    home.known_over_http(&json!([1, 2, "offline", "server-stopped"]))
        .await;
    home.platform.stop().await
}
