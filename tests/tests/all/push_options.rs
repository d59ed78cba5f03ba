//! Options of a push (clause 8.3.3): the same by HTTP and by MQTT 5, alone and mixed.

use anyhow::Result;
use irsp_tests::{Api, Client, Platform, eventually};
use serde_json::{Value, json};

struct Home {
    platform: Platform,
    code: String,
    climate: Api,
    /// The application, connected, hearing its statuses.
    sender: Client,
}

async fn home() -> Result<Home> {
    let platform = Platform::start().await?;
    let key = platform.admin.register_application("climate").await?;
    let code = platform.admin.register_device("lamp-1").await?;
    let climate = platform.admin.with(&key);
    let mut sender = platform.client("app/climate", &key).connect().await?;
    sender.hear("status").await?;
    Ok(Home {
        platform,
        code,
        climate,
        sender,
    })
}

impl Home {
    async fn lamp(&self) -> Result<Client> {
        self.platform.client("dev/lamp-1", &self.code).connect().await
    }

    async fn listening_lamp(&self) -> Result<Client> {
        let mut lamp = self.lamp().await?;
        lamp.hear("down/#").await?;
        Ok(lamp)
    }

    async fn ended(&self, id: &str, code: u16) -> Value {
        eventually("the final code", async || {
            let receipt = self.climate.receipt(id).await.unwrap();
            (receipt["status"] == code).then_some(receipt)
        })
        .await
    }

    /// By MQTT 5; the name of the server's answer.
    async fn by_mqtt(&mut self, payload: &str, properties: &[(&str, &str)]) -> Result<String> {
        let topic = "to/dev/lamp-1/set";
        self.sender.publish_with(topic, payload, properties).await
    }

    /// By HTTP: the code and the body.
    async fn by_http(&self, payload: &str, options: Value) -> Result<(u16, Value)> {
        let mut request = json!({ "to": "dev/lamp-1", "channel": "set", "text": payload });
        for (name, value) in options.as_object().into_iter().flatten() {
            request[name] = value.clone();
        }
        let answer = self.climate.post("/v1/push", request).await?;
        Ok((answer.status, answer.body))
    }

