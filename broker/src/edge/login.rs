//! Who connects: a certificate, or a username with a secret (clause 9).

use irsp_directory::{Credential, Directory, Login};
use irsp_protocol::{Address, Domain, Kind, Principal, Server, Status, Timestamp};
use irsp_session::{Connect, Refusal};

use super::tls::Bearer;

/// A client that has shown who it is.
#[derive(Clone, Debug)]
pub(super) enum Identity {
    Principal(Login),
    /// A server of this domain: comes in by certificate only and is spliced onto the bus.
    Server(Server),
}

impl Identity {
    /// Whether it was a certificate that showed it.
    pub(super) fn uses_certificate(&self) -> bool {
        match self {
            Identity::Principal(login) => matches!(login.credential, Credential::Certificate(_)),
            Identity::Server(_) => true,
        }
    }

    pub(super) fn principal(&self) -> Principal {
        match self {
            Identity::Principal(login) => login.principal.clone(),
            Identity::Server(server) => Principal::server(*server),
        }
    }
}

/// Identifies a client: by username and password if it sends a password, else by its verified certificate. A server of
/// this domain is known by its certificate alone.
pub(super) fn identify(
    connect: &Connect,
    bearer: Option<&Bearer>,
    domain: &Domain,
    directory: &Directory,
    now: Timestamp,
) -> Result<Identity, Status> {
    let claimed = connect
        .username
        .as_deref()
        .map(|name| claimed(name, domain))
        .transpose()?;
    // Some clients cannot send a username without a password.
    let password = connect
        .password
        .as_deref()
        .filter(|password| !password.is_empty());
    match (bearer, password) {
        (Some(Bearer::Server(server)), _) => {
            let named = Principal::server(*server);
            if claimed.is_none_or(|claimed| claimed == named) {
                Ok(Identity::Server(*server))
            } else {
                Err(Status::UNAUTHENTICATED)
            }
        }
        (Some(Bearer::Client(shown)), None) => directory
            .authenticate_certificate(claimed.as_ref(), shown)
            .map(Identity::Principal),
        (Some(Bearer::Client(_)) | None, Some(password)) => {
            let claimed = claimed.ok_or(Status::UNAUTHENTICATED)?;
            if !matches!(claimed.kind, Kind::Device | Kind::User | Kind::Application) {
                return Err(Status::UNAUTHENTICATED);
            }
            directory
                .authenticate(&claimed, password, now)
                .map(Identity::Principal)
        }
        (None, None) => Err(Status::UNAUTHENTICATED),
    }
}

fn claimed(username: &str, domain: &Domain) -> Result<Principal, Status> {
    let address: Address = username.parse().map_err(|_| Status::UNAUTHENTICATED)?;
    match address.domain {
        Some(other) if other != *domain => Err(Status::WRONG_DOMAIN),
        _ => Ok(address.principal),
    }
}

/// Who a client says it is, if that is a name of this domain.
pub(super) fn claimed_by(connect: &Connect, domain: &Domain) -> Option<Principal> {
    let username = connect.username.as_deref()?;
    claimed(username, domain).ok()
}

/// How a refused login is told to the client.
pub(super) fn refusal(status: Status) -> Refusal {
    Refusal {
        v5: status.connack_reason(),
        v3: status.connack_return_code(),
        text: Some(status.name().into()),
    }
}
