//! The platform's HTTP API as the simulator uses it: registers the cast, resets and deletes, pushes, reads the truth.

use std::collections::HashMap;
use std::time::Duration;

use irsp_protocol::api::Problem;
use irsp_protocol::{MessageId, Secret, Timestamp};
use reqwest::{Client, Method, StatusCode, Url};
use serde_json::{Value, json};
use thiserror::Error;
use tokio::time::{Instant, sleep};

use crate::cast::{Cast, Role};
use crate::message::{self, Letter};
use crate::observation::{Number, Party, Print, Stored};
use crate::scenario::{Answers, Scenario};

/// How long one answer may take.
const WAIT: Duration = Duration::from_secs(60);
/// How long a change may take until every server acts on it.
const EFFECT_WAIT: Duration = Duration::from_secs(60);
/// Between two looks at an operation.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Devices registered at once.
const BULK: usize = 5_000;
/// Uploads read at once.
const PAGE: usize = 1_000;

/// Why the API could not be used.
#[derive(Debug, Error)]
pub enum ApiError {
    #[error("{0:?} is not http://host:port")]
    Url(String),
    #[error("the HTTP client could not be made: {0}")]
    Client(reqwest::Error),
    #[error("{what}: no answer: {error}")]
    Unreachable { what: String, error: reqwest::Error },
    #[error("{what}: answered {status}: {detail}")]
    Refused {
        what: String,
        status: StatusCode,
        detail: String,
    },
    #[error("{what}: the answer has no {field}")]
    Body { what: String, field: &'static str },
    #[error("{what}: not in effect within {EFFECT_WAIT:?}")]
    NoEffect { what: String },
}

/// The two HTTP doors and one credential.
#[derive(Clone, Debug)]
pub struct Api {
    client: Client,
    account: Url,
    app: Url,
    credential: Secret,
}

/// The secrets of the cast.
#[derive(Debug, Default)]
pub struct Secrets {
    /// Verification codes, the application's key, users' tokens.
    pub of: HashMap<Party, Secret>,
}

/// What a push over HTTP was answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PushAnswer {
    pub status: u16,
    pub mid: Option<MessageId>,
}

/// A principal's presence, as the application server says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    pub online: bool,
    /// Absent where the answer has none.
    pub epoch: Option<u64>,
    pub seq: Option<u64>,
    pub since: Option<Timestamp>,
}

impl Presence {
    fn read(body: &Value) -> Option<Presence> {
        Some(Presence {
            online: body["state"].as_str()? == "online",
            epoch: body["epoch"].as_u64(),
            seq: body["seq"].as_u64(),
            since: serde_json::from_value(body["since"].clone()).ok(),
        })
    }
}

impl Api {
    /// `app` is the application server's HTTP, where it is not the account server's.
    pub fn new(account: &str, app: Option<&str>, credential: Secret) -> Result<Api, ApiError> {
        let url = |text: &str| {
            let wrong = || ApiError::Url(text.to_owned());
            let url = Url::parse(text).map_err(|_| wrong())?;
            if url.scheme() == "http" && url.has_host() && url.query().is_none() {
                Ok(url)
            } else {
                Err(wrong())
            }
        };
        let account = url(account)?;
        Ok(Api {
            client: Client::builder()
                .timeout(WAIT)
                .build()
                .map_err(ApiError::Client)?,
            app: app.map_or_else(|| Ok(account.clone()), url)?,
            account,
            credential,
        })
    }

    /// The same API with another credential.
    pub fn with(&self, credential: Secret) -> Api {
        Api {
            credential,
            ..self.clone()
        }
    }

