//! What the gateway and the HTTP API share: settings, client, secrets and rates.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::header::USER_AGENT;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use irsp_courier::Hop;
use irsp_courier::store::StoreError;
use irsp_protocol::{Domain, Id, Kind, Principal, Timestamp};
use ring::error::Unspecified;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::breaker::Standing;
use super::client::{self, Client};
use super::doorbell::Doorbell;
use super::endpoint::{Endpoint, Mode, SigningSecrets};
use super::event::Event;
use super::rate::Rates;
use super::seal::Seal;
use super::signature::{self, SigningSecret};
use super::target::{AddressRules, Target};
use crate::settings::ExternalSettings;
use crate::store::endpoint::StoredEndpoint;

/// What stands behind external applications, as all of the server shares it.
pub(crate) struct External {
    pub(crate) settings: ExternalSettings,
    pub(crate) domain: Domain,
    pub(crate) client: Client,
    pub(crate) rules: AddressRules,
    pub(crate) doorbell: Doorbell,
    seal: Seal,
    random: SystemRandom,
    rates: Mutex<Rates>,
    standings: Mutex<HashMap<Id, Standing>>,
}

impl External {
    pub(crate) fn new(settings: ExternalSettings, domain: Domain, seal: Seal) -> External {
        let rules = AddressRules {
            allowed: settings.addresses_allowed.clone(),
        };
        let limits = client::Limits {
            ca: settings.ca.clone(),
            answer_bytes_max: settings.answer_bytes_max,
            idle_connections: settings.concurrency,
        };
        External {
            client: Client::new(rules.clone(), &limits),
            rules,
            rates: Mutex::new(Rates::new(settings.rate_max)),
            settings,
            domain,
            seal,
            random: SystemRandom::new(),
            doorbell: Doorbell::default(),
            standings: Mutex::default(),
        }
    }

    /// Takes so many items of the application's rate, or says how long it has to wait.
    pub(crate) fn admit(&self, app: &Id, items: usize) -> Result<(), Duration> {
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.take(app, items, Instant::now())
    }

    pub(crate) fn make_secret(&self) -> Result<SigningSecret, Unspecified> {
        SigningSecret::make(&self.random)
    }

    /// A word nobody can guess.
    pub(crate) fn nonce(&self) -> Result<String, Unspecified> {
        let mut bytes = [0; 16];
        self.random.fill(&mut bytes)?;
        Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// A random number for jitter; without one there is none.
    pub(crate) fn dice(&self) -> u32 {
        let mut bytes = [0; 4];
        match self.random.fill(&mut bytes) {
            Ok(()) => u32::from_ne_bytes(bytes),
            Err(Unspecified) => u32::MAX,
        }
    }

    /// An endpoint from its row.
    pub(crate) fn read(&self, row: StoredEndpoint) -> Result<Endpoint, StoreError> {
        let corrupt = |what: &str| StoreError::Corrupt(format!("the endpoint of app/{}: {what}", row.app));
        let plain = self.seal.open(&row.app, &row.secrets);
        let plain = plain.map_err(|Unspecified| corrupt("its secrets are sealed with another hash.key"))?;
        Ok(Endpoint {
            target: Target::parse(&row.url).map_err(|error| corrupt(&error.to_string()))?,
            mode: Mode::parse(&row.mode).ok_or_else(|| corrupt("its mode"))?,
            secrets: SigningSecrets::from_json(&plain).ok_or_else(|| corrupt("its secrets"))?,
            app: row.app,
            confirmed: row.confirmed,
            paused: row.paused,
            presence: row.presence,
            created: row.created,
            modified: row.modified,
        })
    }

    /// The row of an endpoint.
    pub(crate) fn written(&self, endpoint: &Endpoint) -> Result<StoredEndpoint, StoreError> {
        let plain = endpoint.secrets.to_json()?;
        let sealed = self.seal.seal(&self.random, &endpoint.app, &plain);
        let no_random = |Unspecified| StoreError::Unavailable("the system gives no random bytes".to_owned());
        Ok(StoredEndpoint {
            app: endpoint.app.clone(),
            url: endpoint.target.to_string(),
            mode: endpoint.mode.as_str().to_owned(),
            confirmed: endpoint.confirmed,
            paused: endpoint.paused,
            presence: endpoint.presence,
            secrets: sealed.map_err(no_random)?,
            created: endpoint.created,
            modified: endpoint.modified,
        })
    }

    /// The headers of a request: the event's, the signature, and who sends it.
    pub(crate) fn signed(&self, endpoint: &Endpoint, id: &str, event: &Event, now: Timestamp) -> HeaderMap {
        let mut headers = event.headers.clone();
        let signature = signature::sign(endpoint.secrets.live(now), id, now, &event.body);
        for (name, value) in [
            (signature::ID, id.to_owned()),
            (signature::TIMESTAMP, signature::seconds(now).to_string()),
            (signature::SIGNATURE, signature),
            ("webhook-request-origin", self.domain.to_string()),
        ] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        let agent = HeaderValue::from_static(concat!("irsp/", env!("CARGO_PKG_VERSION")));
        headers.insert(USER_AGENT, agent);
        headers
    }

    /// How the breaker of an endpoint stands; closed while nothing was sent.
    pub(crate) fn standing(&self, app: &Id) -> Standing {
        let standings = self.standings.lock().unwrap_or_else(PoisonError::into_inner);
        standings.get(app).copied().unwrap_or(Standing::Closed)
    }

    pub(crate) fn set_standing(&self, app: &Id, standing: Standing) {
        let mut standings = self.standings.lock().unwrap_or_else(PoisonError::into_inner);
        if standings.insert(app.clone(), standing) != Some(standing) && standing == Standing::Open {
            tracing::warn!(%app, "its endpoint fails for several senders and is left alone for a while");
        }
    }
}

/// The hop of what waits for an external application's service.
pub(crate) fn hop(app: &Id) -> Hop {
    Hop::Principal(Principal::new(Kind::External, app.clone()))
}
