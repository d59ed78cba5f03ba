//! Who somebody is: MQTT logins and the HTTP `Authorization` header.
//!
//! | principal | over MQTT | over HTTP |
//! |---|---|---|
//! | device | verification code that is valid, or certificate | never |
//! | user | user token or machine token | the same, `Bearer` or `Basic` |
//! | application | key | the same, `Bearer` or `Basic` |
//!
//! Whoever presents no valid secret learns nothing: unknown, deleted and wrong are one answer (401). Only who proves
//! to be a disabled principal hears that (403). Secrets are compared by their keyed hashes, so how long a
//! comparison takes says nothing about the secret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use irsp_protocol::change::Role;
use irsp_protocol::credential::Certificate;
use irsp_protocol::{Id, Kind, Principal, Status, Timestamp};

use crate::certificate::ShownCertificate;
use crate::consequence::{Account, Credential};
use crate::directory::Directory;
use crate::token;

/// Somebody who has proved who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub principal: Principal,
    /// The role a user has now, whatever the token was issued with. `None` for devices and applications.
    pub role: Option<Role>,
    /// The generation of the credentials; a session begun under another one is ended.
    pub generation: u64,
    /// What was shown; a session ends with it.
    pub credential: Credential,
}

impl Directory {
    /// Checks an MQTT login: the principal named by the user name, and its password.
    pub fn authenticate(
        &self,
        claimed: &Principal,
        password: &[u8],
        now: Timestamp,
    ) -> Result<Login, Status> {
        // Before any lookup, so that an unknown principal costs as much as a wrong secret.
        let hash = self.hash_key().hash(password);
        match claimed.kind {
            Kind::Device => {
                let device = self.device(&claimed.id).ok_or(Status::UNAUTHENTICATED)?;
                if device.opens(&hash, now) {
                    admit(claimed, &*device, Credential::Secret(hash))
                } else {
                    Err(Status::UNAUTHENTICATED)
                }
            }
            Kind::Application => {
                let app = self.application(&claimed.id).ok_or(Status::UNAUTHENTICATED)?;
                if app.keys.contains(&hash) {
                    admit(claimed, &*app, Credential::Secret(hash))
                } else {
                    Err(Status::UNAUTHENTICATED)
                }
            }
            Kind::User => {
                let user = self.user(&claimed.id).ok_or(Status::UNAUTHENTICATED)?;
                if user.tokens.contains(&hash) {
                    return admit(claimed, &*user, Credential::Secret(hash));
                }
                let token = std::str::from_utf8(password).map_err(|_| Status::UNAUTHENTICATED)?;
                let login = self.authorize_token(token, now)?;
                if login.principal == *claimed {
                    Ok(login)
                } else {
                    Err(Status::UNAUTHENTICATED)
                }
            }
            // External applications, peers and servers prove themselves by certificate or signature.
            Kind::External | Kind::Peer | Kind::Server => Err(Status::UNAUTHENTICATED),
        }
    }

    /// Finds the device that has registered a certificate, or checks that the one that is claimed has.
    pub fn authenticate_certificate(
        &self,
        claimed: Option<&Principal>,
        shown: &ShownCertificate,
    ) -> Result<Login, Status> {
        let (id, certificate) = {
            let state = self.read();
            let registered = |certificate: Certificate| {
                let id = state.certified(&certificate)?.clone();
                Some((id, certificate))
            };
            let meant = |(id, _): &(Id, Certificate)| {
                claimed.is_none_or(|claimed| *claimed == Principal::device(id.clone()))
            };
            let mut found = shown.identities().filter_map(registered).filter(meant);
            found.next().ok_or(Status::UNAUTHENTICATED)?
        };
        let device = self.device(&id).ok_or(Status::UNAUTHENTICATED)?;
        admit(
            &Principal::device(id),
            &*device,
            Credential::Certificate(certificate),
        )
    }

    /// Checks an `Authorization` header: `Bearer` with a user token, a machine token (the admin token is one) or an
    /// application key; or `Basic` with `app/climate:key`.
    pub fn authorize_http(&self, authorization: Option<&str>, now: Timestamp) -> Result<Login, Status> {
        let (scheme, credentials) = authorization
            .and_then(|text| text.trim().split_once(' '))
            .ok_or(Status::UNAUTHENTICATED)?;
        let credentials = credentials.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            self.authorize_bearer(credentials, now)
        } else if scheme.eq_ignore_ascii_case("basic") {
            self.authorize_basic(credentials, now)
        } else {
            Err(Status::UNAUTHENTICATED)
        }
    }

    fn authorize_bearer(&self, secret: &str, now: Timestamp) -> Result<Login, Status> {
        let hash = self.hash_key().hash(secret.as_bytes());
        let holder = self.read().holder(&hash).cloned();
        match holder {
            Some(holder) => self.authenticate(&holder, secret.as_bytes(), now),
            None => self.authorize_token(secret, now),
        }
    }

    fn authorize_basic(&self, encoded: &str, now: Timestamp) -> Result<Login, Status> {
        let decoded = STANDARD
            .decode(encoded)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let decoded = decoded.ok_or(Status::UNAUTHENTICATED)?;
        let (claimed, secret) = decoded.split_once(':').ok_or(Status::UNAUTHENTICATED)?;
        let claimed: Principal = claimed.parse().map_err(|_| Status::UNAUTHENTICATED)?;
        if claimed.kind == Kind::Device {
            // A device's code opens MQTT and binds; it is no key to the API.
            return Err(Status::UNAUTHENTICATED);
        }
        self.authenticate(&claimed, secret.as_bytes(), now)
    }

    /// Checks a user token against the keys and the user as they are now.
    fn authorize_token(&self, token: &str, now: Timestamp) -> Result<Login, Status> {
        let claims =
            token::verify(|kid| self.token_key(kid), token, now).map_err(|_| Status::UNAUTHENTICATED)?;
        if claims.sub.kind != Kind::User {
            return Err(Status::UNAUTHENTICATED);
        }
        let user = self.user(&claims.sub.id).ok_or(Status::UNAUTHENTICATED)?;
        let ended = |login| user.ended_logins.iter().any(|ended| ended.login == login);
        if claims.iat < user.tokens_from || claims.sid.is_some_and(ended) {
            return Err(Status::UNAUTHENTICATED);
        }
        admit(&claims.sub, &*user, Credential::Login(claims.sid))
    }
}

/// Lets in who has shown a credential that is right, and is enabled.
fn admit(principal: &Principal, account: &impl Account, credential: Credential) -> Result<Login, Status> {
    let standing = account.standing();
    standing.enabled()?;
    Ok(Login {
        principal: principal.clone(),
        role: standing.role,
        generation: standing.generation,
        credential,
    })
}

#[cfg(test)]
mod tests;