    /// Registers the whole cast: the application, devices, users, bindings.
    pub async fn provision(&self, scenario: &Scenario, cast: &Cast) -> Result<Secrets, ApiError> {
        let mut secrets = Secrets::default();
        for (party, member) in cast.parties() {
            if member.role == Role::App {
                let made = self
                    .change(
                        Method::POST,
                        "v1/apps",
                        json!({"id": member.principal.id.as_str()}),
                    )
                    .await?;
                secrets.of.insert(party, secret(&made, "key")?);
            }
        }
        for (kind, devices) in scenario.devices.iter().enumerate() {
            let parties = cast.devices(Some(kind));
            for chunk in parties.chunks(BULK) {
                let ids: Vec<&str> = chunk
                    .iter()
                    .map(|party| cast.member(*party).principal.id.as_str())
                    .collect();
                let answers = match devices.answers {
                    Answers::Ack => "ack",
                    Answers::Mqtt => "mqtt",
                };
                let body = json!({"ids": ids, "answers": answers});
                let made = self.change(Method::POST, "v1/devices/bulk", body).await?;
                let made = made["devices"]
                    .as_array()
                    .ok_or_else(|| missing("v1/devices/bulk", "devices"))?;
                for device in made {
                    let id = device["id"]
                        .as_str()
                        .ok_or_else(|| missing("v1/devices/bulk", "id"))?;
                    if let Some(party) = cast.find(&format!("dev/{id}")) {
                        secrets.of.insert(party, secret(device, "code")?);
                    }
                }
            }
        }
        for (party, member) in cast.parties() {
            let Role::User { devices } = &member.role else {
                continue;
            };
            let id = member.principal.id.as_str();
            let password = format!("{:032x}", rand::random::<u128>());
            self.change(Method::POST, "v1/users", json!({"id": id, "password": password}))
                .await?;
            let login = self
                .call(
                    &self.account,
                    Method::POST,
                    "v1/login",
                    Some(json!({"id": id, "password": password})),
                )
                .await?;
            let token = secret(&login, "token")?;
            let user = self.with(token.clone());
            for device in devices {
                let code = secrets
                    .of
                    .get(device)
                    .ok_or_else(|| missing("v1/bindings", "code"))?;
                let body =
                    json!({"device": cast.member(*device).principal.id.as_str(), "code": code.expose()});
                user.change(Method::POST, "v1/bindings", body).await?;
            }
            secrets.of.insert(party, token);
        }
        Ok(secrets)
    }

