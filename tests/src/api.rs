//! The HTTP API as a client of it sees it: one caller, whichever server answers.

use anyhow::{Context as _, Result, ensure};
use reqwest::{Client, Method};
use serde_json::{Value, json};

/// What an HTTP request was answered with.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub status: u16,
    /// JSON, or null where the body is none.
    pub body: Value,
}

/// Somebody who calls the API with one credential.
#[derive(Clone, Debug)]
pub struct Api {
    client: Client,
    account: String,
    app: String,
    credential: String,
}

impl Api {
    /// `account` and `app` are the addresses of the two servers' HTTP listeners; one process has one for both.
    pub(crate) fn new(account: String, app: String) -> Api {
        Api {
            client: Client::new(),
            account,
            app,
            credential: String::new(),
        }
    }

    /// The same API, called with this bearer token or key.
    pub fn with(&self, credential: &str) -> Api {
        Api {
            credential: credential.to_owned(),
            ..self.clone()
        }
    }

    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.call(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Result<Answer> {
        self.call(Method::POST, path, Some(body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Result<Answer> {
        self.call(Method::PATCH, path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Result<Answer> {
        self.call(Method::DELETE, path, None).await
    }

    /// A response whose body is still to come: for streams.
    pub async fn open(&self, path: &str) -> Result<reqwest::Response> {
        Ok(self.request(Method::GET, path).send().await?.error_for_status()?)
    }

    /// Registers a device and returns its verification code.
    pub async fn register_device(&self, id: &str) -> Result<String> {
        self.register_device_with(json!({ "id": id })).await
    }

    /// Registers a device with more than an id, and returns its verification code.
    pub async fn register_device_with(&self, device: Value) -> Result<String> {
        let made = self.post("/v1/devices", device).await?;
        made.secret("code")
    }

    /// Registers an application that hears everyone and pushes to everyone, and returns its key.
    pub async fn register_application(&self, id: &str) -> Result<String> {
        self.register_application_with(json!({ "id": id })).await
    }

    /// Registers an application with its grants, and returns its key.
    pub async fn register_application_with(&self, application: Value) -> Result<String> {
        let made = self.post("/v1/apps", application).await?;
        made.secret("key")
    }

    /// Registers a user, logs in and returns the token.
    pub async fn register_user(&self, id: &str) -> Result<String> {
        let password = format!("{id}'s long password");
        let made = self
            .post("/v1/users", json!({ "id": id, "password": password }))
            .await?;
        made.in_effect()?;
        let login = self
            .post("/v1/login", json!({ "id": id, "password": password }))
            .await?;
        login.text("token")
    }

    /// Binds a device to the caller.
    pub async fn bind(&self, device: &str, code: &str) -> Result<()> {
        self.post("/v1/bindings", json!({ "device": device, "code": code }))
            .await?
            .in_effect()
    }

    /// What an application has stored, oldest first.
    pub async fn uploads(&self, app: &str) -> Result<Vec<Value>> {
        let mut found = Vec::new();
        let mut path = format!("/v1/apps/{app}/uploads?limit=1000");
        loop {
            let page = self.get(&path).await?;
            ensure!(page.status == 200, "{page:?}");
            found.extend(page.body["uploads"].as_array().context("no uploads")?.clone());
            match page.body["next"].as_u64() {
                Some(next) => path = format!("/v1/apps/{app}/uploads?limit=1000&after={next}"),
                None => return Ok(found),
            }
        }
    }

    /// What the application server knows of a principal's presence; null before it has heard of it.
    pub async fn presence(&self, principal: &str) -> Result<Value> {
        let answer = self.get(&format!("/v1/presence/{principal}")).await?;
        Ok(if answer.status == 200 {
            answer.body
        } else {
            Value::Null
        })
    }

    /// The receipt of a message.
    pub async fn receipt(&self, id: &str) -> Result<Value> {
        let answer = self.get(&format!("/v1/messages/{id}")).await?;
        ensure!(answer.status == 200, "{answer:?}");
        Ok(answer.body)
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Answer> {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.with_context(|| path.to_owned())?;
        let status = response.status().as_u16();
        let bytes = response.bytes().await?;
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Ok(Answer { status, body })
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let base = if is_of_the_application_server(path) {
            &self.app
        } else {
            &self.account
        };
        let request = self.client.request(method, format!("{base}{path}"));
        if self.credential.is_empty() {
            request
        } else {
            request.bearer_auth(&self.credential)
        }
    }
}

fn is_of_the_application_server(path: &str) -> bool {
    let named = [
        "/v1/push",
        "/v1/presence",
        "/v1/message",
        "/v1/ledger",
        "/v1/dead-letters",
    ];
    named.iter().any(|start| path.starts_with(start))
        || (path.starts_with("/v1/apps/") && (path.contains("/uploads") || path.contains("/latest")))
}

impl Answer {
    /// A text of the body.
    pub fn text(&self, field: &str) -> Result<String> {
        let text = self.body[field].as_str();
        Ok(text.with_context(|| format!("no {field}: {self:?}"))?.to_owned())
    }

    /// The change has been made and every server acts on it.
    pub fn in_effect(&self) -> Result<()> {
        ensure!(self.body["in_effect"] == true, "not in effect: {self:?}");
        Ok(())
    }

    /// The secret that a change made; the change is in effect.
    pub fn secret(&self, field: &str) -> Result<String> {
        self.in_effect()?;
        self.text(field)
    }
}
