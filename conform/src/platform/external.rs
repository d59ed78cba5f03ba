//! 7.4, 8.8.2 and 8.8.3: a third party's HTTP service, both ways, signed.

use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::Method;
use serde_json::{Value, json};

use crate::http::Answer;
use crate::trouble::{Trouble, holds, same};

use super::Stage;
use super::cast::Member;
use super::signature;

const NO_HOOK: Trouble = Trouble::NotTried(
    "the deployment reaches no service of ours: give --hook-listen and --hook-url, and allow its address there",
);

async fn external(stage: &Stage, url: &str) -> Result<(Member, String), Trouble> {
    let app = stage
        .cast
        .application_with(json!({"delivery": "external"}))
        .await?;
    let path = format!("/v1/apps/{}/endpoint", app.id);
    let made = app.http.post(&path, json!({"url": url})).await?.is(&[201])?;
    same("its state", json!("unconfirmed"), made.body["state"].clone())?;
    let secret = made.text("secret")?.to_owned();
    Ok((app, secret))
}

pub(crate) async fn an_endpoint_is_to_be_confirmed(stage: &Stage) -> Result<(), Trouble> {
    let (app, secret) = external(stage, "https://conform.invalid/irsp").await?;
    let path = format!("/v1/apps/{}/endpoint", app.id);
    let shown = app.http.get(&path).await?.is(&[200])?;
    same("its state", json!("unconfirmed"), shown.body["state"].clone())?;
    holds(
        "an endpoint that is looked at",
        "no secret",
        &shown.body,
        !shown.body.to_string().contains(&secret),
    )?;
    app.http
        .post(&format!("{path}/confirm"), json!({}))
        .await?
        .is(&[409])?;
    app.http
        .post(&path, json!({"url": "ftp://conform.invalid/"}))
        .await?
        .is(&[400])?;
    let stranger = stage.cast.application().await?;
    stranger.http.get(&path).await?.is(&[403, 404])?;
    let rotated = app
        .http
        .post(&format!("{path}/rotate"), json!({}))
        .await?
        .is(&[200])?;
    holds(
        "a rotated secret",
        "another one",
        &"the same",
        rotated.text("secret")? != secret,
    )
}

pub(crate) async fn an_upload_is_a_signed_event(stage: &Stage) -> Result<(), Trouble> {
    let hook = stage.hook.as_ref().ok_or(NO_HOOK)?;
    let (app, secret) = external(stage, &hook.url).await?;
    let confirm = format!("/v1/apps/{}/endpoint/confirm", app.id);
    let confirmed = app.http.post(&confirm, json!({})).await?.is(&[200])?;
    same("its state", json!("confirmed"), confirmed.body["state"].clone())?;
    let key = signature::key(&secret)?;
    let device = stage.cast.device().await?;
    let mut client = stage.cast.hearing(&device, "status").await?;
    let topic = device.topic(&format!("up/{}/temp", app.id));
    // Done; refused for good; failed once, then done.
    for (answers, code, tries) in [(vec![200], 200, 1), (vec![409], 409, 1), (vec![503, 200], 200, 2)] {
        let before = hook.events(&device.name).len();
        hook.answer(&answers);
        same("PUBACK", 0, client.publish(&topic, "21.5").await?)?;
        same(
            "its status",
            json!(code),
            client.json("/status").await?["code"].clone(),
        )?;
        let events = hook.events(&device.name);
        same("tries", tries, events.len() - before)?;
        for event in &events[before..] {
            let header = |name| event.header(name);
            let signed = signature::holds(
                &key,
                header("webhook-id"),
                header("webhook-timestamp"),
                &event.body,
                header("webhook-signature"),
            );
            holds(
                "an event",
                "a signature that holds",
                &header("webhook-signature"),
                signed,
            )?;
            same(
                "its attributes",
                ("irsp.upload", "temp", "1.0"),
                (header("ce-type"), header("ce-subject"), header("ce-specversion")),
            )?;
            same("its data", &b"21.5"[..], &event.body[..])?;
            same(
                "its id, the same at every try",
                events[before].header("webhook-id"),
                header("webhook-id"),
            )?;
        }
    }
    let log = app
        .http
        .get(&format!("/v1/apps/{}/endpoint/deliveries", app.id))
        .await?
        .is(&[200])?;
    let uploads = log
        .list("deliveries")?
        .iter()
        .filter(|line| line["type"] == "irsp.upload")
        .count();
    same("tries in the delivery log", 4, uploads)
}

/// A request as a third party makes it.
async fn ask(
    stage: &Stage,
    app: &Member,
    secret: &str,
    id: &str,
    late_s: u64,
    body: Value,
) -> Result<Answer, Trouble> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let at = now.saturating_sub(late_s).to_string();
    let tag = signature::sign(&signature::key(secret)?, id, &at, body.to_string().as_bytes());
    let headers = [
        ("webhook-id", id),
        ("webhook-timestamp", at.as_str()),
        ("webhook-signature", tag.as_str()),
    ];
    let path = format!("/v1/ext/{}", app.id);
    stage
        .cast
        .admin
        .anybody()
        .call(Method::POST, &path, Some(body), &headers)
        .await
}

pub(crate) async fn who_signs_pushes_and_messages(stage: &Stage) -> Result<(), Trouble> {
    let (app, secret) = external(stage, "https://conform.invalid/irsp").await?;
    let (device, hosted) = (stage.cast.device().await?, stage.cast.application().await?);
    let mut lamp = stage.cast.hearing(&device, "down/#").await?;
    let push = json!({"to": device.name, "channel": "set", "data": 7});
    ask(stage, &app, &secret, "one", 0, push.clone())
        .await?
        .is(&[202])?;
    same(
        "what the device hears",
        &b"7"[..],
        &lamp.message("/down/").await?.payload[..],
    )?;
    ask(stage, &app, &secret, "one", 0, push.clone())
        .await?
        .is(&[208])?;
    let batch = json!([
        {"to": device.name, "channel": "set", "data": 8},
        {"to": format!("dev/{}", stage.cast.fresh()), "channel": "set", "data": 9},
        {"to": hosted.name, "channel": "note", "data": 10},
        {"colour": "red"},
    ]);
    let answered = ask(stage, &app, &secret, "two", 0, batch).await?.is(&[200])?;
    let codes: Vec<u64> = answered
        .list("items")?
        .iter()
        .filter_map(|item| item["status"].as_u64())
        .collect();
    same("one status each", vec![202, 404, 202, 400], codes)?;
    let stored = super::upload::stored(stage, &hosted, 1).await?;
    same("the message", json!(10), stored[0]["data"].clone())
}

pub(crate) async fn who_does_not_sign_is_refused(stage: &Stage) -> Result<(), Trouble> {
    let (app, secret) = external(stage, "https://conform.invalid/irsp").await?;
    let (other, other_secret) = external(stage, "https://conform.invalid/irsp").await?;
    let device = stage.cast.device().await?;
    let push = || json!({"to": device.name, "channel": "set", "data": 7});
    ask(stage, &app, &other_secret, "a", 0, push())
        .await?
        .is(&[401])?;
    ask(stage, &app, &secret, "b", 86_400, push()).await?.is(&[401])?;
    let path = format!("/v1/ext/{}", app.id);
    stage.cast.admin.anybody().post(&path, push()).await?.is(&[401])?;
    other.http.post(&path, push()).await?.is(&[403])?;
    app.http.post(&path, push()).await?.is(&[202])?;
    Ok(())
}
