//! The documents for whoever writes a device or an application say what the code says: topics, codes, limits, schemas.

use std::collections::BTreeSet;

use irsp_protocol::address::ID_LEN_MAX;
use irsp_protocol::options::KEY_LEN_MAX;
use irsp_protocol::status::REGISTRY;
use irsp_protocol::topic::{
    Branch, CHANNEL_LEN_MAX, CHANNEL_LEVELS_MAX, Incoming, TOPIC_LEN_MAX, TOPIC_LEVELS_MAX,
};
use irsp_protocol::{Topic, presence};
use serde_json::Value;

const CONTRACT: &str = include_str!("../../../docs/device-contract.md");
const ASYNCAPI: &str = include_str!("../../../docs/asyncapi.yaml");

/// A topic of a document with names in the place of its variables.
fn filled(topic: &str) -> String {
    [
        ("{kind}", "dev"),
        ("{sourceKind}", "dev"),
        ("{id}", "lamp-1"),
        ("{app}", "climate"),
        ("{from}", "climate"),
        ("{receiver}", "billing"),
        ("{source}", "lamp-2"),
        ("{mid}", "0190163d-8694-739b-aea5-966c26f8ad91"),
        ("{channel...}", "room/temp"),
        ("{channel}", "room/temp"),
        ("{name...}", "color"),
        ("{name}", "color"),
    ]
    .iter()
    .fold(topic.to_owned(), |topic, (variable, name)| {
        topic.replace(variable, name)
    })
}

/// The word for what a topic is for; each has one, so that a new one is missed here.
fn branch(topic: &str) -> &'static str {
    let read = Topic::parse(&filled(topic)).unwrap_or_else(|error| panic!("{topic}: {error}"));
    match read.branch {
        Branch::Up { .. } => "up",
        Branch::CloudEvent { .. } => "ce",
        Branch::Status => "status",
        Branch::Down { .. } => "down",
        Branch::Ack { .. } => "ack/",
        Branch::Answers => "ack",
        Branch::Presence => "presence",
        Branch::Live { .. } => "live",
        Branch::To { .. } => "to",
        Branch::In(Incoming::Envelope { .. }) => "in",
        Branch::In(Incoming::Presence { .. }) => "in/presence",
    }
}

/// The cells of every line of a table under this heading.
fn table<'a>(document: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let (_, below) = document.split_once(heading).expect("the heading");
    below
        .lines()
        .skip_while(|line| !line.starts_with("|---"))
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect()
}

#[test]
fn the_device_contract_has_every_topic_of_a_device() {
    let found: BTreeSet<_> = table(CONTRACT, "## Topics")
        .iter()
        .map(|row| branch(row[0].trim_matches('`')))
        .collect();
    let expected = ["ack", "ack/", "ce", "down", "live", "presence", "status", "up"];
    assert_eq!(found, expected.into());
}

#[test]
fn the_device_contract_has_every_code() {
    let found = table(CONTRACT, "## Codes");
    assert_eq!(found.len(), REGISTRY.len());
    for (row, entry) in found.iter().zip(REGISTRY) {
        let retry = if entry.retryable { "yes" } else { "no" };
        let code = entry.status.code().to_string();
        assert_eq!(row[..3], [code.as_str(), entry.name, retry]);
    }
}

#[test]
fn the_device_contract_has_the_limits_of_the_code() {
    let courier = irsp_courier::Settings::default();
    let edge = irsp_config::Mqtt::default();
    let principal = courier.bounds.principal;
    let expected = [
        format!("{ID_LEN_MAX} bytes of"),
        format!("{CHANNEL_LEN_MAX} bytes, {CHANNEL_LEVELS_MAX} levels"),
        format!("{TOPIC_LEN_MAX} bytes, {TOPIC_LEVELS_MAX} levels"),
        format!("{KEY_LEN_MAX} bytes"),
        format!("{} bytes", edge.packet_size_max),
        format!("{} (or your", edge.inflight_max),
        courier.principal_window.to_string(),
        format!(
            "{} messages, {} bytes each way",
            principal.messages_max, principal.bytes_max
        ),
        edge.subscriptions_max.to_string(),
    ];
    let found = table(CONTRACT, "## Limits");
    for (row, expected) in found.iter().zip(&expected) {
        assert!(row[1].starts_with(expected), "{row:?}: {expected}");
    }
    assert_eq!(found.len(), expected.len() + 1, "the last is of logins");
}

#[test]
fn the_asyncapi_document_has_every_topic() {
    let found: BTreeSet<_> = ASYNCAPI
        .lines()
        .filter_map(|line| line.trim().strip_prefix("address: "))
        .map(branch)
        .collect();
    let expected = [
        "ack",
        "ack/",
        "ce",
        "down",
        "in",
        "in/presence",
        "live",
        "presence",
        "status",
        "to",
        "up",
    ];
    assert_eq!(found, expected.into());
}

#[test]
fn the_schemas_name_what_the_golden_events_have() {
    let envelope: Value = serde_json::from_str(include_str!("../../../docs/schemas/envelope.json")).unwrap();
    let presence_schema: Value =
        serde_json::from_str(include_str!("../../../docs/schemas/presence.json")).unwrap();
    for (golden, text) in [
        ("upload", include_str!("../../../docs/golden/upload.json")),
        ("message", include_str!("../../../docs/golden/message.json")),
        ("presence", include_str!("../../../docs/golden/presence.json")),
    ] {
        let event: Value = serde_json::from_str(text).unwrap();
        for required in envelope["required"].as_array().unwrap() {
            assert!(
                event.get(required.as_str().unwrap()).is_some(),
                "{golden}: {required}"
            );
        }
        let kinds = envelope["properties"]["type"]["enum"].as_array().unwrap();
        assert!(kinds.contains(&event["type"]), "{golden}");
        for (name, value) in event.as_object().unwrap() {
            let known = envelope["properties"].get(name).is_some();
            assert!(known || value.is_string(), "{golden}: {name}");
        }
    }
    let reasons = presence_schema["properties"]["reason"]["enum"]
        .as_array()
        .unwrap();
    for reason in reasons {
        assert!(
            serde_json::from_value::<presence::Reason>(reason.clone()).is_ok(),
            "{reason}"
        );
    }
}
