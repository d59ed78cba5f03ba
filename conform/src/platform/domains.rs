//! 8.5 to 8.7: other domains. What needs a linked one is tried only if it is named.

use serde_json::{Value, json};

use crate::client::Client;
use crate::trouble::{Trouble, holds, same};

use super::Stage;
use super::cast::{Cast, Member};
use super::changes::{ends, wait};

const NO_OTHER: Trouble =
    Trouble::NotTried("no linked domain: give --other-url, --other-mqtt and --other-token-file");
/// A domain that is nobody's peer (RFC 2606).
const NOWHERE: &str = "conform.invalid";

fn other(stage: &Stage) -> Result<&Cast, Trouble> {
    stage.other.as_ref().ok_or(NO_OTHER)
}

/// The name of a member's domain, as a receipt of its own says it.
async fn domain_of(stage: &Stage, cast: &Cast) -> Result<String, Trouble> {
    let (app, device) = (cast.application().await?, cast.device().await?);
    let push = json!({"to": device.name, "channel": "x", "data": 1, "expiry": "1s"});
    let sent = app.http.post("/v1/push", push).await?.is(&[202])?;
    let receipt = ends(stage, &app.http, sent.text("id")?, 408).await?;
    let reporters = receipt["stages"].as_array().into_iter().flatten();
    let mut domains =
        reporters.filter_map(|stage| Some(stage["reporter"].as_str()?.split_once('@')?.1.to_owned()));
    domains.next().ok_or_else(|| Trouble::Unlike {
        what: "who reports a stage".to_owned(),
        expected: "srv/...@domain".to_owned(),
        found: receipt.to_string(),
    })
}

pub(crate) async fn peers_are_for_operators(stage: &Stage) -> Result<(), Trouble> {
    stage.cast.admin.get("/v1/peers").await?.is(&[200])?;
    stage
        .cast
        .application()
        .await?
        .http
        .get("/v1/peers")
        .await?
        .is(&[403])?;
    stage.cast.admin.anybody().get("/v1/peers").await?.is(&[401])?;
    Ok(())
}

pub(crate) async fn the_link_stands(stage: &Stage) -> Result<(), Trouble> {
    let domain = domain_of(stage, other(stage)?).await?;
    let peer = stage
        .cast
        .admin
        .get(&format!("/v1/peers/{domain}"))
        .await?
        .is(&[200])?;
    same("its state", json!("active"), peer.body["state"].clone())?;
    holds(
        "its link",
        "linked since some time",
        &peer.body["link"],
        peer.body["link"]["linked"].is_string(),
    )
}

pub(crate) async fn a_domain_that_is_no_peer_is_refused(stage: &Stage) -> Result<(), Trouble> {
    let (app, device) = (stage.cast.application().await?, stage.cast.device().await?);
    let message = json!({"to": format!("app/x@{NOWHERE}"), "channel": "x", "data": 1});
    app.http.post("/v1/message", message).await?.is(&[421])?;
    let push = json!({"to": format!("dev/x@{NOWHERE}"), "channel": "x", "data": 1});
    app.http.post("/v1/push", push).await?.is(&[421])?;
    let mut client = stage.cast.connect(&device).await?;
    let code = client
        .publish(&device.topic(&format!("up/x@{NOWHERE}/temp")), "1")
        .await?;
    holds(
        "an upload to nowhere",
        "a reason code of 0x80 or above",
        &code,
        code >= 0x80,
    )
}

pub(crate) async fn a_message_crosses(stage: &Stage) -> Result<(), Trouble> {
    let there = other(stage)?;
    let (domain, from, to) = (
        domain_of(stage, there).await?,
        stage.cast.application().await?,
        there.application().await?,
    );
    let address = format!("{}@{domain}", to.name);
    let message = json!({"to": address, "channel": "x", "data": 7, "wait": wait(stage.patience)});
    from.http.post("/v1/message", message).await?.is(&[200])?;
    let stored = super::upload::stored(stage, &to, 1).await?;
    same(
        "what the other has",
        vec![json!(7)],
        stored.iter().map(|item| item["data"].clone()).collect::<Vec<_>>(),
    )?;
    let nobody = json!({"to": format!("app/{}@{domain}", there.fresh()), "channel": "x", "data": 7, "wait": wait(stage.patience)});
    from.http.post("/v1/message", nobody).await?.is(&[404])?;
    Ok(())
}

