//! What MQTT asks of a server beyond one conversation (`tests/clauses.toml`): subscriptions, retained messages, sessions
//! and wills, in both versions, byte by byte. Nothing is shown to be missing by waiting for it: a message that is sent
//! afterwards marks the end.

use std::time::Duration;

use anyhow::{Result, ensure};
use irsp_tests::{Heard, Hello, LastWill, Packet, Platform, Raw, Version};
use tokio::time::sleep;

const BOTH: [Version; 2] = [Version::V311, Version::V5];
const DISCONNECT: u8 = 14;

/// Properties.
const EXPIRY_60: [u8; 5] = [0x11, 0, 0, 0, 60];

/// Options of a subscription (3.8.3.1), beside the QoS.
const NO_LOCAL: u8 = 0x04;
const AS_PUBLISHED: u8 = 0x08;
const ONLY_IF_NEW: u8 = 0x10;
const NOT_AT_ALL: u8 = 0x20;

/// An application that talks to itself: every client here is one of its sessions.
struct Desk {
    platform: Platform,
    key: String,
}

impl Desk {
    async fn start() -> Result<Desk> {
        let platform = Platform::start().await?;
        let key = platform.admin.register_application("desk").await?;
        Ok(Desk { platform, key })
    }

    async fn greet(&self, version: Version, hello: Hello<'_>) -> Result<(Raw, Packet)> {
        Raw::greet(self.platform.doors().tcp, version, ("app/desk", &self.key), hello).await
    }

    /// Lets a client in; returns whether a session was resumed.
    async fn comes(&self, version: Version, hello: Hello<'_>) -> Result<(Raw, bool)> {
        let (raw, connack) = self.greet(version, hello).await?;
        ensure!(connack.body[1] == 0, "{connack:?}");
        Ok((raw, connack.body[0] == 1))
    }

    async fn client(&self, version: Version, client_id: &str) -> Result<Raw> {
        let hello = Hello {
            client_id,
            ..Hello::default()
        };
        Ok(self.comes(version, hello).await?.0)
    }

    /// A session that outlives its connection.
    async fn keeper(&self, version: Version, client_id: &str) -> Result<(Raw, bool)> {
        let hello = Hello {
            client_id,
            clean: false,
            properties: &EXPIRY_60,
            ..Hello::default()
        };
        self.comes(version, hello).await
    }
}

fn live(name: &str) -> String {
    format!("v1/app/desk/live/{name}")
}

/// All messages up to the one that says `end`; those at QoS 1 are acknowledged.
async fn until_the_end(client: &mut Raw) -> Result<Vec<Heard>> {
    let mut all = Vec::new();
    loop {
        let heard = client.heard().await?;
        if heard.qos == 1 {
            client.send(0x40, &heard.packet_id.to_be_bytes()).await?;
        }
        if heard.payload == "end" {
            return Ok(all);
        }
        all.push(heard);
    }
}

fn payloads(heard: &[Heard]) -> Vec<&str> {
    heard.iter().map(|heard| &*heard.payload).collect()
}

/// [MQTT-3.3.1-9..11, 3.8.4-4; 3.1.1: 3.3.1-6, 3.3.1-8, 3.8.4-3]
#[tokio::test(flavor = "multi_thread")]
async fn retained_messages_come_as_the_retain_handling_says() -> Result<()> {
    let mut desk = Desk::start().await?;
    let mut speaker = desk.client(Version::V5, "speaker").await?;
    let topic = live("x");
    speaker.publish_with(&topic, true, &[], "kept").await?;
    for version in BOTH {
        let options: &[(u8, [bool; 2])] = match version {
            Version::V311 => &[(0, [true, true])],
            Version::V5 => &[
                (0, [true, true]),
                (ONLY_IF_NEW, [true, false]),
                (NOT_AT_ALL, [false, false]),
            ],
        };
        for (option, expected) in options {
            let mut listener = desk.client(version, "listener").await?;
            for comes in expected {
                listener.subscribe_with(&topic, option | 1, &[]).await?;
                speaker.publish_with(&topic, false, &[], "end").await?;
                let heard = until_the_end(&mut listener).await?;
                let expected: &[&str] = if *comes { &["kept"] } else { &[] };
                assert_eq!(payloads(&heard), expected, "{version:?} {option:02x}");
                assert!(heard.iter().all(|heard| heard.retain));
            }
        }
    }
    desk.platform.stop().await
}

