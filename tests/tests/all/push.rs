//! Pushes (clause 8.3.3): application server to device or user, online or offline, until the receiver's answer.

use anyhow::Result;
use irsp_tests::{Api, Client, Connecting, Message, Platform, Version, eventually};
use serde_json::{Value, json};

/// A domain with `lamp-1`, the application `climate` that pushes to it, and its key.
struct Home {
    platform: Platform,
    code: String,
    key: String,
    climate: Api,
}

async fn home() -> Result<Home> {
    home_with(json!({ "id": "lamp-1" })).await
}

async fn home_with(device: Value) -> Result<Home> {
    let platform = Platform::start().await?;
    let key = platform.admin.register_application("climate").await?;
    let code = platform.admin.register_device_with(device).await?;
    let climate = platform.admin.with(&key);
    Ok(Home {
        platform,
        code,
        key,
        climate,
    })
}

impl Home {
    fn lamp(&self) -> Connecting {
        self.platform.client("dev/lamp-1", &self.code)
    }

    /// The device, hearing its pushes.
    async fn listening_lamp(&self) -> Result<Client> {
        let mut lamp = self.lamp().connect().await?;
        lamp.hear("down/#").await?;
        Ok(lamp)
    }

    /// Pushes and returns the message's id.
    async fn push(&self, data: Value) -> Result<String> {
        let answer = self.climate.post("/v1/push", push(data)).await?;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.text("id")
    }

    /// The receipt, once it has this final code.
    async fn ended(&self, id: &str, code: u16) -> Value {
        eventually("the final code", async || {
            let receipt = self.climate.receipt(id).await.unwrap();
            (receipt["status"] == code).then_some(receipt)
        })
        .await
    }
}

fn push(data: Value) -> Value {
    json!({ "to": "dev/lamp-1", "channel": "set/power", "data": data })
}