    /// Deletes the cast.
    pub async fn clean(&self, cast: &Cast) -> Result<(), ApiError> {
        for (_, member) in cast.parties() {
            let id = member.principal.id.as_str();
            let path = match member.role {
                Role::App => format!("v1/apps/{id}"),
                Role::Device { .. } => format!("v1/devices/{id}"),
                Role::User { .. } => format!("v1/users/{id}"),
            };
            match self.call(&self.account, Method::DELETE, &path, None).await {
                Ok(_) => {}
                // Deleted by the scenario itself.
                Err(ApiError::Refused { status, .. }) if matches!(status.as_u16(), 404 | 410) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Resets a device's code, and returns the new one once the reset is in effect.
    pub async fn reset(&self, device: &str) -> Result<Secret, ApiError> {
        let made = self
            .change(Method::POST, &format!("v1/devices/{device}/reset"), json!({}))
            .await?;
        secret(&made, "code")
    }

    /// Deletes a device; returns once the deletion is in effect.
    pub async fn delete(&self, device: &str) -> Result<(), ApiError> {
        let path = format!("v1/devices/{device}");
        let made = self.call(&self.account, Method::DELETE, &path, None).await?;
        self.effect(&path, &made).await
    }

    /// Pushes; a refusal is an answer too.
    pub async fn push(&self, body: Value) -> Result<PushAnswer, ApiError> {
        let what = || "v1/push".to_owned();
        let request = self.client.request(Method::POST, join(&self.app, "v1/push"));
        let answer = request
            .bearer_auth(self.credential.expose())
            .json(&body)
            .send()
            .await;
        let answer = answer.map_err(|error| ApiError::Unreachable { what: what(), error })?;
        let status = answer.status().as_u16();
        // A body that is none leaves the push without an id.
        let body: Value = answer.json().await.unwrap_or(Value::Null);
        let mid = body["id"].as_str().and_then(|id| id.parse().ok());
        Ok(PushAnswer { status, mid })
    }

    /// The receipt of a message.
    pub async fn receipt(&self, mid: &str) -> Result<Value, ApiError> {
        self.call(&self.app, Method::GET, &format!("v1/messages/{mid}"), None)
            .await
    }

    /// The newest receipts of a principal.
    pub async fn receipts(&self, principal: &str) -> Result<Vec<Value>, ApiError> {
        let path = format!("v1/messages?principal={principal}&limit=1000&order=desc");
        let page = self.call(&self.app, Method::GET, &path, None).await?;
        Ok(page["messages"]
            .as_array()
            .or(page["items"].as_array())
            .cloned()
            .unwrap_or_default())
    }

    /// What the application server says of this principal's presence; `None` before it has heard of it, and once it is
    /// deleted.
    pub async fn presence(&self, principal: &str) -> Result<Option<Presence>, ApiError> {
        let path = format!("v1/presence/{principal}");
        match self.call(&self.app, Method::GET, &path, None).await {
            Ok(body) => Ok(Presence::read(&body)),
            Err(ApiError::Refused {
                status: StatusCode::NOT_FOUND | StatusCode::GONE,
                ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What of `run` the application of the cast has stored behind `after`.
    pub async fn stored(
        &self,
        cast: &Cast,
        app: &str,
        run: &str,
        mut after: u64,
    ) -> Result<(u64, Vec<Stored>), ApiError> {
        let mut found = Vec::new();
        loop {
            let path = format!("v1/apps/{app}/uploads?after={after}&limit={PAGE}&order=asc");
            let page = self.call(&self.app, Method::GET, &path, None).await?;
            let uploads = page["uploads"]
                .as_array()
                .ok_or_else(|| missing("uploads", "uploads"))?;
            let before = after;
            for upload in uploads {
                after = after.max(upload["seq"].as_u64().unwrap_or(0));
                found.extend(stored(cast, run, upload));
            }
            if uploads.is_empty() || after == before {
                return Ok((after, found));
            }
        }
    }

    /// A change, made and in effect.
    async fn change(&self, method: Method, path: &str, body: Value) -> Result<Value, ApiError> {
        let made = self.call(&self.account, method, path, Some(body)).await?;
        self.effect(path, &made).await?;
        Ok(made)
    }

    async fn effect(&self, path: &str, made: &Value) -> Result<(), ApiError> {
        let Some(operation) = made["operation"]
            .as_u64()
            .filter(|_| made["in_effect"] == json!(false))
        else {
            return Ok(());
        };
        let deadline = Instant::now() + EFFECT_WAIT;
        while Instant::now() < deadline {
            sleep(LOOK_AGAIN).await;
            let path = format!("v1/operations/{operation}");
            if self.call(&self.account, Method::GET, &path, None).await?["in_effect"] == json!(true) {
                return Ok(());
            }
        }
        Err(ApiError::NoEffect {
            what: path.to_owned(),
        })
    }

    async fn call(
        &self,
        base: &Url,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, ApiError> {
        let what = || path.split('?').next().unwrap_or(path).to_owned();
        let mut request = self
            .client
            .request(method, join(base, path))
            .bearer_auth(self.credential.expose());
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request
            .send()
            .await
            .map_err(|error| ApiError::Unreachable { what: what(), error })?;
        let status = answer.status();
        if status.is_success() {
            let body = answer.json().await;
            return body.map_err(|error| ApiError::Unreachable { what: what(), error });
        }
        let detail = match answer.json::<Problem>().await {
            Ok(problem) => problem.detail,
            Err(_) => "no further detail".to_owned(),
        };
        Err(ApiError::Refused {
            what: what(),
            status,
            detail,
        })
    }
}

fn join(base: &Url, path: &str) -> String {
    format!("{}/{path}", base.as_str().trim_end_matches('/'))
}

fn missing(what: &str, field: &'static str) -> ApiError {
    ApiError::Body {
        what: what.to_owned(),
        field,
    }
}

fn secret(body: &Value, field: &'static str) -> Result<Secret, ApiError> {
    body[field]
        .as_str()
        .map(Secret::new)
        .ok_or_else(|| missing("the answer", field))
}

/// An upload of this run; others are nobody's business here.
fn stored(cast: &Cast, run: &str, upload: &Value) -> Option<Stored> {
    let Letter::Ours(n, data) = message::read_value(run, upload.get("data")?) else {
        return None;
    };
    Some(Stored {
        seq: upload["seq"].as_u64()?,
        message: Number(n),
        source: upload["source"]
            .as_str()
            .and_then(|source| cast.find(source.split('@').next().unwrap_or(source))),
        mid: upload["id"].as_str().and_then(|id| id.parse().ok()),
        print: Print {
            data,
            channel: message::print(upload["channel"].as_str().unwrap_or_default()),
        },
    })
}
