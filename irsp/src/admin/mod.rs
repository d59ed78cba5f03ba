//! `irsp admin`: users, devices, applications, bindings, operations and the audit log of a running platform, by the
//! account server's HTTP API. Tables for people, `--json` for scripts.

mod certificates;
mod conditions;
mod grants;
mod login;
mod order;
mod show;
mod transfer;

use std::fs;
use std::path::Path;

use irsp_config::Settings;
use reqwest::Method;
use serde_json::{Map, Value, json};

pub(crate) use order::Admin;

use crate::access::Access;
use crate::client::{ANSWER_WAIT, Client, ClientError};
use crate::console;
use conditions::Conditions;
use order::{AppOrder, AuditFilter, BindingOrder, DeviceOrder, OfficeOrder, Order, UserOrder};
use show::Columns;

/// Items asked for at once.
const PAGE: &str = "500";

pub(crate) async fn run(settings: &Settings, admin: Admin) -> Result<(), ClientError> {
    let Admin {
        access,
        conditions,
        order,
    } = admin;
    let order = match order {
        Order::Own(order) => {
            conditions.must_be_none()?;
            return login::run(&access, order).await;
        }
        Order::Office(order) => order,
    };
    let office = Office {
        client: Client::new(settings, &access)?,
        access,
        conditions,
    };
    match order {
        OfficeOrder::Users(order) => office.users(order).await,
        OfficeOrder::Devices(order) => office.devices(order).await,
        OfficeOrder::Apps(order) => office.apps(order).await,
        OfficeOrder::Bindings(order) => office.bindings(order).await,
        OfficeOrder::Audit(filter) => office.audit(filter).await,
        OfficeOrder::Operation { number } => {
            let path = format!("/v1/operations/{number}");
            office.one(Method::GET, &path, None, show::OPERATION).await
        }
        OfficeOrder::Export(order) => office.export(order).await,
        OfficeOrder::Import(order) => office.import(order).await,
        OfficeOrder::Me => office.one(Method::GET, "/v1/me", None, show::ME).await,
    }
}

/// The platform, and how what it says is shown.
struct Office {
    client: Client,
    access: Access,
    conditions: Conditions,
}

impl Office {
    async fn users(&self, order: UserOrder) -> Result<(), ClientError> {
        let path = |id: &str| format!("/v1/users/{id}");
        let (method, path, body) = match order {
            UserOrder::List { prefix, role, state } => {
                let query = [("prefix", prefix), ("role", role), ("state", state)];
                return self.list("/v1/users", &query, show::USER).await;
            }
            UserOrder::Show { id } => (Method::GET, path(id.as_str()), None),
            UserOrder::Add {
                id,
                password_file,
                role,
            } => {
                let body = object([
                    ("id", Some(json!(id))),
                    ("password", Some(json!(secret(&password_file)?))),
                    ("role", role.map(Value::String)),
                ]);
                (Method::POST, "/v1/users".to_owned(), Some(body))
            }
            UserOrder::Set { id, role, standing } => {
                let body = object([
                    ("role", role.map(Value::String)),
                    ("disabled", standing.disabled().map(Value::Bool)),
                ]);
                (Method::PATCH, path(id.as_str()), Some(body))
            }
            UserOrder::Password {
                id,
                password_file,
                old_file,
            } => {
                let old = old_file.as_deref().map(secret).transpose()?;
                let body = object([
                    ("password", Some(json!(secret(&password_file)?))),
                    ("old", old.map(Value::String)),
                ]);
                (Method::PUT, format!("{}/password", path(id.as_str())), Some(body))
            }
            UserOrder::Reset { id } => (Method::POST, format!("{}/reset", path(id.as_str())), None),
            UserOrder::Logins { id } => {
                let logins = format!("{}/logins", path(id.as_str()));
                return self.listed(&logins, "logins", show::LOGIN).await;
            }
            UserOrder::Logout { id, login } => {
                let login = login.map_or_else(String::new, |login| format!("/{login}"));
                (
                    Method::DELETE,
                    format!("{}/logins{login}", path(id.as_str())),
                    None,
                )
            }
            UserOrder::Delete { id } => (Method::DELETE, path(id.as_str()), None),
        };
        self.one(method, &path, body, show::USER).await
    }

