//! The principals of one run: named `conform-{run}-{n}`, so that an operator sees whose they are, and deleted at the end.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use devicesim::link::{Broken, Dialer};
use devicesim::options::MqttVersion;
use irsp_protocol::Secret;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::client::{Client, Connecting};
use crate::http::{Answer, Api};
use crate::trouble::Trouble;

use super::LOOK_AGAIN;

pub(crate) struct Cast {
    /// Called by the admin.
    pub(crate) admin: Api,
    dialer: Dialer,
    run: String,
    patience: Duration,
    count: AtomicU32,
    /// Paths of what is to be deleted, oldest first.
    made: Mutex<Vec<String>>,
}

/// Somebody who can log in.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// `dev/...`, `usr/...` or `app/...`.
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) secret: Secret,
    /// The API with this one's credential; a device has none there.
    pub(crate) http: Api,
}

impl Member {
    /// A topic below its own.
    pub(crate) fn topic(&self, below: &str) -> String {
        format!("v1/{}/{below}", self.name)
    }
}

impl Cast {
    pub(crate) fn new(admin: Api, dialer: Dialer, run: String, patience: Duration) -> Cast {
        Cast {
            admin,
            dialer,
            run,
            patience,
            count: AtomicU32::new(0),
            made: Mutex::default(),
        }
    }

    /// A name nobody has.
    pub(crate) fn fresh(&self) -> String {
        format!(
            "conform-{}-{}",
            self.run,
            self.count.fetch_add(1, Ordering::Relaxed)
        )
    }

    pub(crate) async fn device(&self) -> Result<Member, Trouble> {
        self.device_with(json!({})).await
    }

    pub(crate) async fn device_with(&self, fields: Value) -> Result<Member, Trouble> {
        self.register("dev", "/v1/devices", "code", fields).await
    }

    /// Hears, pushes to and messages everyone.
    pub(crate) async fn application(&self) -> Result<Member, Trouble> {
        self.application_with(json!({})).await
    }

    pub(crate) async fn application_with(&self, fields: Value) -> Result<Member, Trouble> {
        self.register("app", "/v1/apps", "key", fields).await
    }

    async fn register(
        &self,
        kind: &str,
        path: &str,
        secret: &str,
        mut fields: Value,
    ) -> Result<Member, Trouble> {
        let id = self.fresh();
        fields["id"] = json!(id);
        let made = self.admin.post(path, fields).await?.is(&[201, 202])?;
        self.remember(format!("{path}/{id}"));
        let made = self.in_effect(made).await?;
        let secret = Secret::new(made.text(secret)?);
        Ok(Member {
            name: format!("{kind}/{id}"),
            http: self.admin.with(&secret),
            id,
            secret,
        })
    }

    /// A user who has logged in.
    pub(crate) async fn user(&self) -> Result<Member, Trouble> {
        let (id, password) = (self.fresh(), self.password());
        let body = json!({"id": id, "password": password});
        let made = self
            .admin
            .post("/v1/users", body.clone())
            .await?
            .is(&[201, 202])?;
        self.remember(format!("/v1/users/{id}"));
        self.in_effect(made).await?;
        let login = self.admin.anybody().post("/v1/login", body).await?.is(&[200])?;
        let token = Secret::new(login.text("token")?);
        Ok(Member {
            name: format!("usr/{id}"),
            http: self.admin.with(&token),
            id,
            secret: token,
        })
    }

    pub(crate) fn password(&self) -> String {
        format!("conform {:032x}", rand::random::<u128>())
    }

    /// The user owns the device from now on.
    pub(crate) async fn bind(&self, user: &Member, device: &Member) -> Result<(), Trouble> {
        let body = json!({"device": device.id, "code": device.secret.expose()});
        let bound = user.http.post("/v1/bindings", body).await?.is(&[201, 202])?;
        self.in_effect(bound).await.map(|_| ())
    }

    /// Waits until every server acts on a change.
    pub(crate) async fn in_effect(&self, change: Answer) -> Result<Answer, Trouble> {
        if change.body["in_effect"] == json!(true) {
            return Ok(change);
        }
        let operation = change.body["operation"].as_u64();
        let operation = operation.ok_or_else(|| change.not("in_effect, or an operation to look up"))?;
        let deadline = Instant::now() + self.patience;
        while Instant::now() < deadline {
            let looked = self.admin.get(&format!("/v1/operations/{operation}")).await?;
            if looked.body["in_effect"] == json!(true) {
                return Ok(change);
            }
            sleep(LOOK_AGAIN).await;
        }
        Err(Trouble::Late {
            what: format!("operation {operation} is in effect"),
            within: self.patience,
        })
    }

    /// A connection of this member, not yet made.
    pub(crate) fn connecting(&self, member: &Member) -> Connecting {
        Connecting {
            version: MqttVersion::V5,
            client_id: self.fresh(),
            username: member.name.clone(),
            password: member.secret.clone(),
            session_expiry_s: 0,
        }
    }

    pub(crate) async fn open(&self, connecting: Connecting) -> Result<Client, Trouble> {
        connecting.open(&self.dialer, self.patience).await
    }

    pub(crate) async fn try_open(&self, connecting: Connecting) -> Result<Client, Broken> {
        connecting.try_open(&self.dialer, self.patience).await
    }

    /// Connects by MQTT 5.0 with a session that ends with the connection.
    pub(crate) async fn connect(&self, member: &Member) -> Result<Client, Trouble> {
        self.open(self.connecting(member)).await
    }

    /// The same, hearing `below` its own topics.
    pub(crate) async fn hearing(&self, member: &Member, below: &str) -> Result<Client, Trouble> {
        let mut client = self.connect(member).await?;
        client.hears(&member.topic(below)).await?;
        Ok(client)
    }

    fn remember(&self, path: String) {
        self.made
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(path);
    }

    /// Deletes everybody; says what could not be.
    pub(crate) async fn remove(&self) -> Vec<String> {
        let made = std::mem::take(&mut *self.made.lock().unwrap_or_else(PoisonError::into_inner));
        let mut left = Vec::new();
        for path in made.iter().rev() {
            match self.admin.delete(path).await {
                // 404, 410: a check has deleted it.
                Ok(answer) if matches!(answer.status, 200 | 202 | 404 | 410) => {}
                Ok(answer) => left.push(format!("{path} could not be deleted: {}", answer.status)),
                Err(trouble) => left.push(format!("{path} could not be deleted: {trouble}")),
            }
        }
        left
    }
}
