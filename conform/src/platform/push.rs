//! 8.3.3: a push reaches its receiver, online or offline, in order and once, or ends with a status.

use serde_json::{Value, json};

use crate::client::{Client, With};
use crate::trouble::{Trouble, same};

use super::Stage;
use super::cast::Member;
use super::changes::{ends, wait};

fn push(device: &Member, data: impl Into<Value>) -> Value {
    json!({"to": device.name, "channel": "set", "data": data.into()})
}

fn with(mut push: Value, options: Value) -> Value {
    if let (Some(push), Value::Object(options)) = (push.as_object_mut(), options) {
        push.extend(options);
    }
    push
}

/// Takes the next push and answers it; its id and data.
async fn answered(client: &mut Client, device: &Member, answer: &str) -> Result<(String, Value), Trouble> {
    let message = client.message("/down/").await?;
    let mid = message.topic.split('/').nth(5).unwrap_or_default().to_owned();
    same(
        "PUBACK of the answer",
        0,
        client
            .publish(&device.topic(&format!("ack/{mid}")), answer)
            .await?,
    )?;
    Ok((
        mid,
        serde_json::from_slice(&message.payload).unwrap_or(Value::Null),
    ))
}

pub(crate) async fn a_device_that_is_here_answers(stage: &Stage) -> Result<(), Trouble> {
    let (app, device) = (stage.cast.application().await?, stage.cast.device().await?);
    let mut lamp = stage.cast.hearing(&device, "down/#").await?;
    let asks = with(push(&device, 7), json!({"wait": wait(stage.patience)}));
    let answer = r#"{"status":422,"body":{"why":"hot"}}"#;
    let (asked, took) = tokio::join!(
        app.http.post("/v1/push", asks),
        answered(&mut lamp, &device, answer)
    );
    let (asked, (mid, data)) = (asked?.is(&[200])?, took?);
    same("its data", json!(7), data)?;
    same("the platform's code", json!(200), asked.body["status"].clone())?;
    same(
        "the device's own",
        json!({"code": 422, "data": {"why": "hot"}}),
        asked.body["answer"].clone(),
    )?;
    same("its id", mid.as_str(), asked.text("id")?)
}

pub(crate) async fn what_waited_comes_in_order(stage: &Stage) -> Result<(), Trouble> {
    let (app, device) = (stage.cast.application().await?, stage.cast.device().await?);
    let mut ids = Vec::new();
    for n in 0..10 {
        let sent = app.http.post("/v1/push", push(&device, n)).await?.is(&[202])?;
        ids.push(sent.text("id")?.to_owned());
    }
    let mut lamp = stage.cast.hearing(&device, "down/#").await?;
    let first = lamp.message("/down/").await?;
    same("the first", Some(ids[0].as_str()), first.topic.split('/').nth(5))?;
    // Not answered: it comes again, before the others.
    drop(lamp);
    let mut lamp = stage.cast.hearing(&device, "down/#").await?;
    for (n, id) in ids.iter().enumerate() {
        let (mid, data) = answered(&mut lamp, &device, "200").await?;
        same("what waited, in order", (id.clone(), json!(n)), (mid, data))?;
    }
    for id in &ids {
        ends(stage, &app.http, id, 200).await?;
    }
    same("what else comes", 0, lamp.rest().await?.len())
}

pub(crate) async fn expiry_ends_it(stage: &Stage) -> Result<(), Trouble> {
    let (app, device) = (stage.cast.application().await?, stage.cast.device().await?);
    let short = with(push(&device, 1), json!({"expiry": "1s"}));
    let sent = app.http.post("/v1/push", short).await?.is(&[202])?;
    ends(stage, &app.http, sent.text("id")?, 408).await?;
    let mut lamp = stage.cast.hearing(&device, "down/#").await?;
    same("what comes after its expiry", 0, lamp.rest().await?.len())?;
    let past = with(push(&device, 1), json!({"expires": "2020-01-01T00:00:00Z"}));
    app.http.post("/v1/push", past).await?.is(&[408])?;
    Ok(())
}

