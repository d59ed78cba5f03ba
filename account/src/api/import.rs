//! Import: all records of a text, or none.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::StatusCode;
use irsp_courier::store::StoreError;
use irsp_protocol::api::account::{
    ApplicationKey, ApplicationPatch, Attributes, CertificateForm, Changed, DeviceCode, DevicePatch,
    Imported, NewApplication, UserPatch,
};
use irsp_protocol::api::peer::NewGrant;
use irsp_protocol::change::{Answers, Right, Rights, Role};
use irsp_protocol::peer::{Peer, PeerState, PeerUrl, Policy, RATE_MAX, Trust};
use irsp_protocol::{Domain, Id};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::answer::Answer;
use super::applications::check_new;
use super::body::{RecordsPath, Text};
use super::caller::{Admin, Caller};
use super::devices::check_attributes;
use super::doc::Problems;
use super::{grants, peers};
use crate::account::Account;
use crate::certificate;
use crate::change::Target;
use crate::refusal::Refusal;
use crate::store::{Draft, application, binding, device, grant, peer, user};
use crate::transfer::{Line, LineError, Reader, Records, read};

/// Records in one import: one transaction, in which the writer is busy for some seconds and nothing else is written.
const RECORDS_MAX: usize = 50_000;
/// Lines whose errors are told.
const ERRORS_MAX: usize = 100;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceRecord {
    id: Id,
    #[serde(default)]
    answers: Answers,
    #[serde(default)]
    disabled: bool,
    #[serde(default)]
    attributes: Attributes,
    #[serde(default)]
    certificates: Vec<CertificateForm>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UserRecord {
    id: Id,
    #[serde(default)]
    role: Option<Role>,
    #[serde(default)]
    disabled: bool,
}

/// A new application, which may be disabled from the beginning.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
struct ApplicationRecord {
    disabled: bool,
    new: NewApplication,
}

impl TryFrom<Map<String, Value>> for ApplicationRecord {
    type Error = serde_json::Error;
    fn try_from(mut object: Map<String, Value>) -> Result<ApplicationRecord, serde_json::Error> {
        let disabled = object
            .remove("disabled")
            .map(serde_json::from_value)
            .transpose()?;
        Ok(ApplicationRecord {
            disabled: disabled.unwrap_or_default(),
            new: serde_json::from_value(Value::Object(object))?,
        })
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BindingRecord {
    device: Id,
    user: Id,
    owner: bool,
    /// Of a share; all of them unless given.
    #[serde(default)]
    rights: Option<Vec<Right>>,
}

/// A peer as it is shown.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PeerRecord {
    domain: Domain,
    trust: Trust,
    #[serde(default)]
    urls: Vec<PeerUrl>,
    #[serde(rename = "in", default)]
    inward: Policy,
    #[serde(rename = "out", default)]
    outward: Policy,
    #[serde(default)]
    rate_max: Option<u32>,
    #[serde(default)]
    out_rate_max: Option<NonZeroU32>,
    #[serde(default)]
    state: Option<PeerState>,
}

impl From<PeerRecord> for Peer {
    fn from(record: PeerRecord) -> Peer {
        Peer {
            domain: record.domain,
            trust: record.trust,
            urls: record.urls,
            inward: record.inward,
            outward: record.outward,
            rate_max: record.rate_max.unwrap_or(RATE_MAX),
            out_rate_max: record.out_rate_max,
            state: record.state.unwrap_or(PeerState::Active),
        }
    }
}

/// Registers every record of a text (CSV or NDJSON), or none: then the answer names the lines and what is wrong with them.
///
/// A record looks as in the API; in CSV a cell that is no text there holds JSON. What an export shows beyond that is
/// read over. Devices and applications get new secrets, shown this once; users come without a password and are given
/// one by an administrator; a binding makes its user the owner without the code, or shares the device; a
/// grant takes the place of the one that is there.
#[utoipa::path(post, path = "/v1/import/{records}", tag = "transfer",
    params(("records" = String, Path, pattern = "^(devices|users|apps|bindings|peers|grants)$")),
    request_body(content((String = "text/csv"), (String = "application/x-ndjson"))),
    responses((status = 201, body = Changed<Imported>), (status = 202, body = Changed<Imported>), Problems))]
