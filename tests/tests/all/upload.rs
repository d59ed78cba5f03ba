//! Uploads (clause 8.3.1): device to application server, through the message server.

use anyhow::Result;
use futures_util::StreamExt as _;
use irsp_tests::{Client, Platform, Version, eventually};
use serde_json::{Value, json};

/// A domain with the application `climate`, its key, and the device `lamp-1`, connected and hearing its status.
struct Home {
    platform: Platform,
    key: String,
    lamp: Client,
}

async fn home(version: Version) -> Result<Home> {
    let platform = Platform::start().await?;
    let key = platform.admin.register_application("climate").await?;
    let code = platform.admin.register_device("lamp-1").await?;
    let mut lamp = platform
        .client("dev/lamp-1", &code)
        .version(version)
        .connect()
        .await?;
    lamp.hear("status").await?;
    Ok(Home { platform, key, lamp })
}

impl Home {
    /// What `climate` has stored, once that are as many as these.
    async fn stored(&self, count: usize) -> Vec<Value> {
        eventually("the uploads in the store", async || {
            let uploads = self.platform.admin.uploads("climate").await.unwrap();
            (uploads.len() >= count).then_some(uploads)
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_stored_once_and_its_status_comes_back() -> Result<()> {
    for version in [Version::V311, Version::V5] {
        for qos in [1, 2] {
            let mut home = home(version).await?;
            assert_eq!(
                home.lamp.publish("up/climate/temp", qos, "21.5").await?,
                "Success"
            );
            let status = home.lamp.message().await?.json();
            assert_eq!(
                (
                    &status["code"],
                    &status["name"],
                    &status["channel"],
                    &status["app"]
                ),
                (&json!(200), &json!("done"), &json!("temp"), &json!("climate")),
                "{version:?} {qos}"
            );
            let stored = home.stored(1).await;
            assert_eq!(stored.len(), 1);
            assert_eq!(stored[0]["device"], "lamp-1");
            assert_eq!(
                (&stored[0]["channel"], &stored[0]["data"]),
                (&json!("temp"), &json!(21.5))
            );
            assert_eq!(home.lamp.messages_so_far().await?, [], "one status");
            home.platform.stop().await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_developer_sees_uploads_as_they_happen() -> Result<()> {
    let mut home = home(Version::V5).await?;
    let mut developer = home.platform.client("app/climate", &home.key).connect().await?;
    developer.hear_all("v1/dev/+/up/climate/#").await?;
    let climate = home.platform.admin.with(&home.key);
    let stream = climate.open("/v1/apps/climate/uploads/stream").await?;
    let mut stream = stream.bytes_stream();
    for value in ["1", "2", "3"] {
        home.lamp.publish("up/climate/temp", 1, value).await?;
    }
    for value in ["1", "2", "3"] {
        let seen = developer.message().await?;
        assert_eq!(
            (seen.topic.as_str(), seen.text()),
            ("v1/dev/lamp-1/up/climate/temp", value.to_owned())
        );
    }
    let mut streamed = String::new();
    while streamed.matches("event: upload").count() < 3 {
        streamed.push_str(&String::from_utf8_lossy(&stream.next().await.unwrap()?));
    }
    let place = |value: &str| streamed.find(&format!("\"data\":{value}")).unwrap();
    assert!(place("1") < place("2") && place("2") < place("3"), "{streamed}");
    drop(stream);
    home.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_upload_is_taken_once() -> Result<()> {
    let mut home = home(Version::V5).await?;
    for _ in 0..3 {
        let code = home
            .lamp
            .publish_with("up/climate/temp", "21.5", &[("id", "reading-7"), ("unit", "C")])
            .await?;
        assert_eq!(code, "Success");
    }
    home.lamp.publish("up/climate/temp", 1, "22").await?;
    let stored = home.stored(2).await;
    let readings: Vec<_> = stored.iter().map(|upload| upload["data"].to_string()).collect();
    assert_eq!(readings, ["21.5", "22"]);
    assert_eq!(stored[0]["sender_id"], "reading-7");
    assert_eq!(stored[0]["attributes"], json!([["unit", "C"]]));
    home.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_311_device_sets_id_and_time_in_a_cloud_event() -> Result<()> {
    let mut home = home(Version::V311).await?;
    let event = json!({
        "specversion": "1.0", "id": "e-1", "source": "any", "type": "reading", "subject": "temp",
        "time": "2026-01-02T03:04:05Z", "data": { "celsius": 20 },
    });
    assert_eq!(
        home.lamp.publish("ce/climate", 1, &event.to_string()).await?,
        "Success"
    );
    let status = home.lamp.message().await?.json();
    assert_eq!((&status["id"], &status["code"]), (&json!("e-1"), &json!(200)));
    let upload = &home.stored(1).await[0];
    assert_eq!(upload["data"], json!({ "celsius": 20 }));
    assert!(
        upload["time"]
            .as_str()
            .unwrap()
            .starts_with("2026-01-02T03:04:05"),
        "{upload}"
    );
    home.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_not_taken_says_why() -> Result<()> {
    let mut home = home(Version::V5).await?;
    for (topic, payload, retain, reason, code) in [
        (
            "v1/dev/lamp-1/up/nobody/temp",
            "1",
            false,
            "TopicNameInvalid",
            404,
        ),
        ("v1/dev/lamp-2/up/climate/temp", "1", false, "NotAuthorized", 403),
        (
            "v1/dev/lamp-1/up/climate@far.example/temp",
            "1",
            false,
            "NotAuthorized",
            421,
        ),
        (
            "v1/dev/lamp-1/up/climate/temp",
            "1",
            true,
            "PayloadFormatInvalid",
            400,
        ),
        (
            "v1/dev/lamp-1/ce/climate",
            "{}",
            false,
            "PayloadFormatInvalid",
            400,
        ),
        ("v1/dev/lamp-1/down/climate/x", "1", false, "NotAuthorized", 403),
        ("anything/else", "1", false, "NotAuthorized", 403),
    ] {
        for qos in [1, 2] {
            let answer = home.lamp.publish_on(topic, qos, retain, payload).await?;
            assert_eq!(answer, reason, "{topic} at {qos}");
            let status = home.lamp.message().await?.json();
            assert_eq!((&status["code"], &status["topic"]), (&json!(code), &json!(topic)));
        }
    }
    // The connection goes on, and nothing was stored.
    home.lamp.publish("up/climate/temp", 1, "2").await?;
    assert_eq!(home.stored(1).await.len(), 1);
    home.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_311_device_is_told_on_its_status_topic_before_it_is_disconnected() -> Result<()> {
    let mut home = home(Version::V311).await?;
    let answer = home.lamp.publish("up/nobody/temp", 1, "1").await?;
    assert!(
        answer.starts_with("lost"),
        "an acknowledgement would be a lie: {answer}"
    );
    assert_eq!(home.lamp.message().await?.json()["code"], 404);
    home.platform.stop().await
}
