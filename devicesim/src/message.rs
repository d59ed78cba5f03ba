//! What a device writes and reads: its upload's payload and id, and the status that ends it. Pure.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use bytes::Bytes;
use serde_json::Value;

use crate::observation::Print;

/// The payload of upload `n`: `{"run":"..","n":7,"v":21.5,"pad":"xxx"}`, `size` bytes long unless run, number and
/// value alone need more.
pub fn payload(run: &str, n: u64, value: f64, size: usize) -> Bytes {
    letter(run, n, &format!("{value:.1}"), size)
}

/// The same with any JSON as the value.
pub fn letter(run: &str, n: u64, value: &str, size: usize) -> Bytes {
    let mut text = String::with_capacity(size.max(128));
    for part in ["{\"run\":\"", run, "\",\"n\":", &n.to_string(), ",\"v\":", value] {
        text.push_str(part);
    }
    let room = size.saturating_sub(text.len() + 1);
    match room.checked_sub(PAD.len() + 1) {
        Some(pad) => {
            text.push_str(PAD);
            text.extend(std::iter::repeat_n('x', pad));
            text.push('"');
        }
        // Too little room for a member: white space is JSON as well.
        None => text.extend(std::iter::repeat_n(' ', room)),
    }
    text.push('}');
    Bytes::from(text)
}

/// What a payload turns out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Letter {
    /// Of this run: its number and the print of its data.
    Ours(u64, u64),
    /// Of another run.
    Others,
    /// No simulator has written it.
    Unreadable,
}

/// Reads a payload.
pub fn read(run: &str, payload: &[u8]) -> Letter {
    serde_json::from_slice(payload).map_or(Letter::Unreadable, |data| read_value(run, &data))
}

/// The same where it is JSON already.
pub fn read_value(run: &str, data: &Value) -> Letter {
    match (data["run"].as_str(), data["n"].as_u64()) {
        (Some(of), Some(n)) if of == run => Letter::Ours(n, print(&data.to_string())),
        (Some(_), Some(_)) => Letter::Others,
        _ => Letter::Unreadable,
    }
}

/// The number in a payload of this run.
pub fn number(run: &str, payload: &[u8]) -> Option<u64> {
    match read(run, payload) {
        Letter::Ours(n, _) => Some(n),
        Letter::Others | Letter::Unreadable => None,
    }
}

/// A number for a text, the same within one process.
pub fn print(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// The print of a payload that is sent.
pub fn print_of(run: &str, payload: &[u8], channel: &str) -> Print {
    let data = match read(run, payload) {
        Letter::Ours(_, data) => data,
        Letter::Others | Letter::Unreadable => 0,
    };
    Print {
        data,
        channel: print(channel),
    }
}

const PAD: &str = ",\"pad\":\"";

/// The id an MQTT 5 upload carries.
pub fn id(run: &str, n: u64) -> String {
    format!("{ID_PREFIX}{run}.{n}")
}

const ID_PREFIX: &str = "sim.";

/// The upload or push of this run that an id names.
pub fn named(run: &str, id: &str) -> Option<u64> {
    let (of_run, n) = id.strip_prefix(ID_PREFIX)?.split_once('.')?;
    (of_run == run).then(|| n.parse().ok()).flatten()
}

/// Whether a simulator has given this id, in whatever run.
pub fn is_ours(id: &str) -> bool {
    id.starts_with(ID_PREFIX)
}

/// A status as it comes on `v1/dev/{id}/status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    pub code: u16,
    pub of: Of,
}

/// What a status is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// This upload of this run.
    Upload(u64),
    /// An upload of an earlier run of the simulator.
    EarlierRun,
    /// An upload without an id of its own.
    Unnamed,
}

/// Reads a status: `code` (or `status`) and the id the sender gave, which the platform may show as `senderid` beside
/// its own `id`. `None` when it is no status.
pub fn status(run: &str, payload: &[u8]) -> Option<Status> {
    let body: Value = serde_json::from_slice(payload).ok()?;
    let code = body.get("code").or_else(|| body.get("status"))?.as_u64()?;
    let code = u16::try_from(code).ok()?;
    let of = ["senderid", "sender_id", "id"]
        .into_iter()
        .filter_map(|name| body.get(name)?.as_str()?.strip_prefix(ID_PREFIX))
        .map(|id| of(run, id))
        .next()
        .unwrap_or(Of::Unnamed);
    Some(Status { code, of })
}

fn of(run: &str, id: &str) -> Of {
    match id.split_once('.') {
        Some((of_run, n)) if of_run == run => n.parse().map_or(Of::Unnamed, Of::Upload),
        Some(_) | None => Of::EarlierRun,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    proptest! {
        #[test]
        fn a_payload_is_json_of_the_size_asked_for(n: u64, size in 0usize..400) {
            let bytes = payload("a1b2c3d4", n, 21.5, size);
            let body: Value = serde_json::from_slice(&bytes).unwrap();
            prop_assert_eq!(&body["run"], "a1b2c3d4");
            prop_assert_eq!(body["n"].as_u64(), Some(n));
            prop_assert_eq!(body["v"].as_f64(), Some(21.5));
            prop_assert_eq!(bytes.len(), size.max(payload("a1b2c3d4", n, 21.5, 0).len()));
        }

        #[test]
        fn reading_a_status_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            status("r", &bytes);
        }
    }

    #[test]
    fn a_status_is_for_the_upload_it_names() {
        let mid = "0190163d-8694-739b-aea5-966c26f8ad91";
        for (body, code, of) in [
            (json!({"id": id("r1", 7), "code": 200}), 200, Of::Upload(7)),
            (
                json!({"id": mid, "senderid": id("r1", 8), "status": 404}),
                404,
                Of::Upload(8),
            ),
            (json!({"id": id("r0", 7), "code": 200}), 200, Of::EarlierRun),
            (
                json!({"id": mid, "channel": "sim", "code": 200, "name": "done"}),
                200,
                Of::Unnamed,
            ),
            (json!({"code": 202}), 202, Of::Unnamed),
        ] {
            let text = body.to_string();
            assert_eq!(status("r1", text.as_bytes()), Some(Status { code, of }), "{text}");
        }
        for text in ["", "200", "{}", r#"{"code":"200"}"#, r#"{"code":70000}"#, "[200]"] {
            assert_eq!(status("r1", text.as_bytes()), None, "{text}");
        }
    }
}
