//! `irsp check`: whether irsp could start here, without changing anything. The checks stand as comments over the
//! effective settings, so that the output is a settings file; what failed is told on standard error.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::time::SystemTime;

use irsp_config::{Files, Settings};
use irsp_protocol::Server;

use crate::failure::Failure;
use crate::pki::{self, Holder, PkiError};
use crate::{console, datadir, ports, well_known, wiring};

/// One thing that was looked at, and what was found.
type Finding = Result<String, Failure>;

/// Checks everything, shows the effective settings, and fails if a check failed.
pub(crate) fn run(settings: &Settings) -> Result<(), Failure> {
    let mut failed = 0;
    for finding in findings(settings, SystemTime::now()) {
        match finding {
            Ok(fine) => console::say(format_args!("# ok: {fine}")),
            Err(failure) => {
                failed += 1;
                console::complain(&failure);
            }
        }
    }
    console::say(
        settings
            .effective()
            .map_err(|error| Failure::Show(error.to_string()))?,
    );
    if failed == 0 {
        Ok(())
    } else {
        Err(Failure::Checks(failed))
    }
}

fn findings(settings: &Settings, now: SystemTime) -> Vec<Finding> {
    let files = settings.files();
    let mut findings = vec![data_dir(files.root()), format(&files), free(&files)];
    findings.extend(certificates(settings, now));
    findings.extend(client_authorities(settings));
    findings.extend(federation(settings, now));
    findings.extend(listeners(settings));
    findings
}

fn data_dir(root: &Path) -> Finding {
    let unusable = |source| Failure::DataDir {
        path: root.to_owned(),
        source,
    };
    let mut there = root;
    while !there.exists() {
        there = match there.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
    }
    if !there.is_dir() {
        return Err(unusable(io::Error::new(
            io::ErrorKind::NotADirectory,
            format!("{} is no directory", there.display()),
        )));
    }
    let probe = there.join(format!(".irsp-check.{}", std::process::id()));
    File::create_new(&probe)
        .and_then(|_| std::fs::remove_file(&probe))
        .map_err(unusable)?;
    let state = if there == root {
        "is writable"
    } else {
        "can be made"
    };
    Ok(format!("data_dir {} {state}", root.display()))
}

fn format(files: &Files) -> Finding {
    datadir::check_format(&files.format())?;
    let state = if files.format().exists() {
        "is known"
    } else {
        "is noted at the first start"
    };
    Ok(format!("data format {state}"))
}

/// Whether another irsp runs a role in this directory.
fn free(files: &Files) -> Finding {
    for server in Server::ALL {
        let lock = match OpenOptions::new().write(true).open(files.lock(server.as_str())) {
            Ok(lock) => lock,
            // Never locked, or not ours to open: the check of the directory tells the latter.
            Err(_) => continue,
        };
        if let Err(TryLockError::WouldBlock) = lock.try_lock() {
            let holder = format!("{server} server");
            return Err(Failure::InUse {
                path: files.root().to_owned(),
                holder,
            });
        }
    }
    Ok("data directory is not in use".to_owned())
}

fn certificates(settings: &Settings, now: SystemTime) -> Vec<Finding> {
    let files = settings.files();
    let domain = settings.domain.clone();
    let mut wanted = vec![(
        files.server(),
        Holder::MessageServer {
            domain: domain.clone(),
        },
        settings.tls.cert.is_some(),
    )];
    for name in ["account", "app"] {
        let holder = Holder::Role {
            domain: domain.clone(),
            name,
        };
        wanted.push((files.role(name), holder, settings.bus.cert.is_some()));
    }
    // One that was given is looked at with the rest of the federation.
    if settings.federation.cert.is_none() {
        let peer = Holder::Peer {
            domain: domain.clone(),
        };
        wanted.push((files.peer(), peer, false));
    }
    let mut findings = Vec::new();
    for (pair, holder, given) in wanted {
        let shown = pair.cert.display().to_string();
        if !given && !pair.cert.exists() {
            findings.push(Ok(format!("certificate {shown} is made at the first start")));
            continue;
        }
        let held = match given {
            true => pki::verify_given(&pair, now),
            false => renewable(
                pki::verify(&files.ca(), &pair, &holder, now),
                files.ca_key().exists(),
            ),
        };
        findings.push(
            held.map(|()| format!("certificate {shown} holds"))
                .map_err(Failure::from),
        );
    }
    findings
}

