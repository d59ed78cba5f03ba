//! Logins: each password entered begins one, its refresh tokens prolong it, and it ends by its user, an administrator, a
//! refresh token shown twice, or time. Followers hear only of those that end while a token of theirs is still good.

use std::net::IpAddr;
use std::time::Duration;

use irsp_courier::store::{StoreError, Tx};
use irsp_protocol::api::login::LoginView;
use irsp_protocol::change::{Cause, Entity, User};
use irsp_protocol::credential::{EndedLogin, LoginId};
use irsp_protocol::secret::SecretHash;
use irsp_protocol::{Id, Principal, Timestamp};
use rusqlite::{Connection, OptionalExtension};

use super::audit::{self, Line};
use super::{Author, Draft, corrupt, entity, password, time};
use crate::password::StoredPassword;
use crate::refresh::RefreshHash;
use crate::refusal::Refusal;

/// Logins of one user at once; a further one takes the place of the one not used for longest, whose token runs out.
const LOGINS_MAX: u32 = 64;
/// Ended logins that followers are asked to remember of one user. Beyond it all older tokens are refused instead, and
/// the logins that go on renew theirs.
const ENDED_MAX: usize = 128;

/// A login in the making, or one that is prolonged.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) id: LoginId,
    pub(crate) user: Id,
    pub(crate) refresh: RefreshHash,
    /// The password that was shown to be known.
    pub(crate) password: StoredPassword,
    /// Not before the time from which tokens of the user are good.
    pub(crate) began: Timestamp,
    pub(crate) expires: Timestamp,
    pub(crate) token_until: Timestamp,
    pub(crate) from: Option<IpAddr>,
}

/// How long what a refresh token is exchanged for is good, and for whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Renewal {
    pub(crate) now: Timestamp,
    pub(crate) expires: Timestamp,
    pub(crate) token_until: Timestamp,
    pub(crate) from: Option<IpAddr>,
}

/// What became of a refresh token that was shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rotation {
    Renewed {
        user: User,
        login: LoginId,
    },
    /// An older token of this login: somebody has a copy.
    Reused {
        user: Id,
        login: LoginId,
    },
    Disabled,
    Unknown,
}

/// Stores a login. If the password is another one by now, it is refused.
pub(crate) fn begin(draft: &mut Draft<'_, '_>, login: &Login) -> Result<(), StoreError> {
    let user = match entity::user(draft.sql(), &login.user) {
        Ok(user) if password::of_user(draft.sql(), &login.user)?.as_ref() == Some(&login.password) => user,
        Ok(_) => return Err(Refusal::WrongPassword.into()),
        Err(error) => return Err(error),
    };
    if user.disabled {
        return Err(Refusal::Disabled.into());
    }
    make_room(draft.sql(), &login.user)?;
    draft
        .sql()
        .prepare_cached(
            "INSERT INTO account_login (id, user, family, turn, began, standing, used, expires, token_until, origin)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?5, ?6, ?7, ?8)",
        )?
        .execute((
            stored(login.id),
            login.user.as_str(),
            login.refresh.family.0,
            login.refresh.turn.0,
            login.began.as_millis(),
            login.expires.as_millis(),
            login.token_until.as_millis(),
            origin(login.from),
        ))?;
    Ok(())
}

/// Exchanges the turn that was shown for the next one, with a line in the audit log, if it is the present one.
pub(crate) fn rotate(
    tx: &mut Tx<'_>,
    shown: &RefreshHash,
    next: &SecretHash,
    renewal: Renewal,
) -> Result<Rotation, StoreError> {
    let Some(Row {
        login,
        user: id,
        turn,
        standing,
    }) = find(tx.sql(), &shown.family, renewal.now)?
    else {
        return Ok(Rotation::Unknown);
    };
    let user = entity::user(tx.sql(), &id)?;
    // An older program, to which one may step back, ends tokens and knows no logins.
    if standing < user.tokens_from {
        return Ok(Rotation::Unknown);
    }
    if turn != shown.turn {
        return Ok(Rotation::Reused { user: id, login });
    }
    if user.disabled {
        return Ok(Rotation::Disabled);
    }
    tx.sql()
        .prepare_cached(
            "UPDATE account_login SET turn = ?2, used = ?3, expires = ?4, token_until = max(token_until, ?5), origin = ?6
             WHERE id = ?1",
        )?
        .execute((
            stored(login),
            next.0,
            renewal.now.as_millis(),
            renewal.expires.as_millis(),
            renewal.token_until.as_millis(),
            origin(renewal.from),
        ))?;
    let who = Principal::user(id);
    let author = Author {
        who: who.clone(),
        from: renewal.from,
    };
    let mut line = Line::done(&author, "login.refresh", who.to_string());
    line.targets.insert(who);
    audit::append(tx.sql(), tx.now(), &line)?;
    Ok(Rotation::Renewed { user, login })
}