/// [MQTT-3.3.1-12, 3.3.1-13; 3.1.1: 3.3.1-9]
#[tokio::test(flavor = "multi_thread")]
async fn the_retain_flag_is_passed_on_only_if_asked_for() -> Result<()> {
    let mut desk = Desk::start().await?;
    let mut speaker = desk.client(Version::V5, "speaker").await?;
    for (version, option, passed_on) in [
        (Version::V311, 0, false),
        (Version::V5, 0, false),
        (Version::V5, AS_PUBLISHED, true),
    ] {
        let mut listener = desk.client(version, "listener").await?;
        listener
            .subscribe_with(
                &live("now"),
                option | (NOT_AT_ALL * u8::from(version == Version::V5)),
                &[],
            )
            .await?;
        for retain in [true, false] {
            speaker.publish_with(&live("now"), retain, &[], "1").await?;
            assert_eq!(listener.heard().await?.retain, retain && passed_on, "{version:?}");
        }
        speaker.publish_with(&live("now"), true, &[], "").await?;
    }
    desk.platform.stop().await
}

/// [MQTT-3.3.1-5..8; 3.1.1: 3.3.1-5, 3.3.1-7, 3.3.1-10..12, 3.1.2-7]
#[tokio::test(flavor = "multi_thread")]
async fn the_last_retained_message_counts() -> Result<()> {
    let mut desk = Desk::start().await?;
    let topic = live("x");
    for version in BOTH {
        let mut speaker = desk.client(version, "speaker").await?;
        speaker.publish_with(&topic, true, &[], "1").await?;
        speaker.publish(&topic, 0, 0, b"not retained").await?;
        speaker.publish_with(&topic, true, &[], "2").await?;
        speaker.publish_with(&topic, false, &[], "not retained").await?;
        // the session that published it ends, what it left stays
        speaker.send(0xE0, &[]).await?;
        speaker.closed().await?;
        let mut speaker = desk.client(version, "speaker").await?;
        let mut listener = desk.client(version, "listener").await?;
        listener.subscribe(&topic, 1).await?;
        let kept = listener.heard().await?;
        assert_eq!((&*kept.payload, kept.retain, kept.qos), ("2", true, 1));
        listener.send(0x40, &kept.packet_id.to_be_bytes()).await?;
        // the empty one is heard, and ends it
        speaker.publish_with(&topic, true, &[], "").await?;
        let empty = listener.heard().await?;
        assert_eq!((&*empty.payload, empty.retain), ("", false));
        let mut late = desk.client(version, "late").await?;
        late.subscribe(&topic, 1).await?;
        speaker.publish_with(&topic, false, &[], "end").await?;
        assert_eq!(until_the_end(&mut late).await?, []);
    }
    desk.platform.stop().await
}

/// [MQTT-3.8.3-3]
#[tokio::test(flavor = "multi_thread")]
async fn no_local_keeps_ones_own_messages_away() -> Result<()> {
    let mut desk = Desk::start().await?;
    let mut alone = desk.client(Version::V5, "alone").await?;
    let mut other = desk.client(Version::V5, "other").await?;
    alone.subscribe_with(&live("#"), NO_LOCAL | 1, &[]).await?;
    alone.publish_with(&live("x"), false, &[], "mine").await?;
    other.publish_with(&live("x"), false, &[], "end").await?;
    assert_eq!(until_the_end(&mut alone).await?, []);
    // without it, one hears oneself
    alone.subscribe(&live("#"), 0).await?;
    alone.publish(&live("x"), 0, 0, b"mine").await?;
    assert_eq!(alone.heard().await?.payload, "mine");
    desk.platform.stop().await
}

/// [MQTT-3.8.3-3]: whichever of its connections has published them.
#[tokio::test(flavor = "multi_thread")]
async fn no_local_keeps_ones_own_retained_messages_away() -> Result<()> {
    let mut desk = Desk::start().await?;
    let mut other = desk.client(Version::V5, "other").await?;
    other.publish_with(&live("theirs"), true, &[], "theirs").await?;
    let mut alone = desk.client(Version::V5, "alone").await?;
    alone.publish_with(&live("mine"), true, &[], "mine").await?;
    let mut alone = desk.client(Version::V5, "alone").await?;
    alone.subscribe_with(&live("#"), NO_LOCAL | 1, &[]).await?;
    assert_eq!(alone.heard().await?.payload, "theirs");
    other.publish_with(&live("x"), false, &[], "end").await?;
    assert_eq!(until_the_end(&mut alone).await?, []);
    desk.platform.stop().await
}

