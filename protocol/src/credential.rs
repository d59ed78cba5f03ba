//! What principals prove themselves with, as the servers keep it: verification codes, certificates, logins. None of it
//! opens anything by itself.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::secret::SecretHash;
use crate::time::Timestamp;

/// A device's verification code as it is kept. One that lasts is written as its hash alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "CodeForm", into = "CodeForm")]
pub struct Code {
    pub hash: SecretHash,
    /// From then on it opens nothing.
    pub expires: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum CodeForm {
    Lasting(SecretHash),
    Expiring { hash: SecretHash, expires: Timestamp },
}

impl Code {
    /// A code without an end.
    pub fn lasting(hash: SecretHash) -> Code {
        Code { hash, expires: None }
    }

    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    /// Names the code among those of its device. The hash is keyed, so its beginning says nothing about the code.
    pub fn id(&self) -> String {
        hex(&self.hash.0[..4])
    }
}

impl From<CodeForm> for Code {
    fn from(form: CodeForm) -> Code {
        match form {
            CodeForm::Lasting(hash) => Code::lasting(hash),
            CodeForm::Expiring { hash, expires } => Code {
                hash,
                expires: Some(expires),
            },
        }
    }
}

impl From<Code> for CodeForm {
    fn from(code: Code) -> CodeForm {
        match code.expires {
            None => CodeForm::Lasting(code.hash),
            Some(expires) => CodeForm::Expiring {
                hash: code.hash,
                expires,
            },
        }
    }
}

/// A certificate by which a device is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Certificate {
    /// This very certificate.
    Exact { fingerprint: Fingerprint },
    /// Whichever certificate this authority has issued to this name.
    Named {
        /// Of the authority's own certificate.
        ca: Fingerprint,
        /// A DNS name or URI among the alternative names, or the common name of the subject.
        name: String,
    },
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Certificate::Exact { fingerprint } => write!(f, "{fingerprint}"),
            Certificate::Named { ca, name } => write!(f, "{ca}/{name}"),
        }
    }
}

/// SHA-256 of a certificate (DER), written in hexadecimal; colons between the bytes may stand or not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint(pub [u8; 32]);

/// Why a text is not a fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("a fingerprint is the SHA-256 of a certificate: 64 hexadecimal digits, with or without colons")]
pub struct NoFingerprint;

impl FromStr for Fingerprint {
    type Err = NoFingerprint;

    fn from_str(text: &str) -> Result<Fingerprint, NoFingerprint> {
        let digits: Vec<u8> = text
            .chars()
            .filter(|c| *c != ':')
            .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect::<Option<_>>()
            .ok_or(NoFingerprint)?;
        if digits.len() != 64 {
            return Err(NoFingerprint);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Ok(Fingerprint(bytes))
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = NoFingerprint;
    fn try_from(text: String) -> Result<Fingerprint, NoFingerprint> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> String {
        fingerprint.to_string()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// One login of a user: the tokens and refresh tokens that come from one password entered once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LoginId(pub u64);

/// Why a text names no login.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("a login is named by 16 hexadecimal digits")]
pub struct NoLoginId;

impl TryFrom<String> for LoginId {
    type Error = NoLoginId;
    fn try_from(text: String) -> Result<LoginId, NoLoginId> {
        if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(NoLoginId);
        }
        u64::from_str_radix(&text, 16).map(LoginId).map_err(|_| NoLoginId)
    }
}

impl From<LoginId> for String {
    fn from(id: LoginId) -> String {
        id.to_string()
    }
}

impl fmt::Display for LoginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A login whose tokens are refused although they have not expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedLogin {
    pub login: LoginId,
    /// By then its last token has expired, and nobody needs to remember it.
    pub until: Timestamp,
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_that_lasts_is_written_as_before_codes_had_an_end() {
        let hash = SecretHash([7; 32]);
        let lasting = serde_json::to_string(&Code::lasting(hash)).unwrap();
        assert_eq!(lasting, serde_json::to_string(&hash).unwrap());
        let expiring = Code {
            hash,
            expires: Some(Timestamp::from_millis(1_000)),
        };
        for code in [Code::lasting(hash), expiring] {
            let written = serde_json::to_string(&code).unwrap();
            assert_eq!(serde_json::from_str::<Code>(&written).unwrap(), code);
        }
        assert!(expiring.is_valid(Timestamp::from_millis(999)));
        assert!(!expiring.is_valid(Timestamp::from_millis(1_000)));
    }

    #[test]
    fn a_fingerprint_is_read_as_openssl_writes_it() {
        let bytes: [u8; 32] = std::array::from_fn(|i| i as u8 * 8);
        let plain = Fingerprint(bytes).to_string();
        let colons: Vec<String> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
        assert_eq!(plain.parse(), Ok(Fingerprint(bytes)));
        assert_eq!(colons.join(":").parse(), Ok(Fingerprint(bytes)));
        for wrong in [
            "",
            "00",
            &plain[1..],
            &format!("{plain}0"),
            &plain.replace('0', "g"),
        ] {
            assert_eq!(wrong.parse::<Fingerprint>(), Err(NoFingerprint), "{wrong}");
        }
    }

    #[test]
    fn certificates_are_told_apart_by_what_they_say() {
        let fingerprint = Fingerprint([1; 32]);
        for certificate in [
            Certificate::Exact { fingerprint },
            Certificate::Named {
                ca: fingerprint,
                name: "lamp-1".to_owned(),
            },
        ] {
            let written = serde_json::to_string(&certificate).unwrap();
            assert_eq!(
                serde_json::from_str::<Certificate>(&written).unwrap(),
                certificate
            );
        }
    }

    #[test]
    fn a_login_is_named_by_sixteen_digits() {
        let login = LoginId(0xfe);
        let written = serde_json::to_string(&login).unwrap();
        assert_eq!(written, r#""00000000000000fe""#);
        assert_eq!(serde_json::from_str::<LoginId>(&written).unwrap(), login);
        for wrong in [r#""fe""#, r#""+00000000000000f""#, r#""00000000000000fg""#] {
            assert!(serde_json::from_str::<LoginId>(wrong).is_err(), "{wrong}");
        }
    }
}
