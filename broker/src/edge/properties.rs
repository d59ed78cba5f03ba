//! What an MQTT 5 publish says of itself in user properties, under CloudEvents attribute names.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use irsp_protocol::options::{self, ONLY_IF_EPOCH, OptionError, SUPERSEDE_KEY};
use irsp_protocol::{MessageKind, PushOptions, Timestamp};
use irsp_session::PublishProperties;
use thiserror::Error;

use crate::topics::{CORRELATION_DATA, RESPONSE_TOPIC};

/// Why a property is not understood.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum PropertyError {
    #[error("{0} is not a time such as 2026-01-31T12:00:00Z")]
    Time(&'static str),
    #[error("{0} stands there twice")]
    Twice(&'static str),
    #[error("{0} is an option of a push")]
    NotAPush(&'static str),
    #[error(transparent)]
    Option(#[from] OptionError),
}

/// What was given; everything else is the server's to say.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) sender_id: Option<String>,
    pub(super) time: Option<Timestamp>,
    pub(super) expires: Option<Timestamp>,
    pub(super) options: PushOptions,
    pub(super) content_type: Option<String>,
    /// Properties without a meaning of their own, in order.
    pub(super) attributes: Vec<(String, String)>,
}

impl Given {
    pub(super) fn read(kind: MessageKind, properties: &PublishProperties) -> Result<Given, PropertyError> {
        let mut given = Given {
            content_type: properties.content_type.as_ref().map(ToString::to_string),
            ..Given::default()
        };
        for (name, value) in &properties.user_properties {
            given.property(kind, name, value)?;
        }
        if let Some(topic) = &properties.response_topic {
            given
                .attributes
                .push((RESPONSE_TOPIC.to_owned(), topic.to_string()));
        }
        if let Some(data) = &properties.correlation_data {
            given
                .attributes
                .push((CORRELATION_DATA.to_owned(), STANDARD.encode(data)));
        }
        Ok(given)
    }

    fn property(&mut self, kind: MessageKind, name: &str, value: &str) -> Result<(), PropertyError> {
        let push = |name| {
            if kind == MessageKind::Push {
                Ok(())
            } else {
                Err(PropertyError::NotAPush(name))
            }
        };
        match name {
            "id" => once("id", &mut self.sender_id, options::sender_id(value)?),
            "time" => once("time", &mut self.time, time("time", value)?),
            "expirytime" => once("expirytime", &mut self.expires, time("expirytime", value)?),
            SUPERSEDE_KEY => {
                push(SUPERSEDE_KEY)?;
                once(SUPERSEDE_KEY, &mut self.options.supersede_key, value.parse()?)
            }
            ONLY_IF_EPOCH => {
                push(ONLY_IF_EPOCH)?;
                once(ONLY_IF_EPOCH, &mut self.options.only_if_epoch, value.parse()?)
            }
            // Who sent it is not the sender's to say.
            "source" => Ok(()),
            _ => {
                self.attributes.push((name.to_owned(), value.to_owned()));
                Ok(())
            }
        }
    }
}

fn once<T>(name: &'static str, place: &mut Option<T>, value: T) -> Result<(), PropertyError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(PropertyError::Twice(name)),
    }
}

fn time(name: &'static str, value: &str) -> Result<Timestamp, PropertyError> {
    value.parse().map_err(|_| PropertyError::Time(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(kind: MessageKind, properties: &[(&str, &str)]) -> Result<Given, PropertyError> {
        let user_properties = properties
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect();
        Given::read(
            kind,
            &PublishProperties {
                user_properties,
                ..PublishProperties::default()
            },
        )
    }

    #[test]
    fn a_push_has_options() {
        let given = given(
            MessageKind::Push,
            &[
                ("supersedekey", "power"),
                ("onlyifepoch", "3"),
                ("expirytime", "2026-01-31T12:00:00Z"),
                ("id", "17"),
                ("source", "app/somebody"),
                ("unit", "C"),
                ("unit", "K"),
            ],
        )
        .unwrap();
        assert_eq!(given.options.supersede_key.unwrap().as_str(), "power");
        assert_eq!(given.options.only_if_epoch.unwrap().get(), 3);
        assert_eq!(given.expires, Some("2026-01-31T12:00:00Z".parse().unwrap()));
        assert_eq!(given.sender_id.as_deref(), Some("17"));
        let units = [("unit".into(), "C".into()), ("unit".into(), "K".into())];
        assert_eq!(given.attributes, units);
    }

    #[test]
    fn every_wrong_property_is_named() {
        let longest = "x".repeat(options::KEY_LEN_MAX + 1);
        for (name, value, error) in [
            ("id", "", PropertyError::Option(OptionError::SenderId)),
            ("id", "a\nb", PropertyError::Option(OptionError::SenderId)),
            ("time", "noon", PropertyError::Time("time")),
            ("expirytime", "60", PropertyError::Time("expirytime")),
            (
                "supersedekey",
                longest.as_str(),
                PropertyError::Option(OptionError::SupersedeKey),
            ),
            ("onlyifepoch", "0", PropertyError::Option(OptionError::Epoch)),
            ("onlyifepoch", "now", PropertyError::Option(OptionError::Epoch)),
        ] {
            assert_eq!(
                given(MessageKind::Push, &[(name, value)]).unwrap_err(),
                error,
                "{name}={value}"
            );
        }
        let twice = given(MessageKind::Push, &[("id", "1"), ("id", "1")]);
        assert_eq!(twice.unwrap_err(), PropertyError::Twice("id"));
        for (name, value) in [("supersedekey", "power"), ("onlyifepoch", "3")] {
            let upload = given(MessageKind::Upload, &[(name, value)]);
            assert!(matches!(upload, Err(PropertyError::NotAPush(_))), "{name}");
        }
    }
}