/// 3.9.2.1.2
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_filter_is_told_in_words() -> Result<()> {
    let mut desk = Desk::start().await?;
    let mut client = desk.client(Version::V5, "curious").await?;
    let topic = "v1/dev/lamp/down/#";
    let length = u16::try_from(topic.len())?.to_be_bytes();
    let body = [b"\0\x07\0", &length[..], topic.as_bytes(), &[1]].concat();
    client.send(0x82, &body).await?;
    assert_eq!(
        client.packet_of(9).await?.body,
        b"\0\x07\x0E\x1F\0\x0Bnot-granted\x87"
    );
    desk.platform.stop().await
}

/// [MQTT-3.3.4-2..4; 3.1.1: 3.3.5-1]: one copy at the greatest QoS, with every identifier.
#[tokio::test(flavor = "multi_thread")]
async fn overlapping_subscriptions_make_one_copy() -> Result<()> {
    let mut desk = Desk::start().await?;
    let mut speaker = desk.client(Version::V5, "speaker").await?;
    for version in BOTH {
        let mut listener = desk.client(version, "listener").await?;
        listener.subscribe_with(&live("x"), 2, &[0x0B, 1]).await?;
        listener.subscribe_with(&live("#"), 0, &[0x0B, 0x80, 2]).await?;
        listener.subscribe_with(&live("+"), 1, &[]).await?;
        let mut body = Vec::new();
        let topic = live("x");
        body.extend_from_slice(&u16::try_from(topic.len())?.to_be_bytes());
        body.extend_from_slice(topic.as_bytes());
        body.extend_from_slice(b"\0\x07\0twice?");
        speaker.send(0x34, &body).await?;
        speaker.packet_of(5).await?;
        speaker.send(0x62, &[0, 7]).await?;
        speaker.packet_of(7).await?;
        let heard = listener.heard().await?;
        assert_eq!((&*heard.payload, heard.qos), ("twice?", 2));
        if version == Version::V5 {
            let mut ids: Vec<&[u8]> = heard.properties.split(|byte| *byte == 0x0B).collect();
            ids.sort_unstable();
            assert_eq!(ids, [&[][..], &[1], &[0x80, 2]]);
        }
        speaker.publish_with(&live("x"), false, &[], "end").await?;
        assert_eq!(until_the_end(&mut listener).await?, []);
    }
    desk.platform.stop().await
}

/// [MQTT-3.8.4-3, 3.8.4-5, 3.8.4-8; 3.1.1: 3.8.4-3, 3.8.4-4, 3.8.4-6]
#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_takes_the_place_of_the_one_before() -> Result<()> {
    let mut desk = Desk::start().await?;
    let mut speaker = desk.client(Version::V5, "speaker").await?;
    for version in BOTH {
        let mut listener = desk.client(version, "listener").await?;
        for (qos, identifier) in [(0, 7), (1, 8), (0, 9)] {
            listener
                .subscribe_with(&live("+"), qos, &[0x0B, identifier])
                .await?;
            speaker.publish_with(&live("x"), false, &[], "once").await?;
            let heard = listener.heard().await?;
            assert_eq!((&*heard.payload, heard.qos), ("once", qos));
            if version == Version::V5 {
                assert_eq!(heard.properties, [0x0B, identifier]);
            }
            speaker.publish_with(&live("x"), false, &[], "end").await?;
            assert_eq!(until_the_end(&mut listener).await?, [], "only once");
        }
        // several filters in one packet are as several packets: here the second replaces the first
        let topic = live("x");
        let mut body = vec![0, 5];
        if version == Version::V5 {
            body.push(0);
        }
        for qos in [1, 0] {
            body.extend_from_slice(&u16::try_from(topic.len())?.to_be_bytes());
            body.extend_from_slice(topic.as_bytes());
            body.push(qos);
        }
        listener.unsubscribe(&live("+")).await?;
        listener.send(0x82, &body).await?;
        let suback = listener.packet().await?;
        assert!(suback.body.ends_with(&[1, 0]), "{suback:?}");
        speaker.publish_with(&topic, false, &[], "once").await?;
        assert_eq!(listener.heard().await?.qos, 0);
    }
    desk.platform.stop().await
}

