//! Settings as each role wants them: one function a role, so that nothing else knows both vocabularies.

use std::time::Duration;

use irsp_config::Settings;
use irsp_protocol::{Domain, Expiry};

use crate::failure::Failure;

pub(crate) fn domain(settings: &Settings) -> Result<Domain, Failure> {
    Domain::new(&settings.domain).map_err(|error| Failure::Domain {
        domain: settings.domain.clone(),
        reason: error.to_string(),
    })
}

pub(crate) fn account(settings: &Settings) -> Result<irsp_account::Settings, Failure> {
    Ok(irsp_account::Settings {
        data_dir: settings.data_dir.clone(),
        domain: domain(settings)?,
        token_lifetime: settings.account.token_lifetime,
        refresh_lifetime: settings.account.refresh_lifetime,
        reset_lifetime: settings.account.reset_lifetime,
        reset_unbinds: settings.account.reset_unbinds,
        effect_wait: settings.account.effect_wait,
        audit_retention: settings.account.audit_retention,
        operation_retention: settings.account.operation_retention,
        courier: courier(settings),
    })
}

pub(crate) fn appserver(settings: &Settings) -> Result<irsp_appserver::Settings, Failure> {
    let given = &settings.appserver;
    let defaults = irsp_appserver::Settings::new(settings.data_dir.clone(), domain(settings)?);
    Ok(irsp_appserver::Settings {
        uploads: irsp_appserver::Retention {
            age: (!given.uploads_age_max.is_zero()).then_some(given.uploads_age_max),
            count: (given.uploads_max != 0).then_some(given.uploads_max),
        },
        push: irsp_appserver::PushLimits {
            expiry: expiry(settings),
            data_bytes_max: size(given.push_size_max),
            wait_max: given.push_wait_max,
            ..defaults.push
        },
        external: external(&settings.external),
        streams_max: size(given.streams_max),
        courier: courier(settings),
        ..defaults
    })
}

fn external(given: &irsp_config::External) -> irsp_appserver::ExternalSettings {
    irsp_appserver::ExternalSettings {
        addresses_allowed: given.addresses_allowed.iter().collect(),
        ca: given.ca.clone(),
        timeout: given.timeout,
        answer_bytes_max: size(given.answer_bytes_max),
        concurrency: size(given.concurrency),
        retry: irsp_appserver::Backoff {
            min: given.retry_min,
            max: given.retry_max,
        },
        attempts_max: given.attempts_max,
        breaker_failures: size(given.breaker_failures),
        breaker: irsp_appserver::Backoff {
            min: given.breaker_min,
            max: given.breaker_max,
        },
        deliveries_max: given.deliveries_max,
        signature_tolerance: given.signature_tolerance,
        rate_max: given.rate_max,
        batch_max: size(given.batch_max),
        request_bytes_max: size(given.request_bytes_max),
    }
}

pub(crate) fn federation(settings: &Settings) -> irsp_broker::Federation {
    let peer = settings.files().peer();
    irsp_broker::Federation {
        listen: settings.federation.listen,
        certificate: peer.cert,
        key: peer.key,
        discovery: irsp_broker::Discovery {
            srv: settings.federation.discover_srv,
            well_known: settings.federation.discover_well_known,
            resolver: settings.federation.resolver,
            authorities: settings.federation.web_ca.clone(),
            web_port: None,
        },
        push_size_max: settings.appserver.push_size_max,
    }
}

pub(crate) fn broker(settings: &Settings) -> Result<irsp_broker::Settings, Failure> {
    let (mqtt, files) = (&settings.mqtt, settings.files());
    let server = files.server();
    Ok(irsp_broker::Settings {
        domain: domain(settings)?,
        data_dir: settings.data_dir.clone(),
        listeners: irsp_broker::Listeners {
            tcp: mqtt.tcp,
            tls: mqtt.tls,
            ws: mqtt.ws,
            wss: mqtt.wss,
            ws_path: mqtt.ws_path.clone(),
            proxies: mqtt.proxies.iter().collect(),
            certificate: server.cert,
            key: server.key,
            server_authorities: files.ca(),
            client_authorities: settings.tls.client_ca.clone(),
            revoked: settings.tls.client_crl.clone(),
        },
        federation: federation(settings),
        limits: irsp_broker::Limits {
            connections_max: size(mqtt.connections_max),
            connections_per_address_max: size(mqtt.connections_per_address_max),
            connections_per_principal_max: size(mqtt.connections_per_principal_max),
            connection_rate_max: mqtt.connection_rate_max,
            login_failures_free: mqtt.login_failures_free,
            login_delay: mqtt.login_delay,
            login_delay_max: mqtt.login_delay_max,
            publish_rate_max: mqtt.publish_rate_max,
            connect_timeout: mqtt.connect_timeout,
            packet_size_max: mqtt.packet_size_max,
            receive_max: mqtt.receive_max,
            inflight_max: mqtt.inflight_max,
            topic_alias_max: mqtt.topic_alias_max,
            keep_alive_max: mqtt.keep_alive_max,
            session_expiry_max: mqtt.session_expiry_max,
            queue_messages_max: size(mqtt.queue_messages_max),
            queue_bytes_max: mqtt.queue_bytes_max.into(),
            stored_messages_max: mqtt.stored_messages_max.into(),
            stored_bytes_max: mqtt.stored_bytes_max,
            subscriptions_max: size(mqtt.subscriptions_max),
            filter_bytes_max: size(mqtt.filter_bytes_max),
            filter_levels_max: size(mqtt.filter_levels_max),
            retained_max: size(mqtt.retained_max),
            retained_bytes_max: mqtt.retained_bytes_max,
            write_timeout: mqtt.write_timeout,
            stall_timeout: mqtt.stall_timeout,
        },
        presence_grace: mqtt.presence_grace,
        message_expiry: expiry(settings),
        courier: courier(settings),
    })
}

/// What a sender repeats ends at its expiry by its own clock; the receiver remembers it this much longer.
const CLOCKS_DISAGREE: Duration = Duration::from_secs(24 * 3600);

fn expiry(settings: &Settings) -> Expiry {
    Expiry {
        default: settings.courier.message_expiry,
        max: settings.courier.message_expiry_max,
    }
}

fn courier(settings: &Settings) -> irsp_courier::Settings {
    let given = &settings.courier;
    irsp_courier::Settings {
        server_window: size(given.server_window),
        principal_window: size(given.principal_window),
        retry_min: given.retry_min,
        retry_max: given.retry_max,
        receipt_retention: given.receipt_retention,
        receipts_max: given.receipts_max,
        failures_max: given.failures_max,
        dead_letter_retention: given.dead_letter_retention,
        seen_retention: given.message_expiry_max + CLOCKS_DISAGREE,
        seen_max: given.seen_max,
        bounds: irsp_courier::Bounds {
            principal: irsp_courier::Quota {
                messages_max: given.principal_messages_max,
                bytes_max: given.principal_bytes_max,
            },
            application: irsp_courier::Quota {
                messages_max: given.application_messages_max,
                bytes_max: given.application_bytes_max,
            },
            all: irsp_courier::Quota {
                messages_max: given.messages_max,
                bytes_max: given.bytes_max,
            },
        },
        ..irsp_courier::Settings::default()
    }
}

/// A number of things in memory; 32 bits always fit.
const fn size(number: u32) -> usize {
    number as usize
}
