//! Who connects: a certificate, or a username with a secret (clause 9).

use irsp_directory::{Directory, Login};
use irsp_protocol::{Address, Domain, Kind, Principal, Server, Status, Timestamp};
use irsp_session::{Connect, Refusal};

/// A client that has shown who it is.
#[derive(Clone, Debug)]
pub(super) enum Identity {
    Principal(Login),
    /// A server of this domain: comes in by certificate only and is spliced onto the bus.
    Server(Server),
}

impl Identity {
    pub(super) fn principal(&self) -> Principal {
        match self {
            Identity::Principal(login) => login.principal.clone(),
            Identity::Server(server) => Principal::server(*server),
        }
    }
}

/// Identifies a client by its verified certificate, or else by username and password.
pub(super) fn identify(
    connect: &Connect,
    certificate: Option<&Principal>,
    domain: &Domain,
    directory: &Directory,
    now: Timestamp,
) -> Result<Identity, Status> {
    let claimed = connect
        .username
        .as_deref()
        .map(|name| claimed(name, domain))
        .transpose()?;
    if let Some(server) = certificate.and_then(Principal::as_server) {
        let same = claimed
            .as_ref()
            .is_none_or(|claimed| Some(claimed) == certificate);
        return if same {
            Ok(Identity::Server(server))
        } else {
            Err(Status::UNAUTHENTICATED)
        };
    }
    let claimed = claimed.ok_or(Status::UNAUTHENTICATED)?;
    let password = connect.password.as_deref().ok_or(Status::UNAUTHENTICATED)?;
    if !matches!(claimed.kind, Kind::Device | Kind::User | Kind::Application) {
        return Err(Status::UNAUTHENTICATED);
    }
    directory
        .authenticate(&claimed, password, now)
        .map(Identity::Principal)
}

fn claimed(username: &str, domain: &Domain) -> Result<Principal, Status> {
    let address: Address = username.parse().map_err(|_| Status::UNAUTHENTICATED)?;
    match address.domain {
        Some(other) if other != *domain => Err(Status::WRONG_DOMAIN),
        _ => Ok(address.principal),
    }
}

/// How a refused login is told to the client.
pub(super) fn refusal(status: Status) -> Refusal {
    Refusal {
        v5: status.connack_reason(),
        v3: status.connack_return_code(),
        text: Some(status.name().into()),
    }
}
