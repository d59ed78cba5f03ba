//! Devices.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use irsp_protocol::api::account::{
    Changed, DevicePatch, DeviceView, DeviceWithCode, Gone, NewDevice, Page, Reset,
};
use irsp_protocol::{Id, Principal};

use serde::Deserialize;

use super::answer::{Answer, Shown};
use super::body::{Asked, Body, IdPath, MaybeBody};
use super::caller::{Admin, Caller, Person};
use super::doc::Problems;
use super::page::{Standing, limit, page};
use super::seen;
use crate::account::Account;
use crate::certificate;
use crate::refusal::Refusal;
use crate::store::device::ATTRIBUTES_MAX;
use crate::store::{binding, device};

/// Longest name of an attribute, in bytes.
const NAME_LEN_MAX: usize = 64;
/// Longest value of an attribute, in bytes.
const VALUE_LEN_MAX: usize = 1024;

/// Which devices are asked for; all that is given must be so.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeviceQuery {
    /// Only ids that begin like this.
    #[param(max_length = 64)]
    prefix: Option<String>,
    /// Only what this user owns.
    #[param(value_type = Option<String>)]
    owner: Option<Id>,
    /// Only devices with this attribute: `room`, or `room=hall` for one value.
    #[param(example = "room=hall")]
    attribute: Option<String>,
    #[param(inline)]
    state: Option<Standing>,
    /// Only what comes after this; `next` of the page before.
    after: Option<String>,
    /// Items on a page, 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// The devices in order of their ids: all of them for administrators and operators, one's own for users.
#[utoipa::path(get, path = "/v1/devices", tag = "devices", params(DeviceQuery),
    responses((status = 200, body = Page<DeviceView>), Problems))]
pub(super) async fn list(
    State(account): State<Arc<Account>>,
    Person { id, caller }: Person,
    Asked(asked): Asked<DeviceQuery>,
) -> Result<Json<Page<DeviceView>>, Refusal> {
    let limit = limit(asked.limit)?;
    let after = asked.after.unwrap_or_default();
    let filter = device::Filter {
        bound_to: (!caller.reads_everything()).then_some(id),
        prefix: asked.prefix,
        owner: asked.owner,
        attribute: asked.attribute.map(|text| match text.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (text, None),
        }),
        disabled: asked.state.map(Standing::is_disabled),
    };
    let mut devices = account
        .courier
        .store()
        .read(move |sql| device::list(sql, filter, after, limit + 1))
        .await?;
    seen::tell(&account, &caller, &mut devices).await;
    Ok(page(devices, limit, |device| device.id.to_string()))
}

/// Registers a device and makes its verification code, shown this once.
#[utoipa::path(post, path = "/v1/devices", tag = "devices", request_body = NewDevice,
    responses((status = 201, body = Changed<DeviceWithCode>), (status = 202, body = Changed<DeviceWithCode>), Problems))]
pub(super) async fn create(
    State(account): State<Arc<Account>>,
    Admin(caller): Admin,
    Body(new): Body<NewDevice>,
) -> Answer<DeviceWithCode> {
    let NewDevice {
        id,
        answers,
        attributes,
        certificates,
    } = new;
    let certificates = certificate::parse(certificates)?;
    check_attributes(attributes.iter().map(|(name, value)| (name, Some(value))))?;
    let (code, hash) = account.secret()?;
    let order = caller.orders("device.register", principal(&id));
    account
        .carry_out(order, move |draft| {
            device::register(draft, &id, hash, answers, &attributes, &certificates)?;
            Ok(DeviceWithCode {
                device: device::view(draft.sql(), &id)?,
                code: code.clone(),
            })
        })
        .await?
        .answer(StatusCode::CREATED)
}

/// One device; a user may look at those bound to them.
#[utoipa::path(get, path = "/v1/devices/{id}", tag = "devices", params(("id" = String, Path)),
    responses((status = 200, body = DeviceView), Problems))]
pub(super) async fn show(
    State(account): State<Arc<Account>>,
    Person { id: user, caller }: Person,
    IdPath(id): IdPath,
) -> Result<Shown<DeviceView>, Refusal> {
    let all = caller.reads_everything();
    let mut device = account
        .courier
        .store()
        .read(move |sql| {
            // To a user, a device that does not exist and one that is not theirs are the same.
            if !all && !binding::is_bound(sql, &id, &user)? {
                return Err(NOT_THEIRS.into());
            }
            device::view(sql, &id)
        })
        .await?;
    seen::tell(&account, &caller, std::slice::from_mut(&mut device)).await;
    // Whether it is online, and since when, is not in its version.
    Ok(match device.online {
        Some(_) => Caller::shown_now(device),
        None => caller.shown(device),
    })
}