    async fn devices(&self, order: DeviceOrder) -> Result<(), ClientError> {
        let path = |id: &str| format!("/v1/devices/{id}");
        let (method, path, body) = match order {
            DeviceOrder::List {
                prefix,
                owner,
                attribute,
                state,
            } => {
                let owner = owner.map(|id| id.to_string());
                let query = [
                    ("prefix", prefix),
                    ("owner", owner),
                    ("attribute", attribute),
                    ("state", state),
                ];
                return self.list("/v1/devices", &query, show::DEVICE).await;
            }
            DeviceOrder::Show { id } => (Method::GET, path(id.as_str()), None),
            DeviceOrder::Add {
                id,
                answers,
                attributes,
                certificates,
            } => {
                let body = object([
                    ("id", Some(json!(id))),
                    ("answers", answers.map(Value::String)),
                    ("attributes", Some(set(&attributes))),
                    ("certificates", certificates::forms(&certificates)?),
                ]);
                (Method::POST, "/v1/devices".to_owned(), Some(body))
            }
            DeviceOrder::Set {
                id,
                answers,
                attributes,
                certificates,
                no_certificates,
                standing,
            } => {
                let certificates = match no_certificates {
                    true => Some(json!([])),
                    false => certificates::forms(&certificates)?,
                };
                let body = object([
                    ("answers", answers.map(Value::String)),
                    ("attributes", Some(set(&attributes))),
                    ("certificates", certificates),
                    ("disabled", standing.disabled().map(Value::Bool)),
                ]);
                (Method::PATCH, path(id.as_str()), Some(body))
            }
            DeviceOrder::Reset {
                id,
                unbind,
                keep_bindings,
            } => {
                let said = (unbind || keep_bindings).then_some(Value::Bool(unbind));
                let body = object([("unbind", said)]);
                (Method::POST, format!("{}/reset", path(id.as_str())), Some(body))
            }
            DeviceOrder::Codes { id } => {
                let codes = format!("{}/codes", path(id.as_str()));
                return self.listed(&codes, "codes", show::DEVICE_CODE).await;
            }
            DeviceOrder::AddCode {
                id,
                expires,
                others_expire,
            } => {
                let body = object([
                    ("expires", expires.map(Value::String)),
                    ("others_expire", others_expire.map(Value::String)),
                ]);
                (Method::POST, format!("{}/codes", path(id.as_str())), Some(body))
            }
            DeviceOrder::RevokeCode { id, code } => (
                Method::DELETE,
                format!("{}/codes/{code}", path(id.as_str())),
                None,
            ),
            DeviceOrder::Delete { id } => (Method::DELETE, path(id.as_str()), None),
        };
        self.one(method, &path, body, show::DEVICE).await
    }

    async fn apps(&self, order: AppOrder) -> Result<(), ClientError> {
        let path = |id: &str| format!("/v1/apps/{id}");
        let (method, path, body) = match order {
            AppOrder::List { prefix, state } => {
                let query = [("prefix", prefix), ("state", state)];
                return self.list("/v1/apps", &query, show::APP).await;
            }
            AppOrder::Show { id } => (Method::GET, path(id.as_str()), None),
            AppOrder::Add { id, grants } => {
                let body = grants.into_body(("id", json!(id)));
                (Method::POST, "/v1/apps".to_owned(), Some(body))
            }
            AppOrder::Set { id, grants, standing } => {
                let disabled = standing.disabled().map_or(Value::Null, Value::Bool);
                let body = grants.into_body(("disabled", disabled));
                (Method::PATCH, path(id.as_str()), Some(body))
            }
            AppOrder::Rotate { id, overlap } => {
                let body = json!({ "overlap": overlap });
                (
                    Method::POST,
                    format!("{}/keys/rotate", path(id.as_str())),
                    Some(body),
                )
            }
            AppOrder::Delete { id } => (Method::DELETE, path(id.as_str()), None),
        };
        self.one(method, &path, body, show::APP).await
    }

    async fn bindings(&self, order: BindingOrder) -> Result<(), ClientError> {
        match order {
            BindingOrder::List { device, user } => {
                let query = [
                    ("device", device.map(|id| id.to_string())),
                    ("user", user.map(|id| id.to_string())),
                ];
                self.list("/v1/bindings", &query, show::BINDING).await
            }
            BindingOrder::Add { device, code_file } => {
                let body = json!({"device": device, "code": secret(&code_file)?});
                self.one(Method::POST, "/v1/bindings", Some(body), show::BINDING)
                    .await
            }
            BindingOrder::Share { device, user, rights } => {
                let path = format!("/v1/bindings/{device}/{user}");
                let body = json!({ "rights": rights });
                self.one(Method::PUT, &path, Some(body), show::BINDING).await
            }
            BindingOrder::Transfer { device, to, keep } => {
                let path = format!("/v1/bindings/{device}/transfer");
                let body = json!({ "to": to, "keep": keep });
                self.one(Method::POST, &path, Some(body), show::BINDING).await
            }
            BindingOrder::Delete { device, user } => {
                let path = format!("/v1/bindings/{device}?user={user}");
                self.one(Method::DELETE, &path, None, show::BINDING).await
            }
        }
    }

