//! Attached applications (clause 7.3): the developer's own clients receive uploads and messages, and answer each.

use std::collections::BTreeMap;

use anyhow::Result;
use irsp_tests::{Client, Connecting, Message, Platform, Version, eventually};
use serde_json::{Value, json};

/// A domain with the attached application `climate`, and `lamp-1`.
struct Home {
    platform: Platform,
    key: String,
    code: String,
}

async fn home() -> Result<Home> {
    home_with(json!({})).await
}

async fn home_with(more: Value) -> Result<Home> {
    let platform = Platform::start().await?;
    let mut application = json!({ "id": "climate", "delivery": "attached" });
    for (field, value) in more.as_object().unwrap() {
        application[field] = value.clone();
    }
    let key = platform.admin.register_application_with(application).await?;
    let code = platform.admin.register_device("lamp-1").await?;
    Ok(Home { platform, key, code })
}

impl Home {
    fn climate(&self, client_id: &str) -> Connecting {
        self.platform.client("app/climate", &self.key).id(client_id)
    }

    async fn lamp(&self) -> Result<Client> {
        self.platform.client("dev/lamp-1", &self.code).connect().await
    }

    /// The receipt, once it has this final code.
    async fn ended(&self, id: &str, code: u16) -> Value {
        eventually("the final code", async || {
            let receipt = self.platform.admin.receipt(id).await.unwrap();
            (receipt["status"] == code).then_some(receipt)
        })
        .await
    }
}

