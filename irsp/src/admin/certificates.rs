//! Certificates of a device as the command line names them, in the form of the API.

use std::fs;

use clap::Args;
use irsp_protocol::credential::Fingerprint;
use serde_json::{Value, json};

use crate::client::ClientError;

/// Certificates a device may log in with; with `set` they take the place of those it has.
#[derive(Debug, Args)]
pub(crate) struct Certificates {
    /// A certificate: its fingerprint, or a PEM file; may be repeated.
    #[arg(long = "certificate", value_name = "FINGERPRINT|FILE")]
    pub(crate) certificates: Vec<String>,
    /// Whichever certificate an authority issues to a name: CA's fingerprint or PEM file, and the name; may be repeated.
    #[arg(long, value_name = "CA,NAME", value_parser = issued)]
    pub(crate) issued: Vec<(String, String)>,
}

/// The list to be sent; `None` when nothing is named.
pub(super) fn forms(named: &Certificates) -> Result<Option<Value>, ClientError> {
    let mut forms = Vec::new();
    for word in &named.certificates {
        forms.push(match word.parse::<Fingerprint>() {
            Ok(_) => json!({ "fingerprint": word }),
            Err(_) => json!({ "pem": text(word)? }),
        });
    }
    for (ca, name) in &named.issued {
        let ca = match ca.parse::<Fingerprint>() {
            Ok(_) => ca.clone(),
            Err(_) => text(ca)?,
        };
        forms.push(json!({ "ca": ca, "name": name }));
    }
    Ok((!forms.is_empty()).then_some(Value::Array(forms)))
}

fn text(path: &str) -> Result<String, ClientError> {
    fs::read_to_string(path).map_err(|error| ClientError::File {
        path: path.into(),
        reason: error.to_string(),
    })
}

fn issued(text: &str) -> Result<(String, String), String> {
    match text.split_once(',') {
        Some((ca, name)) if !ca.is_empty() && !name.is_empty() => Ok((ca.to_owned(), name.to_owned())),
        _ => Err("write CA,NAME".to_owned()),
    }
}
