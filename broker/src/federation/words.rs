//! What went wrong with a connection, in words for operators: the libraries' own speak to programmers.

use std::io;

use rustls::{AlertDescription, CertificateError};

use super::link::NoLink;

/// Troubles shown of one call at several addresses.
const TROUBLES_MAX: usize = 8;

/// What broke a connection, or kept it from being one.
pub(super) fn of(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    if let Some(tls) = inner {
        return of_tls(tls);
    }
    for (kind, words) in [
        (io::ErrorKind::UnexpectedEof, "it hung up"),
        (io::ErrorKind::ConnectionReset, "it broke the connection off"),
        (io::ErrorKind::BrokenPipe, "it broke the connection off"),
        (io::ErrorKind::ConnectionRefused, "nobody listens there"),
    ] {
        if error.kind() == kind {
            return words.to_owned();
        }
    }
    error.to_string()
}

/// The same within the TLS handshake.
pub(super) fn of_handshake(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        "it hung up during the TLS handshake".to_owned()
    } else if error.kind() == io::ErrorKind::ConnectionReset {
        "it broke off the TLS handshake".to_owned()
    } else {
        of(error)
    }
}

/// Why a connection came to no link.
pub(super) fn of_no_link(why: &NoLink) -> String {
    if let NoLink::Io(error) = why {
        of(error)
    } else {
        why.to_string()
    }
}

fn of_tls(error: &rustls::Error) -> String {
    if let rustls::Error::InvalidCertificate(wrong) = error {
        of_certificate(wrong).to_owned()
    } else if let rustls::Error::AlertReceived(alert) = error {
        of_alert(*alert)
    } else if let rustls::Error::InvalidMessage(_) = error {
        "what speaks there does not speak TLS".to_owned()
    } else if *error == rustls::Error::NoCertificatesPresented {
        "it showed no certificate".to_owned()
    } else {
        format!("TLS: {error}")
    }
}

/// By what the verifiers of [`super::tls`] say.
fn of_certificate(wrong: &CertificateError) -> &'static str {
    if let CertificateError::Expired = wrong {
        "its certificate has expired, or is not valid yet"
    } else if let CertificateError::UnknownIssuer = wrong {
        "its certificate is not signed by the authority that was agreed on, or not for this use"
    } else if let CertificateError::NotValidForName = wrong {
        "its certificate names another domain"
    } else if let CertificateError::ApplicationVerificationFailure = wrong {
        "its certificate has another fingerprint than was agreed on"
    } else {
        "its certificate is not understood"
    }
}

/// What the peer has against ours, as far as an alert tells it.
fn of_alert(alert: AlertDescription) -> String {
    for (known, why) in [
        (
            AlertDescription::CertificateExpired,
            "by its clock it has expired, or is not valid yet",
        ),
        (
            AlertDescription::UnknownCA,
            "not signed by the authority it knows us by, or not for this use",
        ),
        (AlertDescription::BadCertificate, "it names no peer of theirs"),
        (
            AlertDescription::AccessDenied,
            "it knows us by another fingerprint, or has paused us",
        ),
    ] {
        if alert == known {
            return format!("it refuses our certificate: {why}");
        }
    }
    format!("it refuses us with the TLS alert {alert:?}")
}

/// Several troubles in one text, each once, the first ones.
pub(super) fn all(troubles: &[String]) -> String {
    let mut told: Vec<&str> = Vec::new();
    for trouble in troubles {
        if !told.contains(&trouble.as_str()) {
            told.push(trouble);
        }
    }
    let more = told.len().saturating_sub(TROUBLES_MAX);
    told.truncate(TROUBLES_MAX);
    let told = told.join("; ");
    match more {
        0 => told,
        more => format!("{told}; and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_read_no_library_words() {
        let tls = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let failure = CertificateError::ApplicationVerificationFailure;
        for (error, words) in [
            (
                io::ErrorKind::UnexpectedEof.into(),
                "it hung up during the TLS handshake",
            ),
            (io::ErrorKind::ConnectionRefused.into(), "nobody listens there"),
            (
                tls(rustls::Error::InvalidCertificate(failure)),
                "its certificate has another fingerprint than was agreed on",
            ),
            (
                tls(rustls::Error::AlertReceived(AlertDescription::AccessDenied)),
                "it refuses our certificate: it knows us by another fingerprint, or has paused us",
            ),
            (
                tls(rustls::Error::AlertReceived(AlertDescription::HandshakeFailure)),
                "it refuses us with the TLS alert HandshakeFailure",
            ),
        ] {
            assert_eq!(of_handshake(&error), words);
        }
        let docs = io::Error::new(io::ErrorKind::UnexpectedEof, "see https://docs.rs/rustls");
        assert_eq!(of(&docs), "it hung up");
    }

    #[test]
    fn of_many_troubles_the_first_are_told_each_once() {
        let one = ["x".to_owned(), "x".to_owned()];
        assert_eq!(all(&one), "x");
        let many: Vec<String> = (0..10).map(|n| n.to_string()).collect();
        assert_eq!(all(&many), "0; 1; 2; 3; 4; 5; 6; 7; and 2 more");
        assert_eq!(all(&[]), "");
    }
}