/// The message id stands in the topic: `v1/app/climate/in/upload/dev/lamp-1/{mid}/temp`.
fn id_of(work: &Message) -> String {
    work.level(7).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_ended_by_the_applications_answer_and_by_nothing_else() -> Result<()> {
    for version in [Version::V311, Version::V5] {
        let mut home = home().await?;
        let mut climate = home.climate("a").version(version).connect().await?;
        climate.hear("in/upload/#").await?;
        let mut lamp = home.lamp().await?;
        lamp.hear("status").await?;
        assert_eq!(lamp.publish("up/climate/room/temp", 1, "21.50").await?, "Success");

        let work = climate.message().await?;
        let id = id_of(&work);
        assert_eq!(
            work.topic,
            format!("v1/app/climate/in/upload/dev/lamp-1/{id}/room/temp")
        );
        let event = work.json();
        assert_eq!(
            (&event["id"], &event["type"], &event["source"], &event["data"]),
            (
                &json!(id),
                &json!("irsp.upload"),
                &json!("dev/lamp-1"),
                &json!(21.5)
            )
        );
        assert_eq!(
            home.platform.admin.receipt(&id).await?["status"],
            202,
            "received is not answered"
        );
        let answer = r#"{"status":422,"body":{"why":"hot"}}"#;
        assert_eq!(climate.publish(&format!("ack/{id}"), 1, answer).await?, "Success");
        let status = lamp.message().await?.json();
        assert_eq!(
            (&status["message"], &status["code"], &status["answer"]["status"]),
            (&json!(id), &json!(400), &json!(422)),
            "an unregistered code has its class's status: {status}"
        );
        assert_eq!(lamp.publish("up/climate/room/temp", 1, "22").await?, "Success");
        let second = id_of(&climate.message().await?);
        let named = format!(r#"{{"id":"{second}","status":409}}"#);
        assert_eq!(climate.publish("ack", 1, &named).await?, "Success");
        assert_eq!(lamp.message().await?.json()["code"], 409);
        home.platform.stop().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_comes_in_order_and_again_until_it_is_answered() -> Result<()> {
    let mut home = home().await?;
    let mut lamp = home.lamp().await?;
    for n in 0..5 {
        assert_eq!(lamp.publish("up/climate/n", 1, &n.to_string()).await?, "Success");
    }
    let mut first = home.climate("a").connect().await?;
    first.hear("in/#").await?;
    let mut ids = Vec::new();
    for n in 0..5 {
        let work = first.message().await?;
        assert_eq!(work.json()["data"], n);
        ids.push(id_of(&work));
    }
    assert_eq!(
        first.publish(&format!("ack/{}", ids[0]), 1, "200").await?,
        "Success"
    );
    first.cut().await;

    let mut second = home.climate("b").connect().await?;
    second.hear("in/#").await?;
    for (n, id) in ids.iter().enumerate().skip(1) {
        let work = second.message().await?;
        assert_eq!((id_of(&work), &work.json()["data"]), (id.clone(), &json!(n)));
        assert_eq!(second.publish(&format!("ack/{id}"), 1, "200").await?, "Success");
    }
    for id in &ids {
        home.ended(id, 200).await;
    }
    home.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_members_work_goes_to_the_living_and_each_devices_order_is_kept() -> Result<()> {
    let mut home = home().await?;
    let mut members = Vec::new();
    for id in ["a", "b", "c"] {
        let mut member = home.climate(id).connect().await?;
        let filter = "$share/workers/v1/app/climate/in/#";
        member.hear_all(filter).await?;
        members.push(member);
    }
    let mut devices = Vec::new();
    for n in 0..6 {
        let code = home.platform.admin.register_device(&format!("d{n}")).await?;
        let device = home.platform.client(&format!("dev/d{n}"), &code);
        devices.push(device.connect().await?);
    }
    let mut sent = 0;
    for n in 0..4 {
        for device in &mut devices {
            assert_eq!(
                device.publish("up/climate/n", 1, &n.to_string()).await?,
                "Success"
            );
            sent += 1;
        }
    }
    // Everything is under way and nothing answered. One member is lost with its part.
    let lost = members.remove(0);
    lost.cut().await;
    let mut heard: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let mut answered = 0;
    while answered < sent {
        for member in &mut members {
            for work in member.messages_so_far().await? {
                if work.level(4) == "presence" {
                    continue;
                }
                let event = work.json();
                let source = event["source"].as_str().unwrap().to_owned();
                heard
                    .entry(source)
                    .or_default()
                    .push(event["data"].as_i64().unwrap());
                let id = id_of(&work);
                assert_eq!(member.publish(&format!("ack/{id}"), 1, "200").await?, "Success");
                answered += 1;
            }
        }
    }
    assert_eq!(heard.len(), 6);
    for (device, order) in heard {
        assert_eq!(order, [0, 1, 2, 3], "{device}");
    }
    home.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_answered_with_a_body_and_puback_answers_for_whoever_is_registered_so() -> Result<()> {
    let mut home = home_with(json!({ "answers": "mqtt" })).await?;
    let desk = home.platform.admin.register_application("desk").await?;
    let desk = home.platform.admin.with(&desk);
    let mut climate = home.climate("a").connect().await?;
    climate.hear("in/message/#").await?;
    let message = |n: u8| json!({ "to": "app/climate", "channel": "ask", "data": n, "wait": "20s" });
    let sent = desk.post("/v1/message", message(1)).await?;
    assert_eq!(sent.status, 200, "{sent:?}");
    assert_eq!(climate.message().await?.json()["data"], 1);

    let slow = json!({ "answers": "ack" });
    home.platform
        .admin
        .patch("/v1/apps/climate", slow)
        .await?
        .in_effect()?;
    let asking = tokio::join!(desk.post("/v1/message", message(2)), async {
        let work = climate.message().await?;
        let answer = r#"{"status":200,"body":{"sum":7}}"#;
        climate.publish(&format!("ack/{}", id_of(&work)), 1, answer).await
    });
    let (answer, published) = (asking.0?, asking.1?);
    assert_eq!(published, "Success");
    assert_eq!(
        (answer.status, &answer.body["answer"]["data"]),
        (200, &json!({ "sum": 7 })),
        "{answer:?}"
    );
    home.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_of_whom_it_hears_comes_on_the_same_branch() -> Result<()> {
    let mut home = home_with(json!({ "hears": { "only": ["dev/lamp-1"] } })).await?;
    let other = home.platform.admin.register_device("lamp-2").await?;
    let mut climate = home.climate("a").connect().await?;
    climate.hear("in/#").await?;
    let stranger = home.platform.client("dev/lamp-2", &other).connect().await?;
    stranger.leave().await?;
    let lamp = home.lamp().await?;
    let online = climate.message().await?;
    assert_eq!(online.topic, "v1/app/climate/in/presence/dev/lamp-1");
    let event = online.json();
    assert_eq!(
        (&event["type"], &event["data"]["state"]),
        (&json!("irsp.presence"), &json!("online"))
    );
    lamp.leave().await?;
    let event = climate.message().await?.json();
    assert_eq!(
        (&event["data"]["state"], &event["data"]["reason"]),
        (&json!("offline"), &json!("disconnected"))
    );
    let intruder = home.platform.admin.register_application("intruder").await?;
    let mut intruder = home.platform.client("app/intruder", &intruder).connect().await?;
    assert_eq!(
        intruder.subscribe("v1/app/climate/in/#", 1).await?,
        "NotAuthorized"
    );
    home.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_fails_gets_it_again_until_it_can() -> Result<()> {
    let mut home = home().await?;
    let mut climate = home.climate("a").connect().await?;
    climate.hear("in/upload/#").await?;
    let mut lamp = home.lamp().await?;
    lamp.hear("status").await?;
    lamp.publish("up/climate/temp", 1, "1").await?;
    let work = climate.message().await?;
    let id = id_of(&work);
    for answer in ["503", r#"{"status":429,"body":"later"}"#] {
        assert_eq!(climate.publish(&format!("ack/{id}"), 1, answer).await?, "Success");
        assert_eq!(home.platform.admin.receipt(&id).await?["status"], 202, "{answer}");
        assert_eq!(id_of(&climate.message().await?), id, "it comes again");
    }
    // Others of the same sender do not wait for it.
    lamp.publish("up/climate/temp", 1, "2").await?;
    let next = id_of(&climate.message().await?);
    climate.publish(&format!("ack/{next}"), 1, "200").await?;
    assert_eq!(lamp.message().await?.json()["message"], json!(next));
    climate.publish(&format!("ack/{id}"), 1, "200").await?;
    assert_eq!(lamp.message().await?.json()["code"], 200);
    home.ended(&id, 200).await;
    assert_eq!(climate.messages_so_far().await?, [], "and not once more");
    home.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_has_failed_at_goes_to_another_member_and_to_the_next_client() -> Result<()> {
    let mut home = home().await?;
    let group = "$share/workers/v1/app/climate/in/upload/#";
    let mut one = home.climate("a").connect().await?;
    one.hear_all(group).await?;
    let mut lamp = home.lamp().await?;
    lamp.publish("up/climate/temp", 1, "1").await?;
    let id = id_of(&one.message().await?);
    one.publish(&format!("ack/{id}"), 1, "500").await?;
    one.cut().await;
    let mut two = home.climate("b").connect().await?;
    two.hear_all(group).await?;
    assert_eq!(id_of(&two.message().await?), id);
    two.publish(&format!("ack/{id}"), 1, "200").await?;
    home.ended(&id, 200).await;
    home.platform.stop().await
}
