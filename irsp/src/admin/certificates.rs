//! Certificates of a device as the command line names them, in the form of the API.

use std::fs;

use irsp_protocol::credential::Fingerprint;
use serde_json::{Value, json};

use super::order::Certificates;
use crate::client::ClientError;

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