/// [MQTT-3.10.4-1..5]
#[tokio::test(flavor = "multi_thread")]
async fn unsubscribing_ends_what_is_written_the_same_and_nothing_else() -> Result<()> {
    let mut desk = Desk::start().await?;
    let mut speaker = desk.client(Version::V5, "speaker").await?;
    for version in BOTH {
        let v5 = version == Version::V5;
        let id = format!("listener-{version:?}");
        let (mut listener, _) = desk.keeper(version, &id).await?;
        listener.subscribe(&live("+"), 1).await?;
        // it matches the same messages, but is another filter
        let none = listener.unsubscribe(&live("x")).await?;
        assert_eq!(none, if v5 { 0x11 } else { 0 });
        speaker.publish_with(&live("x"), false, &[], "begun").await?;
        let begun = listener.heard().await?;
        assert_eq!(listener.unsubscribe(&live("+")).await?, 0);
        speaker.publish_with(&live("x"), false, &[], "too late").await?;
        // what had been begun is ended, also in another connection
        drop(listener);
        let (mut listener, present) = desk.keeper(version, &id).await?;
        assert!(present);
        let again = listener.heard().await?;
        assert_eq!(
            (again.dup, again.packet_id, &*again.payload),
            (true, begun.packet_id, "begun")
        );
        listener.send(0x40, &again.packet_id.to_be_bytes()).await?;
        listener.subscribe(&live("end"), 0).await?;
        speaker.publish_with(&live("end"), false, &[], "end").await?;
        assert_eq!(until_the_end(&mut listener).await?, []);
    }
    desk.platform.stop().await
}

/// [MQTT-3.1.4-3; 3.1.1: 3.1.4-2]
#[tokio::test(flavor = "multi_thread")]
async fn a_second_connection_takes_the_first_one_over() -> Result<()> {
    let mut desk = Desk::start().await?;
    for version in BOTH {
        let mut first = desk.client(version, "twin").await?;
        let mut second = desk.client(version, "twin").await?;
        if version == Version::V5 {
            assert_eq!(first.packet().await?.body.first(), Some(&0x8E));
        }
        first.closed().await?;
        second.send(0xC0, &[]).await?;
        assert_eq!(second.packet().await?.kind(), 13);
    }
    desk.platform.stop().await
}

/// [MQTT-3.1.2-4..6, 3.1.2-23, 3.1.4-4, 3.2.2-2, 3.2.2-3; 3.1.1: 3.1.2-4..6, 3.1.4-3, 3.2.2-1..3]
#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_resumed_or_begun_anew() -> Result<()> {
    let mut desk = Desk::start().await?;
    let mut speaker = desk.client(Version::V5, "speaker").await?;
    for version in BOTH {
        let id = format!("keeper-{version:?}");
        let (mut keeper, present) = desk.keeper(version, &id).await?;
        assert!(!present);
        keeper.subscribe(&live("x"), 1).await?;
        drop(keeper);
        for n in 0..3 {
            speaker
                .publish_with(&live("x"), false, &[], &n.to_string())
                .await?;
        }
        let (mut keeper, present) = desk.keeper(version, &id).await?;
        assert!(present);
        speaker.publish_with(&live("x"), false, &[], "end").await?;
        assert_eq!(payloads(&until_the_end(&mut keeper).await?), ["0", "1", "2"]);
        drop(keeper);
        speaker.publish_with(&live("x"), false, &[], "forgotten").await?;
        let clean = Hello {
            client_id: &id,
            properties: &EXPIRY_60,
            ..Hello::default()
        };
        let (clean, present) = desk.comes(version, clean).await?;
        assert!(!present);
        drop(clean);
        let (mut keeper, present) = desk.keeper(version, &id).await?;
        // Clean Session of 3.1.1 also ends with its connection
        assert_eq!(present, version == Version::V5);
        keeper.subscribe(&live("y"), 1).await?;
        speaker
            .publish_with(&live("x"), false, &[], "not subscribed")
            .await?;
        speaker.publish_with(&live("y"), false, &[], "end").await?;
        assert_eq!(until_the_end(&mut keeper).await?, []);
    }
    desk.platform.stop().await
}

