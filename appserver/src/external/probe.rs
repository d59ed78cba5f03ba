//! What is sent to an endpoint besides messages: the challenge that confirms it, and tests.
//!
//! A challenge is a signed event `irsp.challenge` whose data is `{"challenge":"..."}`. Whoever answers 2xx with that word,
//! as text or as JSON `{"challenge":"..."}`, reads what we send and wants it. CloudEvents' OPTIONS handshake would show
//! neither that the service has the secret nor that anything there reads a body.

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use irsp_protocol::api::external::ProbeView;
use irsp_protocol::{MessageId, Timestamp};
use serde_json::{Value, json};

use super::client::{ClientError, HttpAnswer};
use super::endpoint::{Endpoint, Mode};
use super::event::{Event, STRUCTURED};
use super::service::External;

/// What is asked of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// It says this word back.
    Challenge(String),
    /// It answers 2xx.
    Test,
}

impl Probe {
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Probe::Challenge(_) => "irsp.challenge",
            Probe::Test => "irsp.test",
        }
    }

    fn data(&self) -> Value {
        match self {
            Probe::Challenge(word) => json!({ "challenge": word }),
            Probe::Test => json!({ "test": true }),
        }
    }

    /// Why the answer is not what was asked for.
    fn judge(&self, answer: &HttpAnswer) -> Result<(), String> {
        if !(200..=299).contains(&answer.code) {
            return Err(format!("it answered HTTP {} instead of 2xx", answer.code));
        }
        let Probe::Challenge(word) = self else {
            return Ok(());
        };
        let text = String::from_utf8_lossy(&answer.body);
        let json: Option<Value> = serde_json::from_str(&text).ok();
        let said = json.as_ref().and_then(|json| match json {
            Value::Object(map) => map.get("challenge")?.as_str(),
            Value::String(text) => Some(text.as_str()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
        });
        if text.trim() == word || said == Some(word) {
            return Ok(());
        }
        Err("its answer does not have the challenge".to_owned())
    }
}

impl External {
    /// Sends a probe and says what came of it.
    pub(crate) async fn probe(
        &self,
        endpoint: &Endpoint,
        probe: &Probe,
        id: MessageId,
        now: Timestamp,
    ) -> ProbeView {
        let id = id.to_string();
        let event = event(&id, &self.domain.to_string(), endpoint, probe, now);
        let headers = self.signed(endpoint, &id, &event, now);
        let posting = (self.client).post(&endpoint.target, headers, event.body, self.settings.timeout);
        let (result, duration) = posting.await;
        let error = match &result {
            Ok(answer) => probe.judge(answer).err(),
            Err(error) => Some(ClientError::to_string(error)),
        };
        ProbeView {
            ok: error.is_none(),
            code: result.ok().map(|answer| answer.code),
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            error,
        }
    }
}

fn event(id: &str, domain: &str, endpoint: &Endpoint, probe: &Probe, now: Timestamp) -> Event {
    let source = format!("srv/app@{domain}");
    let mut attributes = vec![
        ("specversion", "1.0".to_owned()),
        ("id", id.to_owned()),
        ("source", source),
        ("type", probe.kind().to_owned()),
        ("time", now.to_string()),
        ("destination", format!("app/{}@{domain}", endpoint.app)),
    ];
    let mut headers = HeaderMap::new();
    match endpoint.mode {
        Mode::Binary => {
            for (name, value) in attributes {
                let name = HeaderName::from_bytes(format!("ce-{name}").as_bytes());
                if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&value)) {
                    headers.insert(name, value);
                }
            }
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Event {
                headers,
                body: Bytes::from(probe.data().to_string()),
            }
        }
        Mode::Structured => {
            attributes.push(("datacontenttype", "application/json".to_owned()));
            let mut body: serde_json::Map<String, Value> = (attributes.into_iter())
                .map(|(name, value)| (name.to_owned(), Value::String(value)))
                .collect();
            body.insert("data".to_owned(), probe.data());
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(STRUCTURED));
            Event {
                headers,
                body: Bytes::from(Value::Object(body).to_string()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: u16, body: &'static str) -> HttpAnswer {
        HttpAnswer {
            code,
            retry_after: None,
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    #[test]
    fn a_challenge_is_answered_with_its_word() {
        let probe = Probe::Challenge("w0rd".to_owned());
        for body in ["w0rd", " w0rd\n", "\"w0rd\"", r#"{"challenge":"w0rd"}"#] {
            assert_eq!(probe.judge(&answer(200, body)), Ok(()), "{body}");
        }
        for body in ["", "ok", "w0rd2", r#"{"challenge":1}"#, r#"["w0rd"]"#] {
            assert!(probe.judge(&answer(200, body)).is_err(), "{body}");
        }
        assert!(probe.judge(&answer(302, "w0rd")).is_err());
        assert_eq!(Probe::Test.judge(&answer(204, "")), Ok(()));
        assert!(Probe::Test.judge(&answer(500, "")).is_err());
    }
}
