//! What an application is granted, on the command line.

use clap::Args;
use serde_json::{Map, Value, json};

/// What an application may do; "everyone", or principals with commas between.
#[derive(Debug, Args)]
pub(crate) struct Grants {
    /// Whom it hears: everyone, or dev/lamp-1,usr/ann.
    #[arg(long, value_name = "WHOM", value_parser = grant)]
    hears: Option<Value>,
    /// To whom it pushes.
    #[arg(long, value_name = "WHOM", value_parser = grant)]
    pushes: Option<Value>,
    /// To which applications it sends messages.
    #[arg(long, value_name = "WHOM", value_parser = grant)]
    messages: Option<Value>,
    /// hosted, attached or external.
    #[arg(long)]
    delivery: Option<String>,
    /// How an attached one answers: ack or mqtt.
    #[arg(long)]
    answers: Option<String>,
    /// How long its uploads are kept, such as 30d.
    #[arg(long, value_name = "PERIOD")]
    retention_age: Option<String>,
    /// How many bytes of its uploads are kept.
    #[arg(long, value_name = "BYTES")]
    retention_bytes: Option<u64>,
}

impl Grants {
    /// With one field more, unless it is null.
    pub(super) fn into_body(self, (key, value): (&str, Value)) -> Value {
        let retention = match (&self.retention_age, self.retention_bytes) {
            (None, None) => None,
            (Some(age), None) => Some(json!({ "age": age })),
            (None, Some(bytes)) => Some(json!({ "bytes": bytes })),
            (Some(age), Some(bytes)) => Some(json!({ "age": age, "bytes": bytes })),
        };
        let fields = [
            (key, Some(value).filter(|value| !value.is_null())),
            ("hears", self.hears),
            ("pushes", self.pushes),
            ("messages", self.messages),
            ("delivery", self.delivery.map(Value::String)),
            ("answers", self.answers.map(Value::String)),
            ("retention", retention),
        ];
        let given = fields
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)));
        Value::Object(given.collect::<Map<_, _>>())
    }
}

fn grant(text: &str) -> Result<Value, std::convert::Infallible> {
    Ok(match text {
        "everyone" => json!("everyone"),
        list => {
            let words = list.split(',').map(str::trim).filter(|word| !word.is_empty());
            json!({ "only": words.collect::<Vec<_>>() })
        }
    })
}