/// The login that a refresh token belongs to, be it the present one or an older.
pub(crate) fn of_family(
    sql: &Connection,
    family: &SecretHash,
    now: Timestamp,
) -> Result<Option<(Id, LoginId)>, StoreError> {
    Ok(find(sql, family, now)?.map(|row| (row.user, row.login)))
}

/// Those of a user that have not ended, the one last used first.
pub(crate) fn list(
    sql: &Connection,
    user: &Id,
    now: Timestamp,
    current: Option<LoginId>,
) -> Result<Vec<LoginView>, StoreError> {
    entity::user(sql, user)?;
    let view = |row: &rusqlite::Row<'_>| {
        let id = login_id(row, 0)?;
        Ok(LoginView {
            id,
            since: time(row, 1)?,
            used: time(row, 2)?,
            expires: time(row, 3)?,
            from: row.get(4)?,
            current: current == Some(id),
        })
    };
    Ok(sql
        .prepare_cached(
            "SELECT id, began, used, expires, origin FROM account_login WHERE user = ?1 AND expires > ?2 ORDER BY used DESC, id",
        )?
        .query_map((user.as_str(), now.as_millis()), view)?
        .collect::<Result<_, _>>()?)
}

/// Whether the user has a login that was last prolonged from this address.
pub(crate) fn is_from(sql: &Connection, user: &Id, from: IpAddr) -> Result<bool, StoreError> {
    Ok(sql
        .prepare_cached("SELECT 1 FROM account_login WHERE user = ?1 AND origin = ?2")?
        .exists((user.as_str(), origin(Some(from))))?)
}

/// Ends a login; followers refuse its tokens from then on. `until` is when the token that was shown expires, for a
/// login that stands in no row: a restored store may have lost it.
pub(crate) fn end(
    draft: &mut Draft<'_, '_>,
    user: &Id,
    login: LoginId,
    until: Option<Timestamp>,
) -> Result<(), StoreError> {
    let mut state = entity::user(draft.sql(), user)?;
    let gone = draft
        .sql()
        .prepare_cached("DELETE FROM account_login WHERE id = ?1 AND user = ?2 RETURNING token_until")?
        .query_row((stored(login), user.as_str()), |row| time(row, 0))
        .optional()?;
    let Some(until) = gone.max(until) else {
        return Err(Refusal::NoLogin.into());
    };
    let now = draft.now();
    let before = state.ended_logins.clone();
    state.ended_logins.retain(|ended| ended.until > now);
    if until > now && !state.ended_logins.iter().any(|ended| ended.login == login) {
        state.ended_logins.push(EndedLogin { login, until });
    }
    if state.ended_logins.len() > ENDED_MAX {
        refuse_older(&mut state, now);
        state.ended_logins.clear();
        draft
            .sql()
            .prepare_cached("UPDATE account_login SET standing = ?2 WHERE user = ?1")?
            .execute((user.as_str(), state.tokens_from.as_millis()))?;
    }
    if state.ended_logins != before {
        draft.put(Cause::Modify, Entity::User(state))?;
    }
    Ok(())
}

/// Ends every login of a user: all tokens made until now are refused.
pub(crate) fn end_all(draft: &mut Draft<'_, '_>, user: &Id) -> Result<(), StoreError> {
    let mut state = entity::user(draft.sql(), user)?;
    remove_of_user(draft.sql(), user)?;
    refuse_older(&mut state, draft.now());
    draft.put(Cause::Modify, Entity::User(state))
}

