//! Who calls, and what it may hear. Rights are read from the directory each time, so a change of them acts at once.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use irsp_directory::{Directory, Login};
use irsp_protocol::change::{self, Role, Scope};
use irsp_protocol::{Address, Id, Kind, Principal, Server, Status};
use tokio::sync::watch;

use super::refusal::Refusal;
use super::state::Api;
use crate::heard::Heard;

/// Somebody who has shown who they are.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) login: Login,
    authorization: String,
    /// The caller's address, if the HTTP server tells it.
    from: Option<IpAddr>,
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Caller, Refusal> {
        let told = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let from = told.map(|ConnectInfo(address)| address.ip());
        Ok(Caller {
            from,
            ..Caller::of(&parts.headers, api)?
        })
    }
}

impl Caller {
    /// Who sends these headers.
    pub(super) fn of(headers: &HeaderMap, api: &Api) -> Result<Caller, Refusal> {
        let authorization = match headers.get(AUTHORIZATION) {
            Some(value) => value
                .to_str()
                .map_err(|_| Refusal::new(Status::UNAUTHENTICATED, "the Authorization header is not text"))?,
            None => "",
        };
        let login = log_in(api, authorization)?;
        Ok(Caller {
            login,
            authorization: authorization.to_owned(),
            from: None,
        })
    }

    /// Admins and operators read everything.
    pub(super) fn reads_all(&self) -> bool {
        matches!(self.login.role, Some(Role::Admin | Role::Operator))
    }

    /// The servers whose couriers hold messages this caller may see. The account server's own are changes, and those are
    /// for operators.
    pub(super) fn reach(&self) -> &'static [Server] {
        if self.reads_all() {
            &[Server::App, Server::Message, Server::Account]
        } else {
            &[Server::App, Server::Message]
        }
    }

    pub(super) fn must_read_all(&self, what: &str) -> Result<(), Refusal> {
        if self.reads_all() {
            return Ok(());
        }
        Err(Refusal::new(
            Status::FORBIDDEN,
            format!("only an operator or an admin reads {what}"),
        ))
    }

    pub(super) fn must_be_admin(&self, does: &str) -> Result<(), Refusal> {
        if self.is_admin() {
            return Ok(());
        }
        Err(Refusal::new(Status::FORBIDDEN, format!("only an admin {does}")))
    }

    pub(super) fn is_admin(&self) -> bool {
        self.login.role == Some(Role::Admin)
    }

    pub(super) fn from(&self) -> Option<IpAddr> {
        self.from
    }

    pub(super) fn principal(&self) -> &Principal {
        &self.login.principal
    }

    /// The application itself, admins and operators. A stranger does not learn whether the application exists.
    pub(super) fn may_read_uploads(&self, directory: &Directory, app: &Id) -> Result<(), Refusal> {
        if *self.principal() == Principal::application(app.clone()) {
            return Ok(());
        }
        if !self.reads_all() {
            return Err(Refusal::new(
                Status::FORBIDDEN,
                format!("only app/{app} itself, an operator or an admin reads its uploads"),
            ));
        }
        match directory.check(&Principal::application(app.clone())) {
            // The uploads of an application that is disabled or gone are still there for its operators.
            Ok(()) | Err(Status::FORBIDDEN | Status::DELETED) => Ok(()),
            Err(status) => Err(Refusal::new(status, format!("there is no app/{app}"))),
        }
    }

    /// Whose presence this caller hears.
    pub(super) fn sight(&self, directory: &Directory, heard: &Heard) -> Sight {
        let Principal { kind, id } = self.principal();
        if self.reads_all() {
            return Sight::Everyone;
        }
        match kind {
            Kind::Application => match directory.application(id).map(|app| app.hears.clone()) {
                Some(Scope::Everyone) => Sight::Everyone,
                Some(Scope::Only(list)) => Sight::Only(list),
                None => Sight::Only(Vec::new()),
            },
            Kind::User => {
                let devices = directory.devices_with_right(id, change::Right::Presence);
                let devices = devices.into_iter().map(Principal::device);
                let seen = devices.chain([self.principal().clone()]);
                let abroad = heard.shared_with(id);
                Sight::Only(seen.map(Address::local).chain(abroad).collect())
            }
            Kind::Device | Kind::External | Kind::Peer | Kind::Server => Sight::Only(Vec::new()),
        }
    }

    /// Whether this caller hears of `principal`: [`Caller::sight`] for one.
    pub(super) fn sees(&self, directory: &Directory, principal: &Principal) -> bool {
        let Principal { kind, id } = self.principal();
        if self.reads_all() {
            return true;
        }
        match kind {
            Kind::Application => directory
                .application(id)
                .is_some_and(|app| app.hears.includes(principal)),
            Kind::User => {
                principal == self.principal()
                    || (principal.kind == Kind::Device
                        && directory.has_right(&principal.id, id, change::Right::Presence))
            }
            Kind::Device | Kind::External | Kind::Peer | Kind::Server => false,
        }
    }
}

impl Caller {
    /// Whether this caller hears of a principal of another domain: one to whom it was granted there.
    pub(super) fn sees_abroad(&self, heard: &Heard, address: &Address) -> bool {
        self.reads_all() || heard.by(address, self.principal())
    }
}

/// A set of principals whose presence is heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    Everyone,
    Only(Vec<Address>),
}

impl Sight {
    pub(super) fn list(&self) -> Option<&[Address]> {
        match self {
            Sight::Everyone => None,
            Sight::Only(list) => Some(list),
        }
    }
}

/// What is asked of the caller each time a stream looks again.
type Right = Arc<dyn Fn(&Caller) -> Result<(), Refusal> + Send + Sync>;

/// A caller's standing right to listen: looked at again whenever the directory changes what it rests on, and from
/// time to time, because tokens expire.
pub(super) struct Warrant {
    api: Api,
    authorization: String,
    right: Right,
    changes: watch::Receiver<u64>,
}

impl Warrant {
    pub(super) fn new(api: &Api, caller: &Caller, right: Right) -> Warrant {
        Warrant {
            api: api.clone(),
            authorization: caller.authorization.clone(),
            right,
            changes: api.rights_changed.subscribe(),
        }
    }

    pub(super) fn check(&self) -> Result<(), Refusal> {
        let login = log_in(&self.api, &self.authorization)?;
        let caller = Caller {
            login,
            authorization: String::new(),
            from: None,
        };
        (self.right)(&caller)
    }

    /// Waits until rights have changed.
    pub(super) async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            // Nobody changes rights any more: the server stops, and the stream hears that elsewhere.
            std::future::pending::<()>().await;
        }
    }
}

fn log_in(api: &Api, authorization: &str) -> Result<Login, Refusal> {
    let given = (!authorization.is_empty()).then_some(authorization);
    api.directory
        .authorize_http(given, api.courier.now())
        .map_err(|status| {
            let detail = match given {
                Some(_) => "the credentials are not valid, or no longer",
                None => "send Authorization: Bearer with a user token, an admin token or an application key",
            };
            Refusal::new(status, detail)
        })
}