/// The authorities of devices' certificates and what they have revoked, where a setting names them.
fn client_authorities(settings: &Settings) -> Option<Finding> {
    let tls = &settings.tls;
    let (ca, crl) = (tls.client_ca.as_deref(), tls.client_crl.as_deref());
    ca.or(crl)?;
    let held = irsp_broker::check_client_authorities(ca, crl);
    let told = held.map(|()| "tls.client_ca and tls.client_crl hold".to_owned());
    Some(told.map_err(|error| Failure::Role {
        role: "message server",
        reason: error.to_string(),
    }))
}

/// What links to other domains rest on, as the start takes it.
fn federation(settings: &Settings, now: SystemTime) -> Vec<Finding> {
    let given = &settings.federation;
    let mut findings = Vec::new();
    if let Some(cert) = &given.cert {
        findings.push(identity(settings, now).map(|()| format!("certificate {} holds", cert.display())));
    }
    if !given.advertise.is_empty() {
        let part = well_known::part(settings);
        findings.push(part.map(|_| "federation.advertise holds".to_owned()));
    }
    if given.discover_srv || given.discover_well_known {
        let found = irsp_broker::check_discovery(&wiring::federation(settings).discovery);
        let told = found.map(|()| "peers can be looked for".to_owned());
        findings.push(told.map_err(|error| Failure::role("message server")(&error)));
    }
    findings
}

fn identity(settings: &Settings, now: SystemTime) -> Result<(), Failure> {
    let domain = wiring::domain(settings)?;
    Ok(irsp_broker::check_identity(
        &domain,
        &wiring::federation(settings),
        now,
    )?)
}

/// A development certificate that no longer holds is made anew at the next start, if the CA's key is here.
fn renewable(held: Result<(), PkiError>, ca_key: bool) -> Result<(), PkiError> {
    match held {
        Err(PkiError::Certificate { .. }) if ca_key => Ok(()),
        held => held,
    }
}

