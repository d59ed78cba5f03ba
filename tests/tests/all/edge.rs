//! The edge under clients that behave badly: they do not read, do not acknowledge, or say nothing at all.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use irsp_tests::{Hello, PATIENCE, Platform, Raw, Setup, Version, eventually};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const PINGRESP: u8 = 13;
const DISCONNECT: u8 = 14;

/// Longer than any story: what waits for it waits for ever.
const NEVER: Duration = Duration::from_secs(3_600);

/// A device and a user bound to it: their names' secrets.
async fn lamp_and_ann(platform: &Platform) -> Result<(String, String)> {
    let device = json!({ "id": "lamp-1", "answers": "mqtt" });
    let code = platform.admin.register_device_with(device).await?;
    let ann = platform.admin.register_user("ann").await?;
    platform.admin.with(&ann).bind("lamp-1", &code).await?;
    Ok((code, ann))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_hears_everything_that_is_retained_and_then_what_came_later() -> Result<()> {
    const TOPICS: usize = 2_500;
    let setup = Setup {
        queue_messages_max: 50,
        retained_max: 2 * TOPICS,
        ..Setup::default()
    };
    let mut platform = Platform::start_with(setup).await?;
    let (code, ann) = lamp_and_ann(&platform).await?;
    let mut lamp = platform.client("dev/lamp-1", &code).connect().await?;
    for n in 0..TOPICS {
        lamp.send(&format!("v1/dev/lamp-1/live/n{n}"), 1, true, "kept")
            .await?;
    }
    for n in 0..TOPICS {
        assert_eq!(lamp.published().await?, "Success", "{n}");
    }
    for qos in [0, 1, 2] {
        let mut ann = platform.client("usr/ann", &ann).connect().await?;
        ann.subscribe("v1/dev/lamp-1/live/#", qos).await?;
        lamp.publish("live/n0", 1, "later").await?;
        let mut topics = HashSet::new();
        for n in 0..TOPICS {
            let heard = ann
                .message()
                .await
                .with_context(|| format!("message {n} at {qos}"))?;
            assert_eq!((heard.text(), heard.retain), ("kept".to_owned(), true));
            assert!(topics.insert(heard.topic.clone()), "{} came twice", heard.topic);
        }
        assert_eq!(ann.message().await?.text(), "later");
        assert_eq!(ann.messages_so_far().await?, []);
        ann.leave().await?;
    }
    platform.stop().await
}

/// Ann subscribes and acknowledges nothing; the lamp publishes until it is held back.
async fn held_back(platform: &Platform, version: Version) -> Result<(Raw, Raw, String)> {
    let door = platform.doors().tcp;
    let (code, ann) = lamp_and_ann(platform).await?;
    let mut ann = Raw::connect(door, Version::V5, "usr/ann", &ann).await?;
    ann.subscribe("v1/dev/lamp-1/live/#", 1).await?;
    let mut lamp = Raw::connect(door, version, "dev/lamp-1", &code).await?;
    lamp.subscribe("v1/dev/lamp-1/down/#", 1).await?;
    // More than ann's window, the session's queue and the mailbox hold together.
    for packet_id in 1..=100 {
        lamp.publish("v1/dev/lamp-1/live/n", 1, packet_id, b"1").await?;
    }
    lamp.packet_of(PUBACK).await?;
    Ok((lamp, ann, code))
}

fn tiny_queues() -> Setup {
    Setup {
        queue_messages_max: 4,
        stall_timeout: NEVER,
        ..Setup::default()
    }
}

/// Publishes at QoS 0 as fast as the server reads, and leaves.
async fn floods(mut lamp: Raw, count: u32, size: usize) -> Result<()> {
    for n in 0..count {
        let payload = format!("{n:size$}");
        lamp.publish("v1/dev/lamp-1/live/n", 0, 0, payload.as_bytes())
            .await?;
    }
    lamp.send(0xE0, &[]).await?;
    lamp.closed().await
}

#[tokio::test(flavor = "multi_thread")]
async fn at_qos_0_publishers_wait_for_a_subscriber_that_reads_and_for_no_other() -> Result<()> {
    // Few enough that the system's buffers hold them, should the reader be late.
    const COUNT: u32 = 400;
    let mut platform = Platform::start_with(tiny_queues()).await?;
    let (code, ann) = lamp_and_ann(&platform).await?;
    let door = platform.doors().tcp;
    let mut reads = platform.client("usr/ann", &ann).connect().await?;
    reads.subscribe("v1/dev/lamp-1/live/#", 0).await?;
    let lamp = Raw::connect(door, Version::V5, "dev/lamp-1", &code).await?;
    let hear = async {
        for n in 0..COUNT {
            let heard = reads.message().await.with_context(|| format!("message {n}"))?;
            assert_eq!(heard.text(), n.to_string());
        }
        Ok(())
    };
    tokio::try_join!(floods(lamp, COUNT, 1), hear)?;
    reads.leave().await?;

    let mut deaf = Raw::connect(door, Version::V5, "usr/ann", &ann).await?;
    deaf.subscribe("v1/dev/lamp-1/live/#", 0).await?;
    let lamp = Raw::connect(door, Version::V5, "dev/lamp-1", &code).await?;
    timeout(PATIENCE, floods(lamp, 3_000, 10_000)).await??;
    drop(deaf);
    platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_is_held_back_is_still_listened_to() -> Result<()> {
    for version in [Version::V311, Version::V5] {
        let mut platform = Platform::start_with(tiny_queues()).await?;
        let (mut lamp, _ann, _) = held_back(&platform, version).await?;
        lamp.send(0xC0, &[]).await?;
        lamp.packet_of(PINGRESP)
            .await
            .with_context(|| format!("{version:?}"))?;
        // Its PUBACK counts: it ends a push to this device.
        platform.admin.register_application("climate").await?;
        let push = json!({ "to": "dev/lamp-1", "channel": "set", "text": "on", "from": "app/climate" });
        let id = platform.admin.post("/v1/push", push).await?.text("id")?;
        let push = lamp.packet_of(PUBLISH).await?;
        let behind_topic = 2 + push.topic().len();
        let packet_id = &push.body[behind_topic..behind_topic + 2];
        lamp.send(0x40, packet_id).await?;
        eventually("the push has ended", async || {
            let receipt = platform.admin.receipt(&id).await.unwrap();
            (receipt["status"] == 200).then_some(())
        })
        .await;
        platform.stop().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_is_held_back_obeys_at_once() -> Result<()> {
    let mut platform = Platform::start_with(tiny_queues()).await?;
    let (mut lamp, _ann, code) = held_back(&platform, Version::V5).await?;
    let next = platform.client("dev/lamp-1", &code).connect().await?;
    assert_eq!(lamp.packet_of(DISCONNECT).await?.body[0], 0x8E);
    next.leave().await?;

    let mut lamp = Raw::connect(platform.doors().tcp, Version::V5, "dev/lamp-1", &code).await?;
    lamp.publish("v1/dev/lamp-1/live/n", 1, 1, b"1").await?;
    lamp.send(0xC0, &[]).await?;
    lamp.packet_of(PINGRESP).await?;
    platform.admin.post("/v1/devices/lamp-1/reset", json!({})).await?;
    assert_eq!(lamp.packet_of(DISCONNECT).await?.body[0], 0x87);
    platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_back_goes_on_when_the_subscriber_is_gone() -> Result<()> {
    let mut platform = Platform::start_with(tiny_queues()).await?;
    let (mut lamp, ann, _) = held_back(&platform, Version::V311).await?;
    drop(ann);
    for n in 2..=100 {
        let puback = lamp.packet_of(PUBACK).await?;
        assert_eq!(puback.body, [0, n], "in order");
    }
    platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_while_a_publisher_waits_is_disconnected_and_all_others_hear() -> Result<()> {
    let setup = Setup {
        stall_timeout: Duration::from_millis(500),
        ..tiny_queues()
    };
    let mut platform = Platform::start_with(setup).await?;
    let door = platform.doors().tcp;
    let (code, ann) = lamp_and_ann(&platform).await?;
    let mut reads = platform.client("usr/ann", &ann).connect().await?;
    reads.subscribe("v1/dev/lamp-1/live/#", 1).await?;
    let mut deaf = Raw::connect(door, Version::V5, "usr/ann", &ann).await?;
    deaf.subscribe("v1/dev/lamp-1/live/#", 1).await?;
    let mut lamp = Raw::connect(door, Version::V5, "dev/lamp-1", &code).await?;
    for packet_id in 1..=200 {
        lamp.publish(
            "v1/dev/lamp-1/live/n",
            1,
            packet_id,
            packet_id.to_string().as_bytes(),
        )
        .await?;
    }
    for packet_id in 1..=200 {
        assert_eq!(reads.message().await?.text(), packet_id.to_string());
        let puback = lamp.packet_of(PUBACK).await?;
        assert!(
            puback.body.get(2).is_none_or(|reason| *reason < 0x80),
            "{packet_id}"
        );
    }
    assert_eq!(deaf.packet_of(DISCONNECT).await?.body[0], 0x97);
    platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_only_slow_stays_and_its_publisher_waits() -> Result<()> {
    // What its queue holds, what waits behind its window, the window, and some for which the publisher waits.
    const COUNT: u16 = 1_000 + 256 + 64 + 80;
    let setup = Setup {
        stall_timeout: Duration::from_millis(500),
        ..Setup::default()
    };
    let mut platform = Platform::start_with(setup).await?;
    let door = platform.doors().tcp;
    let (code, ann) = lamp_and_ann(&platform).await?;
    let mut slow = Raw::connect(door, Version::V311, "usr/ann", &ann).await?;
    slow.subscribe("v1/dev/lamp-1/live/#", 1).await?;
    let mut lamp = Raw::connect(door, Version::V311, "dev/lamp-1", &code).await?;
    let publishes = async {
        for n in 1..=COUNT {
            lamp.publish("v1/dev/lamp-1/live/n", 1, n, n.to_string().as_bytes())
                .await?;
        }
        // MQTT 3 has no PUBACK that says no.
        for n in 1..=COUNT {
            assert_eq!(lamp.packet_of(PUBACK).await?.body, n.to_be_bytes());
        }
        Ok(())
    };
    let hears = async {
        for n in 1..=COUNT {
            let publish = slow.heard().await?;
            assert_eq!(publish.payload, n.to_string());
            if n < 400 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            slow.send(PUBACK << 4, &publish.packet_id.to_be_bytes()).await?;
        }
        Ok(())
    };
    let both: Result<((), ())> = tokio::try_join!(publishes, hears).map_err(|error: anyhow::Error| error);
    both?;
    platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_member_of_a_group_has_not_acknowledged_goes_to_the_others() -> Result<()> {
    const FILTER: &str = "$share/g/v1/dev/lamp-1/live/#";
    let mut platform = Platform::start().await?;
    let door = platform.doors().tcp;
    let (code, ann) = lamp_and_ann(&platform).await?;
    let mut lamp = platform.client("dev/lamp-1", &code).connect().await?;
    for qos in [1, 2] {
        let mut deaf = Raw::connect(door, Version::V5, "usr/ann", &ann).await?;
        deaf.subscribe(FILTER, qos).await?;
        // The first hundred fill its window, and the rest waits behind it.
        for n in 0..100 {
            assert_eq!(lamp.publish("live/n", 2, &n.to_string()).await?, "Success");
        }
        let mut other = platform.client("usr/ann", &ann).connect().await?;
        other.subscribe(FILTER, 2).await?;
        drop(deaf);
        // At QoS 2 what was sent stays with whom it was sent to [MQTT-4.8.2-5].
        let first = if qos == 1 { 0 } else { 64 };
        for n in first..100 {
            assert_eq!(other.message().await?.text(), n.to_string(), "at {qos}");
        }
        assert_eq!(other.messages_so_far().await?, []);
        other.leave().await?;
    }
    platform.stop().await
}

/// A session that is kept waits for its client; when another takes its place, what it had goes to the group.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_kept_member_of_a_group_leaves_goes_to_the_others() -> Result<()> {
    const FILTER: &str = "$share/g/v1/dev/lamp-1/live/#";
    const AN_HOUR: &[u8] = &[0x11, 0, 0, 0x0E, 0x10];
    let mut platform = Platform::start().await?;
    let door = platform.doors().tcp;
    let (code, ann) = lamp_and_ann(&platform).await?;
    let mut lamp = platform.client("dev/lamp-1", &code).connect().await?;
    let kept = Hello {
        properties: AN_HOUR,
        ..Hello::default()
    };
    let (mut deaf, _) = Raw::greet(door, Version::V5, ("usr/ann", &ann), kept).await?;
    deaf.subscribe(FILTER, 1).await?;
    for n in 0..100 {
        assert_eq!(lamp.publish("live/n", 1, &n.to_string()).await?, "Success");
    }
    let mut other = platform.client("usr/ann", &ann).connect().await?;
    other.subscribe(FILTER, 1).await?;
    drop(deaf);
    assert_eq!(other.messages_so_far().await?, [], "its client may come back");
    let _clean = Raw::connect(door, Version::V5, "usr/ann", &ann).await?;
    for n in 0..100 {
        assert_eq!(other.message().await?.text(), n.to_string());
    }
    platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_reads_is_cut_and_delays_nobody() -> Result<()> {
    let setup = Setup {
        write_timeout: Duration::from_millis(200),
        ..Setup::default()
    };
    let mut platform = Platform::start_with(setup).await?;
    let (code, token) = lamp_and_ann(&platform).await?;
    let mut ann = Raw::connect(platform.doors().tcp, Version::V311, "usr/ann", &token).await?;
    ann.subscribe("v1/dev/lamp-1/live/#", 0).await?;
    let mut lamp = platform.client("dev/lamp-1", &code).connect().await?;
    let large = "x".repeat(500_000);
    let presence = eventually("ann is cut", async || {
        lamp.publish("live/noise", 0, &large).await.unwrap();
        let presence = platform.admin.presence("usr/ann").await.unwrap();
        (presence["state"] == "offline").then_some(presence)
    })
    .await;
    assert_eq!(presence["reason"], "connection-lost");
    lamp.hear("live/echo").await?;
    lamp.publish("live/echo", 1, "still").await?;
    assert_eq!(lamp.message().await?.text(), "still");
    platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_goodbye_counts_even_if_the_client_took_nothing_more() -> Result<()> {
    let mut platform = Platform::start().await?;
    let (code, token) = lamp_and_ann(&platform).await?;
    let mut lamp = platform.client("dev/lamp-1", &code).connect().await?;
    let mut ann = Raw::connect(platform.doors().tcp, Version::V311, "usr/ann", &token).await?;
    ann.subscribe("v1/dev/lamp-1/live/#", 0).await?;
    // The server cannot write any more when the goodbye comes.
    let large = "x".repeat(500_000);
    for _ in 0..40 {
        lamp.publish("live/noise", 0, &large).await?;
    }
    lamp.messages_so_far().await?;
    ann.send(0xE0, &[]).await?;
    drop(ann);
    let presence = eventually("ann is gone", async || {
        let presence = platform.admin.presence("usr/ann").await.unwrap();
        (presence["state"] == "offline").then_some(presence)
    })
    .await;
    assert_eq!(presence["reason"], "disconnected");
    platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_session_that_unsubscribes_does_not_silence_the_others() -> Result<()> {
    let mut platform = Platform::start().await?;
    platform.admin.register_application("climate").await?;
    let token = platform.admin.register_user("ann").await?;
    let session = || platform.client("usr/ann", &token);
    let (mut desk, mut phone) = (session().connect().await?, session().connect().await?);
    desk.hear("down/#").await?;
    phone.hear("down/#").await?;
    desk.unsubscribe("v1/usr/ann/down/#").await?;
    let push = async |text: &str| {
        let body = json!({ "to": "usr/ann", "channel": "note", "text": text, "from": "app/climate" });
        platform.admin.post("/v1/push", body).await
    };
    push("1").await?;
    assert_eq!(phone.message().await?.text(), "1");
    desk.leave().await?;
    push("2").await?;
    assert_eq!(phone.message().await?.text(), "2");

    // A session that is there and hears no pushes does not take them.
    let mut desk = session().connect().await?;
    phone.leave().await?;
    push("3").await?;
    desk.hear("down/#").await?;
    let mut heard = Vec::new();
    while heard.last().map(String::as_str) != Some("3") {
        heard.push(desk.message().await?.text());
    }
    platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_that_say_nothing_do_not_hold_up_a_stop() -> Result<()> {
    let setup = Setup {
        connect_timeout: Duration::from_secs(300),
        stop_deadline: NEVER,
        ..Setup::default()
    };
    let mut platform = Platform::start_with(setup).await?;
    let code = platform.admin.register_device("lamp-1").await?;
    let doors = platform.doors().clone();
    let mut silent = Vec::new();
    for door in [doors.tcp, doors.tls, doors.ws] {
        silent.push(Raw::open(door).await?);
        let mut begun = Raw::open(door).await?;
        begun.write_all(&[0x10]).await?;
        silent.push(begun);
    }
    let mut lamp = platform.client("dev/lamp-1", &code).connect().await?;
    timeout(PATIENCE, platform.stop())
        .await
        .context("the stop is held up")??;
    assert_eq!(lamp.lost().await?, "ServerShuttingDown");
    for mut socket in silent {
        let mut rest = Vec::new();
        // Closed or reset: both are an end.
        let _ = timeout(PATIENCE, socket.read_to_end(&mut rest))
            .await
            .context("not closed")?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_told_how_much_it_missed() -> Result<()> {
    let mut platform = Platform::start_with(tiny_queues()).await?;
    let key = platform.admin.register_application("climate").await?;
    let code = platform.admin.register_device("lamp-1").await?;
    let mut lamp = platform.client("dev/lamp-1", &code).connect().await?;
    let desk = || {
        platform
            .client("app/climate", &key)
            .id("desk")
            .keeps_session()
            .connect()
    };
    let mut away = desk().await?;
    away.hear("status").await?;
    away.hear_all("v1/dev/lamp-1/live/#").await?;
    away.cut().await;
    // More than what is under way to it and what is kept for it, whenever the server sees that it is away.
    for _ in 0..100 {
        assert_eq!(lamp.publish("live/n", 1, "1").await?, "Success");
    }
    let mut back = desk().await?;
    assert!(back.resumed());
    loop {
        let heard = back.message().await?;
        if heard.topic == "v1/app/climate/status" {
            assert_eq!(heard.json()["name"], "queue-full");
            assert!(heard.json()["detail"].as_str().unwrap().contains("found no room"));
            break;
        }
    }
    platform.stop().await
}

/// What ends the connection of an observer is not heard either, and is counted with the rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_could_not_follow_is_told_how_much_it_missed() -> Result<()> {
    let mut platform = Platform::start_with(tiny_queues()).await?;
    let key = platform.admin.register_application("climate").await?;
    let code = platform.admin.register_device("lamp-1").await?;
    let mut lamp = platform.client("dev/lamp-1", &code).connect().await?;
    let desk = || platform.client("app/climate", &key).id("desk").keeps_session();
    let mut slow = desk().connect().await?;
    slow.hear("status").await?;
    slow.hear_all("v1/dev/lamp-1/up/climate/n").await?;
    slow.freeze();
    let uploads = 100;
    for _ in 0..uploads {
        assert_eq!(lamp.publish("up/climate/n", 1, "1").await?, "Success");
    }
    slow.cut().await;
    let mut back = desk().connect().await?;
    let (mut heard, mut missed) = (0, 0);
    while heard + missed < uploads {
        let message = back.message().await?;
        if message.topic.ends_with("/status") {
            let detail = message.json()["detail"].as_str().unwrap().to_owned();
            missed += detail.split(' ').next().unwrap().parse::<u32>()?;
        } else {
            heard += 1;
        }
    }
    assert_eq!(heard + missed, uploads, "each is heard or told of");
    platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_deleted_leaves_nothing_retained() -> Result<()> {
    let mut platform = Platform::start().await?;
    let key = platform.admin.register_application("climate").await?;
    for device in ["lamp-1", "lamp-2"] {
        let code = platform.admin.register_device(device).await?;
        let mut lamp = platform.client(&format!("dev/{device}"), &code).connect().await?;
        lamp.publish_on(&format!("v1/dev/{device}/live/color"), 1, true, "red")
            .await?;
        lamp.leave().await?;
    }
    platform.admin.delete("/v1/devices/lamp-1").await?;
    let mut app = platform.client("app/climate", &key).connect().await?;
    assert_eq!(
        app.publish_on("v1/dev/lamp-1/live/color", 1, true, "blue")
            .await?,
        "NotAuthorized"
    );
    app.hear_all("v1/dev/+/live/#").await?;
    let topics: Vec<_> = app
        .messages_so_far()
        .await?
        .into_iter()
        .map(|message| message.topic)
        .collect();
    assert_eq!(topics, ["v1/dev/lamp-2/live/color"]);
    platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_too_many_hears_why() -> Result<()> {
    let setup = Setup {
        connections_max: 1,
        ..Setup::default()
    };
    let mut platform = Platform::start_with(setup).await?;
    let code = platform.admin.register_device("lamp-1").await?;
    let token = platform.admin.register_user("ann").await?;
    let mut lamp = platform.client("dev/lamp-1", &code).connect().await?;
    let ann = || platform.client("usr/ann", &token);
    assert_eq!(ann().refused().await?, "QuotaExceeded");
    assert_eq!(ann().tls().refused().await?, "QuotaExceeded");
    assert_eq!(
        ann().version(Version::V311).refused().await?,
        "ServiceUnavailable"
    );
    // Who is in is not disturbed, and a place that is left is free.
    assert!(lamp.messages_so_far().await?.is_empty());
    lamp.leave().await?;
    eventually("a free place", async || ann().connect().await.ok()).await;
    platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_principal_does_not_take_every_place_and_comes_back_to_its_own() -> Result<()> {
    let setup = Setup {
        connections_per_principal_max: 2,
        ..Setup::default()
    };
    let mut platform = Platform::start_with(setup).await?;
    let token = platform.admin.register_user("ann").await?;
    let bob = platform.admin.register_user("bob").await?;
    let ann = |id: &str| platform.client("usr/ann", &token).id(id);
    let _desk = ann("desk").connect().await?;
    let mut phone = ann("phone").connect().await?;
    assert_eq!(ann("tablet").refused().await?, "QuotaExceeded");
    let _again = ann("phone").connect().await?;
    assert_eq!(phone.lost().await?, "SessionTakenOver");
    platform.client("usr/bob", &bob).connect().await?;
    platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_guesses_locks_nobody_out() -> Result<()> {
    let mut platform = Platform::start().await?;
    let code = platform.admin.register_device("lamp-1").await?;
    let mut guesses = tokio::task::JoinSet::new();
    for _ in 0..20 {
        guesses.spawn(platform.client("dev/lamp-1", "a wrong code").refused());
    }
    let first = guesses.join_next().await.context("a guess")??;
    assert_eq!(first?, "BadUserNamePassword");
    // The others wait for their answers, which come later each time; the device itself does not.
    platform.client("dev/lamp-1", &code).connect().await?;
    while let Some(refused) = guesses.join_next().await {
        assert_eq!(refused??, "BadUserNamePassword");
    }
    platform.stop().await
}

/// It is slowed, not refused: everything is acknowledged, only later, over all its connections.
#[tokio::test(flavor = "multi_thread")]
async fn a_principal_that_publishes_too_fast_is_held_back() -> Result<()> {
    const RATE: u16 = 20;
    let setup = Setup {
        publish_rate_max: RATE.into(),
        ..Setup::default()
    };
    let mut platform = Platform::start_with(setup).await?;
    let key = platform.admin.register_application("desk").await?;
    let door = platform.doors().tcp;
    for version in [Version::V311, Version::V5] {
        let mut desk = Raw::connect(door, version, "app/desk", &key).await?;
        let began = Instant::now();
        // a second's worth at once, two more seconds' worth behind it
        for packet_id in 1..=3 * RATE {
            desk.publish("v1/app/desk/live/n", 1, packet_id, b"1").await?;
        }
        for packet_id in 1..=3 * RATE {
            let puback = desk.packet_of(PUBACK).await?;
            assert_eq!(puback.body[..2], packet_id.to_be_bytes());
        }
        // what comes behind them is read when its time has come, and not before
        desk.send(0xC0, &[]).await?;
        desk.packet_of(PINGRESP).await?;
        assert!(began.elapsed() >= Duration::from_secs(1), "{version:?}");
    }
    platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_is_too_long_or_too_deep_is_refused() -> Result<()> {
    let mut platform = Platform::start().await?;
    let code = platform.admin.register_device("lamp-1").await?;
    let mut lamp = platform.client("dev/lamp-1", &code).connect().await?;
    let own = "v1/dev/lamp-1/live/";
    let long = format!("{own}{}", "x".repeat(1_025 - own.len()));
    let deep = format!("{own}{}", ["x"; 21].join("/"));
    for filter in [long, deep] {
        assert_eq!(lamp.subscribe(&filter, 1).await?, "QuotaExceeded", "{filter}");
    }
    lamp.hear(&format!("live/{}", ["x"; 20].join("/"))).await?;
    platform.stop().await
}
