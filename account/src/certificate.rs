//! Certificates as administrators name them: by fingerprint, as PEM, or as an authority and a name; and the authorities of
//! other domains.

use irsp_directory::fingerprint;
use irsp_protocol::api::account::CertificateForm;
use irsp_protocol::credential::{Certificate, Fingerprint};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{self, PemObject as _, SectionKind};

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

/// Refuses authorities of a peer of which one does not serve: it would be found out at the first link, if at all.
pub(crate) fn authorities(pem: &str) -> Result<(), Refusal> {
    let malformed = |detail: String| Err(Refusal::Malformed(format!("ca: {detail}")));
    let mut count = 0;
    for block in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem.as_bytes()) {
        count += 1;
        if let Err(why) = authority(block) {
            return malformed(format!("block {count} {why}"));
        }
    }
    match count {
        0 => malformed("no certificates in PEM".to_owned()),
        _ => Ok(()),
    }
}

/// Why one block of PEM is no authority.
fn authority(block: Result<(SectionKind, Vec<u8>), pem::Error>) -> Result<(), &'static str> {
    match block {
        Ok((SectionKind::Certificate, der)) => match webpki::anchor_from_trusted_cert(&der.into()) {
            Ok(_) => Ok(()),
            Err(_) => Err("is no X.509 certificate"),
        },
        Ok(_) => Err("is something else than a certificate"),
        Err(pem::Error::MissingSectionEnd { .. }) => Err("has no end"),
        Err(pem::Error::IllegalSectionStart { .. }) => Err("does not begin as PEM does"),
        Err(_) => Err("is not in base64"),
    }
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
    fn each_block_of_a_peers_authorities_has_to_serve() {
        let made = rcgen::generate_simple_self_signed(["b.example".to_owned()]).unwrap();
        let (good, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let cut = &good[..good.len() - 40];
        let read = |text: &str| authorities(text).map_err(|refusal| refusal.to_string());
        assert_eq!(read(&good), Ok(()));
        assert_eq!(read(&format!("# ours\n{good}{good}")), Ok(()));
        for (text, why) in [
            ("x".to_owned(), "ca: no certificates in PEM"),
            (PEM.to_owned(), "ca: block 1 is no X.509 certificate"),
            (format!("{PEM}{good}"), "ca: block 1 is no X.509 certificate"),
            (format!("{good}{PEM}"), "ca: block 2 is no X.509 certificate"),
            (
                format!("{good}{key}"),
                "ca: block 2 is something else than a certificate",
            ),
            (PEM.replace("dGVz", "!!!!"), "ca: block 1 is not in base64"),
            (format!("{good}{cut}"), "ca: block 2 has no end"),
            (
                good.replace("BEGIN CERTIFICATE-----", "BEGIN CERTIFICATE"),
                "ca: block 1 does not begin as PEM does",
            ),
        ] {
            assert_eq!(read(&text), Err(why.to_owned()), "{text}");
        }
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
