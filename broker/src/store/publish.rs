//! Stored messages, each once however many sessions refer to it. Times on disk are of the wall clock, so that a
//! message's expiry goes on counting while the server is down.

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use bytestring::ByteString;
use irsp_courier::store::StoreError;
use irsp_protocol::Timestamp;
use irsp_session::{Publish, PublishProperties, QoS};
use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};

use super::number;

/// The same moment on the two clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) wall: Timestamp,
    pub(crate) instant: Instant,
}

impl Moment {
    pub(crate) fn at(wall: Timestamp) -> Moment {
        Moment {
            wall,
            instant: Instant::now(),
        }
    }

    pub(crate) fn wall_of(self, instant: Instant) -> Timestamp {
        self.wall.plus(instant.saturating_duration_since(self.instant))
    }

    /// What is past on the wall is now on the other clock.
    pub(crate) fn instant_of(self, wall: Timestamp) -> Instant {
        self.instant + wall.since(self.wall)
    }
}

/// MQTT 5's properties as they stand on disk.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Properties {
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_utf8: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_topic: Option<String>,
    /// Base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_data: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    user: Vec<(String, String)>,
}

/// Stores a message. `holders` entries will refer to it and are counted already; others count themselves.
pub(super) fn put(
    sql: &Connection,
    id: u64,
    publish: &Publish,
    holders: usize,
    moment: Moment,
) -> Result<(), StoreError> {
    let properties = publish
        .properties
        .as_deref()
        .map(|properties| serde_json::to_string(&to_disk(properties)))
        .transpose()?;
    let expires = publish.expires.map(|expires| moment.wall_of(expires).as_millis());
    sql.prepare_cached(
        "INSERT INTO stored_publish (id, topic, qos, retain, expires_ms, properties, payload, holders)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        number(id),
        &*publish.topic,
        publish.qos as u8,
        publish.retain,
        expires,
        properties,
        &*publish.payload,
        number(holders as u64),
    ])?;
    Ok(())
}

/// Of the entries that were counted already so many have not come. Forgets a message that nothing refers to.
pub(super) fn miss(sql: &Connection, id: u64, missing: usize) -> Result<(), StoreError> {
    sql.prepare_cached("UPDATE stored_publish SET holders = holders - ?2 WHERE id = ?1")?
        .execute(params![number(id), number(missing as u64)])?;
    sql.prepare_cached("DELETE FROM stored_publish WHERE id = ?1 AND holders <= 0")?
        .execute([number(id)])?;
    Ok(())
}

/// The columns [`read`] takes, in its order.
pub(super) const COLUMNS: &str = "p.topic, p.qos, p.retain, p.expires_ms, p.properties, p.payload";

/// Reads a message from the columns that begin at `at`.
pub(super) fn read(row: &Row<'_>, at: usize, moment: Moment) -> Result<Publish, StoreError> {
    let properties: Option<String> = row.get(at + 4)?;
    let properties = properties
        .map(|json| {
            serde_json::from_str(&json)
                .map_err(StoreError::from)
                .and_then(from_disk)
        })
        .transpose()?;
    let expires: Option<i64> = row.get(at + 3)?;
    let payload: Vec<u8> = row.get(at + 5)?;
    Ok(Publish {
        topic: ByteString::from(row.get::<_, String>(at)?),
        payload: Bytes::from(payload),
        qos: qos(row.get(at + 1)?)?,
        retain: row.get(at + 2)?,
        expires: expires.map(|ms| moment.instant_of(Timestamp::from_millis(ms))),
        properties: properties.map(Box::new),
    })
}

pub(super) fn qos(value: u8) -> Result<QoS, StoreError> {
    QoS::from_u8(value).ok_or_else(|| StoreError::Corrupt(format!("QoS {value}")))
}

/// What a message costs: its bytes on the wire, nearly.
pub(crate) fn weight(publish: &Publish) -> u64 {
    let properties = publish.properties.as_deref().map_or(0, |properties| {
        let user = properties.user_properties.iter();
        properties.content_type.as_ref().map_or(0, |text| text.len())
            + properties.response_topic.as_ref().map_or(0, |text| text.len())
            + properties.correlation_data.as_ref().map_or(0, Bytes::len)
            + user.map(|(name, value)| name.len() + value.len()).sum::<usize>()
    });
    (publish.topic.len() + publish.payload.len() + properties) as u64
}

fn to_disk(properties: &PublishProperties) -> Properties {
    let text = |text: &Option<ByteString>| text.as_ref().map(ToString::to_string);
    let pair = |(name, value): &(ByteString, ByteString)| (name.to_string(), value.to_string());
    Properties {
        payload_utf8: properties.payload_utf8,
        content_type: text(&properties.content_type),
        response_topic: text(&properties.response_topic),
        correlation_data: properties
            .correlation_data
            .as_ref()
            .map(|data| STANDARD.encode(data)),
        user: properties.user_properties.iter().map(pair).collect(),
    }
}

fn from_disk(stored: Properties) -> Result<PublishProperties, StoreError> {
    let correlation_data = stored
        .correlation_data
        .map(|text| STANDARD.decode(text))
        .transpose()
        .map_err(|error| StoreError::Corrupt(error.to_string()))?;
    Ok(PublishProperties {
        payload_utf8: stored.payload_utf8,
        content_type: stored.content_type.map(ByteString::from),
        response_topic: stored.response_topic.map(ByteString::from),
        correlation_data: correlation_data.map(Bytes::from),
        user_properties: stored
            .user
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
    })
}