    async fn status(&mut self) -> Result<Value> {
        Ok(self.sender.message().await?.json())
    }
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

/// The texts of the next pushes, each answered.
async fn heard(lamp: &mut Client, count: usize) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for _ in 0..count {
        let down = lamp.message().await?;
        lamp.publish(&format!("ack/{}", down.level(5)), 1, "200").await?;
        texts.push(down.text());
    }
    assert_eq!(lamp.messages_so_far().await?, [], "no more than these");
    Ok(texts)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_id_is_one_push_by_both_ways() -> Result<()> {
    let mut home = home().await?;
    assert_eq!(home.by_mqtt("on", &[("id", "17")]).await?, "Success");
    let (code, repeat) = home.by_http("on", json!({ "id": "17" })).await?;
    assert_eq!(
        (code, &repeat["status"], &repeat["name"]),
        (208, &json!(208), &json!("duplicate"))
    );

    let (code, first) = home.by_http("off", json!({ "id": "18" })).await?;
    assert_eq!(code, 202, "{first}");
    assert_eq!(home.by_http("off", json!({ "id": "18" })).await?.0, 208);
    assert_eq!(home.by_mqtt("off", &[("id", "18")]).await?, "Success");
    let told = home.status().await?;
    assert_eq!(
        (&told["code"], &told["id"], &told["message"]),
        (&json!(208), &json!("18"), &first["id"]),
        "{told}"
    );

    let mut lamp = home.listening_lamp().await?;
    let down = lamp.message().await?;
    assert_eq!(
        down.level(5),
        text(&repeat, "id"),
        "HTTP names the push that came by MQTT"
    );
    lamp.publish(&format!("ack/{}", down.level(5)), 1, "200").await?;
    assert_eq!(heard(&mut lamp, 1).await?, ["off"]);
    home.ended(&text(&first, "id"), 200).await;
    home.ended(&text(&repeat, "id"), 200).await;
    home.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_id_for_two_pushes_is_a_conflict_by_both_ways() -> Result<()> {
    let mut home = home().await?;
    assert_eq!(home.by_mqtt("on", &[("id", "17")]).await?, "Success");
    assert_eq!(home.by_http("off", json!({ "id": "17" })).await?.0, 409);
    assert_eq!(home.by_http("1", json!({ "id": "18" })).await?.0, 202);
    assert_eq!(home.by_http("2", json!({ "id": "18" })).await?.0, 409);
    assert_eq!(
        home.by_mqtt("3", &[("id", "18")]).await?,
        "ImplementationSpecificError"
    );
    assert_eq!(home.status().await?["code"], 409);
    let mut lamp = home.listening_lamp().await?;
    assert_eq!(heard(&mut lamp, 2).await?, ["on", "1"]);
    home.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_push_takes_the_place_of_an_undelivered_one_by_either_way() -> Result<()> {
    let mut home = home().await?;
    let key = json!({ "supersede_key": "power" });
    let first = home.by_http("1", key.clone()).await?.1;
    home.by_mqtt("2", &[("supersedekey", "power"), ("id", "two")])
        .await?;
    let receipt = home.ended(&text(&first, "id"), 409).await;
    assert_eq!(receipt["cause"]["name"], "superseded");
    let third = home.by_http("3", key).await?.1;
    let told = home.status().await?;
    assert_eq!(
        (&told["id"], &told["code"]),
        (&json!("two"), &json!(409)),
        "{told}"
    );
    assert_eq!(told["cause"], json!({ "name": "superseded", "by": third["id"] }));
    home.by_mqtt("other", &[("supersedekey", "colour")]).await?;

    let mut lamp = home.listening_lamp().await?;
    assert_eq!(heard(&mut lamp, 2).await?, ["3", "other"]);
    home.ended(&text(&third, "id"), 200).await;
    home.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_was_handed_over_is_not_taken_back() -> Result<()> {
    let mut home = home().await?;
    let key = json!({ "supersede_key": "power" });
    let mut lamp = home.listening_lamp().await?;
    let first = home.by_http("1", key.clone()).await?.1;
    let down = lamp.message().await?;
    assert_eq!(down.text(), "1");
    let second = home.by_http("2", key).await?.1;
    assert_eq!(lamp.message().await?.text(), "2");
    lamp.cut().await;
    let mut lamp = home.listening_lamp().await?;
    assert_eq!(
        heard(&mut lamp, 2).await?,
        ["1", "2"],
        "both come again, in order"
    );
    for id in [text(&first, "id"), text(&second, "id")] {
        home.ended(&id, 200).await;
    }
    home.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_for_one_session_does_not_reach_the_next() -> Result<()> {
    let mut home = home().await?;
    let mut lamp = home.listening_lamp().await?;
    let epoch = eventually("the presence", async || {
        let presence = home.climate.presence("dev/lamp-1").await.unwrap();
        (presence["state"] == "online").then(|| presence["epoch"].as_u64().unwrap())
    })
    .await;
    let only = json!({ "only_if_epoch": epoch });
    let here = home.by_http("here", only.clone()).await?.1;
    assert_eq!(heard(&mut lamp, 1).await?, ["here"]);
    home.ended(&text(&here, "id"), 200).await;

    let (code, wrong) = home
        .by_http("wrong", json!({ "only_if_epoch": epoch + 5, "wait": "20s" }))
        .await?;
    assert_eq!(code, 409, "{wrong}");
    lamp.leave().await?;
    let late = home.by_http("late", only).await?.1;
    let epoch_text = epoch.to_string();
    home.by_mqtt("late too", &[("onlyifepoch", epoch_text.as_str()), ("id", "too")])
        .await?;
    home.by_http("for anybody", json!({})).await?;
    let mut lamp = home.listening_lamp().await?;
    assert_eq!(heard(&mut lamp, 1).await?, ["for anybody"]);
    let receipt = home.ended(&text(&late, "id"), 409).await;
    let cause = json!({ "name": "epoch-changed", "epoch": epoch + 1 });
    assert_eq!(receipt["cause"], cause);
    let told = home.status().await?;
    assert_eq!(
        (&told["id"], &told["code"], &told["cause"]),
        (&json!("too"), &json!(409), &cause)
    );
    home.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_option_is_named_by_both_ways() -> Result<()> {
    let mut home = home().await?;
    let long = "x".repeat(129);
    for (name, value, word) in [
        ("id", "", "an id"),
        ("id", long.as_str(), "an id"),
        ("supersedekey", "", "supersede key"),
        ("supersedekey", long.as_str(), "supersede key"),
        ("onlyifepoch", "0", "epoch"),
        ("onlyifepoch", "soon", "epoch"),
        ("expirytime", "soon", "expirytime"),
        ("expirytime", "2999-01-01T00:00:00Z", "longest expiry"),
    ] {
        assert_eq!(
            home.by_mqtt("x", &[(name, value)]).await?,
            "PayloadFormatInvalid",
            "{name}={value}"
        );
        let told = home.status().await?;
        assert_eq!(told["code"], 400, "{told}");
        assert!(text(&told, "detail").contains(word), "{told}");
    }
    assert_eq!(
        home.by_mqtt("x", &[("expirytime", "2020-01-01T00:00:00Z")])
            .await?,
        "ImplementationSpecificError"
    );
    assert_eq!(home.status().await?["code"], 408);
    for (options, code, word) in [
        (json!({ "id": "" }), 400, "an id"),
        (json!({ "supersede_key": "" }), 400, "supersede key"),
        (json!({ "supersede_key": long }), 400, "supersede key"),
        (json!({ "only_if_epoch": 0 }), 400, "epoch"),
        (
            json!({ "expires": "2999-01-01T00:00:00Z" }),
            400,
            "longest expiry",
        ),
        (json!({ "expires": "2020-01-01T00:00:00Z" }), 408, "passed"),
        (
            json!({ "expiry": "1s", "expires": "2020-01-01T00:00:00Z" }),
            400,
            "once",
        ),
    ] {
        let (status, problem) = home.by_http("x", options.clone()).await?;
        assert_eq!(status, code, "{options}: {problem}");
        assert!(text(&problem, "detail").contains(word), "{options}: {problem}");
    }
    let mut lamp = home.listening_lamp().await?;
    for (name, value) in [("supersedekey", "power"), ("onlyifepoch", "1")] {
        let upload = lamp
            .publish_with("up/climate/temp", "1", &[(name, value)])
            .await?;
        assert_eq!(upload, "PayloadFormatInvalid", "an upload has no {name}");
    }
    home.platform.stop().await
}
