//! How often a push comes (docs/device-contract.md, rule 3): once in a connection, again in the next one until it is
//! answered, never after the answer was acknowledged. The same for the work of an attached application's group.

use anyhow::{Result, ensure};
use irsp_tests::{Heard, Hello, Platform, Raw, Version, eventually};
use serde_json::{Value, json};

const PUBACK: u8 = 4;
const DURABLE: Hello<'_> = Hello {
    client_id: "lamp",
    clean: false,
    // Session expiry 300 s.
    properties: &[0x11, 0, 0, 1, 0x2C],
    will: None,
};

struct Home {
    platform: Platform,
    version: Version,
    code: String,
}

impl Home {
    async fn new(version: Version) -> Result<Home> {
        let platform = Platform::start().await?;
        platform.admin.register_application("climate").await?;
        let code = platform.admin.register_device("lamp-1").await?;
        Ok(Home {
            platform,
            version,
            code,
        })
    }

    /// The lamp connects with a session that outlives its connection.
    async fn lamp(&self) -> Result<Raw> {
        let login = ("dev/lamp-1", self.code.as_str());
        greet(&self.platform, self.version, login, DURABLE).await
    }

    async fn push(&self, data: Value) -> Result<String> {
        let push = json!({ "to": "dev/lamp-1", "channel": "set", "data": data, "from": "app/climate" });
        self.platform.admin.post("/v1/push", push).await?.text("id")
    }
}

async fn greet(platform: &Platform, version: Version, login: (&str, &str), hello: Hello<'_>) -> Result<Raw> {
    let (raw, connack) = Raw::greet(platform.doors().tcp, version, login, hello).await?;
    ensure!(connack.body.get(1) == Some(&0), "{connack:?}");
    Ok(raw)
}

async fn acknowledge(raw: &mut Raw, heard: &Heard) -> Result<()> {
    raw.send(PUBACK << 4, &heard.packet_id.to_be_bytes()).await
}

fn shown(heard: &Heard) -> (&str, bool) {
    (&heard.payload, heard.dup)
}

/// What is unanswered is handed over whenever the device begins to listen. A device that acknowledges what its session has
/// brought along, before that, must not get it a second time.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_comes_once_in_a_connection_and_again_in_the_next() -> Result<()> {
    for version in [Version::V311, Version::V5] {
        let mut home = Home::new(version).await?;
        let mut lamp = home.lamp().await?;
        lamp.subscribe("v1/dev/lamp-1/down/#", 1).await?;
        home.push(json!(1)).await?;
        let first = lamp.heard().await?;
        assert_eq!(shown(&first), ("1", false));
        drop(lamp);

        let mut lamp = home.lamp().await?;
        let again = lamp.heard().await?;
        assert_eq!(
            (shown(&again), again.packet_id),
            (("1", true), first.packet_id),
            "{version:?}"
        );
        acknowledge(&mut lamp, &again).await?;
        for filter in ["v1/dev/lamp-1/down/+/+/set", "v1/dev/lamp-1/down/climate/#"] {
            lamp.subscribe(filter, 1).await?;
        }
        lamp.unsubscribe("v1/dev/lamp-1/down/climate/#").await?;
        home.push(json!(2)).await?;
        let next = lamp.heard().await?;
        assert_eq!(shown(&next), ("2", false), "{version:?}: nothing came between");
        acknowledge(&mut lamp, &next).await?;
        drop(lamp);

        // Neither was answered.
        let mut lamp = home.lamp().await?;
        for expected in ["1", "2"] {
            let heard = lamp.heard().await?;
            assert_eq!(shown(&heard), (expected, false), "{version:?}");
            acknowledge(&mut lamp, &heard).await?;
        }
        home.platform.stop().await?;
    }
    Ok(())
}

