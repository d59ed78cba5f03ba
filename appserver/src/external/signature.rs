//! Signatures of Standard Webhooks, for what goes out and what comes in.
//!
//! ```text
//! webhook-id: {id}            the message's id, the same at every try
//! webhook-timestamp: {s}      seconds since 1970, of this try
//! webhook-signature: v1,{base64(HMAC-SHA256(secret, "{id}.{s}.{body}"))} v1,...     one for each secret that is live
//! ```
//!
//! A secret is `whsec_` and the base64 of its 24 to 64 bytes. Any one of the signatures under any one live secret will
//! do, so that either side can change its secret first.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use irsp_protocol::{Secret, Timestamp};
use ring::error::Unspecified;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;

pub(crate) const ID: &str = "webhook-id";
pub(crate) const TIMESTAMP: &str = "webhook-timestamp";
pub(crate) const SIGNATURE: &str = "webhook-signature";

const PREFIX: &str = "whsec_";
const SECRET_LEN: usize = 32;
const SECRET_LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;
/// Longest `webhook-id`: it is the sender's id of a message.
const ID_LEN_MAX: usize = 128;
/// Signatures looked at in one header.
const SIGNATURES_MAX: usize = 16;

/// Why a request is not taken for the application's. The caller is answered 401.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum SignatureError {
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("webhook-id has 1 to {ID_LEN_MAX} visible characters and no dot")]
    Id,
    #[error("webhook-timestamp is a number of seconds")]
    Timestamp,
    #[error("webhook-timestamp is more than {} seconds from our clock", .0.as_secs())]
    Stale(Duration),
    #[error("no signature is one of a live secret")]
    Wrong,
}

/// Why a text is no signing secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a signing secret is whsec_ and the base64 of 24 to 64 bytes")]
pub(crate) struct SecretError;

/// A secret both sides sign with. `Debug` shows only the type's name.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SigningSecret(Vec<u8>);

impl SigningSecret {
    pub(crate) fn make(random: &SystemRandom) -> Result<SigningSecret, Unspecified> {
        let mut bytes = vec![0; SECRET_LEN];
        random.fill(&mut bytes)?;
        Ok(SigningSecret(bytes))
    }

    pub(crate) fn parse(text: &str) -> Result<SigningSecret, SecretError> {
        let coded = text.strip_prefix(PREFIX).ok_or(SecretError)?;
        let bytes = STANDARD.decode(coded).map_err(|_| SecretError)?;
        if SECRET_LENGTHS.contains(&bytes.len()) {
            Ok(SigningSecret(bytes))
        } else {
            Err(SecretError)
        }
    }

    /// As its owner is shown it.
    pub(crate) fn text(&self) -> Secret {
        Secret::new(format!("{PREFIX}{}", STANDARD.encode(&self.0)))
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.0)
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret")
    }
}

/// The value of `webhook-signature`: one signature for each secret.
pub(crate) fn sign<'a>(
    secrets: impl IntoIterator<Item = &'a SigningSecret>,
    id: &str,
    at: Timestamp,
    body: &[u8],
) -> String {
    let signed = content(id, &seconds(at).to_string(), body);
    let each = |secret: &SigningSecret| {
        let tag = hmac::sign(&secret.key(), &signed);
        format!("v1,{}", STANDARD.encode(tag))
    };
    secrets.into_iter().map(each).collect::<Vec<_>>().join(" ")
}

/// Seconds since 1970, as `webhook-timestamp` has them.
pub(crate) fn seconds(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(1000)
}

/// The three headers of a request that says it is signed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signed<'a> {
    pub(crate) id: &'a str,
    pub(crate) timestamp: &'a str,
    pub(crate) signature: &'a str,
}

impl<'a> Signed<'a> {
    /// `header` gives a header's value. `None` without `webhook-signature`: the request claims no signature.
    pub(crate) fn of(
        header: impl Fn(&'static str) -> Option<&'a str>,
    ) -> Option<Result<Signed<'a>, SignatureError>> {
        let signature = header(SIGNATURE)?;
        let missing = |name| header(name).ok_or(SignatureError::Missing(name));
        Some(missing(ID).and_then(|id| {
            Ok(Signed {
                id,
                timestamp: missing(TIMESTAMP)?,
                signature,
            })
        }))
    }