/// Ends every login of every user, and voids every reset code: after a restore nobody knows which of them had been ended
/// since. Followers hear of it with the new numbers of all entities.
pub(crate) fn end_everywhere(draft: &Draft<'_, '_>) -> Result<(), StoreError> {
    for table in ["account_login", "account_reset"] {
        draft.sql().execute(&format!("DELETE FROM {table}"), [])?;
    }
    let now = draft.now();
    entity::edit_users(draft.sql(), |user| refuse_older(user, now))
}

/// Raises the time from which tokens of the user are good.
pub(super) fn refuse_older(user: &mut User, now: Timestamp) {
    // Later than all that was made until now, also if the clock has been set back; one millisecond on, so that a token made
    // in this one is refused, too.
    user.tokens_from = now.max(user.tokens_from).plus(Duration::from_millis(1));
    user.ended_logins.retain(|ended| ended.until > now);
}

/// Forgets a user's logins and reset code.
pub(super) fn remove_of_user(sql: &Connection, user: &Id) -> Result<(), StoreError> {
    for table in ["account_login", "account_reset"] {
        sql.prepare_cached(&format!("DELETE FROM {table} WHERE user = ?1"))?
            .execute([user.as_str()])?;
    }
    Ok(())
}

/// Forgets what has expired.
pub(crate) fn forget(sql: &Connection, now: Timestamp) -> Result<(), StoreError> {
    for table in ["account_login", "account_reset"] {
        sql.prepare_cached(&format!("DELETE FROM {table} WHERE expires <= ?1"))?
            .execute([now.as_millis()])?;
    }
    Ok(())
}

/// Makes the code with which a user sets a new password once, in place of one there is.
pub(crate) fn put_reset(
    draft: &Draft<'_, '_>,
    user: &Id,
    code: &SecretHash,
    expires: Timestamp,
) -> Result<(), StoreError> {
    entity::user(draft.sql(), user)?;
    draft
        .sql()
        .prepare_cached("INSERT OR REPLACE INTO account_reset (user, code, expires) VALUES (?1, ?2, ?3)")?
        .execute((user.as_str(), code.0, expires.as_millis()))?;
    Ok(())
}

/// Whether this is the user's reset code, and not expired.
pub(crate) fn is_reset(
    sql: &Connection,
    user: &Id,
    code: &SecretHash,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let kept: Option<[u8; 32]> = sql
        .prepare_cached("SELECT code FROM account_reset WHERE user = ?1 AND expires > ?2")?
        .query_row((user.as_str(), now.as_millis()), |row| row.get(0))
        .optional()?;
    Ok(kept == Some(code.0))
}

/// What stands of a login.
struct Row {
    login: LoginId,
    user: Id,
    turn: SecretHash,
    standing: Timestamp,
}

fn find(sql: &Connection, family: &SecretHash, now: Timestamp) -> Result<Option<Row>, StoreError> {
    Ok(sql
        .prepare_cached(
            "SELECT id, user, turn, standing FROM account_login WHERE family = ?1 AND expires > ?2",
        )?
        .query_row((family.0, now.as_millis()), |row| {
            let user: String = row.get(1)?;
            Ok(Row {
                login: login_id(row, 0)?,
                user: Id::new(&user).map_err(|error| corrupt(1, error))?,
                turn: SecretHash(row.get(2)?),
                standing: time(row, 3)?,
            })
        })
        .optional()?)
}

/// Leaves room for one more.
fn make_room(sql: &Connection, user: &Id) -> Result<(), StoreError> {
    sql.prepare_cached(
        "DELETE FROM account_login WHERE id IN
         (SELECT id FROM account_login WHERE user = ?1 ORDER BY used DESC, id LIMIT -1 OFFSET ?2)",
    )?
    .execute((user.as_str(), LOGINS_MAX - 1))?;
    Ok(())
}

fn origin(from: Option<IpAddr>) -> String {
    from.map_or_else(|| "unknown".to_owned(), |ip| ip.to_canonical().to_string())
}

/// The same 64 bits.
fn stored(login: LoginId) -> i64 {
    login.0.cast_signed()
}

fn login_id(row: &rusqlite::Row<'_>, column: usize) -> Result<LoginId, rusqlite::Error> {
    row.get::<_, i64>(column)
        .map(|bits| LoginId(bits.cast_unsigned()))
}