/// [MQTT-4.1.0-2], and 3.14.2.2.2: the session ends when its time is over, which DISCONNECT may change.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_when_its_time_is_over() -> Result<()> {
    let mut desk = Desk::start().await?;
    let (mut keeper, _) = desk.keeper(Version::V5, "brief").await?;
    keeper.send(0xE0, &[0, 5, 0x11, 0, 0, 0, 0]).await?;
    keeper.closed().await?;
    assert!(!desk.keeper(Version::V5, "brief").await?.1);

    let brief = Hello {
        client_id: "briefer",
        clean: false,
        properties: &[0x11, 0, 0, 0, 1],
        ..Hello::default()
    };
    drop(desk.comes(Version::V5, brief).await?);
    // each look begins its time anew, so look later each time
    let mut seconds = 2;
    while desk.comes(Version::V5, brief).await?.1 {
        ensure!(seconds < 60, "a session of one second is still there");
        sleep(Duration::from_secs(seconds)).await;
        seconds *= 2;
    }
    desk.platform.stop().await
}

fn will<'a>(topic: &'a str, properties: &'a [u8]) -> Option<LastWill<'a>> {
    Some(LastWill {
        topic,
        payload: "gone",
        qos: 1,
        retain: false,
        properties,
    })
}

/// [MQTT-3.1.2-7, 3.1.2-8, 3.1.2-10, 3.1.2-14, 3.1.2-15, 3.1.3-10, 3.14.4-3; 3.1.1: 3.1.2-8, 3.1.2-10, 3.1.2-12,
/// 3.1.2-16, 3.1.2-17, 3.14.4-3]
#[tokio::test(flavor = "multi_thread")]
async fn a_will_is_published_unless_its_client_says_good_bye() -> Result<()> {
    let mut desk = Desk::start().await?;
    let topic = live("will");
    let mut speaker = desk.client(Version::V5, "speaker").await?;
    let mut listener = desk.client(Version::V5, "listener").await?;
    listener.subscribe_with(&topic, AS_PUBLISHED | 1, &[]).await?;
    let words = b"\x26\0\x01b\0\x012\x26\0\x01a\0\x011\x26\0\x01b\0\x013";
    for version in BOTH {
        for retain in [false, true] {
            let mut last_will = will(&topic, words);
            if let Some(will) = &mut last_will {
                will.retain = retain;
            }
            let mortal = Hello {
                client_id: "mortal",
                will: last_will,
                ..Hello::default()
            };
            let (client, _) = desk.comes(version, mortal).await?;
            drop(client);
            let heard = listener.heard().await?;
            assert_eq!((&*heard.payload, heard.qos, heard.retain), ("gone", 1, retain));
            if version == Version::V5 {
                assert_eq!(heard.properties, words);
            }
            listener.send(0x40, &heard.packet_id.to_be_bytes()).await?;
            // whether it was kept
            let mut late = desk.client(version, "late").await?;
            late.subscribe(&topic, 1).await?;
            speaker.publish_with(&topic, true, &[], "").await?;
            let first = late.heard().await?;
            assert_eq!(&*first.payload, if retain { "gone" } else { "" });
            assert_eq!(listener.heard().await?.payload, "");
            listener.send(0x40, &[0, 1]).await?;

            let (mut client, _) = desk.comes(version, mortal).await?;
            client.send(0xE0, &[]).await?;
            client.closed().await?;
            speaker.publish_with(&topic, false, &[], "end").await?;
            assert_eq!(until_the_end(&mut listener).await?, [], "a good-bye");
        }
    }
    let mortal = Hello {
        client_id: "mortal",
        will: will(&topic, &[]),
        ..Hello::default()
    };
    // it asks for it all the same, or breaks the protocol
    for last_words in [&[0xE0, 0x04][..], &[0x00]] {
        let (mut client, _) = desk.comes(Version::V5, mortal).await?;
        client.send(last_words[0], &last_words[1..]).await?;
        client.closed().await?;
        assert_eq!(listener.heard().await?.payload, "gone");
    }
    desk.platform.stop().await
}

