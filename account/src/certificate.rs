//! Certificates as administrators name them: by fingerprint, as PEM, or as an authority and a name.

use irsp_directory::fingerprint;
use irsp_protocol::api::account::CertificateForm;
use irsp_protocol::credential::{Certificate, Fingerprint};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::refusal::Refusal;

/// Certificates of one device: one in use, one that follows it, for each of a few authorities.
const CERTIFICATES_MAX: usize = 8;
/// Longest name, in bytes: the longest DNS name.
const NAME_LEN_MAX: usize = 255;

/// What is kept of the certificates of a device, each once.
pub(crate) fn parse(forms: Vec<CertificateForm>) -> Result<Vec<Certificate>, Refusal> {
    if forms.len() > CERTIFICATES_MAX {
        return Err(Refusal::TooMany {
            what: "certificates of one device",
            max: CERTIFICATES_MAX,
        });
    }
    let mut certificates = Vec::new();
    for form in forms {
        let certificate = one(form)?;
        if !certificates.contains(&certificate) {
            certificates.push(certificate);
        }
    }
    Ok(certificates)
}

fn one(form: CertificateForm) -> Result<Certificate, Refusal> {
    match form {
        CertificateForm {
            fingerprint: Some(text),
            pem: None,
            ca: None,
            name: None,
        } => Ok(Certificate::Exact {
            fingerprint: hexadecimal(&text)?,
        }),
        CertificateForm {
            pem: Some(pem),
            fingerprint: None,
            ca: None,
            name: None,
        } => Ok(Certificate::Exact {
            fingerprint: of_pem(&pem)?,
        }),
        CertificateForm {
            ca: Some(ca),
            name: Some(name),
            fingerprint: None,
            pem: None,
        } => {
            if name.is_empty() || name.len() > NAME_LEN_MAX || name.chars().any(char::is_control) {
                return Err(Refusal::Malformed(format!(
                    "the name in a certificate has 1 to {NAME_LEN_MAX} bytes and no control characters"
                )));
            }
            let ca = match ca.contains("-----BEGIN") {
                true => of_pem(&ca)?,
                false => hexadecimal(&ca)?,
            };
            Ok(Certificate::Named { ca, name })
        }
        CertificateForm { .. } => Err(Refusal::Malformed(
            "a certificate is given by fingerprint, or by pem, or by ca and name".to_owned(),
        )),
    }
}

fn hexadecimal(text: &str) -> Result<Fingerprint, Refusal> {
    text.parse()
        .map_err(|error: irsp_protocol::credential::NoFingerprint| Refusal::Malformed(error.to_string()))
}

fn of_pem(pem: &str) -> Result<Fingerprint, Refusal> {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| Refusal::Malformed(format!("not a certificate in PEM: {error}")))?;
    Ok(fingerprint(&certificate))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGITS: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    /// The bytes "test" in PEM: nobody looks into the certificate before it is shown.
    const PEM: &str = "-----BEGIN CERTIFICATE-----\ndGVzdA==\n-----END CERTIFICATE-----\n";

    fn read(json: serde_json::Value) -> Result<Vec<Certificate>, String> {
        let forms = serde_json::from_value(json).map_err(|error| error.to_string())?;
        parse(forms).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn a_certificate_is_named_in_three_ways() {
        let fingerprint: Fingerprint = DIGITS.parse().unwrap();
        let exact = Certificate::Exact { fingerprint };
        let named = Certificate::Named {
            ca: fingerprint,
            name: "lamp-1".to_owned(),
        };
        let json = serde_json::json!([
            { "fingerprint": DIGITS },
            { "pem": PEM },
            { "ca": DIGITS, "name": "lamp-1" },
            { "ca": PEM, "name": "lamp-1" },
        ]);
        assert_eq!(read(json), Ok(vec![exact, named]), "each once");
    }

    #[test]
    fn what_names_no_certificate_is_refused() {
        for wrong in [
            serde_json::json!([{}]),
            serde_json::json!([{ "fingerprint": "9f86" }]),
            serde_json::json!([{ "pem": "no certificate" }]),
            serde_json::json!([{ "ca": DIGITS }]),
            serde_json::json!([{ "name": "lamp-1" }]),
            serde_json::json!([{ "ca": DIGITS, "name": "" }]),
            serde_json::json!([{ "ca": DIGITS, "name": "lamp-1", "fingerprint": DIGITS }]),
            serde_json::json!([{ "fingerprint": DIGITS, "pem": PEM }]),
            serde_json::json!([{ "fingerprint": DIGITS, "serial": 7 }]),
        ] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
        let names =
            (0..=CERTIFICATES_MAX).map(|n| serde_json::json!({ "ca": DIGITS, "name": n.to_string() }));
        assert!(read(names.collect()).is_err(), "too many");
    }
}
