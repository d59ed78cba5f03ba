//! Who calls: the credentials of a request, checked against this server's own directory, and what the role allows.
//!
//! Asking for one of these as a handler's argument is the check; it runs before the body is read.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use irsp_directory::Credential;
use irsp_protocol::change::Role;
use irsp_protocol::credential::LoginId;
use irsp_protocol::{Id, Kind, Principal, Status};

use super::conditions;
use crate::account::Account;
use crate::change::{Conditions, Order, Target};
use crate::refusal::Refusal;
use crate::store::Author;

/// Anybody with credentials.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) principal: Principal,
    pub(super) role: Option<Role>,
    /// The login whose token was shown.
    pub(super) login: Option<LoginId>,
    from: Option<IpAddr>,
    pub(super) conditions: Conditions,
}

/// An administrator.
pub(super) struct Admin(pub(super) Caller);

/// An administrator or an operator: reads everything, no secrets.
pub(super) struct Reader;

/// A person.
pub(super) struct Person {
    pub(super) id: Id,
    pub(super) caller: Caller,
}

/// Whoever calls, with credentials or not.
pub(super) struct Somebody(pub(super) Result<Caller, Refusal>);

/// The address of whoever calls, when the HTTP server tells it; no credentials needed.
pub(super) struct From(pub(super) Option<IpAddr>);

impl Caller {
    pub(super) fn author(&self) -> Author {
        Author {
            who: self.principal.clone(),
            from: self.from,
        }
    }

    /// What the caller orders, in the words of the audit log.
    pub(super) fn orders(self, action: &'static str, target: impl Into<Target>) -> Order {
        Order {
            author: self.author(),
            action,
            target: target.into(),
            conditions: self.conditions,
        }
    }

    pub(super) fn from(&self) -> Option<IpAddr> {
        self.from
    }

    pub(super) fn is_admin(&self) -> bool {
        self.role == Some(Role::Admin)
    }

    pub(super) fn reads_everything(&self) -> bool {
        matches!(self.role, Some(Role::Admin | Role::Operator))
    }

    /// The caller's id, if the caller is a person.
    pub(super) fn person(&self) -> Option<&Id> {
        (self.principal.kind == Kind::User).then_some(&self.principal.id)
    }
}

impl FromRequestParts<Arc<Account>> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, account: &Arc<Account>) -> Result<Caller, Refusal> {
        let header = parts
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let now = account.courier.now();
        let login = account
            .directory
            .authorize_http(header, now)
            .map_err(|status| match status {
                Status::FORBIDDEN => Refusal::Disabled,
                _ => Refusal::Unauthenticated,
            })?;
        Ok(Caller {
            principal: login.principal,
            role: login.role,
            login: match login.credential {
                Credential::Login(login) => login,
                Credential::Secret(_) | Credential::Certificate(_) => None,
            },
            from: address(parts),
            conditions: conditions::read(parts),
        })
    }
}

impl FromRequestParts<Arc<Account>> for Admin {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, account: &Arc<Account>) -> Result<Admin, Refusal> {
        let caller = Caller::from_request_parts(parts, account).await?;
        if caller.is_admin() {
            Ok(Admin(caller))
        } else {
            Err(Refusal::NotGranted("only for administrators"))
        }
    }
}

impl FromRequestParts<Arc<Account>> for Reader {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, account: &Arc<Account>) -> Result<Reader, Refusal> {
        let caller = Caller::from_request_parts(parts, account).await?;
        if caller.reads_everything() {
            Ok(Reader)
        } else {
            Err(Refusal::NotGranted("only for administrators and operators"))
        }
    }
}

impl FromRequestParts<Arc<Account>> for Person {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, account: &Arc<Account>) -> Result<Person, Refusal> {
        let caller = Caller::from_request_parts(parts, account).await?;
        match caller.person().cloned() {
            Some(id) => Ok(Person { id, caller }),
            None => Err(Refusal::NotGranted("only for users")),
        }
    }
}

impl FromRequestParts<Arc<Account>> for Somebody {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        account: &Arc<Account>,
    ) -> Result<Somebody, Self::Rejection> {
        Ok(Somebody(Caller::from_request_parts(parts, account).await))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for From {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<From, Self::Rejection> {
        std::future::ready(Ok(From(address(parts)))).await
    }
}

fn address(parts: &Parts) -> Option<IpAddr> {
    parts
        .extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map(|ConnectInfo(address)| address.ip())
}
