//! Live topics: plain publish/subscribe for a device, its users and the applications that hear it.

use std::collections::HashSet;

use anyhow::{Context as _, Result};
use irsp_tests::{Client, Platform, Setup, eventually};
use serde_json::json;

/// A domain with `lamp-1` connected, `ann` bound to it and connected, `bob` a stranger, and the application `climate`.
struct Home {
    platform: Platform,
    key: String,
    lamp: Client,
    ann: Client,
    bob: Client,
}

async fn home() -> Result<Home> {
    let platform = Platform::start().await?;
    let key = platform.admin.register_application("climate").await?;
    let code = platform.admin.register_device("lamp-1").await?;
    let ann = platform.admin.register_user("ann").await?;
    let bob = platform.admin.register_user("bob").await?;
    platform.admin.with(&ann).bind("lamp-1", &code).await?;
    Ok(Home {
        lamp: platform.client("dev/lamp-1", &code).connect().await?,
        ann: platform.client("usr/ann", &ann).connect().await?,
        bob: platform.client("usr/bob", &bob).connect().await?,
        platform,
        key,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retained_message_waits_for_who_subscribes_later() -> Result<()> {
    let mut home = home().await?;
    let topic = "v1/dev/lamp-1/live/color";
    home.lamp.publish_on(topic, 1, true, "red").await?;
    home.ann.hear_all("v1/dev/lamp-1/live/#").await?;
    let late = home.ann.message().await?;
    assert_eq!((late.text(), late.retain), ("red".to_owned(), true));
    home.lamp.publish_on(topic, 1, true, "blue").await?;
    let now = home.ann.message().await?;
    assert_eq!((now.text(), now.retain), ("blue".to_owned(), false));
    home.lamp.publish_on(topic, 1, true, "").await?;
    assert_eq!(
        home.ann.message().await?.text(),
        "",
        "the end of the retained message"
    );
    home.ann.unsubscribe("v1/dev/lamp-1/live/#").await?;
    home.ann.hear_all("v1/dev/lamp-1/live/#").await?;
    assert_eq!(home.ann.messages_so_far().await?, []);
    home.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_comes_at_the_lower_of_both_levels() -> Result<()> {
    let mut home = home().await?;
    for (published, subscribed) in [(2, 2), (2, 1), (1, 2), (2, 0), (0, 2)] {
        home.ann.subscribe("v1/dev/lamp-1/live/color", subscribed).await?;
        assert_eq!(
            home.lamp.publish("live/color", published, "red").await?,
            "Success"
        );
        let heard = home.ann.message().await?;
        assert_eq!(
            heard.qos,
            published.min(subscribed),
            "{published} to {subscribed}"
        );
    }
    assert_eq!(home.ann.messages_so_far().await?, [], "each once");
    home.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_user_writes_where_the_device_reads() -> Result<()> {
    let mut home = home().await?;
    home.lamp.hear("live/#").await?;
    let topic = "v1/dev/lamp-1/live/wish";
    assert_eq!(home.ann.publish_on(topic, 2, false, "warm").await?, "Success");
    let heard = home.lamp.message().await?;
    assert_eq!((heard.text(), heard.qos), ("warm".to_owned(), 2));
    home.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_subscription_gives_each_message_to_one() -> Result<()> {
    let mut home = home().await?;
    let filter = "$share/workers/v1/dev/+/live/#";
    let mut workers = Vec::new();
    for _ in 0..2 {
        let mut worker = home.platform.client("app/climate", &home.key).connect().await?;
        worker.hear_all(filter).await?;
        workers.push(worker);
    }
    for n in 0..20 {
        home.lamp.publish("live/n", 1, &n.to_string()).await?;
    }
    let mut seen = Vec::new();
    for worker in &mut workers {
        let share = worker.messages_so_far().await?;
        assert!(!share.is_empty(), "the work is shared");
        seen.extend(share.iter().map(|message| message.text().parse::<u32>().unwrap()));
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..20).collect::<Vec<_>>());
    home.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_waits_for_a_session_that_is_away() -> Result<()> {
    let mut home = home().await?;
    let developer = || {
        home.platform
            .client("app/climate", &home.key)
            .id("desk")
            .keeps_session()
            .connect()
    };
    let mut desk = developer().await?;
    desk.hear_all("v1/dev/+/live/#").await?;
    desk.cut().await;
    for n in 0..10 {
        home.lamp.publish("live/n", 1, &n.to_string()).await?;
    }
    let mut desk = developer().await?;
    assert!(desk.resumed());
    for n in 0..10 {
        let heard = desk.message().await.with_context(|| format!("message {n}"))?;
        assert_eq!(heard.text(), n.to_string());
    }
    home.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_neither_hears_nor_speaks() -> Result<()> {
    let mut home = home().await?;
    let topic = "v1/dev/lamp-1/live/color";
    assert_eq!(home.bob.subscribe(topic, 1).await?, "NotAuthorized");
    assert_eq!(home.bob.publish_on(topic, 1, false, "x").await?, "NotAuthorized");
    assert_eq!(home.bob.publish_on(topic, 2, false, "x").await?, "NotAuthorized");
    home.bob.publish_on(topic, 0, false, "x").await?;
    assert_eq!(
        home.bob.lost().await?,
        "NotAuthorized",
        "at QoS 0 there is no other way to say no"
    );
    home.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_will_of_a_lost_client_is_heard_and_that_of_a_leaving_one_is_not() -> Result<()> {
    let mut home = home().await?;
    let code = home
        .platform
        .admin
        .post("/v1/devices/lamp-1/reset", json!({}))
        .await?
        .secret("code")?;
    home.ann.hear_all("v1/dev/lamp-1/live/#").await?;
    let lamp = || {
        home.platform
            .client("dev/lamp-1", &code)
            .will("v1/dev/lamp-1/live/gone", "bye")
            .connect()
    };
    lamp().await?.leave().await?;
    eventually("the goodbye", async || {
        let presence = home.platform.admin.presence("dev/lamp-1").await.unwrap();
        (presence["reason"] == "disconnected").then_some(())
    })
    .await;
    assert_eq!(home.ann.messages_so_far().await?, []);
    lamp().await?.cut().await;
    assert_eq!(home.ann.message().await?.text(), "bye");
    home.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn all_wills_of_a_mass_death_are_heard_by_who_follows() -> Result<()> {
    const TOPIC: &str = "v1/app/climate/live/gone";
    const COUNT: usize = 150;
    let mut platform = Platform::start_with(Setup {
        queue_messages_max: 4,
        ..Setup::default()
    })
    .await?;
    let key = platform.admin.register_application("climate").await?;
    let mut witness = platform.client("app/climate", &key).connect().await?;
    witness.subscribe(TOPIC, 1).await?;
    let mut mortal = Vec::new();
    for n in 0..COUNT {
        let client = platform.client("app/climate", &key);
        mortal.push(client.will(TOPIC, &n.to_string()).connect().await?);
    }
    let mut dying = tokio::task::JoinSet::new();
    mortal
        .into_iter()
        .for_each(|client| drop(dying.spawn(client.cut())));
    dying.join_all().await;
    let mut heard = HashSet::new();
    for _ in 0..COUNT {
        assert!(heard.insert(witness.message().await?.text()));
    }
    platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn ones_own_domain_may_be_spelled_out() -> Result<()> {
    let mut home = home().await?;
    home.ann.hear_all("v1/usr/ann/live/#").await?;
    let spelled = "v1/usr/ann@home.example/live/n";
    assert_eq!(home.ann.publish_on(spelled, 1, true, "here").await?, "Success");
    let heard = home.ann.message().await?;
    assert_eq!(
        (heard.topic.as_str(), heard.text()),
        ("v1/usr/ann/live/n", "here".to_owned())
    );
    home.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_subscription_too_many_is_refused_and_the_others_stay() -> Result<()> {
    let mut platform = Platform::start_with(Setup {
        subscriptions_max: 2,
        ..Setup::default()
    })
    .await?;
    let code = platform.admin.register_device("lamp-1").await?;
    let mut lamp = platform.client("dev/lamp-1", &code).connect().await?;
    lamp.hear("live/a").await?;
    lamp.hear("live/b").await?;
    assert_eq!(lamp.subscribe("v1/dev/lamp-1/live/c", 1).await?, "QuotaExceeded");
    lamp.hear("live/a").await?;
    lamp.publish("live/b", 1, "still").await?;
    assert_eq!(lamp.message().await?.text(), "still");
    platform.stop().await
}
