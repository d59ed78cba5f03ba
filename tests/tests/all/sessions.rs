//! Sessions that outlive their connections, across `kill -9` of the message server.

use anyhow::Result;
use irsp_protocol::Server;
use irsp_tests::{Client, Layout, Platform, Setup, Version};

/// Messages sent at once, and after how many acknowledgements the server is killed.
const FLOOD: u32 = 300;
const KILLED_AFTER: u32 = 100;

async fn sends(sender: &mut Client, topic: &str) -> Result<()> {
    for n in 0..FLOOD {
        sender.send(topic, 1, false, &n.to_string()).await?;
    }
    for _ in 0..KILLED_AFTER {
        assert_eq!(sender.published().await?, "Success");
    }
    Ok(())
}

/// What is heard up to the message that says it is the last.
async fn heard(client: &mut Client) -> Result<Vec<u32>> {
    let mut heard = Vec::new();
    loop {
        let text = client.message().await?.text();
        match text.parse() {
            Ok(n) => heard.push(n),
            Err(_) => return Ok(heard),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_away_hears_all_that_was_acknowledged_in_order_and_once() -> Result<()> {
    for version in [Version::V311, Version::V5] {
        let Some(mut platform) = Platform::processes(Layout::One, Setup::default()).await? else {
            return Ok(());
        };
        let key = platform.admin.register_application("desk").await?;
        let away = |platform: &Platform| {
            let client = platform.client("app/desk", &key).version(version);
            client.id("away").keeps_session()
        };
        let mut subscriber = away(&platform).connect().await?;
        subscriber.subscribe("v1/app/desk/live/#", 1).await?;
        subscriber.leave().await?;
        let mut sender = platform.client("app/desk", &key).id("sender").connect().await?;
        sends(&mut sender, "v1/app/desk/live/n").await?;
        platform.kill(Server::Message).await?;
        let mut acknowledged = KILLED_AFTER;
        while acknowledged < FLOOD && sender.published().await.is_ok_and(|code| code == "Success") {
            acknowledged += 1;
        }
        platform.start_again().await?;
        let mut subscriber = away(&platform).connect().await?;
        assert!(subscriber.resumed(), "{version:?}: the session is still there");
        let mut sender = platform.client("app/desk", &key).id("sender").connect().await?;
        sender.publish_on("v1/app/desk/live/end", 1, false, "end").await?;
        let heard = heard(&mut subscriber).await?;
        assert!(heard.len() >= acknowledged as usize, "{version:?}: {heard:?}");
        let expected: Vec<u32> = (0..heard.len() as u32).collect();
        assert_eq!(heard, expected, "{version:?}: in order, once");
        platform.stop().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_outlives_an_orderly_stop() -> Result<()> {
    let mut platform = Platform::start().await?;
    let key = platform.admin.register_application("desk").await?;
    let desk = |platform: &Platform, id: &str| platform.client("app/desk", &key).id(id);
    let mut stays = desk(&platform, "stays").keeps_session().connect().await?;
    stays.subscribe("v1/app/desk/live/#", 1).await?;
    platform.stop().await?;
    platform.start_again().await?;
    let mut sender = desk(&platform, "sender").connect().await?;
    sender
        .publish_on("v1/app/desk/live/n", 1, false, "while away")
        .await?;
    let mut back = desk(&platform, "stays").keeps_session().connect().await?;
    assert!(back.resumed());
    assert_eq!(back.message().await?.text(), "while away");
    platform.stop().await
}