pub(super) async fn import(
    State(account): State<Arc<Account>>,
    Admin(caller): Admin,
    RecordsPath(records): RecordsPath,
    Text { format, text }: Text,
) -> Answer<Imported> {
    let reader = Reader {
        records,
        format,
        lines_max: RECORDS_MAX,
    };
    match records {
        Records::Devices => devices(&account, caller, parsed(reader, &text)?).await,
        Records::Users => users(&account, caller, parsed(reader, &text)?).await,
        Records::Apps => applications(&account, caller, parsed(reader, &text)?).await,
        Records::Bindings => bindings(&account, caller, parsed(reader, &text)?).await,
        Records::Peers => peers(&account, caller, parsed(reader, &text)?).await,
        Records::Grants => grants(&account, caller, parsed(reader, &text)?).await,
    }
}

async fn devices(account: &Account, caller: Caller, lines: Vec<Line<DeviceRecord>>) -> Answer<Imported> {
    let check = |new: &DeviceRecord| {
        let attributes = &new.attributes;
        certificate::parse(new.certificates.clone())?;
        check_attributes(attributes.iter().map(|(name, value)| (name, Some(value))))
    };
    checked(&lines, check)?;
    let mut secrets = Vec::with_capacity(lines.len());
    for line in &lines {
        let (code, hash) = account.secret()?;
        let id = line.record.id.clone();
        secrets.push((DeviceCode { id, code }, hash));
    }
    let (codes, hashes): (Vec<_>, Vec<_>) = secrets.into_iter().unzip();
    let one = move |draft: &mut Draft<'_, '_>, place: usize, new: &DeviceRecord| {
        let certificates = certificate::parse(new.certificates.clone())?;
        let (answers, attributes) = (new.answers, &new.attributes);
        device::register(draft, &new.id, hashes[place], answers, attributes, &certificates)?;
        if new.disabled {
            let patch = DevicePatch {
                disabled: Some(true),
                ..DevicePatch::default()
            };
            device::modify(draft, &new.id, &patch, None)?;
        }
        Ok(())
    };
    let imported = Imported {
        devices: codes,
        ..Imported::default()
    };
    carry_out(
        account,
        caller,
        ("device.import", "devices"),
        lines,
        imported,
        one,
    )
    .await
}

async fn users(account: &Account, caller: Caller, lines: Vec<Line<UserRecord>>) -> Answer<Imported> {
    let one = |draft: &mut Draft<'_, '_>, _: usize, new: &UserRecord| {
        user::register(draft, &new.id, new.role.unwrap_or(Role::User), None, &[])?;
        if new.disabled {
            let patch = UserPatch {
                disabled: Some(true),
                ..UserPatch::default()
            };
            user::modify(draft, &new.id, &patch)?;
        }
        Ok(())
    };
    carry_out(
        account,
        caller,
        ("user.import", "users"),
        lines,
        Imported::default(),
        one,
    )
    .await
}

async fn applications(
    account: &Account,
    caller: Caller,
    lines: Vec<Line<ApplicationRecord>>,
) -> Answer<Imported> {
    checked(&lines, |record| check_new(&record.new))?;
    let (mut keys, mut hashes) = (Vec::new(), Vec::new());
    for line in &lines {
        let (key, hash) = account.secret()?;
        keys.push(ApplicationKey {
            id: line.record.new.id.clone(),
            key,
        });
        hashes.push(hash);
    }
    let one = move |draft: &mut Draft<'_, '_>, place: usize, record: &ApplicationRecord| {
        application::register(draft, &record.new, hashes[place])?;
        if record.disabled {
            let patch = ApplicationPatch {
                disabled: Some(true),
                ..ApplicationPatch::default()
            };
            application::modify(draft, &record.new.id, &patch)?;
        }
        Ok(())
    };
    let imported = Imported {
        apps: keys,
        ..Imported::default()
    };
    carry_out(
        account,
        caller,
        ("app.import", "applications"),
        lines,
        imported,
        one,
    )
    .await
}

