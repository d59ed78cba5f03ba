//! Devices: their part of the entity table, and their attributes.

use std::collections::BTreeMap;

use irsp_courier::store::StoreError;
use irsp_protocol::api::account::{Attributes, DevicePatch, DeviceView};
use irsp_protocol::change::{Answers, Cause, Device, Entity, EntityKey};
use irsp_protocol::credential::{Certificate, Code};
use irsp_protocol::secret::SecretHash;
use irsp_protocol::{Id, Principal, Timestamp};
use rusqlite::{Connection, Row};

use super::list::Query;
use super::{Draft, binding, certificate, corrupt, entity, grant, number, time};
use crate::refusal::Refusal;

/// Attributes of one device.
pub(crate) const ATTRIBUTES_MAX: usize = 64;
/// Codes of one device at once, expired ones among them: two overlap while it is given a new one, the rest is room.
pub(crate) const CODES_MAX: usize = 8;

const SELECT: &str = "SELECT d.attributes, d.created, d.modified, e.state,
    (SELECT b.user FROM account_binding b WHERE b.device = d.id AND b.owner LIMIT 1), d.version
    FROM account_device d JOIN entity e ON e.key = 'dev/' || d.id";

pub(crate) fn view(sql: &Connection, id: &Id) -> Result<DeviceView, StoreError> {
    entity::device(sql, id)?;
    Ok(sql
        .prepare_cached(&format!("{SELECT} WHERE d.id = ?1"))?
        .query_row([id.as_str()], read)?)
}

/// Which devices are asked for; all that is given must be so.
#[derive(Default)]
pub(crate) struct Filter {
    /// Owned by, or shared with.
    pub(crate) bound_to: Option<Id>,
    pub(crate) prefix: Option<String>,
    pub(crate) owner: Option<Id>,
    /// A name, and the value if one is asked for.
    pub(crate) attribute: Option<(String, Option<String>)>,
    pub(crate) disabled: Option<bool>,
}

pub(crate) fn list(
    sql: &Connection,
    filter: Filter,
    after: String,
    limit: u32,
) -> Result<Vec<DeviceView>, StoreError> {
    let text = |id: Id| id.to_string();
    let mut query = Query::new(SELECT);
    query.and("d.id > ?", [after]);
    query.and_prefix("d.id >= ?", "d.id < ?", filter.prefix);
    query.and_some(
        "d.id IN (SELECT device FROM account_binding WHERE user = ?)",
        filter.bound_to.map(text),
    );
    query.and_some(
        "d.id IN (SELECT device FROM account_binding WHERE user = ? AND owner)",
        filter.owner.map(text),
    );
    query.and_some("e.state ->> '$.device.disabled' = ?", filter.disabled);
    match filter.attribute {
        Some((name, Some(value))) => query.and(
            "EXISTS (SELECT 1 FROM json_each(d.attributes) WHERE key = ? AND value = ?)",
            [name, value],
        ),
        Some((name, None)) => query.and(
            "EXISTS (SELECT 1 FROM json_each(d.attributes) WHERE key = ?)",
            [name],
        ),
        None => {}
    }
    query.rows(sql, "d.id", limit, read)
}

/// Clause 8.2.1.
pub(crate) fn register(
    draft: &mut Draft<'_, '_>,
    id: &Id,
    code: SecretHash,
    answers: Answers,
    attributes: &Attributes,
    certificates: &[Certificate],
) -> Result<(), StoreError> {
    entity::must_be_new(draft.sql(), Principal::device(id.clone()))?;
    certificate::set(draft.sql(), id, certificates)?;
    let attributes = serde_json::to_string(attributes)?;
    draft
        .sql()
        .prepare_cached(
            "INSERT INTO account_device (id, attributes, created, modified) VALUES (?1, ?2, ?3, ?3)",
        )?
        .execute((id.as_str(), attributes, draft.now().as_millis()))?;
    let device = Device {
        id: id.clone(),
        codes: vec![Code::lasting(code)],
        certificates: certificates.to_vec(),
        answers,
        disabled: false,
        generation: 1,
    };
    draft.put(Cause::Register, Entity::Device(device))
}

/// Clause 8.2.2. Followers hear only of what they keep: attributes are the account server's alone.
pub(crate) fn modify(
    draft: &mut Draft<'_, '_>,
    id: &Id,
    patch: &DevicePatch,
    certificates: Option<&[Certificate]>,
) -> Result<DeviceView, StoreError> {
    let before = entity::device(draft.sql(), id)?;
    let attributes = patched(view(draft.sql(), id)?.attributes, &patch.attributes)?;
    draft
        .sql()
        .prepare_cached("UPDATE account_device SET attributes = ?2, modified = ?3 WHERE id = ?1")?
        .execute((
            id.as_str(),
            serde_json::to_string(&attributes)?,
            draft.now().as_millis(),
        ))?;
    let mut device = before.clone();
    device.answers = patch.answers.unwrap_or(device.answers);
    device.disabled = patch.disabled.unwrap_or(device.disabled);
    if let Some(certificates) = certificates {
        certificate::set(draft.sql(), id, certificates)?;
        device.certificates = certificates.to_vec();
    }
    if device != before {
        draft.put(Cause::Modify, Entity::Device(device))?;
    }
    view(draft.sql(), id)
}

