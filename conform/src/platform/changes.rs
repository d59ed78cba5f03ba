//! 8.2.1 to 8.2.4: what the account server is told, the message server acts on at once.

use std::time::Duration;

use devicesim::link::Broken;
use irsp_protocol::Secret;
use reqwest::Method;
use serde_json::{Value, json};

use crate::trouble::{Trouble, same, unlike};

use super::Stage;
use super::cast::Member;

/// Not authorised: deleted, disabled or reset.
const REVOKED: u8 = 0x87;

/// A login that is to fail; until it does, what was changed is not yet in effect at the edge.
async fn is_refused(stage: &Stage, member: &Member, secret: &Secret) -> Result<(), Trouble> {
    let mut connecting = stage.cast.connecting(member);
    connecting.password = secret.clone();
    match stage.cast.try_open(connecting).await {
        Err(Broken::Refused(_)) => Ok(()),
        Err(other) => Err(unlike(
            &format!("a login of {}", member.name),
            "a refusal",
            &other,
        )),
        Ok(_) => Err(unlike(
            &format!("a login of {}", member.name),
            "a refusal",
            &"welcome",
        )),
    }
}

/// A push that waits for a device which is away; its id.
async fn waiting(app: &Member, device: &Member) -> Result<String, Trouble> {
    let push = json!({"to": device.name, "channel": "set", "data": 1});
    let sent = app.http.post("/v1/push", push).await?.is(&[202])?;
    Ok(sent.text("id")?.to_owned())
}

/// The receipt, once it has this code.
pub(crate) async fn ends(stage: &Stage, http: &crate::Api, id: &str, code: u16) -> Result<Value, Trouble> {
    stage
        .until(&format!("message {id} ends with {code}"), async || {
            let receipt = http.get(&format!("/v1/messages/{id}")).await?.is(&[200])?;
            match receipt.body["status"].as_u64() {
                Some(202) => Ok(None),
                Some(found) if found == u64::from(code) => Ok(Some(receipt.body)),
                Some(_) | None => Err(receipt.not(&format!("the end {code}"))),
            }
        })
        .await
}

pub(crate) async fn what_is_registered_works(stage: &Stage) -> Result<(), Trouble> {
    let (device, app, user) = (
        stage.cast.device().await?,
        stage.cast.application().await?,
        stage.cast.user().await?,
    );
    stage.cast.bind(&user, &device).await?;
    for member in [&device, &app, &user] {
        stage.cast.connect(member).await?.leave().await?;
    }
    let mut watches = stage.cast.connect(&user).await?;
    watches.hears(&device.topic("presence")).await
}

pub(crate) async fn many_at_once_are_all_or_none(stage: &Stage) -> Result<(), Trouble> {
    let (taken, fresh) = (stage.cast.device().await?, stage.cast.fresh());
    let body = json!({"ids": [fresh, taken.id]});
    stage
        .cast
        .admin
        .post("/v1/devices/bulk", body)
        .await?
        .is(&[409])?;
    let half = stage.cast.admin.get(&format!("/v1/devices/{fresh}")).await?;
    half.is(&[404])?;
    Ok(())
}

pub(crate) async fn a_disabled_device_is_out_at_once(stage: &Stage) -> Result<(), Trouble> {
    let device = stage.cast.device().await?;
    let path = format!("/v1/devices/{}", device.id);
    let mut client = stage.cast.connect(&device).await?;
    let change = stage.cast.admin.patch(&path, json!({"disabled": true})).await?;
    stage.cast.in_effect(change.is(&[200, 202])?).await?;
    same("its session's end", Some(REVOKED), client.ended().await?)?;
    is_refused(stage, &device, &device.secret).await?;
    let change = stage.cast.admin.patch(&path, json!({"disabled": false})).await?;
    stage.cast.in_effect(change.is(&[200, 202])?).await?;
    stage.cast.connect(&device).await?.leave().await
}

pub(crate) async fn a_new_key_ends_the_old_one(stage: &Stage) -> Result<(), Trouble> {
    let app = stage.cast.application().await?;
    let path = format!("/v1/apps/{}/keys/rotate", app.id);
    let rotated = stage
        .cast
        .admin
        .post(&path, json!({}))
        .await?
        .is(&[200, 201, 202])?;
    let rotated = stage.cast.in_effect(rotated).await?;
    let new = Secret::new(rotated.text("key")?);
    is_refused(stage, &app, &app.secret).await?;
    let uploads = format!("/v1/apps/{}/uploads", app.id);
    app.http.get(&uploads).await?.is(&[401])?;
    stage.cast.admin.with(&new).get(&uploads).await?.is(&[200])?;
    let mut connecting = stage.cast.connecting(&app);
    connecting.password = new;
    stage.cast.open(connecting).await?.leave().await
}