pub(crate) async fn an_id_is_one_push(stage: &Stage) -> Result<(), Trouble> {
    let (app, device) = (stage.cast.application().await?, stage.cast.device().await?);
    let named = with(push(&device, 1), json!({"id": "order-17"}));
    let first = app.http.post("/v1/push", named.clone()).await?.is(&[202])?;
    let again = app.http.post("/v1/push", named).await?.is(&[208])?;
    same("the repeat's id", first.text("id")?, again.text("id")?)?;
    let other = with(push(&device, 2), json!({"id": "order-17"}));
    app.http.post("/v1/push", other).await?.is(&[409])?;
    let mut by_mqtt = stage.cast.hearing(&app, "status").await?;
    let topic = app.topic(&format!("to/{}/set", device.name));
    let same_id = With {
        user: &[("id", "order-17")],
        ..With::default()
    };
    same(
        "the repeat by MQTT",
        0,
        by_mqtt.publish_with(&topic, "1", same_id).await?,
    )?;
    same(
        "its status",
        json!(208),
        by_mqtt.json("/status").await?["code"].clone(),
    )?;
    let mut lamp = stage.cast.hearing(&device, "down/#").await?;
    answered(&mut lamp, &device, "200").await?;
    same("what else comes", 0, lamp.rest().await?.len())
}

pub(crate) async fn options_hold(stage: &Stage) -> Result<(), Trouble> {
    let (app, device) = (stage.cast.application().await?, stage.cast.device().await?);
    let keyed = |n| with(push(&device, n), json!({"supersede_key": "power"}));
    let old = app.http.post("/v1/push", keyed(1)).await?.is(&[202])?;
    app.http.post("/v1/push", keyed(2)).await?.is(&[202])?;
    let receipt = ends(stage, &app.http, old.text("id")?, 409).await?;
    same("its cause", json!("superseded"), receipt["cause"]["name"].clone())?;
    let mut lamp = stage.cast.hearing(&device, "down/#").await?;
    let (_, data) = answered(&mut lamp, &device, "200").await?;
    same("the newer one", json!(2), data)?;
    let other_session = with(push(&device, 3), json!({"only_if_epoch": 1_000_000}));
    let sent = app.http.post("/v1/push", other_session).await?.is(&[202, 409])?;
    if sent.status == 202 {
        let receipt = ends(stage, &app.http, sent.text("id")?, 409).await?;
        same(
            "its cause",
            json!("epoch-changed"),
            receipt["cause"]["name"].clone(),
        )?;
    }
    for wrong in [
        json!({"expiry": "soon"}),
        json!({"only_if_epoch": 0}),
        json!({"supersede_key": ""}),
        json!({"colour": 1}),
    ] {
        app.http
            .post("/v1/push", with(push(&device, 4), wrong))
            .await?
            .is(&[400])?;
    }
    same("what else comes", 0, lamp.rest().await?.len())
}

pub(crate) async fn users_and_mqtt_push_as_well(stage: &Stage) -> Result<(), Trouble> {
    let (app, user, device) = (
        stage.cast.application().await?,
        stage.cast.user().await?,
        stage.cast.device().await?,
    );
    stage.cast.bind(&user, &device).await?;
    let mut lamp = stage.cast.hearing(&device, "down/#").await?;
    for member in [&app, &user] {
        let mut sender = stage.cast.hearing(member, "status").await?;
        let topic = member.topic(&format!("to/{}/set", device.name));
        same("PUBACK", 0, sender.publish(&topic, "1").await?)?;
        answered(&mut lamp, &device, "204").await?;
        let status = sender.json("/status").await?;
        same(
            "its status and the device's answer",
            (json!(200), json!(204)),
            (status["code"].clone(), status["answer"]["status"].clone()),
        )?;
    }
    let stranger = stage.cast.user().await?;
    let mut sender = stage.cast.connect(&stranger).await?;
    let topic = stranger.topic(&format!("to/{}/set", device.name));
    same("a stranger's push", 0x87, sender.publish(&topic, "1").await?)?;
    stranger
        .http
        .post("/v1/push", push(&device, 1))
        .await?
        .is(&[403])?;
    Ok(())
}

pub(crate) async fn a_list_has_a_receipt_each(stage: &Stage) -> Result<(), Trouble> {
    let (app, user) = (stage.cast.application().await?, stage.cast.user().await?);
    let (one, two) = (stage.cast.device().await?, stage.cast.device().await?);
    stage.cast.bind(&user, &one).await?;
    stage.cast.bind(&user, &two).await?;
    let nobody = format!("dev/{}", stage.cast.fresh());
    for (to, codes) in [
        (json!([one.name, nobody, two.name]), vec![202, 404, 202]),
        (json!(format!("usr/{}/devices", user.id)), vec![202, 202]),
    ] {
        let body = json!({"to": to, "channel": "set", "data": 1});
        let sent = app.http.post("/v1/push", body).await?.is(&[200])?;
        let found: Vec<u64> = sent
            .list("pushes")?
            .iter()
            .filter_map(|push| push["status"].as_u64())
            .collect();
        same("one status each", codes, found)?;
    }
    app.http
        .post("/v1/push", json!({"to": nobody, "channel": "set", "data": 1}))
        .await?
        .is(&[404])?;
    Ok(())
}
