//! Many devices at once: all of them or none, in one transaction.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use irsp_protocol::Id;
use irsp_protocol::api::account::{Attributes, Changed, DeviceCode, DeviceCodes, NewDevices};

use super::answer::Answer;
use super::body::Body;
use super::caller::Admin;
use super::doc::Problems;
use crate::account::Account;
use crate::change::Target;
use crate::refusal::Refusal;
use crate::store::{application, device};

/// Devices made at once: the writer is busy for about a second, and the answer is about a megabyte.
const DEVICES_MAX: usize = 20_000;

/// Registers many devices and makes their verification codes, shown this once.
///
/// If one of them exists, or was deleted, the answer is 409 with its name and nothing is made.
#[utoipa::path(post, path = "/v1/devices/bulk", tag = "devices", request_body = NewDevices,
    responses((status = 201, body = Changed<DeviceCodes>), (status = 202, body = Changed<DeviceCodes>), Problems))]
pub(super) async fn create_many(
    State(account): State<Arc<Account>>,
    Admin(caller): Admin,
    Body(mut new): Body<NewDevices>,
) -> Answer<DeviceCodes> {
    let ids = ids(&mut new)?;
    let (answers, app) = (new.answers, new.app);
    let what = match (ids.first(), ids.last()) {
        (Some(first), Some(last)) => format!("dev/{first} to dev/{last}: {}", ids.len()),
        _ => return Err(Refusal::Malformed("no device is named".to_owned())),
    };
    let (mut devices, mut hashes) = (Vec::with_capacity(ids.len()), Vec::with_capacity(ids.len()));
    for id in &ids {
        let (code, hash) = account.secret()?;
        devices.push(DeviceCode { id: id.clone(), code });
        hashes.push(hash);
    }
    let order = caller.orders("device.register", Target::Many(what));
    account
        .carry_out(order, move |draft| {
            for (id, hash) in ids.iter().zip(&hashes) {
                device::register(draft, id, *hash, answers, &Attributes::new(), &[])?;
            }
            if let Some(app) = &app {
                application::grant(draft, app, &ids)?;
            }
            Ok(DeviceCodes {
                devices: devices.clone(),
            })
        })
        .await?
        .answer(StatusCode::CREATED)
}

/// The ids that a request names, each once.
fn ids(new: &mut NewDevices) -> Result<Vec<Id>, Refusal> {
    let malformed = |detail: &str| Err(Refusal::Malformed(detail.to_owned()));
    match (new.ids.take(), &new.prefix, new.count) {
        (Some(ids), None, None) if new.first.is_none() => {
            check_count(ids.len())?;
            let mut seen = HashSet::new();
            match ids.iter().find(|id| !seen.insert(*id)) {
                Some(twice) => Err(Refusal::Malformed(format!("{twice} is named twice"))),
                None => Ok(ids),
            }
        }
        (None, Some(prefix), Some(count)) => {
            check_count(count as usize)?;
            let first = new.first.unwrap_or(1);
            let Some(end) = first.checked_add(count) else {
                return malformed("first and count are too large");
            };
            let id = |n| Id::new(&format!("{prefix}{n}"));
            let ids: Result<Vec<Id>, _> = (first..end).map(id).collect();
            ids.map_err(|error| Refusal::Malformed(error.to_string()))
        }
        _ => malformed("either ids, or prefix and count (and first) must be given"),
    }
}

fn check_count(count: usize) -> Result<(), Refusal> {
    match count {
        0 => Err(Refusal::Malformed("no device is named".to_owned())),
        1..=DEVICES_MAX => Ok(()),
        _ => Err(Refusal::TooMany {
            what: "devices at once",
            max: DEVICES_MAX,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(json: &str) -> Result<Vec<String>, Refusal> {
        let mut new: NewDevices = serde_json::from_str(json).unwrap();
        ids(&mut new).map(|ids| ids.iter().map(Id::to_string).collect())
    }

    #[test]
    fn ids_are_given_or_counted() {
        assert_eq!(
            named(r#"{"prefix":"sim-","count":3}"#).unwrap(),
            ["sim-1", "sim-2", "sim-3"]
        );
        assert_eq!(
            named(r#"{"prefix":"sim-","count":2,"first":9}"#).unwrap(),
            ["sim-9", "sim-10"]
        );
        assert_eq!(named(r#"{"ids":["a","b"]}"#).unwrap(), ["a", "b"]);
    }

    #[test]
    fn what_names_no_devices_is_refused() {
        for json in [
            "{}",
            r#"{"prefix":"sim-"}"#,
            r#"{"count":3}"#,
            r#"{"prefix":"sim-","count":0}"#,
            r#"{"prefix":"sim-","count":20001}"#,
            r#"{"prefix":"sim-","count":2,"first":4294967295}"#,
            r#"{"prefix":"no way ","count":2}"#,
            r#"{"prefix":"sim-","count":2,"ids":["a"]}"#,
            r#"{"ids":["a"],"first":2}"#,
            r#"{"ids":[]}"#,
            r#"{"ids":["a","b","a"]}"#,
        ] {
            assert!(
                matches!(named(json), Err(Refusal::Malformed(_) | Refusal::TooMany { .. })),
                "{json}"
            );
        }
    }
}