/// [MQTT-4.4.0-1] asks for the packet again; its message was answered, which says more than PUBACK.
#[tokio::test(flavor = "multi_thread")]
async fn an_answered_push_does_not_come_again_although_its_packet_was_not_acknowledged() -> Result<()> {
    for version in [Version::V311, Version::V5] {
        let mut home = Home::new(version).await?;
        let mut lamp = home.lamp().await?;
        lamp.subscribe("v1/dev/lamp-1/down/#", 1).await?;
        let id = home.push(json!(1)).await?;
        assert_eq!(shown(&lamp.heard().await?), ("1", false));
        let topic = format!("v1/dev/lamp-1/ack/{id}");
        lamp.publish(&topic, 1, 7, b"200").await?;
        assert!(lamp.packet_of(PUBACK).await?.body.starts_with(&[0, 7]));
        drop(lamp);

        let mut lamp = home.lamp().await?;
        home.push(json!(2)).await?;
        assert_eq!(shown(&lamp.heard().await?), ("2", false), "{version:?}");
        home.platform.stop().await?;
    }
    Ok(())
}

/// [MQTT-4.8.2-5]: what a member had not acknowledged when it went is the others' to do.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_member_has_taken_over_does_not_come_back_with_the_session() -> Result<()> {
    let mut platform = Platform::start().await?;
    let application = json!({ "id": "desk", "delivery": "attached" });
    let key = platform.admin.register_application_with(application).await?;
    let code = platform.admin.register_device("lamp-1").await?;
    let login = ("app/desk", key.as_str());
    let filter = "$share/workers/v1/app/desk/in/upload/#";
    let member = |client_id| Hello { client_id, ..DURABLE };
    let mut first = greet(&platform, Version::V5, login, member("first")).await?;
    first.subscribe(filter, 1).await?;
    let mut lamp = platform.client("dev/lamp-1", &code).connect().await?;
    assert_eq!(lamp.publish("up/desk/n", 1, "1").await?, "Success");
    let given = first.heard().await?;
    assert_eq!(
        (given.dup, given.payload.contains(r#""data":1"#)),
        (false, true),
        "{given:?}"
    );
    drop(first);

    let mut second = greet(&platform, Version::V5, login, member("second")).await?;
    second.subscribe(filter, 1).await?;
    let moved = second.heard().await?;
    assert_eq!((&moved.topic, moved.dup), (&given.topic, false));

    let mut first = greet(&platform, Version::V5, login, member("first")).await?;
    let id = given.topic.split('/').nth(7).unwrap();
    second
        .publish(&format!("v1/app/desk/ack/{id}"), 1, 7, b"200")
        .await?;
    assert!(second.packet_of(PUBACK).await?.body.starts_with(&[0, 7]));
    drop(second);
    assert_eq!(lamp.publish("up/desk/n", 1, "2").await?, "Success");
    let next = first.heard().await?;
    assert!(
        next.payload.contains(r#""data":2"#),
        "not the other's work: {next:?}"
    );
    platform.stop().await
}

/// Whose right to push is taken is told that what waited has ended: it does not come afterwards, out of the queue behind
/// the device's window.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_behind_the_window_does_not_come() -> Result<()> {
    let mut home = Home::new(Version::V5).await?;
    let ann = home.platform.admin.register_user("ann").await?;
    let user = home.platform.admin.with(&ann);
    user.bind("lamp-1", &home.code).await?;
    let one_at_a_time = Hello {
        // Receive Maximum 1.
        properties: &[0x21, 0, 1],
        ..Hello::default()
    };
    let login = ("dev/lamp-1", home.code.as_str());
    let mut lamp = greet(&home.platform, Version::V5, login, one_at_a_time).await?;
    lamp.subscribe("v1/dev/lamp-1/down/#", 1).await?;
    let mut ids = Vec::new();
    for n in 1..=3 {
        let push = json!({ "to": "dev/lamp-1", "channel": "set", "data": n });
        ids.push(user.post("/v1/push", push).await?.text("id")?);
    }
    let first = lamp.heard().await?;
    assert_eq!(shown(&first), ("1", false));
    user.delete("/v1/bindings/lamp-1").await?;
    for id in &ids {
        eventually("the push has ended", async || {
            let receipt = home.platform.admin.receipt(id).await.unwrap();
            (receipt["status"] == 403).then_some(())
        })
        .await;
    }
    home.push(json!(4)).await?;
    acknowledge(&mut lamp, &first).await?;
    assert_eq!(shown(&lamp.heard().await?), ("4", false));
    home.platform.stop().await
}