/// Clause 8.2.4: the new code is the only one, and sessions begun with an old one end.
pub(crate) fn reset(
    draft: &mut Draft<'_, '_>,
    id: &Id,
    code: SecretHash,
    unbind: bool,
) -> Result<DeviceView, StoreError> {
    let mut device = entity::device(draft.sql(), id)?;
    if unbind {
        grant::remove_of(draft, &Principal::device(id.clone()))?;
        binding::remove_of_device(draft, id)?;
    }
    device.codes = vec![Code::lasting(code)];
    device.generation += 1;
    touch(draft, id)?;
    draft.put(Cause::Reset, Entity::Device(device))?;
    view(draft.sql(), id)
}

/// The codes that are kept, oldest first; those that have expired among them.
pub(crate) fn codes(sql: &Connection, id: &Id) -> Result<Vec<Code>, StoreError> {
    Ok(entity::device(sql, id)?.codes)
}

/// Adds a code beside those there are; `others_expire` is the end of those, unless they end before. An expired one makes
/// room for it.
pub(crate) fn add_code(
    draft: &mut Draft<'_, '_>,
    id: &Id,
    code: Code,
    others_expire: Option<Timestamp>,
) -> Result<(), StoreError> {
    let mut device = entity::device(draft.sql(), id)?;
    let now = draft.now();
    if device.codes.len() >= CODES_MAX {
        device.codes.retain(|code| code.is_valid(now));
    }
    if device.codes.len() >= CODES_MAX {
        return Err(Refusal::TooMany {
            what: "codes of one device; revoke one first",
            max: CODES_MAX,
        }
        .into());
    }
    if let Some(end) = others_expire {
        for other in &mut device.codes {
            other.expires = Some(other.expires.map_or(end, |expires| expires.min(end)));
        }
    }
    device.codes.push(code);
    touch(draft, id)?;
    draft.put(Cause::Modify, Entity::Device(device))
}

/// Takes a code away; sessions opened with it end.
pub(crate) fn revoke_code(draft: &mut Draft<'_, '_>, id: &Id, code: &str) -> Result<(), StoreError> {
    let mut device = entity::device(draft.sql(), id)?;
    let before = device.codes.len();
    device.codes.retain(|held| held.id() != code);
    if device.codes.len() == before {
        return Err(Refusal::NoCode.into());
    }
    touch(draft, id)?;
    draft.put(Cause::Modify, Entity::Device(device))
}

/// Clause 8.2.3: the device, its attributes and bindings go; the id is not used again.
pub(crate) fn delete(draft: &mut Draft<'_, '_>, id: &Id) -> Result<(), StoreError> {
    entity::device(draft.sql(), id)?;
    binding::remove_of_device(draft, id)?;
    certificate::set(draft.sql(), id, &[])?;
    grant::remove_of(draft, &Principal::device(id.clone()))?;
    draft
        .sql()
        .prepare_cached("DELETE FROM account_device WHERE id = ?1")?
        .execute([id.as_str()])?;
    draft.remove(EntityKey::Principal(Principal::device(id.clone())))
}

fn touch(draft: &Draft<'_, '_>, id: &Id) -> Result<(), StoreError> {
    draft
        .sql()
        .prepare_cached("UPDATE account_device SET modified = ?2 WHERE id = ?1")?
        .execute((id.as_str(), draft.now().as_millis()))?;
    Ok(())
}

fn patched(
    mut attributes: Attributes,
    patch: &BTreeMap<String, Option<String>>,
) -> Result<Attributes, StoreError> {
    for (name, value) in patch {
        match value {
            Some(value) => attributes.insert(name.clone(), value.clone()),
            None => attributes.remove(name),
        };
    }
    if attributes.len() > ATTRIBUTES_MAX {
        return Err(Refusal::TooMany {
            what: "attributes",
            max: ATTRIBUTES_MAX,
        }
        .into());
    }
    Ok(attributes)
}

fn read(row: &Row<'_>) -> Result<DeviceView, rusqlite::Error> {
    let Some(Entity::Device(device)) = entity::state(row, 3)? else {
        return Err(corrupt(3, std::io::Error::other("not the state of a device")));
    };
    let attributes: String = row.get(0)?;
    let owner: Option<String> = row.get(4)?;
    let owner = owner.map(|text| Id::new(&text)).transpose();
    Ok(DeviceView {
        id: device.id,
        answers: device.answers,
        disabled: device.disabled,
        generation: device.generation,
        certificates: device.certificates,
        attributes: serde_json::from_str(&attributes).map_err(|error| corrupt(0, error))?,
        owner: owner.map_err(|error| corrupt(4, error))?,
        online: None,
        last_seen: None,
        created: time(row, 1)?,
        modified: time(row, 2)?,
        version: number(row, 5)?,
    })
}