pub(crate) async fn a_grant_taken_back_acts_at_once(stage: &Stage) -> Result<(), Trouble> {
    let (owner, guest, device) = (
        stage.cast.user().await?,
        stage.cast.user().await?,
        stage.cast.device().await?,
    );
    stage.cast.bind(&owner, &device).await?;
    let path = format!("/v1/bindings/{}/{}", device.id, guest.id);
    let share = json!({"rights": ["receive"]});
    let shared = owner.http.call(Method::PUT, &path, Some(share), &[]).await?;
    stage.cast.in_effect(shared.is(&[200, 201, 202])?).await?;
    let mut hears = stage.cast.connect(&guest).await?;
    hears.hears(&device.topic("live/#")).await?;
    let mut lamp = stage.cast.connect(&device).await?;
    same("PUBACK", 0, lamp.publish(&device.topic("live/x"), "1").await?)?;
    same(
        "what the guest hears",
        &b"1"[..],
        &hears.message("/live/x").await?.payload[..],
    )?;
    let ended = owner.http.delete(&path).await?.is(&[200, 202])?;
    stage.cast.in_effect(ended).await?;
    same("PUBACK", 0, lamp.publish(&device.topic("live/x"), "2").await?)?;
    same(
        "what the guest hears without the right",
        0,
        hears.rest().await?.len(),
    )?;
    let code = hears.subscribe(&device.topic("live/#"), 1).await?;
    same("a new subscription", REVOKED, code)
}

pub(crate) async fn a_deletion_ends_session_queue_and_name(stage: &Stage) -> Result<(), Trouble> {
    let (app, away, here) = (
        stage.cast.application().await?,
        stage.cast.device().await?,
        stage.cast.device().await?,
    );
    let id = waiting(&app, &away).await?;
    let mut client = stage.cast.connect(&here).await?;
    for device in [&away, &here] {
        let gone = stage
            .cast
            .admin
            .delete(&format!("/v1/devices/{}", device.id))
            .await?;
        stage.cast.in_effect(gone.is(&[200, 202])?).await?;
    }
    same("its session's end", Some(REVOKED), client.ended().await?)?;
    ends(stage, &app.http, &id, 410).await?;
    is_refused(stage, &here, &here.secret).await?;
    stage
        .cast
        .admin
        .get(&format!("/v1/devices/{}", here.id))
        .await?
        .is(&[410])?;
    let again = stage
        .cast
        .admin
        .post("/v1/devices", json!({"id": here.id}))
        .await?;
    again.is(&[409, 410])?;
    let late = json!({"to": here.name, "channel": "set", "data": 1});
    app.http.post("/v1/push", late).await?.is(&[404, 410])?;
    Ok(())
}

pub(crate) async fn a_reset_ends_session_queue_and_code(stage: &Stage) -> Result<(), Trouble> {
    let (app, device) = (stage.cast.application().await?, stage.cast.device().await?);
    let id = waiting(&app, &device).await?;
    let mut client = stage.cast.connect(&device).await?;
    let path = format!("/v1/devices/{}/reset", device.id);
    let reset = stage.cast.admin.post(&path, json!({})).await?.is(&[200, 202])?;
    let reset = stage.cast.in_effect(reset).await?;
    let code = Secret::new(reset.text("code")?);
    same("its session's end", Some(REVOKED), client.ended().await?)?;
    is_refused(stage, &device, &device.secret).await?;
    ends(stage, &app.http, &id, 403).await?;
    let mut connecting = stage.cast.connecting(&device);
    connecting.password = code;
    let mut client = stage.cast.open(connecting).await?;
    client.hears(&device.topic("down/#")).await?;
    // The push that waited does not come to whoever has the new code.
    same("what waits for the new code", 0, client.rest().await?.len())
}

/// How long a caller of the API waits for an end.
pub(crate) fn wait(patience: Duration) -> String {
    format!("{}s", patience.as_secs().clamp(1, 30))
}
