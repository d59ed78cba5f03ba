//! 8.4: application to application within one domain, each only if granted.

use serde_json::json;

use crate::trouble::{Trouble, same};

use super::changes::wait;
use super::{Stage, upload};

pub(crate) async fn a_message_is_stored_and_answered(stage: &Stage) -> Result<(), Trouble> {
    let (from, to) = (stage.cast.application().await?, stage.cast.application().await?);
    let message = json!({"to": to.name, "channel": "invoice", "data": 7, "wait": wait(stage.patience)});
    let sent = from.http.post("/v1/message", message).await?.is(&[200])?;
    same("its status", json!(200), sent.body["status"].clone())?;
    let mut client = stage.cast.hearing(&from, "status").await?;
    let topic = from.topic(&format!("to/{}/invoice", to.name));
    same("PUBACK", 0, client.publish(&topic, "8").await?)?;
    same(
        "its status by MQTT",
        json!(200),
        client.json("/status").await?["code"].clone(),
    )?;
    let stored = upload::stored(stage, &to, 2).await?;
    let data: Vec<_> = stored
        .iter()
        .map(|item| (item["kind"].clone(), item["data"].clone()))
        .collect();
    same(
        "what the other has",
        vec![(json!("message"), json!(7)), (json!("message"), json!(8))],
        data,
    )
}

pub(crate) async fn who_is_not_granted_is_refused(stage: &Stage) -> Result<(), Trouble> {
    let to = stage.cast.application().await?;
    let mute = stage
        .cast
        .application_with(json!({"messages": {"only": []}}))
        .await?;
    let message = |to: &str| json!({"to": to, "channel": "x", "data": 1, "wait": wait(stage.patience)});
    mute.http
        .post("/v1/message", message(&to.name))
        .await?
        .is(&[403])?;
    let mut client = stage.cast.connect(&mute).await?;
    same(
        "PUBACK",
        0x87,
        client
            .publish(&mute.topic(&format!("to/{}/x", to.name)), "1")
            .await?,
    )?;
    let from = stage.cast.application().await?;
    let nobody = format!("app/{}", stage.cast.fresh());
    from.http
        .post("/v1/message", message(&nobody))
        .await?
        .is(&[404])?;
    let stored = to
        .http
        .get(&format!("/v1/apps/{}/uploads", to.id))
        .await?
        .is(&[200])?;
    same("what the other has", 0, stored.list("uploads")?.len())
}

pub(crate) async fn an_attached_application_answers_a_message(stage: &Stage) -> Result<(), Trouble> {
    let from = stage.cast.application().await?;
    let to = stage
        .cast
        .application_with(json!({"delivery": "attached"}))
        .await?;
    let mut works = stage.cast.hearing(&to, "in/#").await?;
    let message = json!({"to": to.name, "channel": "sum", "data": 7, "wait": wait(stage.patience)});
    let answers = async {
        let work = works.json("/in/message/").await?;
        let id = work["id"].as_str().unwrap_or_default().to_owned();
        works
            .publish(
                &to.topic(&format!("ack/{id}")),
                r#"{"status":200,"body":{"sum":8}}"#,
            )
            .await
    };
    let (sent, acked) = tokio::join!(from.http.post("/v1/message", message), answers);
    same("PUBACK of the answer", 0, acked?)?;
    same(
        "the answer",
        json!({"sum": 8}),
        sent?.is(&[200])?.body["answer"]["data"].clone(),
    )
}
