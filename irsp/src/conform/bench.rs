//! A whole platform in this process for one device under test: the same servers as `irsp up`, on free ports of loopback, in a
//! directory that goes with it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use irsp_config::{Settings, Sources};
use irsp_conform::device::Bench;
use irsp_protocol::{Secret, Server};
use tempfile::TempDir;

use crate::failure::{ConformError, Failure};
use crate::http::{Doors, Http};
use crate::up::{self, Roles};
use crate::{datadir, firststart};

/// How long the stop may take: nobody but the device is connected.
const STOP_WAIT: Duration = Duration::from_secs(5);
/// Every listener on a port that is free.
const PORTS: [&str; 4] = ["mqtt.tcp", "mqtt.tls", "mqtt.ws", "http.listen"];

pub(super) struct Embedded {
    roles: Roles,
    http: Http,
    web: SocketAddr,
    admin: Secret,
    _claim: datadir::Claim,
    /// Goes last.
    _folder: TempDir,
}

impl Embedded {
    /// With default settings, whatever this machine's own are.
    pub(super) async fn start() -> Result<Embedded, Failure> {
        let folder = TempDir::with_prefix("irsp-conform-");
        let folder = folder.map_err(Failure::file(&std::env::temp_dir(), "make it writable"))?;
        let settings = Settings::load(Sources {
            data: Some(folder.path().join("data")),
            set: PORTS.iter().map(|key| format!("{key}=127.0.0.1:0")).collect(),
            ..Sources::default()
        })?;
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let doors = Doors::take("http.listen", any, &settings)?;
        let claim = datadir::claim(&settings.files(), &Server::ALL)?;
        firststart::prepare(&settings, SystemTime::now())?;
        let roles = Roles::start(&settings).await?;
        let web = doors.listening().first().map_or(any, |door| door.address);
        let http = Http::start(doors, roles.served())?;
        let token = settings.files().admin_token();
        let admin = fs::read_to_string(&token).map_err(Failure::file(&token, "start again"))?;
        Ok(Embedded {
            roles,
            http,
            web,
            admin: Secret::new(admin.trim()),
            _claim: claim,
            _folder: folder,
        })
    }

    /// Where its doors are.
    pub(super) fn reached(&self) -> Result<Bench, ConformError> {
        let listeners = self.roles.message.addresses();
        let tcp = listeners.iter().find(|(name, _)| *name == "mqtt.tcp");
        let (_, message) = tcp.ok_or(ConformError::NoDoor("mqtt.tcp"))?;
        Ok(Bench {
            message: *message,
            url: format!("http://{}", self.web),
            app_url: None,
            admin: self.admin.clone(),
        })
    }

    pub(super) async fn stop(self) {
        up::drain(self.roles, self.http, STOP_WAIT).await;
    }
}
