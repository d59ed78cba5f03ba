//! User tokens: JSON Web Tokens signed by the account server (EdDSA, RFC 8037) and checked by every server on its
//! own. They are short-lived; what has changed since is seen in the directory.
//!
//! ```text
//! header  {"typ":"JWT","alg":"EdDSA","kid":"<thumbprint of the key>"}
//! claims  {"sub":"usr/ann","role":"user","iat":1795392123.456,"exp":1795395723.456,"sid":"00f1..."}
//! ```

use std::borrow::Borrow;
use std::fmt;
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use irsp_protocol::change::{Role, TokenKey};
use irsp_protocol::credential::LoginId;
use irsp_protocol::{Principal, Secret, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use ring::digest;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::key::secret_file;

/// Longest token that is looked at, in bytes; ours have about 300.
pub const TOKEN_LEN_MAX: usize = 2048;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    pub sub: Principal,
    /// The role at the time of issue, for whoever reads the token; decisions use the directory's.
    pub role: Role,
    /// Issued at. With milliseconds, so that a token made just after `tokens_from` was raised is not older than it.
    #[serde(with = "numeric_date")]
    pub iat: Timestamp,
    /// From then on it is refused.
    #[serde(with = "numeric_date")]
    pub exp: Timestamp,
    /// The login it comes from; tokens made before logins had names have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<LoginId>,
}

/// Why a token is refused or cannot be made. Whoever presents one hears 401, never which.
#[derive(Debug, Error)]
pub enum TokenError {
    #[error("not a token of this platform: {0}")]
    Invalid(#[from] jsonwebtoken::errors::Error),
    #[error("the token is longer than {TOKEN_LEN_MAX} bytes")]
    TooLong,
    #[error("the token names no key, or one that is not in use")]
    UnknownKey,
    #[error("the token has expired")]
    Expired,
    #[error("not an Ed25519 private key in PKCS#8 form")]
    PrivateKey,
    #[error("the system gives no random bytes")]
    Random,
}

/// The private half of a token key. `Debug` shows only the type's name.
pub struct TokenSigner {
    key: EncodingKey,
    header: Header,
    public: TokenKey,
}

impl TokenSigner {
    /// A new private key in PKCS#8 form, to be kept and given to [`TokenSigner::from_pkcs8`].
    pub fn make() -> Result<Vec<u8>, TokenError> {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| TokenError::Random)?;
        Ok(key.as_ref().to_vec())
    }

    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<TokenSigner, TokenError> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|_| TokenError::PrivateKey)?;
        let public = token_key(pair.public_key().as_ref());
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(public.id.clone());
        Ok(TokenSigner {
            key: EncodingKey::from_ed_der(pkcs8),
            header,
            public,
        })
    }

    /// Reads the private key, or makes it on the first start, in a file only its owner may read.
    pub fn read_or_make(path: &Path) -> io::Result<TokenSigner> {
        let pkcs8 = secret_file(path, || TokenSigner::make().map_err(io::Error::other))?;
        TokenSigner::from_pkcs8(&pkcs8).map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
        })
    }

    /// The public half, as the other servers learn it (clause 8.2).
    pub fn token_key(&self) -> &TokenKey {
        &self.public
    }

    pub fn sign(&self, claims: &Claims) -> Result<Secret, TokenError> {
        Ok(Secret::new(jsonwebtoken::encode(
            &self.header,
            claims,
            &self.key,
        )?))
    }
}

impl fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSigner")
    }
}

/// Checks signature and expiry. `key` finds a key by its id; keys that are not found verify nothing.
pub fn verify<K: Borrow<TokenKey>>(
    key: impl FnOnce(&str) -> Option<K>,
    token: &str,
    now: Timestamp,
) -> Result<Claims, TokenError> {
    if token.len() > TOKEN_LEN_MAX {
        return Err(TokenError::TooLong);
    }
    let kid = jsonwebtoken::decode_header(token)?
        .kid
        .ok_or(TokenError::UnknownKey)?;
    let key = key(&kid).ok_or(TokenError::UnknownKey)?;
    let key = DecodingKey::from_ed_components(&key.borrow().public)?;
    let claims = jsonwebtoken::decode::<Claims>(token, &key, &validation())?.claims;
    if claims.exp <= now {
        return Err(TokenError::Expired);
    }
    Ok(claims)
}

/// One algorithm, and no look at the system's clock: the time is given.
fn validation() -> Validation {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    validation
}

/// The public key under its JWK thumbprint (RFC 7638, RFC 8037 appendix A.3): the id follows from the key.
fn token_key(public: &[u8]) -> TokenKey {
    let public = URL_SAFE_NO_PAD.encode(public);
    let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{public}"}}"#);
    let id = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, jwk.as_bytes()));
    TokenKey { id, public }
}

/// A `NumericDate` (RFC 7519 section 2): seconds since 1970, here with milliseconds as its fraction.
mod numeric_date {
    use irsp_protocol::Timestamp;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(time.as_millis() as f64 / 1_000.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        if seconds.is_finite() {
            Ok(Timestamp::from_millis((seconds * 1_000.0).round() as i64))
        } else {
            Err(D::Error::custom("a date is a finite number"))
        }
    }
}

#[cfg(test)]
mod tests;
