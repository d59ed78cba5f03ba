//! 8.3.2: online and offline, ordered, for whoever may know.

use serde_json::{Value, json};

use crate::client::Client;
use crate::trouble::{Trouble, holds, same};

use super::Stage;
use super::changes::wait;

async fn heard(client: &mut Client) -> Result<(u64, u64, Value, Value), Trouble> {
    let presence = client.json("/presence").await?;
    let number = |name: &str| presence[name].as_u64().unwrap_or(0);
    Ok((
        number("epoch"),
        number("seq"),
        presence["state"].clone(),
        presence["reason"].clone(),
    ))
}

pub(crate) async fn each_session_is_told_with_its_end(stage: &Stage) -> Result<(), Trouble> {
    let (app, device) = (stage.cast.application().await?, stage.cast.device().await?);
    let mut observer = stage.cast.connect(&app).await?;
    observer.hears(&device.topic("presence")).await?;
    let mut last = (0, 0);
    let mut later = |epoch: u64, seq: u64| {
        let before = std::mem::replace(&mut last, (epoch, seq));
        holds(
            "(epoch, seq)",
            &format!("greater than {before:?}"),
            &(epoch, seq),
            (epoch, seq) > before,
        )
    };
    let mut epochs = Vec::new();
    for reason in ["disconnected", "connection-lost"] {
        let lamp = stage.cast.connect(&device).await?;
        let (epoch, seq, state, why) = heard(&mut observer).await?;
        later(epoch, seq)?;
        same(
            "a session's begin",
            (json!("online"), json!("connected")),
            (state, why),
        )?;
        if reason == "disconnected" {
            lamp.leave().await?;
        } else {
            drop(lamp);
        }
        let (same_epoch, seq, state, why) = heard(&mut observer).await?;
        later(same_epoch, seq)?;
        same("a session's end", (json!("offline"), json!(reason)), (state, why))?;
        same("its epoch", epoch, same_epoch)?;
        epochs.push(epoch);
    }
    holds("epochs of two sessions", "rising", &epochs, epochs[0] < epochs[1])?;
    let path = format!("/v1/presence/{}", device.name);
    stage
        .until("HTTP says the same", async || {
            let found = app.http.get(&path).await?;
            Ok((found.body["epoch"] == json!(epochs[1]) && found.body["state"] == "offline").then_some(()))
        })
        .await
}

pub(crate) async fn who_comes_late_is_told(stage: &Stage) -> Result<(), Trouble> {
    let (user, device) = (stage.cast.user().await?, stage.cast.device().await?);
    stage.cast.bind(&user, &device).await?;
    let mut early = stage.cast.connect(&user).await?;
    early.hears(&device.topic("presence")).await?;
    let _lamp = stage.cast.connect(&device).await?;
    let first = heard(&mut early).await?;
    let mut late = stage.cast.connect(&user).await?;
    late.hears(&device.topic("presence")).await?;
    let told = late.message("/presence").await?;
    holds(
        "what a late observer hears",
        "retained",
        &told.retain,
        told.retain,
    )?;
    let told: Value = serde_json::from_slice(&told.payload).unwrap_or(Value::Null);
    same(
        "the state",
        ("online", first.0),
        (
            told["state"].as_str().unwrap_or(""),
            told["epoch"].as_u64().unwrap_or(0),
        ),
    )
}

pub(crate) async fn a_push_on_hearing_online_is_not_lost(stage: &Stage) -> Result<(), Trouble> {
    let app = stage.cast.application().await?;
    let device = stage.cast.device_with(json!({"answers": "mqtt"})).await?;
    let mut observer = stage.cast.connect(&app).await?;
    observer.hears(&device.topic("presence")).await?;
    let mut connecting = stage.cast.connecting(&device);
    connecting.session_expiry_s = 600;
    let mut lamp = stage.cast.open(connecting.clone()).await?;
    lamp.hears(&device.topic("down/#")).await?;
    for n in 0..3 {
        loop {
            let (.., state, _) = heard(&mut observer).await?;
            if state == "online" {
                break;
            }
        }
        let push = json!({"to": device.name, "channel": "set", "data": n, "wait": wait(stage.patience)});
        let (answer, message) = tokio::join!(app.http.post("/v1/push", push), lamp.message("/down/"));
        message?;
        same(
            "the push's end",
            json!(200),
            answer?.is(&[200])?.body["status"].clone(),
        )?;
        lamp.leave().await?;
        lamp = stage.cast.open(connecting.clone()).await?;
    }
    Ok(())
}

pub(crate) async fn who_may_not_know_is_not_told(stage: &Stage) -> Result<(), Trouble> {
    let (stranger, device) = (stage.cast.user().await?, stage.cast.device().await?);
    let deaf = stage
        .cast
        .application_with(json!({"hears": {"only": []}}))
        .await?;
    for member in [&stranger, &deaf] {
        let mut client = stage.cast.connect(member).await?;
        let code = client.subscribe(&device.topic("presence"), 1).await?;
        same("SUBACK", 0x87, code)?;
        let asked = member.http.get(&format!("/v1/presence/{}", device.name)).await?;
        asked.is(&[403, 404])?;
    }
    Ok(())
}
