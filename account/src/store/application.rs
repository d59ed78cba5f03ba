//! Applications: keys and grants.

use irsp_courier::store::StoreError;
use irsp_protocol::api::account::{ApplicationPatch, ApplicationView, NewApplication};
use irsp_protocol::change::{Application, Cause, Entity, EntityKey, Scope};
use irsp_protocol::secret::SecretHash;
use irsp_protocol::{Address, Id, Principal};
use rusqlite::{Connection, Row};

use super::list::Query;
use super::{Draft, corrupt, entity, number, time};
use crate::refusal::Refusal;

/// Principals that one grant lists, so that an application fits well into one envelope on the bus. Whoever is to hear more
/// is granted everyone.
pub(crate) const GRANTED_MAX: usize = 5_000;
/// Applications that one application may message by name, for the same reason.
pub(crate) const MESSAGED_MAX: usize = 1_000;

const SELECT: &str = "SELECT a.created, a.modified, e.state, a.version FROM account_application a JOIN entity e ON e.key = 'app/' || a.id";

pub(crate) fn view(sql: &Connection, id: &Id) -> Result<ApplicationView, StoreError> {
    entity::application(sql, id)?;
    Ok(sql
        .prepare_cached(&format!("{SELECT} WHERE a.id = ?1"))?
        .query_row([id.as_str()], read)?)
}

/// Which applications are asked for; all that is given must be so.
#[derive(Default)]
pub(crate) struct Filter {
    pub(crate) prefix: Option<String>,
    pub(crate) disabled: Option<bool>,
}

pub(crate) fn list(
    sql: &Connection,
    filter: Filter,
    after: String,
    limit: u32,
) -> Result<Vec<ApplicationView>, StoreError> {
    let mut query = Query::new(SELECT);
    query.and("a.id > ?", [after]);
    query.and_prefix("a.id >= ?", "a.id < ?", filter.prefix);
    query.and_some("e.state ->> '$.application.disabled' = ?", filter.disabled);
    query.rows(sql, "a.id", limit, read)
}

pub(crate) fn register(
    draft: &mut Draft<'_, '_>,
    new: &NewApplication,
    key: SecretHash,
) -> Result<ApplicationView, StoreError> {
    let id = &new.id;
    let granted = |scope: &Option<Scope>| scope.clone().unwrap_or(Scope::Everyone);
    entity::must_be_new(draft.sql(), Principal::application(id.clone()))?;
    draft
        .sql()
        .prepare_cached("INSERT INTO account_application (id, created, modified) VALUES (?1, ?2, ?2)")?
        .execute((id.as_str(), draft.now().as_millis()))?;
    let application = Application {
        id: id.clone(),
        keys: vec![key],
        hears: granted(&new.hears),
        pushes: granted(&new.pushes),
        messages: granted(&new.messages),
        delivery: new.delivery,
        answers: new.answers,
        retention: new.retention,
        disabled: false,
        generation: 1,
    };
    draft.put(Cause::Register, Entity::Application(application))?;
    view(draft.sql(), id)
}

pub(crate) fn modify(
    draft: &mut Draft<'_, '_>,
    id: &Id,
    patch: &ApplicationPatch,
) -> Result<ApplicationView, StoreError> {
    let before = entity::application(draft.sql(), id)?;
    let mut application = before.clone();
    application.hears = patch.hears.clone().unwrap_or(application.hears);
    application.pushes = patch.pushes.clone().unwrap_or(application.pushes);
    application.messages = patch.messages.clone().unwrap_or(application.messages);
    application.delivery = patch.delivery.unwrap_or(application.delivery);
    application.retention = patch.retention.unwrap_or(application.retention);
    application.answers = patch.answers.unwrap_or(application.answers);
    application.disabled = patch.disabled.unwrap_or(application.disabled);
    if application != before {
        put(draft, Cause::Modify, application)?;
    }
    view(draft.sql(), id)
}

/// Puts devices on the grants that are lists.
pub(crate) fn grant(draft: &mut Draft<'_, '_>, id: &Id, devices: &[Id]) -> Result<(), StoreError> {
    let before = entity::application(draft.sql(), id)?;
    let mut application = before.clone();
    for scope in [&mut application.hears, &mut application.pushes] {
        if let Scope::Only(list) = scope {
            list.extend(devices.iter().cloned().map(Principal::device).map(Address::local));
            if list.len() > GRANTED_MAX {
                return Err(Refusal::TooMany {
                    what: "principals in a grant",
                    max: GRANTED_MAX,
                }
                .into());
            }
        }
    }
    if application != before {
        put(draft, Cause::Modify, application)?;
    }
    Ok(())
}

/// Gives a new key. With `overlap` the newest old one stays valid, and so do the sessions begun with it.
pub(crate) fn rotate(
    draft: &mut Draft<'_, '_>,
    id: &Id,
    key: SecretHash,
    overlap: bool,
) -> Result<ApplicationView, StoreError> {
    let mut application = entity::application(draft.sql(), id)?;
    let kept = application.keys.pop().filter(|_| overlap);
    application.keys = kept.into_iter().chain([key]).collect();
    if overlap {
        put(draft, Cause::Modify, application)?;
    } else {
        application.generation += 1;
        put(draft, Cause::Reset, application)?;
    }
    view(draft.sql(), id)
}

pub(crate) fn delete(draft: &mut Draft<'_, '_>, id: &Id) -> Result<(), StoreError> {
    entity::application(draft.sql(), id)?;
    draft
        .sql()
        .prepare_cached("DELETE FROM account_application WHERE id = ?1")?
        .execute([id.as_str()])?;
    draft.remove(EntityKey::Principal(Principal::application(id.clone())))
}

fn put(draft: &mut Draft<'_, '_>, cause: Cause, application: Application) -> Result<(), StoreError> {
    draft
        .sql()
        .prepare_cached("UPDATE account_application SET modified = ?2 WHERE id = ?1")?
        .execute((application.id.as_str(), draft.now().as_millis()))?;
    draft.put(cause, Entity::Application(application))
}

fn read(row: &Row<'_>) -> Result<ApplicationView, rusqlite::Error> {
    match entity::state(row, 2)? {
        Some(Entity::Application(application)) => Ok(ApplicationView {
            id: application.id,
            hears: application.hears,
            pushes: application.pushes,
            messages: application.messages,
            delivery: application.delivery,
            answers: application.answers,
            retention: application.retention,
            disabled: application.disabled,
            generation: application.generation,
            created: time(row, 0)?,
            modified: time(row, 1)?,
            version: number(row, 3)?,
        }),
        _ => Err(corrupt(
            2,
            std::io::Error::other("not the state of an application"),
        )),
    }
}