fn listeners(settings: &Settings) -> Vec<Finding> {
    let mut wanted = settings.mqtt_listeners();
    wanted.push(("http.listen", settings.http.listen));
    wanted.extend(settings.federation_listener());
    wanted.extend(settings.metrics.listen.map(|address| ("metrics.listen", address)));
    let take = |(key, address)| Ok(ports::take(key, address).map(|_| format!("{key} {address} is free"))?);
    wanted.into_iter().map(take).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;
    use crate::{firststart, write};

    fn settings(dir: &Path) -> Settings {
        let mut settings = Settings {
            data_dir: dir.join("data"),
            ..Settings::default()
        };
        let any = "127.0.0.1:0".parse().unwrap();
        (settings.mqtt.tcp, settings.mqtt.tls, settings.mqtt.ws) = (Some(any), Some(any), Some(any));
        settings.http.listen = any;
        settings
    }

    fn complaints(settings: &Settings, now: SystemTime) -> Vec<String> {
        findings(settings, now)
            .into_iter()
            .filter_map(Result::err)
            .map(|failure| failure.to_string())
            .collect()
    }

    #[test]
    fn a_new_place_is_fine_and_stays_untouched() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(
            complaints(&settings(dir.path()), SystemTime::now()),
            Vec::<String>::new()
        );
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_place_in_use_a_busy_port_and_a_newer_format_are_told_each() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = settings(dir.path());
        let files = settings.files();
        let _claim = datadir::claim(&files, &[Server::App]).unwrap();
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        settings.mqtt.tcp = Some(held.local_addr().unwrap());
        std::fs::write(files.format(), "7").unwrap();
        let complaints = complaints(&settings, SystemTime::now());
        assert_eq!(complaints.len(), 3, "{complaints:?}");
        assert!(
            complaints[0].contains("data format 7 is newer than 1"),
            "{complaints:?}"
        );
        assert!(
            complaints[1].contains("another irsp (app server) uses this data directory"),
            "{complaints:?}"
        );
        assert!(
            complaints[2].ends_with("is in use: stop the other program or set mqtt.tcp"),
            "{complaints:?}"
        );
    }

    #[test]
    fn a_given_certificate_that_has_expired_is_told_by_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = settings(dir.path());
        write::private_dir(&settings.data_dir).unwrap();
        firststart::prepare(&settings, SystemTime::now()).unwrap();
        let server = settings.files().server();
        settings.tls.ca = Some(settings.files().ca());
        (settings.tls.cert, settings.tls.key) = (Some(server.cert.clone()), Some(server.key));
        assert_eq!(complaints(&settings, SystemTime::now()), Vec::<String>::new());
        let later = SystemTime::now() + Duration::from_secs(400 * 86_400);
        let complaints = complaints(&settings, later);
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        assert!(
            complaints[0].starts_with(&format!("{}: has expired: ", server.cert.display())),
            "{complaints:?}"
        );
    }

    #[test]
    fn what_links_rest_on_is_told_as_the_start_would_tell_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = settings(dir.path());
        let told = |settings: &Settings| complaints(settings, SystemTime::now()).join("\n");
        write::private_dir(&settings.data_dir).unwrap();
        firststart::prepare(&settings, SystemTime::now()).unwrap();
        let (own, clients) = (settings.files().peer(), settings.files().server());
        settings.federation.cert = Some(own.cert);
        settings.federation.key = Some(own.key);
        settings.federation.advertise = "irsp://fed.home.example:7443".to_owned();
        settings.federation.discover_well_known = true;
        assert_eq!(told(&settings), "");
        settings.federation.web_ca = Some(dir.path().join("nope"));
        assert!(
            told(&settings).contains("peers cannot be looked for"),
            "{}",
            told(&settings)
        );
        settings.federation.discover_well_known = false;
        for wrong in ["http://h:1", "irsp://h"] {
            settings.federation.advertise = wrong.to_owned();
            assert!(
                told(&settings).starts_with("federation.advertise: "),
                "{}",
                told(&settings)
            );
        }
        settings.federation.advertise.clear();
        settings.federation.cert = Some(clients.cert);
        settings.federation.key = Some(clients.key);
        assert!(
            told(&settings).contains("client and server both"),
            "{}",
            told(&settings)
        );
        settings.domain = "other.example".to_owned();
        assert!(
            told(&settings).contains("nor the host other.example"),
            "{}",
            told(&settings)
        );
        settings.federation.cert = Some(dir.path().join("nope"));
        assert!(
            told(&settings).contains("nope: cannot be read as PEM"),
            "{}",
            told(&settings)
        );
    }

    #[test]
    fn authorities_of_devices_that_do_not_serve_are_told_by_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = settings(dir.path());
        let (ca, crl) = (dir.path().join("devices.crt"), dir.path().join("revoked.crl"));
        (settings.tls.client_ca, settings.tls.client_crl) = (Some(ca.clone()), Some(crl.clone()));
        let told = |settings: &Settings| complaints(settings, SystemTime::now()).join("\n");
        assert!(told(&settings).ends_with(&format!("{}: cannot be read as PEM: not found", ca.display())));
        let files = settings.files();
        write::private_dir(&settings.data_dir).unwrap();
        firststart::prepare(&settings, SystemTime::now()).unwrap();
        std::fs::copy(files.ca(), &ca).unwrap();
        assert!(told(&settings).ends_with(&format!("{}: cannot be read as PEM: not found", crl.display())));
        std::fs::copy(files.ca(), &crl).unwrap();
        assert!(told(&settings).ends_with(&format!("{}: holds no revocation list", crl.display())));
        settings.tls.client_crl = None;
        assert_eq!(told(&settings), "");
    }

    #[test]
    fn a_data_directory_below_a_file_is_told_by_key() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("data"), "").unwrap();
        let complaints = complaints(&settings(dir.path()), SystemTime::now());
        assert!(complaints[0].starts_with("data_dir = "), "{complaints:?}");
    }
}
