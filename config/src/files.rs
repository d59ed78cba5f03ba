//! Where everything stands in the data directory. One table, so that no two places disagree on a name.
//!
//! ```text
//! format                                 number of the data format
//! message.lock  account.lock  app.lock   held by the process that runs the role
//! message.db    account.db    app.db     the three servers' stores
//! admin.token   hash.key      token.key  secrets, mode 0600, made by the servers
//! pki/          ca, server, peer, account, app .crt and .key each
//! ```

use std::path::{Path, PathBuf};

use crate::settings::Settings;

/// A certificate chain and its private key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// The files of one data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    root: PathBuf,
    tls: crate::Tls,
    bus: crate::Bus,
    federation: crate::Federation,
}

impl Settings {
    pub fn files(&self) -> Files {
        Files {
            root: self.data_dir.clone(),
            tls: self.tls.clone(),
            bus: self.bus.clone(),
            federation: self.federation.clone(),
        }
    }
}

impl Files {
    pub fn root(&self) -> &Path {
        &self.root
    }
    pub fn format(&self) -> PathBuf {
        self.root.join("format")
    }
    /// Held by the process that runs `role` (`up` holds those of all roles).
    pub fn lock(&self, role: &str) -> PathBuf {
        self.root.join(format!("{role}.lock"))
    }
    pub fn admin_token(&self) -> PathBuf {
        self.root.join("admin.token")
    }
    pub fn pki(&self) -> PathBuf {
        self.root.join("pki")
    }
    /// What clients and servers trust.
    pub fn ca(&self) -> PathBuf {
        self.tls.ca.clone().unwrap_or_else(|| self.pki().join("ca.crt"))
    }
    /// The development CA's key; only there while we make certificates ourselves.
    pub fn ca_key(&self) -> PathBuf {
        self.pki().join("ca.key")
    }
    /// What the message server shows to clients.
    pub fn server(&self) -> CertificateFiles {
        self.pair("server", &self.tls.cert, &self.tls.key)
    }
    /// What a role that runs apart shows to the message server; `name` is `account` or `app`.
    pub fn role(&self, name: &str) -> CertificateFiles {
        self.pair(name, &self.bus.cert, &self.bus.key)
    }

    /// What the message server shows to other domains.
    pub fn peer(&self) -> CertificateFiles {
        self.pair("peer", &self.federation.cert, &self.federation.key)
    }

    fn pair(&self, name: &str, cert: &Option<PathBuf>, key: &Option<PathBuf>) -> CertificateFiles {
        let place = |given: &Option<PathBuf>, ending: &str| {
            given
                .clone()
                .unwrap_or_else(|| self.pki().join(format!("{name}.{ending}")))
        };
        CertificateFiles {
            cert: place(cert, "crt"),
            key: place(key, "key"),
        }
    }
}
