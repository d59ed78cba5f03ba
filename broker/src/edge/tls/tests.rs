use std::time::Duration;

use futures_util::FutureExt as _;
use irsp_directory::{ShownCertificate, fingerprint};
use irsp_protocol::{Domain, Server};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod,
    KeyPair, RevokedCertParams, SanType, SerialNumber,
};
use rustls_pki_types::UnixTime;

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
    der: CertificateDer<'static>,
}

struct Issued {
    pem: String,
    key: String,
    der: CertificateDer<'static>,
}

fn now() -> UnixTime {
    UnixTime::now()
}

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        rcgen::KeyUsagePurpose::KeyCertSign,
        rcgen::KeyUsagePurpose::CrlSign,
    ];
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Authority {
        pem: certificate.pem(),
        der: certificate.der().clone(),
        params,
        key,
    }
}

impl Authority {
    /// A certificate for a common name, and a DNS name or URI.
    fn issues(&self, serial: u64, common: &str, alternative: &str) -> Issued {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common);
        params.serial_number = Some(SerialNumber::from(serial));
        let name = alternative.try_into().unwrap();
        params.subject_alt_names = vec![match alternative.contains("://") {
            true => SanType::URI(name),
            false => SanType::DnsName(name),
        }];
        params.not_after = (std::time::SystemTime::now() + DAY).into();
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        Issued {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            key: key.serialize_pem(),
        }
    }

    fn revokes(&self, serial: u64) -> String {
        let now = std::time::SystemTime::now();
        let list = CertificateRevocationListParams {
            this_update: now.into(),
            next_update: (now + DAY).into(),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(serial),
                revocation_time: now.into(),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let issuer = Issuer::from_params(&self.params, &self.key);
        list.signed_by(&issuer).unwrap().pem().unwrap()
    }
}

fn home() -> Domain {
    Domain::new("home.example").unwrap()
}

fn trust(servers: &[&Authority], clients: &[&Authority], revoked: &[String]) -> Trust {
    let ders = |authorities: &[&Authority]| authorities.iter().map(|a| a.der.clone()).collect::<Vec<_>>();
    let lists: Vec<_> = revoked
        .iter()
        .map(|pem| CertificateRevocationListDer::from_pem_slice(pem.as_bytes()).unwrap())
        .collect();
    Trust::new(&ders(servers), &ders(clients), &lists).unwrap()
}

#[test]
fn a_client_is_shown_by_its_fingerprint_its_authority_and_its_names() {
    let (own, factory) = (authority("own"), authority("factory"));
    let trust = trust(&[&own], &[&own, &factory], &[]);
    let issued = factory.issues(1, "lamp-1", "lamp-1.devices.example");
    let expected = ShownCertificate {
        fingerprint: fingerprint(&issued.der),
        cas: vec![fingerprint(&factory.der)],
        names: vec!["lamp-1.devices.example".to_owned(), "lamp-1".to_owned()],
    };
    assert_eq!(
        trust.bearer(&[issued.der], &home(), now()),
        Some(Bearer::Client(expected))
    );
    assert_eq!(trust.bearer(&[], &home(), now()), None);
}

#[test]
fn who_is_signed_by_nobody_we_know_expired_or_revoked_is_nobody() {
    let (own, factory, stranger) = (authority("own"), authority("factory"), authority("stranger"));
    let trust = trust(&[&own], &[&factory], &[factory.revokes(2)]);
    let bearer = |issued: &Issued, at| trust.bearer(std::slice::from_ref(&issued.der), &home(), at);
    let good = factory.issues(1, "lamp-1", "lamp-1");
    assert!(bearer(&good, now()).is_some());
    let later = UnixTime::since_unix_epoch(Duration::from_secs(now().as_secs()) + 2 * DAY);
    assert_eq!(bearer(&good, later), None, "expired");
    assert_eq!(
        bearer(&factory.issues(2, "lamp-2", "lamp-2"), now()),
        None,
        "revoked"
    );
    assert_eq!(bearer(&stranger.issues(1, "lamp-1", "lamp-1"), now()), None);
    assert_eq!(
        bearer(&own.issues(1, "lamp-1", "lamp-1"), now()),
        None,
        "not a client's"
    );
}

#[test]
fn an_authority_of_devices_makes_no_server() {
    let (own, factory) = (authority("own"), authority("factory"));
    let trust = trust(&[&own], &[&own, &factory], &[]);
    let bearer = |issued: Issued| trust.bearer(&[issued.der], &home(), now());
    let uri = "irsp://home.example/srv/app";
    assert_eq!(
        bearer(own.issues(1, "app", uri)),
        Some(Bearer::Server(Server::App))
    );
    assert_eq!(bearer(factory.issues(1, "app", uri)), None);
    let elsewhere = own.issues(2, "app", "irsp://far.example/srv/app");
    assert!(matches!(bearer(elsewhere), Some(Bearer::Client(_))));
}

#[test]
fn what_the_files_hold_now_serves_and_what_does_not_serve_is_not_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let put = |name: &str, text: &str| std::fs::write(file(name), text).unwrap();
    let (own, factory) = (authority("own"), authority("factory"));
    let (first, second) = (
        own.issues(1, "server", "localhost"),
        own.issues(2, "server", "localhost"),
    );
    let lamp = factory.issues(7, "lamp-1", "lamp-1");
    for (name, text) in [
        ("server.crt", &first.pem),
        ("server.key", &first.key),
        ("ca.crt", &own.pem),
        ("devices.crt", &own.pem),
        ("revoked.crl", &own.revokes(99)),
    ] {
        put(name, text);
    }
    let source = TlsSource::open(&Listeners {
        tcp: None,
        tls: None,
        ws: None,
        wss: None,
        ws_path: "/mqtt".to_owned(),
        certificate: file("server.crt"),
        key: file("server.key"),
        server_authorities: file("ca.crt"),
        client_authorities: Some(file("devices.crt")),
        revoked: Some(file("revoked.crl")),
        proxies: Vec::new(),
    })
    .unwrap();
    let knows_lamp = || {
        let (tls, _) = source.current();
        tls.trust
            .bearer(std::slice::from_ref(&lamp.der), &home(), now())
            .is_some()
    };
    assert!(!source.reload().unwrap(), "nothing is new");
    assert!(!knows_lamp());
    put("devices.crt", &format!("{}{}", own.pem, factory.pem));
    assert!(source.reload().unwrap());
    assert!(knows_lamp());
    let session = Revocation::new(lamp.der.clone(), source.current().1);
    let mut ends = Box::pin(session.listed());
    assert!(ends.as_mut().now_or_never().is_none());
    put("revoked.crl", &factory.revokes(7));
    assert!(source.reload().unwrap());
    assert!(!knows_lamp());
    assert!(ends.as_mut().now_or_never().is_some(), "a live session hears it");
    put("revoked.crl", &factory.revokes(8));
    assert!(source.reload().unwrap());
    assert!(knows_lamp());

    let (before, _) = source.current();
    put("server.crt", &second.pem);
    assert!(source.reload().is_err(), "the key is not the certificate's");
    assert!(Arc::ptr_eq(&before, &source.current().0));
    assert!(!source.reload().unwrap(), "the same is not tried again");
    put("server.key", &second.key);
    assert!(source.reload().unwrap());
    std::fs::remove_file(file("devices.crt")).unwrap();
    assert!(source.reload().is_err());
    put("devices.crt", "no certificate");
    assert!(source.reload().is_err());
    assert!(knows_lamp(), "what was taken over goes on");
}