    async fn audit(&self, filter: AuditFilter) -> Result<(), ClientError> {
        let AuditFilter {
            who,
            action,
            target,
            status,
            from,
            to,
            last,
        } = filter;
        let mut query = vec![
            ("who", who),
            ("action", action),
            ("target", target),
            ("status", status.map(|code| code.to_string())),
            ("from", from),
            ("to", to),
        ];
        let Some(last) = last else {
            return self.list("/v1/audit", &query, show::AUDIT).await;
        };
        query.push(("order", Some("desc".to_owned())));
        let mut lines = self.all("/v1/audit", &query, last).await?;
        lines.reverse();
        self.table(&lines, show::AUDIT)
    }

    /// Everything a list has.
    async fn list(
        &self,
        path: &str,
        query: &[(&str, Option<String>)],
        columns: Columns,
    ) -> Result<(), ClientError> {
        let items = self.all(path, query, usize::MAX).await?;
        self.table(&items, columns)
    }

    /// A list that is no page.
    async fn listed(&self, path: &str, field: &str, columns: Columns) -> Result<(), ClientError> {
        self.conditions.must_be_none()?;
        let mut answer: Value = self.client.get(path).await?;
        let Value::Array(items) = answer[field].take() else {
            return Err(self.client.not_understood(format!("no {field}")));
        };
        self.table(&items, columns)
    }

    async fn all(
        &self,
        path: &str,
        query: &[(&str, Option<String>)],
        most: usize,
    ) -> Result<Vec<Value>, ClientError> {
        self.conditions.must_be_none()?;
        let mut given: Vec<(&str, &str)> = vec![("limit", PAGE)];
        given.extend(
            query
                .iter()
                .filter_map(|(key, value)| Some((*key, value.as_deref()?))),
        );
        let (mut items, mut after) = (Vec::new(), None::<String>);
        loop {
            let mut query = given.clone();
            query.extend(after.as_deref().map(|after| ("after", after)));
            let mut page: Value = self.client.get_query(path, &query).await?;
            let Value::Array(more) = page["items"].take() else {
                return Err(self.client.not_understood("a list without items"));
            };
            items.extend(more);
            after = page["next"].as_str().map(str::to_owned);
            if after.is_none() || items.len() >= most {
                items.truncate(most);
                return Ok(items);
            }
        }
    }

    /// One record, shown or changed.
    async fn one(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        columns: Columns,
    ) -> Result<(), ClientError> {
        let changes = method != Method::GET;
        if !changes {
            self.conditions.must_be_none()?;
        }
        let key = self.conditions.key(&method)?;
        let request = self.conditions.on(self.client.request(method, path));
        let request = match &body {
            Some(body) => request.json(body),
            None => request,
        };
        let answer = match key {
            Some(key) => self.client.once(request.timeout(ANSWER_WAIT), &key).await?,
            None => self.client.answer(request).await?,
        };
        if self.access.json {
            return self.say(&answer);
        }
        console::say(show::fields(&answer, columns));
        if changes && answer["in_effect"] == Value::Bool(false) {
            console::note(format_args!(
                "stored, not yet in effect everywhere: irsp admin operation {}",
                answer["operation"]
            ));
        }
        Ok(())
    }

    fn table(&self, items: &[Value], columns: Columns) -> Result<(), ClientError> {
        if self.access.json {
            return self.say(&Value::Array(items.to_vec()));
        }
        if items.is_empty() {
            console::say("none");
        } else {
            console::say(show::table(items, columns));
        }
        Ok(())
    }

    fn say(&self, value: &Value) -> Result<(), ClientError> {
        console::say(console::json(value)?);
        Ok(())
    }
}

/// The fields that are given.
fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let given = fields
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Object(given.collect())
}

/// Attributes of `name=value`; `name=` alone takes one away.
fn set(attributes: &[(String, Option<String>)]) -> Value {
    let pairs = attributes
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)));
    Value::Object(pairs.collect::<Map<_, _>>())
}

/// A password stands in a file: the command line is for everybody to see.
fn secret(path: &Path) -> Result<String, ClientError> {
    let refused = |reason: String| ClientError::File {
        path: path.to_owned(),
        reason,
    };
    let text = fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    match text.strip_suffix('\n').unwrap_or(&text) {
        "" => Err(refused("holds no password".to_owned())),
        password => Ok(password.to_owned()),
    }
}
