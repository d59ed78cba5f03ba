//! What a value must be beyond its type, and what values must be to each other.

use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;

use crate::duration;
use crate::settings::Settings;

/// A value that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{key}: {reason}")]
pub struct Invalid {
    pub key: &'static str,
    pub reason: String,
}

impl Settings {
    /// Checks every rule that a type cannot carry; the first one broken is named.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.check_names()?;
        self.check_listeners()?;
        self.check_limits()?;
        self.check_durations()
    }

    fn check_names(&self) -> Result<(), Invalid> {
        require(
            "domain",
            is_host_name(&self.domain),
            "not a host name in lower case, such as home.example",
        )?;
        require(
            "data_dir",
            !self.data_dir.as_os_str().is_empty(),
            "empty: name a directory",
        )?;
        let path = &self.mqtt.ws_path;
        let plain = path
            .bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#'));
        require(
            "mqtt.ws_path",
            path.starts_with('/') && plain,
            "not a path: write it as \"/mqtt\"",
        )?;
        require(
            "bus.url",
            self.bus.address().is_some(),
            "not a bus address: write mqtts://host:port",
        )?;
        require(
            "tls.key",
            self.tls.cert.is_some() == self.tls.key.is_some(),
            "set tls.cert and tls.key together",
        )?;
        require(
            "bus.key",
            self.bus.cert.is_some() == self.bus.key.is_some(),
            "set bus.cert and bus.key together",
        )?;
        require(
            "federation.key",
            self.federation.cert.is_some() == self.federation.key.is_some(),
            "set federation.cert and federation.key together",
        )?;
        let own_ca = self.tls.ca.is_some() && self.federation.listen.is_some();
        require(
            "federation.cert",
            !own_ca || self.federation.cert.is_some(),
            "with an own tls.ca, set federation.cert to what this domain shows to others",
        )?;
        let own_without_ca = self.tls.cert.is_some() && self.tls.ca.is_none();
        require(
            "tls.ca",
            !own_without_ca,
            "with an own tls.cert, set tls.ca to the CA that roles are checked against",
        )?;
        require(
            "log.level",
            !self.log.level.trim().is_empty(),
            "empty: write error, warn, info, debug or trace",
        )
    }

    /// Two listeners of one process cannot share a port.
    fn check_listeners(&self) -> Result<(), Invalid> {
        let mqtt = self.mqtt_listeners();
        require(
            "mqtt.tcp",
            !mqtt.is_empty(),
            "mqtt.tcp, tls, ws and wss are all off: turn one on",
        )?;
        let mut taken: Vec<(&str, SocketAddr)> = Vec::new();
        let metrics = self.metrics.listen.map(|address| ("metrics.listen", address));
        let http = [("http.listen", self.http.listen)].into_iter().chain(metrics);
        let http = http.chain(self.federation_listener());
        for (key, address) in mqtt.into_iter().chain(http) {
            let other = taken
                .iter()
                .find(|(_, taken)| address.port() != 0 && *taken == address);
            if let Some((other, _)) = other {
                return Err(Invalid {
                    key,
                    reason: format!("{other} has the same address: give each its own port"),
                });
            }
            taken.push((key, address));
        }
        Ok(())
    }

    /// The MQTT listeners that are on, each with its key.
    pub fn mqtt_listeners(&self) -> Vec<(&'static str, SocketAddr)> {
        let mqtt = &self.mqtt;
        [
            ("mqtt.tcp", mqtt.tcp),
            ("mqtt.tls", mqtt.tls),
            ("mqtt.ws", mqtt.ws),
            ("mqtt.wss", mqtt.wss),
        ]
        .into_iter()
        .filter_map(|(key, address)| Some((key, address?)))
        .collect()
    }

    /// The listener for other domains, if it is on, with its key.
    pub fn federation_listener(&self) -> Option<(&'static str, SocketAddr)> {
        Some(("federation.listen", self.federation.listen?))
    }

    fn check_limits(&self) -> Result<(), Invalid> {
        let mqtt = &self.mqtt;
        // 268,435,455 is the longest remaining length [MQTT-1.5.5]; under a kibibyte no CONNECT fits.
        within("mqtt.packet_size_max", mqtt.packet_size_max, 1_024, 268_435_455)?;
        within("mqtt.receive_max", mqtt.receive_max.into(), 1, 65_535)?;
        within("mqtt.connections_max", mqtt.connections_max, 1, 10_000_000)?;
        within(
            "mqtt.connections_per_address_max",
            mqtt.connections_per_address_max,
            1,
            10_000_000,
        )?;
        within(
            "mqtt.connections_per_principal_max",
            mqtt.connections_per_principal_max,
            1,
            10_000_000,
        )?;
        within(
            "mqtt.connection_rate_max",
            mqtt.connection_rate_max,
            1,
            10_000_000,
        )?;
        within("mqtt.publish_rate_max", mqtt.publish_rate_max, 1, 1_000_000_000)?;
        // A filter for an own topic is not to be refused.
        within("mqtt.filter_bytes_max", mqtt.filter_bytes_max, 128, 65_535)?;
        within("mqtt.filter_levels_max", mqtt.filter_levels_max, 8, 65_535)?;
        within("mqtt.queue_messages_max", mqtt.queue_messages_max, 1, 10_000_000)?;
        within("mqtt.queue_bytes_max", mqtt.queue_bytes_max, 1_024, u32::MAX)?;
        within(
            "mqtt.stored_messages_max",
            mqtt.stored_messages_max,
            1,
            100_000_000,
        )?;
        within("mqtt.inflight_max", mqtt.inflight_max.into(), 1, 65_535)?;
        within("mqtt.retained_max", mqtt.retained_max, 1, 100_000_000)?;
        within(
            "appserver.push_size_max",
            self.appserver.push_size_max,
            1,
            16_000_000,
        )?;
        within("appserver.streams_max", self.appserver.streams_max, 1, 1_000_000)?;
        let external = &self.external;
        for (key, value, most) in [
            ("external.answer_bytes_max", external.answer_bytes_max, 16_000_000),
            ("external.concurrency", external.concurrency, 10_000),
            ("external.attempts_max", external.attempts_max, 1_000_000),
            ("external.breaker_failures", external.breaker_failures, 10_000),
            ("external.deliveries_max", external.deliveries_max, 1_000_000),
            ("external.rate_max", external.rate_max, 10_000_000),
            ("external.batch_max", external.batch_max, 100_000),
            (
                "external.request_bytes_max",
                external.request_bytes_max,
                256_000_000,
            ),
        ] {
            within(key, value, 1, most)?;
        }
        within("courier.failures_max", self.courier.failures_max, 1, 1_000_000)?;
        for (key, value) in [
            ("courier.receipts_max", self.courier.receipts_max),
            ("courier.seen_max", self.courier.seen_max),
            (
                "courier.principal_messages_max",
                self.courier.principal_messages_max,
            ),
            ("courier.principal_bytes_max", self.courier.principal_bytes_max),
            (
                "courier.application_messages_max",
                self.courier.application_messages_max,
            ),
            (
                "courier.application_bytes_max",
                self.courier.application_bytes_max,
            ),
            ("courier.messages_max", self.courier.messages_max),
            ("courier.bytes_max", self.courier.bytes_max),
        ] {
            // More than a database can number is a slip.
            require(key, (1..=1 << 62).contains(&value), "must be from 1 to 2^62")?;
        }
        within("courier.server_window", self.courier.server_window, 1, 65_535)?;
        within(
            "courier.principal_window",
            self.courier.principal_window,
            1,
            65_535,
        )?;
        within("mqtt.subscriptions_max", mqtt.subscriptions_max, 1, 1_000_000)
    }

    fn check_durations(&self) -> Result<(), Invalid> {
        let second = Duration::from_secs(1);
        let day = Duration::from_secs(86_400);
        // The wire has 16 bits of seconds for keep-alive and 32 for session expiry.
        let keep_alive_end = Duration::from_secs(u16::MAX.into());
        let expiry_end = Duration::from_secs(u32::MAX.into());
        for (key, value, least, most) in [
            (
                "mqtt.connect_timeout",
                self.mqtt.connect_timeout,
                Duration::from_millis(100),
                second * 300,
            ),
            (
                "mqtt.keep_alive_max",
                self.mqtt.keep_alive_max,
                second,
                keep_alive_end,
            ),
            (
                "mqtt.session_expiry_max",
                self.mqtt.session_expiry_max,
                Duration::ZERO,
                expiry_end,
            ),
            (
                "mqtt.write_timeout",
                self.mqtt.write_timeout,
                Duration::from_millis(100),
                second * 3_600,
            ),
            (
                "mqtt.presence_grace",
                self.mqtt.presence_grace,
                Duration::ZERO,
                day,
            ),
            (
                "account.token_lifetime",
                self.account.token_lifetime,
                second,
                day * 365,
            ),
            (
                "account.refresh_lifetime",
                self.account.refresh_lifetime,
                second,
                day * 3_650,
            ),
            (
                "account.reset_lifetime",
                self.account.reset_lifetime,
                second,
                day * 365,
            ),
            (
                "account.effect_wait",
                self.account.effect_wait,
                Duration::ZERO,
                second * 60,
            ),
            (
                "account.audit_retention",
                self.account.audit_retention,
                Duration::ZERO,
                day * 3_650,
            ),
            // A repeat under an Idempotency-Key is answered with its operation for a day.
            (
                "account.operation_retention",
                self.account.operation_retention,
                day,
                day * 3_650,
            ),
            (
                "courier.message_expiry",
                self.courier.message_expiry,
                second,
                day * 3_650,
            ),
            (
                "courier.message_expiry_max",
                self.courier.message_expiry_max,
                second,
                day * 3_650,
            ),
            (
                "courier.receipt_retention",
                self.courier.receipt_retention,
                second,
                day * 3_650,
            ),
            (
                "courier.dead_letter_retention",
                self.courier.dead_letter_retention,
                second,
                day * 3_650,
            ),
            (
                "external.timeout",
                self.external.timeout,
                Duration::from_millis(100),
                second * 300,
            ),
            (
                "external.retry_min",
                self.external.retry_min,
                Duration::from_millis(10),
                day,
            ),
            (
                "external.retry_max",
                self.external.retry_max,
                self.external.retry_min,
                day,
            ),
            (
                "external.breaker_min",
                self.external.breaker_min,
                Duration::from_millis(10),
                day,
            ),
            (
                "external.breaker_max",
                self.external.breaker_max,
                self.external.breaker_min,
                day,
            ),
            (
                "external.signature_tolerance",
                self.external.signature_tolerance,
                second,
                day,
            ),
            (
                "stop.deadline",
                self.stop.deadline,
                Duration::from_millis(100),
                second * 600,
            ),
        ] {
            let reason = format!(
                "must be from {} to {}",
                duration::format(least),
                duration::format(most)
            );
            require(key, (least..=most).contains(&value), &reason)?;
        }
        require(
            "courier.message_expiry",
            self.courier.message_expiry <= self.courier.message_expiry_max,
            "must not be above courier.message_expiry_max",
        )
    }
}

impl crate::Bus {
    /// Host and port of `mqtts://host:port`; no user, path or query, because the certificate says who we are,
    /// and no IPv6 literal, because the MQTT client takes none (a host name may have such an address).
    pub fn address(&self) -> Option<(String, u16)> {
        let rest = self.url.strip_prefix("mqtts://")?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = rest.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let host = Some(host).filter(|host| is_host_name(&host.to_ascii_lowercase()))?;
        Some((host.to_owned(), port))
    }
}

fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

fn within(key: &'static str, value: u32, least: u32, most: u32) -> Result<(), Invalid> {
    require(
        key,
        (least..=most).contains(&value),
        &format!("must be from {least} to {most}"),
    )
}

fn require(key: &'static str, holds: bool, reason: &str) -> Result<(), Invalid> {
    if holds {
        Ok(())
    } else {
        Err(Invalid {
            key,
            reason: reason.to_owned(),
        })
    }
}