/// [MQTT-3.1.2-8, 3.1.3-9]: a delayed will waits, is forgotten when the client returns, and does not outlive the session.
#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_will_is_for_who_does_not_come_back() -> Result<()> {
    let mut desk = Desk::start().await?;
    let topic = live("will");
    let mut speaker = desk.client(Version::V5, "speaker").await?;
    let mut listener = desk.client(Version::V5, "listener").await?;
    listener.subscribe(&topic, 1).await?;
    let delayed = Hello {
        client_id: "mortal",
        clean: false,
        properties: &EXPIRY_60,
        will: will(&topic, &[0x18, 0, 0, 0, 50]),
    };
    let (client, _) = desk.comes(Version::V5, delayed).await?;
    drop(client);
    let (mut client, present) = desk.comes(Version::V5, delayed).await?;
    assert!(present);
    client.send(0xE0, &[]).await?;
    client.closed().await?;
    speaker.publish_with(&topic, false, &[], "end").await?;
    assert_eq!(until_the_end(&mut listener).await?, []);
    // with its connection the session ends, and with the session the delay
    let at_once = Hello {
        properties: &[],
        clean: true,
        ..delayed
    };
    let (client, _) = desk.comes(Version::V5, at_once).await?;
    drop(client);
    let heard = listener.heard().await?;
    assert_eq!(heard.payload, "gone");
    listener.send(0x40, &heard.packet_id.to_be_bytes()).await?;
    // and with another session that begins in its place
    let (client, _) = desk.comes(Version::V5, delayed).await?;
    drop(client);
    let (_next, present) = desk.comes(Version::V5, at_once).await?;
    assert!(!present);
    assert_eq!(listener.heard().await?.payload, "gone");
    desk.platform.stop().await
}

/// [MQTT-3.3.2-3, 3.3.2-4, 3.3.2-6, 3.3.2-15..18, 3.3.2-20]
#[tokio::test(flavor = "multi_thread")]
async fn what_the_publisher_says_reaches_the_subscriber() -> Result<()> {
    let mut desk = Desk::start().await?;
    let mut speaker = desk.client(Version::V5, "speaker").await?;
    let mut listener = desk.client(Version::V5, "listener").await?;
    listener.subscribe(&live("+"), 1).await?;
    let said = [
        &b"\x01\x01\x03\0\x04json\x08\0\x05re/ly\x09\0\x03\0\xFFx"[..],
        b"\x26\0\x01b\0\x012\x26\0\x01a\0\x011\x26\0\x01b\0\x013",
    ]
    .concat();
    for retain in [false, true] {
        speaker.publish_with(&live("x"), retain, &said, "1").await?;
        let heard = listener.heard().await?;
        assert_eq!((heard.topic, heard.properties), (live("x"), said.clone()));
        listener.send(0x40, &heard.packet_id.to_be_bytes()).await?;
    }
    let mut late = desk.client(Version::V5, "late").await?;
    late.subscribe(&live("x"), 1).await?;
    assert_eq!(late.heard().await?.properties, said);
    // the time it has waited is taken off
    let expiring = [2, 0, 0, 0x0E, 0x10];
    speaker.publish_with(&live("y"), true, &expiring, "1").await?;
    let left = listener.heard().await?.properties;
    assert!(left[0] == 2 && left <= expiring.to_vec(), "{left:?}");
    desk.platform.stop().await
}

/// [MQTT-3.1.3-6, 3.1.3-7, 3.2.2-16; 3.1.1: 3.1.3-6]
#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_identifier_is_given_one_of_its_own() -> Result<()> {
    let mut desk = Desk::start().await?;
    let unnamed = Hello {
        client_id: "",
        ..Hello::default()
    };
    let mut names = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..3 {
        let (client, connack) = desk.greet(Version::V5, unnamed).await?;
        let at = connack.body.windows(2).position(|bytes| bytes == [0x12, 0]);
        let Some(at) = at else {
            panic!("no Assigned Client Identifier: {connack:?}")
        };
        let length = usize::from(connack.body[at + 2]);
        let name = connack.body[at + 3..at + 3 + length].to_vec();
        assert!(!name.is_empty() && !names.contains(&name));
        names.push(name);
        clients.push(client);
    }
    // in 3.1.1 it is not told, but nobody is taken over
    for _ in 0..2 {
        clients.push(desk.comes(Version::V311, unnamed).await?.0);
    }
    for client in &mut clients {
        client.send(0xC0, &[]).await?;
        assert_eq!(client.packet().await?.kind(), 13);
    }
    desk.platform.stop().await
}