async fn bindings(account: &Account, caller: Caller, lines: Vec<Line<BindingRecord>>) -> Answer<Imported> {
    let one = |draft: &mut Draft<'_, '_>, _: usize, new: &BindingRecord| match new.owner {
        true => binding::own(draft, &new.device, &new.user),
        false => {
            let rights = new.rights.clone().map_or_else(Rights::default, Rights::from);
            binding::share(draft, &new.device, &new.user, rights).map(drop)
        }
    };
    let done = Imported::default();
    carry_out(account, caller, ("binding.import", "bindings"), lines, done, one).await
}

async fn peers(account: &Account, caller: Caller, lines: Vec<Line<PeerRecord>>) -> Answer<Imported> {
    let own = &account.domain;
    checked(&lines, |record| peers::check(&record.clone().into(), own))?;
    let one = |draft: &mut Draft<'_, '_>, _: usize, record: &PeerRecord| {
        peer::register(draft, record.clone().into()).map(drop)
    };
    let done = Imported::default();
    carry_out(account, caller, ("peer.import", "peers"), lines, done, one).await
}

async fn grants(account: &Account, caller: Caller, lines: Vec<Line<NewGrant>>) -> Answer<Imported> {
    checked(&lines, |new| grants::check_new(new, &account.domain))?;
    let one = |draft: &mut Draft<'_, '_>, _: usize, new: &NewGrant| grant::give(draft, new).map(drop);
    let done = Imported::default();
    carry_out(account, caller, ("grant.import", "grants"), lines, done, one).await
}

fn parsed<T: serde::de::DeserializeOwned>(reader: Reader, text: &[u8]) -> Result<Vec<Line<T>>, Refusal> {
    let lines = read(reader, text).map_err(|lines| Refusal::Lines {
        status: irsp_protocol::Status::MALFORMED,
        lines,
    })?;
    match lines.is_empty() {
        true => Err(Refusal::Malformed("there is no record in it".to_owned())),
        false => Ok(lines),
    }
}

/// Checks what needs no database.
fn checked<T>(lines: &[Line<T>], check: impl Fn(&T) -> Result<(), Refusal>) -> Result<(), Refusal> {
    let wrong = |line: &Line<T>| {
        let refusal = check(&line.record).err()?;
        Some(LineError {
            line: line.line,
            detail: refusal.detail(),
        })
    };
    let lines: Vec<LineError> = lines.iter().filter_map(wrong).take(ERRORS_MAX).collect();
    match lines.is_empty() {
        true => Ok(()),
        false => Err(Refusal::Lines {
            status: irsp_protocol::Status::MALFORMED,
            lines,
        }),
    }
}

/// Makes all of them in one transaction; if one is refused, the rest is still tried, so that all errors are told, and
/// nothing is made.
async fn carry_out<T: Send + 'static>(
    account: &Account,
    caller: Caller,
    (action, name): (&'static str, &str),
    lines: Vec<Line<T>>,
    imported: Imported,
    one: impl Fn(&mut Draft<'_, '_>, usize, &T) -> Result<(), StoreError> + Send + 'static,
) -> Answer<Imported> {
    let wrong: Arc<Mutex<Vec<LineError>>> = Arc::default();
    let found = Arc::clone(&wrong);
    let imported = Imported {
        imported: lines.len() as u64,
        ..imported
    };
    let order = caller.orders(action, Target::Many(format!("{} {name}", lines.len())));
    let edit = move |draft: &mut Draft<'_, '_>| {
        let mut errors = Vec::new();
        let mut refused = None;
        for (place, line) in lines.iter().enumerate() {
            match one(draft, place, &line.record) {
                Ok(()) => {}
                Err(StoreError::Refused { status, detail }) => {
                    refused.get_or_insert(status);
                    errors.push(LineError {
                        line: line.line,
                        detail,
                    });
                    if errors.len() == ERRORS_MAX {
                        break;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        match refused {
            None => Ok(imported.clone()),
            Some(status) => {
                *found.lock().unwrap_or_else(PoisonError::into_inner) = errors;
                Err(StoreError::refused(status, "nothing was imported"))
            }
        }
    };
    match account.carry_out(order, edit).await {
        Ok(done) => done.answer(StatusCode::CREATED),
        Err(refusal) => {
            let lines = std::mem::take(&mut *wrong.lock().unwrap_or_else(PoisonError::into_inner));
            match lines.is_empty() {
                true => Err(refusal),
                false => Err(Refusal::Lines {
                    status: refusal.status(),
                    lines,
                }),
            }
        }
    }
}