/// Changes how a device answers, disables or enables it, sets attributes and certificates.
#[utoipa::path(patch, path = "/v1/devices/{id}", tag = "devices", params(("id" = String, Path)),
    request_body = DevicePatch,
    responses((status = 200, body = Changed<DeviceView>), (status = 202, body = Changed<DeviceView>), Problems))]
pub(super) async fn modify(
    State(account): State<Arc<Account>>,
    Admin(caller): Admin,
    IdPath(id): IdPath,
    Body(mut patch): Body<DevicePatch>,
) -> Answer<DeviceView> {
    let certificates = patch.certificates.take().map(certificate::parse).transpose()?;
    check_attributes(
        patch
            .attributes
            .iter()
            .map(|(name, value)| (name, value.as_ref())),
    )?;
    let order = caller.orders("device.modify", principal(&id));
    account
        .carry_out(order, move |draft| {
            device::modify(draft, &id, &patch, certificates.as_deref())
        })
        .await?
        .answer(StatusCode::OK)
}

/// Deletes a device with its bindings. Its sessions end, what waits for it ends with 410; the id is not used again.
#[utoipa::path(delete, path = "/v1/devices/{id}", tag = "devices", params(("id" = String, Path)),
    responses((status = 200, body = Changed<Gone>), (status = 202, body = Changed<Gone>), Problems))]
pub(super) async fn delete(
    State(account): State<Arc<Account>>,
    Admin(caller): Admin,
    IdPath(id): IdPath,
) -> Answer<Gone> {
    let order = caller.orders("device.delete", principal(&id));
    account
        .carry_out(order, move |draft| {
            device::delete(draft, &id)?;
            Ok(Gone { id: id.clone() })
        })
        .await?
        .answer(StatusCode::OK)
}

/// Makes a new verification code, shown this once; the old ones and their sessions end. With `unbind` the bindings end,
/// too. For administrators and the owner.
#[utoipa::path(post, path = "/v1/devices/{id}/reset", tag = "devices", params(("id" = String, Path)),
    request_body = Option<Reset>,
    responses((status = 200, body = Changed<DeviceWithCode>), (status = 202, body = Changed<DeviceWithCode>), Problems))]
pub(super) async fn reset(
    State(account): State<Arc<Account>>,
    caller: Caller,
    IdPath(id): IdPath,
    MaybeBody(Reset { unbind }): MaybeBody<Reset>,
) -> Answer<DeviceWithCode> {
    let unbind = unbind.unwrap_or(account.reset_unbinds);
    let (code, hash) = account.secret()?;
    let owner = if caller.is_admin() {
        None
    } else {
        Some(caller.person().ok_or(NOT_THEIRS)?.clone())
    };
    let order = caller.orders("device.reset", principal(&id));
    account
        .carry_out(order, move |draft| {
            if let Some(owner) = &owner
                && !binding::is_owner(draft.sql(), &id, owner)?
            {
                return Err(NOT_THEIRS.into());
            }
            Ok(DeviceWithCode {
                device: device::reset(draft, &id, hash, unbind)?,
                code: code.clone(),
            })
        })
        .await?
        .answer(StatusCode::OK)
}

pub(super) const NOT_THEIRS: Refusal = Refusal::NotGranted("the device is not the caller's");

pub(super) fn check_attributes<'a>(
    attributes: impl ExactSizeIterator<Item = (&'a String, Option<&'a String>)>,
) -> Result<(), Refusal> {
    if attributes.len() > ATTRIBUTES_MAX {
        return Err(Refusal::TooMany {
            what: "attributes",
            max: ATTRIBUTES_MAX,
        });
    }
    for (name, value) in attributes {
        if name.is_empty() || name.len() > NAME_LEN_MAX {
            let detail = format!("the name of an attribute has 1 to {NAME_LEN_MAX} bytes");
            return Err(Refusal::Malformed(detail));
        }
        if value.is_some_and(|value| value.len() > VALUE_LEN_MAX) {
            return Err(Refusal::Malformed(format!(
                "the value of {name:?} is longer than {VALUE_LEN_MAX} bytes"
            )));
        }
    }
    Ok(())
}

pub(super) fn principal(id: &Id) -> Principal {
    Principal::device(id.clone())
}