    /// Whether the holder of one of `secrets` has signed this body within `tolerance` of `now`. The comparison takes
    /// the same time wherever the first difference is.
    pub(crate) fn verify<'s>(
        &self,
        secrets: impl IntoIterator<Item = &'s SigningSecret>,
        body: &[u8],
        now: Timestamp,
        tolerance: Duration,
    ) -> Result<(), SignatureError> {
        // A dot would let two readings of one signed text be told apart by nobody.
        let fine = |byte: u8| byte.is_ascii_graphic() && byte != b'.';
        if self.id.is_empty() || self.id.len() > ID_LEN_MAX || !self.id.bytes().all(fine) {
            return Err(SignatureError::Id);
        }
        let at: i64 = self.timestamp.parse().map_err(|_| SignatureError::Timestamp)?;
        if at.abs_diff(seconds(now)) > tolerance.as_secs() {
            return Err(SignatureError::Stale(tolerance));
        }
        let signed = content(self.id, self.timestamp, body);
        let given: Vec<Vec<u8>> = (self.signature.split(' ').take(SIGNATURES_MAX))
            .filter_map(|part| STANDARD.decode(part.strip_prefix("v1,")?).ok())
            .collect();
        let right = secrets.into_iter().any(|secret| {
            let key = secret.key();
            given.iter().any(|tag| hmac::verify(&key, &signed, tag).is_ok())
        });
        if right { Ok(()) } else { Err(SignatureError::Wrong) }
    }
}

fn content(id: &str, timestamp: &str, body: &[u8]) -> Vec<u8> {
    [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLERANCE: Duration = Duration::from_secs(300);

    /// The example of the Standard Webhooks specification's reference libraries.
    fn reference() -> (SigningSecret, Timestamp) {
        let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        (secret, Timestamp::from_millis(1_614_265_330_000))
    }

    fn signed<'a>(timestamp: &'a str, signature: &'a str) -> Signed<'a> {
        Signed {
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
            timestamp,
            signature,
        }
    }

    #[test]
    fn the_reference_example_is_signed_as_everybody_signs_it() {
        let (secret, at) = reference();
        let header = sign(
            [&secret],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            at,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(header, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(secret.text().expose(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    }

    #[test]
    fn any_signature_of_any_live_secret_will_do() {
        let (old, at) = reference();
        let new = SigningSecret::make(&SystemRandom::new()).unwrap();
        let header = sign([&new, &old], "msg_p5jXN8AQM9LWM0D4loKWxJek", at, b"body");
        let signed = signed("1614265330", &header);
        for live in [vec![&old], vec![&new], vec![&old, &new]] {
            assert_eq!(signed.verify(live, b"body", at, TOLERANCE), Ok(()));
        }
        assert_eq!(
            signed.verify([], b"body", at, TOLERANCE),
            Err(SignatureError::Wrong)
        );
    }

    #[test]
    fn what_is_changed_old_or_misspelled_is_refused() {
        let (secret, at) = reference();
        let header = sign([&secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", at, b"body");
        let check = |signed: Signed<'_>, body: &[u8], now| signed.verify([&secret], body, now, TOLERANCE);
        let good = signed("1614265330", &header);
        assert_eq!(check(good, b"Body", at), Err(SignatureError::Wrong));
        let other_id = Signed {
            id: "msg_other",
            ..good
        };
        assert_eq!(check(other_id, b"body", at), Err(SignatureError::Wrong));
        assert_eq!(
            check(signed("1614265331", &header), b"body", at),
            Err(SignatureError::Wrong)
        );
        for away in [301, -301] {
            let now = Timestamp::from_millis(at.as_millis() + away * 1000);
            assert_eq!(check(good, b"body", now), Err(SignatureError::Stale(TOLERANCE)));
        }
        let edge = at.plus(TOLERANCE);
        assert_eq!(check(good, b"body", edge), Ok(()));
        assert_eq!(
            check(signed("soon", &header), b"body", at),
            Err(SignatureError::Timestamp)
        );
        for id in ["", "a.b", "a b", "ä"] {
            assert_eq!(check(Signed { id, ..good }, b"body", at), Err(SignatureError::Id));
        }
        for header in ["", "v1", "v1,", "v2,g0hM", "v1,???", &header[3..]] {
            assert_eq!(
                check(signed("1614265330", header), b"body", at),
                Err(SignatureError::Wrong),
                "{header}"
            );
        }
    }

    #[test]
    fn a_request_without_a_signature_claims_none_and_half_a_one_is_refused() {
        assert!(Signed::of(|_| None).is_none());
        let half = Signed::of(|name| (name != TIMESTAMP).then_some("x"));
        assert!(matches!(half, Some(Err(SignatureError::Missing(TIMESTAMP)))));
    }

    #[test]
    fn a_secret_is_long_enough_and_does_not_show_itself() {
        for text in [
            "",
            "whsec_",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_c2hvcnQ=",
            "whsec_?",
        ] {
            assert_eq!(SigningSecret::parse(text), Err(SecretError), "{text}");
        }
        let made = SigningSecret::make(&SystemRandom::new()).unwrap();
        assert_eq!(SigningSecret::parse(made.text().expose()), Ok(made.clone()));
        assert_eq!(format!("{made:?}"), "SigningSecret");
    }
}