async fn grant(stage: &Stage, device: &Member, to: &str) -> Result<(), Trouble> {
    let body = json!({"principal": device.name, "to": to, "hears": true, "pushes": true});
    let granted = stage
        .cast
        .admin
        .post("/v1/grants", body)
        .await?
        .is(&[200, 201, 202])?;
    stage.cast.in_effect(granted).await.map(|_| ())
}

pub(crate) async fn a_device_and_a_foreign_application_meet(stage: &Stage) -> Result<(), Trouble> {
    let there = other(stage)?;
    let (here_name, there_name) = (
        domain_of(stage, &stage.cast).await?,
        domain_of(stage, there).await?,
    );
    let (device, app) = (stage.cast.device().await?, there.application().await?);
    let address = format!("{}@{there_name}", app.name);
    let mut client = stage.cast.hearing(&device, "status").await?;
    client.hears(&device.topic("down/#")).await?;
    let topic = device.topic(&format!("up/{}@{there_name}/temp", app.id));
    same("without a grant", 0x87, client.publish(&topic, "1").await?)?;
    client.message("/status").await?;
    grant(stage, &device, &address).await?;
    same("with one", 0, client.publish(&topic, "2").await?)?;
    same(
        "its status",
        json!(200),
        client.json("/status").await?["code"].clone(),
    )?;
    let stored = super::upload::stored(stage, &app, 1).await?;
    let data: Vec<Value> = stored.iter().map(|item| item["data"].clone()).collect();
    same("what the application there has", vec![json!(2)], data)?;
    let foreign = format!("{}@{here_name}", device.name);
    seen_and_pushed_to(stage, &app, &foreign, (&mut client, &device)).await
}

pub(crate) async fn a_device_is_shared_with_a_foreign_user(stage: &Stage) -> Result<(), Trouble> {
    let there = other(stage)?;
    let (here_name, there_name) = (
        domain_of(stage, &stage.cast).await?,
        domain_of(stage, there).await?,
    );
    let (device, user, stranger) = (
        stage.cast.device().await?,
        there.user().await?,
        there.user().await?,
    );
    let (address, foreign) = (
        format!("{}@{there_name}", user.name),
        format!("{}@{here_name}", device.name),
    );
    let mut client = stage.cast.hearing(&device, "down/#").await?;
    let push = || json!({"to": foreign, "channel": "set", "data": 3, "wait": wait(stage.patience)});
    user.http.post("/v1/push", push()).await?.is(&[403])?;
    grant(stage, &device, &address).await?;
    seen_and_pushed_to(stage, &user, &foreign, (&mut client, &device)).await?;
    stranger.http.post("/v1/push", push()).await?.is(&[403])?;
    let which = format!("/v1/grants?principal={}&to={address}", device.name);
    let withdrawn = stage.cast.admin.delete(&which).await?.is(&[200, 202])?;
    stage.cast.in_effect(withdrawn).await?;
    user.http.post("/v1/push", push()).await?.is(&[403])?;
    Ok(())
}

/// Somebody over there sees our device online and pushes to it, and the device answers.
async fn seen_and_pushed_to(
    stage: &Stage,
    by: &Member,
    foreign: &str,
    (client, device): (&mut Client, &Member),
) -> Result<(), Trouble> {
    stage
        .until("presence over there is online", async || {
            let found = by.http.get(&format!("/v1/presence/{foreign}")).await?;
            Ok((found.body["state"] == "online").then_some(()))
        })
        .await?;
    let push = json!({"to": foreign, "channel": "set", "data": 3, "wait": wait(stage.patience)});
    let answers = async {
        let message = client.message("/down/").await?;
        let mid = message.topic.split('/').nth(5).unwrap_or_default();
        client.publish(&device.topic(&format!("ack/{mid}")), "204").await
    };
    let (pushed, acked) = tokio::join!(by.http.post("/v1/push", push), answers);
    same("PUBACK of the answer", 0, acked?)?;
    same(
        "the device's own code",
        json!(204),
        pushed?.is(&[200])?.body["answer"]["code"].clone(),
    )
}
