//! Certificates are made once, used again, renewed when they must be, and taken by rustls on both sides.

use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use rustls_pki_types::ServerName;

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

fn settings(dir: &Path) -> Settings {
    Settings {
        data_dir: dir.to_owned(),
        ..Settings::default()
    }
}

fn contents(settings: &Settings) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found: Vec<_> = fs::read_dir(settings.files().pki())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    found.sort();
    found
}

fn message_server() -> Holder {
    Holder::MessageServer {
        domain: "home.example".into(),
    }
}

fn account() -> Holder {
    Holder::Role {
        domain: "home.example".into(),
        name: "account",
    }
}

#[test]
fn certificates_are_made_once_and_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let now = SystemTime::now();
    prepare(&settings, now).unwrap();
    let made = contents(&settings);
    assert_eq!(
        made.len(),
        10,
        "ca, server, peer, account and app, each .crt and .key"
    );
    prepare(&settings, now + DAY * 300).unwrap();
    assert_eq!(contents(&settings), made);
}

#[test]
fn a_certificate_about_to_expire_is_renewed_below_the_same_ca() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let files = settings.files();
    let now = SystemTime::now();
    prepare(&settings, now).unwrap();
    let ca = fs::read(files.ca()).unwrap();
    let later = now + DAY * 400;
    let expired = verify(&files.ca(), &files.server(), &message_server(), later)
        .unwrap_err()
        .to_string();
    assert!(expired.contains("has expired"), "{expired}");
    prepare(&settings, later).unwrap();
    assert_eq!(fs::read(files.ca()).unwrap(), ca);
    verify(&files.ca(), &files.server(), &message_server(), later).unwrap();
    verify(&files.ca(), &files.role("account"), &account(), later).unwrap();
}

#[test]
fn another_domain_and_a_key_of_another_pair_make_new_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path());
    let now = SystemTime::now();
    prepare(&settings, now).unwrap();
    settings.domain = "cabin.example".into();
    prepare(&settings, now).unwrap();
    let files = settings.files();
    let cabin = Holder::MessageServer {
        domain: "cabin.example".into(),
    };
    verify(&files.ca(), &files.server(), &cabin, now).unwrap();
    fs::copy(files.role("app").key, files.server().key).unwrap();
    assert!(verify(&files.ca(), &files.server(), &cabin, now).is_err());
    prepare(&settings, now).unwrap();
    verify(&files.ca(), &files.server(), &cabin, now).unwrap();
}

#[test]
fn a_role_that_was_handed_its_certificate_makes_no_ca_of_its_own() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (server, role) = (settings(one.path()), settings(two.path()));
    prepare(&server, SystemTime::now()).unwrap();
    fs::create_dir(role.files().pki()).unwrap();
    for name in ["ca.crt", "account.crt", "account.key"] {
        fs::copy(server.files().pki().join(name), role.files().pki().join(name)).unwrap();
    }
    prepare(&role, SystemTime::now()).unwrap();
    assert_eq!(contents(&role).len(), 3);
}

#[test]
fn a_broken_ca_key_is_refused_by_file_and_never_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    prepare(&settings, SystemTime::now()).unwrap();
    let key = settings.files().ca_key();
    fs::write(&key, "nonsense").unwrap();
    let message = prepare(&settings, SystemTime::now()).unwrap_err().to_string();
    assert!(
        message.starts_with(&format!("{}: does not make a CA: ", key.display())),
        "{message}"
    );
    assert_eq!(fs::read(&key).unwrap(), b"nonsense");
}

/// A whole handshake in memory: the client trusts the CA and shows the role's certificate, the server demands one.
#[test]
fn rustls_takes_the_certificates_on_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    prepare(&settings, SystemTime::now()).unwrap();
    let files = settings.files();
    let mut roots = RootCertStore::empty();
    for ca in read_certificates(&files.ca()).unwrap() {
        roots.add(ca).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let demand = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots.clone()),
        Arc::clone(&provider),
    );
    let (server, role) = (files.server(), files.role("account"));
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(demand.build().unwrap())
        .with_single_cert(
            read_certificates(&server.cert).unwrap(),
            read_key(&server.key).unwrap(),
        )
        .unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            read_certificates(&role.cert).unwrap(),
            read_key(&role.key).unwrap(),
        )
        .unwrap();
    let (server, client) = (Arc::new(server), Arc::new(client));
    for name in ["localhost", "127.0.0.1", "::1", "home.example"] {
        let name = ServerName::try_from(name).unwrap();
        let mut client = ClientConnection::new(Arc::clone(&client), name).unwrap();
        let mut server = ServerConnection::new(Arc::clone(&server)).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets().unwrap();
            let mut wire = Vec::new();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut wire.as_slice()).unwrap();
            client.process_new_packets().unwrap();
        }
        assert_eq!(server.peer_certificates().unwrap().len(), 1);
    }
}
