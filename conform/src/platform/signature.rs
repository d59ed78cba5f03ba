//! Signatures of Standard Webhooks, written here a second time so that a mistake of the platform shows.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use crate::trouble::{Trouble, unlike};

/// The key in `whsec_...`.
pub(crate) fn key(secret: &str) -> Result<hmac::Key, Trouble> {
    let coded = secret.strip_prefix("whsec_").unwrap_or(secret);
    match STANDARD.decode(coded) {
        Ok(bytes) if bytes.len() >= 24 => Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes)),
        Ok(_) | Err(_) => Err(unlike(
            "a signing secret",
            "whsec_ and base64 of 24 bytes or more",
            &"another text",
        )),
    }
}

/// The value of `webhook-signature`.
pub(crate) fn sign(key: &hmac::Key, id: &str, timestamp: &str, body: &[u8]) -> String {
    format!(
        "v1,{}",
        STANDARD.encode(hmac::sign(key, &content(id, timestamp, body)))
    )
}

/// Whether one of the signatures is the key's.
pub(crate) fn holds(key: &hmac::Key, id: &str, timestamp: &str, body: &[u8], signatures: &str) -> bool {
    let content = content(id, timestamp, body);
    let given = signatures
        .split(' ')
        .filter_map(|one| STANDARD.decode(one.strip_prefix("v1,")?).ok());
    given
        .into_iter()
        .any(|tag| hmac::verify(key, &content, &tag).is_ok())
}

fn content(id: &str, timestamp: &str, body: &[u8]) -> Vec<u8> {
    [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks specification's reference libraries.
    #[test]
    fn the_reference_example() {
        let key = key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let (id, at, body) = (
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            br#"{"test": 2432232314}"#,
        );
        let tag = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(sign(&key, id, at, body), tag);
        assert!(holds(&key, id, at, body, &format!("v1,AAAA {tag}")));
        assert!(!holds(&key, id, "1614265331", body, tag));
    }
}
