//! 8.3.4: every request ends with one code of the registry, and its way can be looked up.

use irsp_protocol::Status;
use serde_json::{Value, json};

use crate::http::Api;
use crate::trouble::{Trouble, holds, same};

use super::Stage;
use super::changes::ends;

/// Code and name are an entry of the registry.
fn registered(what: &str, code: &Value, name: &Value) -> Result<(), Trouble> {
    let number = code.as_u64().and_then(|code| u16::try_from(code).ok());
    let known = number.and_then(Status::from_code).map(Status::name);
    holds(
        what,
        "a code of the registry with its name",
        &(code, name),
        known.is_some() && known == name.as_str(),
    )
}

pub(crate) async fn a_receipt_shows_the_way(stage: &Stage) -> Result<(), Trouble> {
    let (app, device) = (stage.cast.application().await?, stage.cast.device().await?);
    let mut lamp = stage.cast.hearing(&device, "down/#").await?;
    let push = json!({"to": device.name, "channel": "set", "data": 1});
    let sent = app.http.post("/v1/push", push).await?.is(&[202])?;
    let id = sent.text("id")?;
    lamp.message("/down/").await?;
    same(
        "PUBACK of the answer",
        0,
        lamp.publish(&device.topic(&format!("ack/{id}")), "200").await?,
    )?;
    ends(stage, &app.http, id, 200).await?;
    let receipt = stage
        .until("every stage is in the receipt", async || {
            let receipt = app.http.get(&format!("/v1/messages/{id}")).await?.is(&[200])?;
            let stages = receipt.list("stages")?;
            let named = |name: &str| stages.iter().any(|stage| stage["stage"] == name);
            Ok(["accepted", "sent", "answered", "ended"]
                .iter()
                .all(|name| named(name))
                .then(|| receipt.body.clone()))
        })
        .await?;
    registered("its status", &receipt["status"], &receipt["name"])?;
    same(
        "the device's own code",
        json!(200),
        receipt["answer"]["code"].clone(),
    )?;
    let times: Vec<_> = receipt["stages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|stage| stage["time"].as_str())
        .collect();
    holds("the times of its stages", "rising", &times, times.is_sorted())?;
    let stranger = stage.cast.application().await?;
    stranger
        .http
        .get(&format!("/v1/messages/{id}"))
        .await?
        .is(&[403, 404])?;
    Ok(())
}

pub(crate) async fn every_code_is_registered(stage: &Stage) -> Result<(), Trouble> {
    let (app, device) = (stage.cast.application().await?, stage.cast.device().await?);
    let mut client = stage.cast.hearing(&device, "status").await?;
    client
        .publish(&device.topic(&format!("up/{}/x", app.id)), "1")
        .await?;
    let done = client.json("/status").await?;
    registered("the status of an upload", &done["code"], &done["name"])?;
    client.publish(&device.topic("no/such/topic"), "1").await?;
    let refused = client.json("/status").await?;
    registered("the status of a refusal", &refused["code"], &refused["name"])?;
    Ok(())
}

pub(crate) async fn refusals_are_problem_documents(stage: &Stage) -> Result<(), Trouble> {
    let admin = &stage.cast.admin;
    let nobody = stage.cast.fresh();
    let asked: [(&Api, String, u16); 4] = [
        (&admin.anybody(), "/v1/users".to_owned(), 401),
        (admin, format!("/v1/users/{nobody}"), 404),
        (admin, "/v1/messages/no-id".to_owned(), 400),
        (admin, format!("/v1/apps/{nobody}/uploads"), 404),
    ];
    for (api, path, code) in asked {
        let answer = api.get(&path).await?.is(&[code])?;
        same(
            "its media type",
            Some("application/problem+json"),
            answer
                .header("content-type")
                .map(|text| text.split(';').next().unwrap_or(text).trim()),
        )?;
        same(
            "the status in its body",
            json!(code),
            answer.body["status"].clone(),
        )?;
        holds(
            "its detail",
            "in words",
            &answer.body,
            answer.body["detail"]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
        )?;
    }
    Ok(())
}

pub(crate) async fn the_ledger_adds_up(stage: &Stage) -> Result<(), Trouble> {
    let ledger = stage.cast.admin.get("/v1/ledger").await?.is(&[200])?;
    let mut residues = Vec::new();
    residues_in(&ledger.body, &mut residues);
    holds(
        "residues",
        "some, and all of them 0",
        &residues,
        !residues.is_empty() && residues.iter().all(|residue| *residue == 0),
    )
}

fn residues_in(value: &Value, found: &mut Vec<i64>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("residue").and_then(Value::as_i64));
            fields.values().for_each(|value| residues_in(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| residues_in(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