/// The message id stands in the topic: `v1/dev/lamp-1/down/climate/{mid}/set/power`.
fn id_of(push: &Message) -> String {
    push.level(5).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_online_device_gets_a_push_at_once_and_its_answer_ends_it() -> Result<()> {
    for version in [Version::V311, Version::V5] {
        let mut home = home().await?;
        let mut lamp = home.lamp().version(version).connect().await?;
        lamp.hear("down/#").await?;
        let id = home.push(json!({ "on": true })).await?;
        let down = lamp.message().await?;
        assert_eq!(down.topic, format!("v1/dev/lamp-1/down/climate/{id}/set/power"));
        assert_eq!(down.json(), json!({ "on": true }));
        assert_eq!(
            home.climate.receipt(&id).await?["status"],
            202,
            "received is not answered"
        );

        let answer = r#"{"status":200,"body":{"watt":7}}"#;
        assert_eq!(lamp.publish(&format!("ack/{id}"), 1, answer).await?, "Success");

        let receipt = home.ended(&id, 200).await;
        assert_eq!(receipt["answer"], json!({ "code": 200, "data": { "watt": 7 } }));
        ladder(&home, &id).await;
        home.platform.stop().await?;
    }
    Ok(())
}

/// Both servers come to report all their stages, with the times rising.
async fn ladder(home: &Home, id: &str) {
    let stages = eventually("the end at both servers", async || {
        let receipt = home.climate.receipt(id).await.unwrap();
        let stages = receipt["stages"].as_array().unwrap().clone();
        let ends = stages.iter().filter(|stage| stage["stage"] == "ended");
        (ends.count() == 2).then_some(stages)
    })
    .await;
    for server in ["srv/app@home.example", "srv/message@home.example"] {
        let of_server = stages.iter().filter(|stage| stage["reporter"] == server);
        let names: Vec<_> = of_server.map(|stage| stage["stage"].as_str().unwrap()).collect();
        assert_eq!(
            names,
            ["accepted", "routed", "sent", "answered", "ended"],
            "{server}"
        );
    }
    let times: Vec<_> = stages
        .iter()
        .map(|stage| stage["time"].as_str().unwrap())
        .collect();
    assert!(times.is_sorted(), "{stages:#?}");
    assert_eq!(stages[0]["reporter"], "srv/app@home.example");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offline_device_gets_its_pushes_in_order_when_it_returns() -> Result<()> {
    let mut home = home().await?;
    let mut ids = Vec::new();
    for n in 0..100 {
        ids.push(home.push(json!(n)).await?);
    }
    let mut lamp = home.listening_lamp().await?;
    for (n, id) in ids.iter().enumerate() {
        let down = lamp.message().await?;
        assert_eq!((down.json(), id_of(&down)), (json!(n), id.clone()));
        lamp.publish(&format!("ack/{id}"), 1, "200").await?;
    }
    for id in &ids {
        home.ended(id, 200).await;
    }
    assert_eq!(lamp.messages_so_far().await?, [], "each once");
    home.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_without_an_answer_comes_again_with_the_next_session() -> Result<()> {
    let mut home = home().await?;
    let mut lamp = home.listening_lamp().await?;
    let id = home.push(json!(1)).await?;
    assert_eq!(id_of(&lamp.message().await?), id);
    lamp.cut().await;
    let mut lamp = home.listening_lamp().await?;
    assert_eq!(id_of(&lamp.message().await?), id);
    lamp.publish(&format!("ack/{id}"), 1, "200").await?;
    home.ended(&id, 200).await;
    home.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_answers_by_mqtt_needs_no_answer_topic() -> Result<()> {
    let mut home = home_with(json!({ "id": "lamp-1", "answers": "mqtt" })).await?;
    let mut lamp = home.listening_lamp().await?;
    let id = home.push(json!(1)).await?;
    assert_eq!(id_of(&lamp.message().await?), id);
    let receipt = home.ended(&id, 200).await;
    assert_eq!(receipt["answer"]["code"], 200);
    home.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_may_wait_for_the_devices_own_code() -> Result<()> {
    let mut home = home().await?;
    let mut lamp = home.listening_lamp().await?;
    let mut waiting = push(json!("hot"));
    waiting["wait"] = json!("20s");
    let (answer, ()) = tokio::try_join!(home.climate.post("/v1/push", waiting), async {
        let id = id_of(&lamp.message().await?);
        lamp.publish(&format!("ack/{id}"), 1, r#"{"status":422,"body":"too hot"}"#)
            .await?;
        anyhow::Ok(())
    })?;
    assert_eq!(
        (answer.status, &answer.body["status"]),
        (200, &json!(200)),
        "the platform's code"
    );
    assert_eq!(
        answer.body["answer"],
        json!({ "code": 422, "data": "too hot" }),
        "the device's code"
    );
    home.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_and_a_bound_user_push_over_mqtt() -> Result<()> {
    let mut home = home().await?;
    let token = home.platform.admin.register_user("ann").await?;
    home.platform
        .admin
        .with(&token)
        .bind("lamp-1", &home.code)
        .await?;
    let mut lamp = home.listening_lamp().await?;
    for (who, secret, from) in [
        ("app/climate", &home.key, "climate"),
        ("usr/ann", &token, "usr:ann"),
    ] {
        let mut sender = home.platform.client(who, secret).connect().await?;
        sender.hear("status").await?;
        assert_eq!(sender.publish("to/dev/lamp-1/set", 1, "on").await?, "Success");
        let down = lamp.message().await?;
        assert_eq!(
            (down.level(4), down.level(6), down.text()),
            (from, "set", "on".to_owned())
        );
        lamp.publish(&format!("ack/{}", id_of(&down)), 1, "200").await?;
        let status = sender.message().await?.json();
        assert_eq!(
            (&status["code"], &status["to"]),
            (&json!(200), &json!("dev/lamp-1")),
            "{status}"
        );
        assert_eq!(status["answer"]["status"], 200);
    }
    home.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_pushed_to_on_every_session_and_answers_once() -> Result<()> {
    let mut home = home().await?;
    let token = home.platform.admin.register_user("ann").await?;
    let mut phone = home
        .platform
        .client("usr/ann", &token)
        .id("phone")
        .connect()
        .await?;
    let mut tablet = home
        .platform
        .client("usr/ann", &token)
        .id("tablet")
        .connect()
        .await?;
    phone.hear("down/#").await?;
    tablet.hear("down/#").await?;
    let alarm = json!({ "to": "usr/ann", "channel": "alarm", "text": "smoke" });
    let id = home.climate.post("/v1/push", alarm).await?.text("id")?;
    for session in [&mut phone, &mut tablet] {
        let down = session.message().await?;
        assert_eq!((id_of(&down), down.text()), (id.clone(), "smoke".to_owned()));
    }
    phone.publish(&format!("ack/{id}"), 1, "200").await?;
    home.ended(&id, 200).await;
    home.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_is_too_late_expires_and_is_not_delivered() -> Result<()> {
    let mut home = home().await?;
    let mut short = push(json!("late"));
    short["expiry"] = json!("300ms");
    let id = home.climate.post("/v1/push", short).await?.text("id")?;
    let receipt = home.ended(&id, 408).await;
    assert_eq!(receipt["name"], "expired");
    let mut lamp = home.listening_lamp().await?;
    assert_eq!(lamp.messages_so_far().await?, []);
    home.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_is_not_taken_says_why() -> Result<()> {
    let mut home = home().await?;
    let bob = home.platform.admin.register_user("bob").await?;
    let bob = home.platform.admin.with(&bob);
    let only = json!({ "id": "garden", "pushes": { "only": ["dev/pump"] } });
    let garden = home.platform.admin.register_application_with(only).await?;
    let garden = home.platform.admin.with(&garden);
    let to = |to: &str| json!({ "to": to, "channel": "set", "data": 1 });
    for (who, request, code) in [
        (&home.climate, to("dev/nobody"), 404),
        (&home.climate, to("app/climate"), 400),
        (&home.climate, to("dev/lamp-1@far.example"), 421),
        (
            &home.climate,
            json!({ "to": "dev/lamp-1", "channel": "set" }),
            400,
        ),
        (
            &home.climate,
            json!({ "to": "dev/lamp-1", "channel": "a//b", "data": 1 }),
            400,
        ),
        (
            &home.climate,
            json!({ "to": "dev/lamp-1", "channel": "set", "data": 1, "what": 1 }),
            400,
        ),
        (&garden, to("dev/lamp-1"), 403),
        (&bob, to("dev/lamp-1"), 403),
        (&bob, to("dev/nobody"), 403),
        (&home.platform.anybody(), to("dev/lamp-1"), 401),
        (&home.platform.admin.with("wrong"), to("dev/lamp-1"), 401),
    ] {
        let answer = who.post("/v1/push", request.clone()).await?;
        assert_eq!(
            (answer.status, &answer.body["status"]),
            (code, &json!(code)),
            "{request}: {answer:?}"
        );
    }
    home.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_receiver_answers_a_push() -> Result<()> {
    let mut home = home().await?;
    let other = home.platform.admin.register_device("lamp-2").await?;
    let mut lamp = home.listening_lamp().await?;
    let mut other = home.platform.client("dev/lamp-2", &other).connect().await?;
    let id = home.push(json!(1)).await?;
    assert_eq!(id_of(&lamp.message().await?), id);
    assert_eq!(
        other.publish(&format!("ack/{id}"), 1, "200").await?,
        "TopicNameInvalid"
    );
    let theirs = format!("v1/dev/lamp-1/ack/{id}");
    assert_eq!(other.publish_on(&theirs, 1, false, "200").await?, "NotAuthorized");
    assert_eq!(
        lamp.publish(&format!("ack/{id}"), 1, "fine").await?,
        "PayloadFormatInvalid"
    );
    assert_eq!(home.climate.receipt(&id).await?["status"], 202);
    assert_eq!(lamp.publish(&format!("ack/{id}"), 1, "200").await?, "Success");
    assert_eq!(
        lamp.publish(&format!("ack/{id}"), 1, "500").await?,
        "Success",
        "a repeat changes nothing"
    );
    assert_eq!(home.ended(&id, 200).await["answer"]["code"], 200);
    home.platform.stop().await
}
