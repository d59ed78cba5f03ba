//! `irsp endpoint`: the HTTP service of an external application, set, confirmed, tested, paused, given a new secret; what was
//! delivered there, and dead letters delivered again.

use clap::{Args, Subcommand};
use irsp_config::Settings;
use irsp_protocol::api::app::Period;
use irsp_protocol::api::external::DeliveryPage;
use irsp_protocol::{Id, MessageId};
use reqwest::Method;
use serde_json::{Value, json};

use crate::access::Access;
use crate::client::{Client, ClientError};
use crate::console;
use crate::table::Table;

#[derive(Debug, Args)]
pub(crate) struct Endpoint {
    #[command(flatten)]
    pub(crate) access: Access,
    #[command(subcommand)]
    pub(crate) order: Order,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Order {
    /// Shows it, with what waits; never a secret.
    Show { app: Id },
    /// Sets its URL. The signing secret is shown the first time, once; another URL is to be confirmed again.
    Set {
        app: Id,
        /// Such as `https://hooks.example/irsp`.
        webhook: String,
        /// How an event stands in a request.
        #[arg(long, value_name = "binary|structured")]
        mode: Option<String>,
        /// Whether it hears of presence, as events irsp.presence.
        #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
        presence: Option<bool>,
    },
    /// Sends a challenge and, if it is answered, begins to deliver.
    Confirm { app: Id },
    /// Sends a test event and shows what came back.
    Test { app: Id },
    /// Delivers nothing more; what comes waits.
    Pause { app: Id },
    /// Delivers again, and ends every back-off.
    Resume { app: Id },
    /// Makes a new signing secret and shows it, once.
    Rotate {
        app: Id,
        /// How long the older ones hold, such as 24h or 0s.
        #[arg(long, value_name = "TIME")]
        overlap: Option<Period>,
    },
    /// The last tries, the newest first.
    Deliveries {
        app: Id,
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
        count: u16,
    },
    /// Delivers dead letters again: these, or all of the application's.
    Replay {
        app: Id,
        #[arg(value_name = "ID")]
        ids: Vec<MessageId>,
        /// How long they may take now, such as 1d.
        #[arg(long, value_name = "TIME")]
        expiry: Option<Period>,
    },
    /// Removes it; what waits waits on.
    Remove { app: Id },
}

pub(crate) async fn run(settings: &Settings, endpoint: Endpoint) -> Result<(), ClientError> {
    let Endpoint { access, order } = endpoint;
    let client = Client::new(settings, &access)?;
    let at = |app: &Id, below: &str| format!("/v1/apps/{app}/endpoint{below}");
    let (method, path, body) = match order {
        Order::Show { app } => (Method::GET, at(&app, ""), None),
        Order::Set {
            app,
            webhook,
            mode,
            presence,
        } => {
            let body = json!({ "url": webhook, "mode": mode, "presence": presence });
            (Method::PUT, at(&app, ""), Some(body))
        }
        Order::Confirm { app } => (Method::POST, at(&app, "/confirm"), None),
        Order::Test { app } => (Method::POST, at(&app, "/test"), None),
        Order::Pause { app } => (Method::POST, at(&app, "/pause"), None),
        Order::Resume { app } => (Method::POST, at(&app, "/resume"), None),
        Order::Rotate { app, overlap } => {
            let body = json!({ "overlap": overlap });
            (Method::POST, at(&app, "/rotate"), Some(body))
        }
        Order::Replay { app, ids, expiry } => {
            let ids = (!ids.is_empty()).then_some(ids);
            let body = json!({ "ids": ids, "expiry": expiry });
            (Method::POST, at(&app, "/replay"), Some(body))
        }
        Order::Deliveries { app, count } => {
            let path = at(&app, "/deliveries");
            let limit = count.to_string();
            let page: DeliveryPage = client.list(&path, &[("limit", &limit)]).await?;
            return deliveries(&access, &page);
        }
        Order::Remove { app } => {
            client.remove(&at(&app, "")).await?;
            console::note(format_args!("the endpoint of app/{app} is removed"));
            return Ok(());
        }
    };
    let answer = client.call(method, &path, body.as_ref()).await?;
    if access.json {
        console::say(console::json(&answer)?);
    } else {
        console::say(fields(&answer));
    }
    Ok(())
}

/// Each field in a line; secrets that are listed are ages.
fn fields(answer: &Value) -> String {
    let mut table = Table::new(["", ""]);
    for (name, value) in answer.as_object().into_iter().flatten() {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                value.to_string()
            }
        };
        table.row(vec![name.clone(), text]);
    }
    // Without the empty head.
    table.lines().split_off(1).join("\n")
}

fn deliveries(access: &Access, page: &DeliveryPage) -> Result<(), ClientError> {
    if access.json {
        console::say(console::json(page)?);
        return Ok(());
    }
    if page.deliveries.is_empty() {
        console::say("nothing has been delivered yet");
        return Ok(());
    }
    let mut table = Table::new([
        "time", "type", "source", "try", "code", "ms", "outcome", "message",
    ]);
    for line in &page.deliveries {
        table.row(vec![
            line.time.to_string(),
            line.kind.clone(),
            line.source.clone(),
            line.attempt.to_string(),
            line.code.map_or_else(|| "-".to_owned(), |code| code.to_string()),
            line.duration_ms.to_string(),
            line.error.as_ref().map_or_else(
                || line.outcome.clone(),
                |error| format!("{}: {error}", line.outcome),
            ),
            line.message.map_or_else(String::new, |id| id.to_string()),
        ]);
    }
    console::say(table.lines().join("\n"));
    Ok(())
}
