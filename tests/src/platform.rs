//! A domain under test and its doors.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use irsp_protocol::Server;
use tempfile::TempDir;

use crate::api::Api;
use crate::client::Connecting;
use crate::here::Here;
use crate::processes::{Layout, Processes};

/// A free port of this machine.
pub(crate) const LOOPBACK: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));

/// Where the domain is reached.
#[derive(Clone, Debug)]
pub struct Doors {
    pub tcp: SocketAddr,
    pub tls: SocketAddr,
    pub ws: SocketAddr,
    /// HTTP of the account server.
    pub account: SocketAddr,
    /// HTTP of the application server.
    pub app: SocketAddr,
    /// What TLS clients trust.
    pub ca: PathBuf,
}

/// What a story wants to be other than usual.
#[derive(Clone, Debug)]
pub struct Setup {
    pub presence_grace: Duration,
    pub queue_messages_max: usize,
    pub subscriptions_max: usize,
    pub connect_timeout: Duration,
    pub connections_max: usize,
    pub connections_per_address_max: usize,
    pub connections_per_principal_max: usize,
    pub retained_max: usize,
    pub publish_rate_max: u32,
    /// The network of the load balancers, if there are any.
    pub proxies: Option<&'static str>,
    pub stall_timeout: Duration,
    pub write_timeout: Duration,
    /// How long an orderly stop may take before what is left is cut.
    pub stop_deadline: Duration,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            presence_grace: Duration::from_secs(30),
            queue_messages_max: 1_000,
            subscriptions_max: 100,
            connect_timeout: Duration::from_secs(5),
            connections_max: 1_000,
            connections_per_address_max: 1_000,
            connections_per_principal_max: 1_000,
            retained_max: 1_000,
            publish_rate_max: 1_000_000,
            proxies: None,
            stall_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(30),
            stop_deadline: Duration::from_secs(10),
        }
    }
}

/// One domain with all its servers. Dropped, it is gone with its data.
pub struct Platform {
    doors: Doors,
    setup: Setup,
    /// Called with the admin token.
    pub admin: Api,
    roles: Roles,
    data: TempDir,
}

enum Roles {
    Here(Box<Here>),
    Processes(Processes),
    /// Between a stop and the next start.
    Stopped,
}

impl Platform {
    /// Every role in this process.
    pub async fn start() -> Result<Platform> {
        Platform::start_with(Setup::default()).await
    }

    /// Every role in this process, with what the story wants otherwise.
    pub async fn start_with(setup: Setup) -> Result<Platform> {
        let data = TempDir::new()?;
        let (here, doors) = Here::start(data.path(), &setup, None).await?;
        Platform::at(data, setup, doors, Roles::Here(Box::new(here)))
    }

    /// The three roles in three processes of the `irsp` binary. `None`, said loudly, where it has not been built.
    pub async fn apart() -> Result<Option<Platform>> {
        Platform::processes(Layout::Three, Setup::default()).await
    }

    /// Processes of the `irsp` binary. `None`, said loudly, where it has not been built.
    pub async fn processes(layout: Layout, setup: Setup) -> Result<Option<Platform>> {
        let data = TempDir::new()?;
        let Some((processes, doors)) = Processes::start(layout, data.path(), &setup).await? else {
            return Ok(None);
        };
        let platform = Platform::at(data, setup, doors, Roles::Processes(processes))?;
        Ok(Some(platform))
    }

    fn at(data: TempDir, setup: Setup, doors: Doors, roles: Roles) -> Result<Platform> {
        let api = Api::new(
            format!("http://{}", doors.account),
            format!("http://{}", doors.app),
        );
        let token = std::fs::read_to_string(data.path().join("admin.token")).context("admin.token")?;
        let admin = api.with(token.trim());
        Ok(Platform {
            doors,
            setup,
            admin,
            roles,
            data,
        })
    }

    pub fn doors(&self) -> &Doors {
        &self.doors
    }

    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// The API without any credential.
    pub fn anybody(&self) -> Api {
        self.admin.with("")
    }

    /// An MQTT client that logs in as `dev/...`, `usr/...` or `app/...`.
    pub fn client(&self, username: &str, password: &str) -> Connecting {
        Connecting::new(&self.doors, username, password)
    }

    /// An orderly stop.
    pub async fn stop(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.roles, Roles::Stopped) {
            Roles::Here(here) => here.stop(self.setup.stop_deadline).await,
            Roles::Processes(mut processes) => {
                let stopped = processes.stop().await;
                self.roles = Roles::Processes(processes);
                stopped
            }
            Roles::Stopped => bail!("stopped already"),
        }
    }

    /// Starts again on the same data, at the same doors.
    pub async fn start_again(&mut self) -> Result<()> {
        if let Roles::Processes(processes) = &mut self.roles {
            return processes.start_again(&self.doors, &self.setup).await;
        }
        let (here, doors) = Here::start(self.data.path(), &self.setup, Some(&self.doors)).await?;
        self.doors = doors;
        self.roles = Roles::Here(Box::new(here));
        Ok(())
    }

    /// `kill -9` of the process of this role; only where roles are processes.
    pub async fn kill(&mut self, role: Server) -> Result<()> {
        match &mut self.roles {
            Roles::Processes(processes) => processes.kill(role).await,
            Roles::Here(_) | Roles::Stopped => bail!("roles of this process cannot be killed"),
        }
    }
}
