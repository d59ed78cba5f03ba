//! 8.3.1: an upload is on disk before it is acknowledged, stored once, and its status comes.

use devicesim::options::MqttVersion;
use serde_json::{Value, json};

use crate::client::With;
use crate::trouble::{Trouble, holds, same, unlike};

use super::Stage;
use super::cast::Member;

/// What an application has stored, once it is so many.
pub(crate) async fn stored(stage: &Stage, app: &Member, count: usize) -> Result<Vec<Value>, Trouble> {
    let path = format!("/v1/apps/{}/uploads?limit=1000&order=asc", app.id);
    stage
        .until(&format!("{count} uploads are stored"), async || {
            let page = app.http.get(&path).await?.is(&[200])?;
            let uploads = page.list("uploads")?;
            Ok((uploads.len() >= count).then(|| uploads.to_vec()))
        })
        .await
}

pub(crate) async fn every_way_is_stored_once(stage: &Stage) -> Result<(), Trouble> {
    let app = stage.cast.application().await?;
    let mut expected = Vec::new();
    for (version, qos) in [
        (MqttVersion::V311, 1),
        (MqttVersion::V311, 2),
        (MqttVersion::V5, 1),
        (MqttVersion::V5, 2),
    ] {
        let device = stage.cast.device().await?;
        let mut connecting = stage.cast.connecting(&device);
        connecting.version = version;
        let mut client = stage.cast.open(connecting).await?;
        client.hears(&device.topic("status")).await?;
        let topic = device.topic(&format!("up/{}/room/temp", app.id));
        let with = With {
            qos,
            ..With::default()
        };
        same(
            "its acknowledgement",
            0,
            client.publish_with(&topic, "21.50", with).await?,
        )?;
        let status = client.json("/status").await?;
        same(
            "its status",
            (json!(200), json!("done")),
            (status["code"].clone(), status["name"].clone()),
        )?;
        expected.push(device.name);
    }
    let uploads = stored(stage, &app, expected.len()).await?;
    let sources = uploads.iter().filter_map(|upload| upload["source"].as_str());
    let sources: Vec<String> = sources
        .map(|name| name.split('@').next().unwrap_or(name).to_owned())
        .collect();
    same("who has uploaded, once each", expected, sources)?;
    holds(
        "channel and data",
        "room/temp and 21.5",
        &uploads,
        uploads
            .iter()
            .all(|upload| upload["channel"] == "room/temp" && upload["data"] == json!(21.5)),
    )
}

pub(crate) async fn a_repeat_by_id_is_stored_once(stage: &Stage) -> Result<(), Trouble> {
    let (app, device) = (stage.cast.application().await?, stage.cast.device().await?);
    let mut client = stage.cast.hearing(&device, "status").await?;
    let topic = device.topic(&format!("up/{}/n", app.id));
    let named = With {
        user: &[("id", "17")],
        ..With::default()
    };
    // The repeat is settled by its acknowledgement; the status is that of the first.
    for _ in 0..2 {
        same(
            "its acknowledgement",
            0,
            client.publish_with(&topic, "1", named).await?,
        )?;
    }
    let status = client.json("/status").await?;
    same(
        "its status",
        (json!(200), json!("17")),
        (status["code"].clone(), status["id"].clone()),
    )?;
    same("PUBACK of the next", 0, client.publish(&topic, "2").await?)?;
    let uploads = stored(stage, &app, 2).await?;
    let data: Vec<_> = uploads.iter().map(|upload| upload["data"].clone()).collect();
    same("what is stored", vec![json!(1), json!(2)], data)
}

pub(crate) async fn a_cloud_event_has_id_and_time(stage: &Stage) -> Result<(), Trouble> {
    let (app, device) = (stage.cast.application().await?, stage.cast.device().await?);
    let mut connecting = stage.cast.connecting(&device);
    connecting.version = MqttVersion::V311;
    let mut client = stage.cast.open(connecting).await?;
    client.hears(&device.topic("status")).await?;
    let event = json!({"specversion": "1.0", "id": "a-1", "source": "anything", "type": "reading", "subject": "temp",
        "time": "2026-01-02T03:04:05.000Z", "data": 3});
    let topic = device.topic(&format!("ce/{}", app.id));
    for _ in 0..2 {
        same(
            "its acknowledgement",
            0,
            client.publish(&topic, event.to_string()).await?,
        )?;
    }
    same(
        "its status",
        json!(200),
        client.json("/status").await?["code"].clone(),
    )?;
    let next = device.topic(&format!("up/{}/next", app.id));
    same("PUBACK of the next", 0, client.publish(&next, "4").await?)?;
    let uploads = stored(stage, &app, 2).await?;
    same("what is stored", 2, uploads.len())?;
    let first = &uploads[0];
    same(
        "channel and data",
        (json!("temp"), json!(3)),
        (first["channel"].clone(), first["data"].clone()),
    )?;
    holds(
        "its time",
        "2026-01-02T03:04:05",
        first,
        first["time"]
            .as_str()
            .is_some_and(|at| at.starts_with("2026-01-02T03:04:05")),
    )
}

pub(crate) async fn what_is_wrong_is_refused(stage: &Stage) -> Result<(), Trouble> {
    let (app, device, other) = (
        stage.cast.application().await?,
        stage.cast.device().await?,
        stage.cast.device().await?,
    );
    let mut client = stage.cast.hearing(&device, "status").await?;
    let nobody = stage.cast.fresh();
    let plain = With::default();
    let retained = With {
        retain: true,
        ..plain
    };
    let past = With {
        user: &[("expirytime", "2020-01-01T00:00:00Z")],
        ..plain
    };
    for (topic, with, what) in [
        (
            device.topic(&format!("up/{nobody}/x")),
            plain,
            "an upload to no application",
        ),
        (
            other.topic(&format!("up/{}/x", app.id)),
            plain,
            "an upload in another's name",
        ),
        (
            device.topic(&format!("up/{}/x", app.id)),
            retained,
            "a retained upload",
        ),
        (
            device.topic(&format!("up/{}/x", app.id)),
            past,
            "an upload that has expired",
        ),
        (device.topic("no/such/topic"), plain, "a topic there is not"),
    ] {
        let code = client.publish_with(&topic, "1", with).await?;
        holds(what, "a reason code of 0x80 or above", &code, code >= 0x80)?;
    }
    let mut connecting = stage.cast.connecting(&device);
    connecting.version = MqttVersion::V311;
    let mut old = stage.cast.open(connecting).await?;
    old.hears(&device.topic("status")).await?;
    match old.publish(&other.topic(&format!("up/{}/x", app.id)), "1").await {
        Err(Trouble::Connection { .. }) => {}
        Err(trouble) => return Err(trouble),
        Ok(code) => {
            return Err(unlike(
                "a refused publish of 3.1.1",
                "the end of the connection",
                &code,
            ));
        }
    }
    let told = old.json("/status").await?;
    same("what status has said before", json!(403), told["code"].clone())?;
    let uploads = app
        .http
        .get(&format!("/v1/apps/{}/uploads", app.id))
        .await?
        .is(&[200])?;
    same("what is stored of all that", 0, uploads.list("uploads")?.len())
}
