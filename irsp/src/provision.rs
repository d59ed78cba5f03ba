//! `irsp provision`: an application and many devices, made over the account server's HTTP API.
//!
//! Codes are shown by the server once, so every batch is on disk before the next is asked for.

pub(crate) mod error;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use irsp_config::Settings;
use irsp_protocol::api::Problem;
use irsp_protocol::api::account::{ApplicationWithKey, DeviceCode, DeviceCodes, NewApplication, NewDevices};
use irsp_protocol::change::{Answers, Delivery, Retention};
use irsp_protocol::{Id, Secret};
use reqwest::{Client, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cause::chain;
use crate::cli::Order;
use crate::console;
use crate::failure::Failure;
use error::ProvisionError;

/// Devices asked for at once: small enough to answer in a moment, large enough that the way there costs little.
const BATCH: u32 = 1_000;
/// How long one batch may take: its effect is waited for.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// Makes what was ordered.
pub(crate) async fn run(settings: &Settings, order: Order) -> Result<(), Failure> {
    let token_file = order
        .admin_token
        .clone()
        .unwrap_or_else(|| settings.files().admin_token());
    Ok(provision(&order, read_token(&token_file)?).await?)
}

fn read_token(path: &Path) -> Result<Secret, ProvisionError> {
    let token = |reason: String| ProvisionError::TokenFile {
        path: path.to_owned(),
        reason,
    };
    let text = fs::read_to_string(path).map_err(|error| token(error.to_string()))?;
    match text.trim() {
        "" => Err(token("holds no token".to_owned())),
        text => Ok(Secret::new(text)),
    }
}

async fn provision(order: &Order, token: Secret) -> Result<(), ProvisionError> {
    let last = device(order, order.devices);
    Id::new(&last).map_err(|error| ProvisionError::Prefix {
        prefix: order.prefix.clone(),
        reason: error.to_string(),
    })?;
    let mut out = Out::new(&order.out, "--out")?;
    let key_out = order
        .app_key_out
        .as_deref()
        .map(|path| Out::new(path, "--app-key-out"))
        .transpose()?;
    let account = AccountServer::new(&order.url, token)?;
    match account.make_application(&order.app).await? {
        Some(key) => show_key(&order.app, &key, key_out)?,
        None => console::say(format_args!(
            "application {} was there already, its key is unchanged",
            order.app
        )),
    }
    let mut first = 1;
    while first <= order.devices {
        let count = BATCH.min(order.devices - first + 1);
        let made = account.make_devices(order, first, count).await?;
        out.write(&made.iter().map(line).collect::<String>())?;
        first += count;
    }
    console::say(format_args!(
        "{} devices made, credentials in {}",
        order.devices,
        order.out.display()
    ));
    Ok(())
}

fn device(order: &Order, number: u32) -> String {
    format!("{}{number}", order.prefix)
}

/// `client_id,username,password`; ids and codes hold neither comma nor quote.
fn line(device: &DeviceCode) -> String {
    format!("{},dev/{},{}\n", device.id, device.id, device.code.expose())
}

fn show_key(app: &Id, key: &Secret, out: Option<Out>) -> Result<(), ProvisionError> {
    match out {
        Some(mut out) => {
            out.write(&format!("{}\n", key.expose()))?;
            console::say(format_args!(
                "application {app} made, key in {}",
                out.path.display()
            ));
        }
        None => console::say(format_args!(
            "application {app} made, key (shown this once): {}",
            key.expose()
        )),
    }
    Ok(())
}

/// A new file for secrets, mode 0600. It appears with its first secret, so a refusal before leaves nothing behind.
struct Out {
    path: PathBuf,
    option: &'static str,
    file: Option<File>,
}

impl Out {
    fn new(path: &Path, option: &'static str) -> Result<Out, ProvisionError> {
        if path.exists() {
            return Err(ProvisionError::Exists {
                path: path.to_owned(),
                option,
            });
        }
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let out = Out {
            path: path.to_owned(),
            option,
            file: None,
        };
        match parent.metadata() {
            Ok(_) => Ok(out),
            Err(source) => Err(out.failed(source)),
        }
    }

    fn write(&mut self, text: &str) -> Result<(), ProvisionError> {
        let written = self.open().and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_data()
        });
        written.map_err(|source| self.failed(source))
    }

    fn open(&mut self) -> io::Result<&File> {
        match self.file {
            Some(ref file) => Ok(file),
            None => {
                let file = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&self.path)?;
                Ok(self.file.insert(file))
            }
        }
    }

    fn failed(&self, source: io::Error) -> ProvisionError {
        ProvisionError::Write {
            path: self.path.clone(),
            option: self.option,
            source,
        }
    }
}

/// The account server, as an administrator reaches it.
struct AccountServer {
    http: Client,
    url: String,
    token: Secret,
}

impl AccountServer {
    fn new(url: &str, token: Secret) -> Result<AccountServer, ProvisionError> {
        let url = url.trim_end_matches('/').to_owned();
        let http = Client::builder().timeout(ANSWER_WAIT).no_proxy().build();
        let http = http.map_err(|error| ProvisionError::Unreachable {
            url: url.clone(),
            reason: chain(&error),
        })?;
        Ok(AccountServer { http, url, token })
    }

    /// The new application's key; `None` if there is such an application.
    async fn make_application(&self, id: &Id) -> Result<Option<Secret>, ProvisionError> {
        let new = NewApplication {
            id: id.clone(),
            hears: None,
            pushes: None,
            messages: None,
            delivery: Delivery::default(),
            answers: Answers::default(),
            retention: Retention::default(),
        };
        match self.post::<ApplicationWithKey>("/v1/apps", &new).await {
            Ok(made) => Ok(Some(made.key)),
            Err(ProvisionError::Refused { status: 409, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn make_devices(
        &self,
        order: &Order,
        first: u32,
        count: u32,
    ) -> Result<Vec<DeviceCode>, ProvisionError> {
        let new = NewDevices {
            prefix: Some(order.prefix.clone()),
            count: Some(count),
            first: Some(first),
            app: Some(order.app.clone()),
            ..NewDevices::default()
        };
        match self.post::<DeviceCodes>("/v1/devices/bulk", &new).await {
            Ok(made) => Ok(made.devices),
            Err(ProvisionError::Refused {
                status: 409, detail, ..
            }) => Err(ProvisionError::DevicesExist {
                first: device(order, first),
                last: device(order, first + count - 1),
                detail,
            }),
            Err(error) => Err(error),
        }
    }

    async fn post<A: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<A, ProvisionError> {
        let url = || self.url.clone();
        let request = self
            .http
            .post(format!("{}{path}", self.url))
            .bearer_auth(self.token.expose())
            .json(body);
        let answer = request.send().await;
        let answer = answer.map_err(|error| ProvisionError::Unreachable {
            url: url(),
            reason: chain(&error),
        })?;
        let status = answer.status();
        let bytes = answer.bytes().await;
        let bytes = bytes.map_err(|error| ProvisionError::Unreachable {
            url: url(),
            reason: chain(&error),
        })?;
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|error| ProvisionError::Answer {
                url: url(),
                reason: error.to_string(),
            });
        }
        if status == StatusCode::UNAUTHORIZED {
            return Err(ProvisionError::Token { url: url() });
        }
        let detail = match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) => problem.detail,
            Err(_) => status.canonical_reason().unwrap_or("without a reason").to_owned(),
        };
        Err(ProvisionError::Refused {
            url: url(),
            status: status.as_u16(),
            detail,
        })
    }
}

#[cfg(test)]
mod tests;
