//! 7.3: the application server stores uploads and serves them.

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::trouble::{Trouble, same, unlike};

use super::cast::Member;
use super::{Stage, upload};

/// Uploads numbered from 0, stored.
async fn stored(stage: &Stage, count: usize) -> Result<(Member, Member), Trouble> {
    let (app, device) = (stage.cast.application().await?, stage.cast.device().await?);
    let mut client = stage.cast.connect(&device).await?;
    for n in 0..count {
        let channel = if n % 2 == 0 { "even" } else { "odd" };
        let topic = device.topic(&format!("up/{}/{channel}", app.id));
        same("PUBACK", 0, client.publish(&topic, n.to_string()).await?)?;
    }
    upload::stored(stage, &app, count).await?;
    Ok((app, device))
}

fn data(uploads: &[Value]) -> Vec<Value> {
    uploads.iter().map(|upload| upload["data"].clone()).collect()
}

pub(crate) async fn uploads_are_served(stage: &Stage) -> Result<(), Trouble> {
    let (app, device) = stored(stage, 5).await?;
    let all = format!("/v1/apps/{}/uploads", app.id);
    let listed = app.http.get(&format!("{all}?order=asc")).await?.is(&[200])?;
    same(
        "all, in order",
        vec![json!(0), json!(1), json!(2), json!(3), json!(4)],
        data(listed.list("uploads")?),
    )?;
    let odd = app
        .http
        .get(&format!("{all}?channel=odd&device={}&order=asc", device.id))
        .await?;
    same(
        "one channel",
        vec![json!(1), json!(3)],
        data(odd.is(&[200])?.list("uploads")?),
    )?;
    let page = app
        .http
        .get(&format!("{all}?limit=2&order=asc"))
        .await?
        .is(&[200])?;
    let next = page.body["next"]
        .as_u64()
        .ok_or_else(|| page.not("a next page"))?;
    let rest = app
        .http
        .get(&format!("{all}?after={next}&order=asc"))
        .await?
        .is(&[200])?;
    same(
        "the next page",
        vec![json!(2), json!(3), json!(4)],
        data(rest.list("uploads")?),
    )?;
    let latest = app
        .http
        .get(&format!("/v1/apps/{}/latest", app.id))
        .await?
        .is(&[200])?;
    let mut newest = data(latest.list("latest")?);
    newest.sort_by_key(Value::as_u64);
    same("the newest of each channel", vec![json!(3), json!(4)], newest)
}

pub(crate) async fn uploads_are_exported(stage: &Stage) -> Result<(), Trouble> {
    let (app, _) = stored(stage, 3).await?;
    for (format, lines) in [("ndjson", 3), ("csv", 4)] {
        let path = format!("/v1/apps/{}/uploads/export?format={format}", app.id);
        let text = app.http.open(&path).await?.text().await;
        let text = text.map_err(|error| Trouble::Unreachable {
            what: path,
            reason: error.to_string(),
        })?;
        same(
            &format!("lines of the {format} export"),
            lines,
            text.lines().count(),
        )?;
    }
    Ok(())
}

pub(crate) async fn a_stream_resumes(stage: &Stage) -> Result<(), Trouble> {
    let (app, _) = stored(stage, 4).await?;
    let all = app
        .http
        .get(&format!("/v1/apps/{}/uploads?order=asc", app.id))
        .await?;
    let second = all.is(&[200])?.list("uploads")?[1]["seq"].as_u64().unwrap_or(0);
    let path = format!("/v1/apps/{}/uploads/stream?after={second}", app.id);
    let mut response = app.http.open(&path).await?;
    same("the stream", 200, response.status().as_u16())?;
    let mut text = String::new();
    let seen = |text: &str| -> Vec<Value> {
        let lines = text.lines().filter_map(|line| line.strip_prefix("data:"));
        let events = lines.filter_map(|line| serde_json::from_str::<Value>(line.trim()).ok());
        events.map(|event| event["data"].clone()).collect()
    };
    let reads = async {
        while seen(&text).len() < 2 || !text.ends_with("\n\n") {
            match response.chunk().await {
                Ok(Some(chunk)) => text.push_str(&String::from_utf8_lossy(&chunk)),
                Ok(None) => return Err(unlike("the stream", "more events", &"its end")),
                Err(error) => return Err(unlike("the stream", "more events", &error.to_string())),
            }
        }
        Ok(())
    };
    timeout(stage.patience, reads).await.map_err(|_| Trouble::Late {
        what: "two events after the second upload".to_owned(),
        within: stage.patience,
    })??;
    same(
        "what comes after the second",
        vec![json!(2), json!(3)],
        seen(&text),
    )
}

pub(crate) async fn an_attached_application_answers(stage: &Stage) -> Result<(), Trouble> {
    let app = stage
        .cast
        .application_with(json!({"delivery": "attached"}))
        .await?;
    let device = stage.cast.device().await?;
    let mut works = stage.cast.hearing(&app, "in/#").await?;
    let mut client = stage.cast.hearing(&device, "status").await?;
    for (answer, code) in [("200", 200), (r#"{"status":409,"body":"stale"}"#, 409)] {
        let topic = device.topic(&format!("up/{}/temp", app.id));
        same("PUBACK", 0, client.publish(&topic, "21.5").await?)?;
        let work = works.json("/in/upload/").await?;
        same("its data", json!(21.5), work["data"].clone())?;
        let id = work["id"].as_str().unwrap_or_default().to_owned();
        same(
            "PUBACK of the answer",
            0,
            works.publish(&app.topic(&format!("ack/{id}")), answer).await?,
        )?;
        same(
            "the device's status",
            json!(code),
            client.json("/status").await?["code"].clone(),
        )?;
    }
    Ok(())
}