/// [MQTT-3.1.4-2, 3.2.2-7, 4.13.1-1, 4.13.2-1; 3.1.1: 3.2.2-5, 4.8.0-1]
#[tokio::test(flavor = "multi_thread")]
async fn after_a_no_the_connection_is_closed() -> Result<()> {
    let mut desk = Desk::start().await?;
    let door = desk.platform.doors().tcp;
    for (version, code) in [(Version::V311, 4), (Version::V5, 0x86)] {
        let (mut client, connack) =
            Raw::greet(door, version, ("app/desk", "no key"), Hello::default()).await?;
        assert_eq!(connack.body[..2], [0, code]);
        client.closed().await?;

        let mut client = desk.client(version, "careless").await?;
        client.send(0x36, b"\0\x01t\0\x01").await?;
        if version == Version::V5 {
            let goodbye = client.packet_of(DISCONNECT).await?;
            assert_eq!(goodbye.body[0], 0x81);
        }
        client.closed().await?;
    }
    desk.platform.stop().await
}

/// [MQTT-4.8.2-3, 4.8.2-6]: a shared delivery comes at the granted QoS, and what one member refuses goes to no other.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_member_of_a_group_refuses_goes_to_nobody_else() -> Result<()> {
    let mut desk = Desk::start().await?;
    let mut speaker = desk.client(Version::V5, "speaker").await?;
    let filter = format!("$share/group/{}", live("x"));
    let mut refuses = desk.client(Version::V5, "refuses").await?;
    refuses.subscribe(&filter, 1).await?;
    speaker.publish_with(&live("x"), false, &[], "refused").await?;
    let heard = refuses.heard().await?;
    assert_eq!((&*heard.payload, heard.qos), ("refused", 1));
    let [high, low] = heard.packet_id.to_be_bytes();
    refuses.send(0x40, &[high, low, 0x83]).await?;
    refuses.send(0xC0, &[]).await?;
    refuses.packet_of(13).await?;
    let mut other = desk.client(Version::V5, "other").await?;
    other.subscribe(&filter, 0).await?;
    other.subscribe(&live("marker"), 0).await?;
    drop(refuses);
    // the one that is left gets what comes now, and only that, at its own QoS; some may still be for the one that is gone
    loop {
        speaker.publish_with(&live("x"), false, &[], "now").await?;
        speaker.publish_with(&live("marker"), false, &[], "end").await?;
        let heard = until_the_end(&mut other).await?;
        assert!(heard.iter().all(|heard| heard.payload == "now" && heard.qos == 0));
        if !heard.is_empty() {
            break;
        }
    }
    desk.platform.stop().await
}

/// [MQTT-4.8.2-4, 4.8.2-5]
#[tokio::test(flavor = "multi_thread")]
async fn a_shared_delivery_at_qos_2_waits_for_the_member_that_has_it() -> Result<()> {
    let mut desk = Desk::start().await?;
    let mut speaker = desk.client(Version::V5, "speaker").await?;
    let filter = format!("$share/group/{}", live("x"));
    let (mut first, _) = desk.keeper(Version::V5, "first").await?;
    first.subscribe(&filter, 2).await?;
    let topic = live("x");
    let mut body = u16::try_from(topic.len())?.to_be_bytes().to_vec();
    body.extend_from_slice(topic.as_bytes());
    body.extend_from_slice(b"\0\x07\0once");
    speaker.send(0x34, &body).await?;
    speaker.packet_of(5).await?;
    let begun = first.heard().await?;
    assert_eq!((&*begun.payload, begun.qos), ("once", 2));
    // it goes away in the middle, and another member comes
    let mut other = desk.client(Version::V5, "other").await?;
    other.subscribe(&filter, 2).await?;
    drop(first);
    let (mut first, present) = desk.keeper(Version::V5, "first").await?;
    assert!(present);
    let again = first.heard().await?;
    assert_eq!(
        (again.dup, again.packet_id, &*again.payload),
        (true, begun.packet_id, "once")
    );
    // its session ends: the message ends with it
    drop(first);
    desk.client(Version::V5, "first").await?;
    other.subscribe(&live("marker"), 0).await?;
    speaker.publish_with(&live("marker"), false, &[], "end").await?;
    assert_eq!(until_the_end(&mut other).await?, []);
    desk.platform.stop().await
}
