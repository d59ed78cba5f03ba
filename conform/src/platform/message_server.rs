//! 7.2: the message server is an MQTT server of both versions.

use devicesim::link::Broken;
use devicesim::options::MqttVersion;
use irsp_protocol::Secret;

use crate::client::With;
use crate::trouble::{Trouble, holds, same, unlike};

use super::Stage;

/// Session taken over.
const TAKEN_OVER: u8 = 0x8E;

pub(crate) async fn both_versions_log_in(stage: &Stage) -> Result<(), Trouble> {
    let device = stage.cast.device().await?;
    for version in [MqttVersion::V311, MqttVersion::V5] {
        let mut connecting = stage.cast.connecting(&device);
        connecting.version = version;
        let mut client = stage.cast.open(connecting.clone()).await?;
        same("what comes unasked", 0, client.rest().await?.len())?;
        client.leave().await?;
        connecting.password = Secret::new(stage.cast.password());
        match stage.cast.try_open(connecting).await {
            Err(Broken::Refused("BadUserNameOrPassword" | "NotAuthorized")) => {}
            Err(other) => return Err(unlike("a wrong code", "a refusal in CONNACK", &other)),
            Ok(_) => return Err(unlike("a wrong code", "a refusal in CONNACK", &"welcome")),
        }
    }
    Ok(())
}

pub(crate) async fn a_second_connection_takes_over(stage: &Stage) -> Result<(), Trouble> {
    let device = stage.cast.device().await?;
    let mut first = stage.cast.connect(&device).await?;
    let mut second = stage.cast.connect(&device).await?;
    same(
        "the first one's DISCONNECT",
        Some(TAKEN_OVER),
        first.ended().await?,
    )?;
    second.rest().await?;
    Ok(())
}

pub(crate) async fn live_messages_at_every_qos(stage: &Stage) -> Result<(), Trouble> {
    let app = stage.cast.application().await?;
    for version in [MqttVersion::V311, MqttVersion::V5] {
        let mut connecting = stage.cast.connecting(&app);
        connecting.version = version;
        let mut hears = stage.cast.open(connecting).await?;
        same("SUBACK", 2, hears.subscribe(&app.topic("live/#"), 2).await?)?;
        let mut says = stage.cast.connect(&app).await?;
        for qos in [0, 1, 2] {
            let with = With {
                qos,
                ..With::default()
            };
            let topic = app.topic(&format!("live/n/{qos}"));
            same(
                "its acknowledgement",
                0,
                says.publish_with(&topic, [qos], with).await?,
            )?;
            let heard = hears.message("/live/").await?;
            same(
                "what is heard",
                (topic, qos, [qos].as_slice()),
                (heard.topic.clone(), heard.qos, &heard.payload[..]),
            )?;
        }
    }
    Ok(())
}

pub(crate) async fn a_session_outlives_its_connection(stage: &Stage) -> Result<(), Trouble> {
    let app = stage.cast.application().await?;
    let mut connecting = stage.cast.connecting(&app);
    connecting.session_expiry_s = 600;
    let mut hears = stage.cast.open(connecting.clone()).await?;
    holds("a new session", "not resumed", &hears.resumed, !hears.resumed)?;
    hears.hears(&app.topic("live/#")).await?;
    drop(hears);
    let mut says = stage.cast.connect(&app).await?;
    for n in 0..3u8 {
        same(
            "its acknowledgement",
            0,
            says.publish(&app.topic("live/x"), [n]).await?,
        )?;
    }
    let mut hears = stage.cast.open(connecting).await?;
    holds("the session", "resumed", &hears.resumed, hears.resumed)?;
    for n in 0..3u8 {
        same(
            "what it missed, in order",
            &[n][..],
            &hears.message("/live/x").await?.payload[..],
        )?;
    }
    Ok(())
}

pub(crate) async fn a_retained_message_meets_who_comes_late(stage: &Stage) -> Result<(), Trouble> {
    let app = stage.cast.application().await?;
    let mut says = stage.cast.connect(&app).await?;
    let retained = With {
        retain: true,
        ..With::default()
    };
    let topic = app.topic("live/state");
    same(
        "its acknowledgement",
        0,
        says.publish_with(&topic, "kept", retained).await?,
    )?;
    let mut late = stage.cast.hearing(&app, "live/#").await?;
    let heard = late.message("/live/state").await?;
    same(
        "retained",
        (true, &b"kept"[..]),
        (heard.retain, &heard.payload[..]),
    )?;
    same(
        "taking it away",
        0,
        says.publish_with(&topic, "", retained).await?,
    )?;
    let mut later = stage.cast.hearing(&app, "live/#").await?;
    same("retained after it was taken away", 0, later.rest().await?.len())
}

pub(crate) async fn a_group_shares(stage: &Stage) -> Result<(), Trouble> {
    let app = stage.cast.application().await?;
    let filter = format!("$share/conform/{}", app.topic("live/#"));
    let (mut one, mut two) = (stage.cast.connect(&app).await?, stage.cast.connect(&app).await?);
    one.hears(&filter).await?;
    two.hears(&filter).await?;
    let mut says = stage.cast.connect(&app).await?;
    for n in 0..8u8 {
        same(
            "its acknowledgement",
            0,
            says.publish(&app.topic("live/x"), [n]).await?,
        )?;
    }
    let mut heard: Vec<u8> = Vec::new();
    for client in [&mut one, &mut two] {
        heard.extend(
            client
                .rest()
                .await?
                .iter()
                .flat_map(|message| message.payload.to_vec()),
        );
    }
    heard.sort_unstable();
    same("what the group has heard", (0..8u8).collect::<Vec<_>>(), heard)
}
