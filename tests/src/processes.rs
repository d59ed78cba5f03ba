//! The `irsp` binary: every role in one process, or each in its own. Children end with the value that holds them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};
use irsp_protocol::Server;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::PATIENCE;
use crate::platform::{Doors, LOOPBACK, Setup};

/// How many processes make the domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `irsp up`.
    One,
    /// `irsp broker`, `irsp account`, `irsp appserver`.
    Three,
}

impl Layout {
    /// The processes in the order of their start: the command, and the roles it runs.
    fn commands(self) -> &'static [(&'static str, &'static [Server])] {
        match self {
            Layout::One => &[("up", &Server::ALL)],
            Layout::Three => &[
                ("broker", &[Server::Message]),
                ("account", &[Server::Account]),
                ("appserver", &[Server::App]),
            ],
        }
    }
}

/// The processes of a domain.
pub(crate) struct Processes {
    layout: Layout,
    binary: PathBuf,
    data: PathBuf,
    running: BTreeMap<&'static str, Running>,
}

struct Running {
    child: Child,
    /// Held, so that the process can go on writing.
    _stdout: BufReader<ChildStdout>,
}

impl Processes {
    /// Starts them all on free ports. `None`, said loudly, where the binary has not been built.
    pub(crate) async fn start(
        layout: Layout,
        data: &Path,
        setup: &Setup,
    ) -> Result<Option<(Processes, Doors)>> {
        let Some(binary) = binary()? else {
            return Ok(None);
        };
        let mut processes = Processes {
            layout,
            binary,
            data: data.to_owned(),
            running: BTreeMap::new(),
        };
        let mut doors = Doors {
            tcp: LOOPBACK,
            tls: LOOPBACK,
            ws: LOOPBACK,
            account: LOOPBACK,
            app: LOOPBACK,
            ca: data.join("pki/ca.crt"),
        };
        for (command, _) in layout.commands() {
            for (key, address) in processes.run(command, &doors, setup).await? {
                match key.as_str() {
                    "mqtt.tcp" => doors.tcp = address,
                    "mqtt.tls" => doors.tls = address,
                    "mqtt.ws" => doors.ws = address,
                    "http.listen" => (doors.account, doors.app) = (address, address),
                    "account.listen" => doors.account = address,
                    "appserver.listen" => doors.app = address,
                    _ => {}
                }
            }
        }
        Ok(Some((processes, doors)))
    }

    /// Starts whatever does not run.
    pub(crate) async fn start_again(&mut self, doors: &Doors, setup: &Setup) -> Result<()> {
        for (command, _) in self.layout.commands() {
            if !self.running.contains_key(command) {
                self.run(command, doors, setup).await?;
            }
        }
        Ok(())
    }

    /// SIGTERM to all; each ends by itself with exit code 0.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        for (command, _) in self.layout.commands().iter().rev() {
            let Some(mut process) = self.running.remove(command) else {
                continue;
            };
            let id = process.child.id().context("ended before it was stopped")?;
            let sent = Command::new("kill")
                .args(["-TERM", &id.to_string()])
                .status()
                .await?;
            ensure!(sent.success(), "no SIGTERM to irsp {command}");
            let ended = timeout(PATIENCE, process.child.wait())
                .await
                .with_context(|| format!("irsp {command} does not stop"))??;
            ensure!(ended.success(), "irsp {command} ended with {ended}");
        }
        Ok(())
    }

    /// SIGKILL to the process of this role.
    pub(crate) async fn kill(&mut self, role: Server) -> Result<()> {
        let commands = self.layout.commands();
        let (command, _) = commands
            .iter()
            .find(|(_, roles)| roles.contains(&role))
            .context("no such role")?;
        let mut process = self.running.remove(command).context("does not run")?;
        Ok(process.child.kill().await?)
    }

    /// Runs one command and returns where it listens.
    async fn run(
        &mut self,
        command: &'static str,
        doors: &Doors,
        setup: &Setup,
    ) -> Result<Vec<(String, SocketAddr)>> {
        let http = if doors.account == doors.app {
            doors.account
        } else {
            LOOPBACK
        };
        let mut settings = vec![
            format!("mqtt.tcp={}", doors.tcp),
            format!("mqtt.tls={}", doors.tls),
            format!("mqtt.ws={}", doors.ws),
            format!("mqtt.presence_grace={}ms", setup.presence_grace.as_millis()),
            format!("mqtt.queue_messages_max={}", setup.queue_messages_max),
            format!("mqtt.subscriptions_max={}", setup.subscriptions_max),
            format!("mqtt.connect_timeout={}ms", setup.connect_timeout.as_millis()),
            format!("mqtt.connections_max={}", setup.connections_max),
            format!(
                "mqtt.connections_per_principal_max={}",
                setup.connections_per_principal_max
            ),
            format!("mqtt.retained_max={}", setup.retained_max),
            format!("mqtt.publish_rate_max={}", setup.publish_rate_max),
            format!(
                "mqtt.connections_per_address_max={}",
                setup.connections_per_address_max
            ),
            format!("mqtt.proxies={}", setup.proxies.unwrap_or_default()),
            format!("mqtt.stall_timeout={}ms", setup.stall_timeout.as_millis()),
            format!("mqtt.write_timeout={}ms", setup.write_timeout.as_millis()),
            format!("stop.deadline={}s", setup.stop_deadline.as_secs()),
            format!("http.listen={http}"),
            format!("broker.listen={LOOPBACK}"),
            format!("account.listen={}", doors.account),
            format!("appserver.listen={}", doors.app),
            "courier.retry_min=50ms".to_owned(),
            "courier.retry_max=500ms".to_owned(),
            "log.level=warn".to_owned(),
        ];
        if doors.tls != LOOPBACK {
            settings.push(format!("bus.url=mqtts://{}", doors.tls));
        }
        let mut line = Command::new(&self.binary);
        line.arg(command).arg("--data").arg(&self.data);
        for setting in &settings {
            line.arg("--set").arg(setting);
        }
        let mut child = line
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} cannot be run", self.binary.display()))?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut stdout = BufReader::new(stdout);
        let ready = timeout(PATIENCE, ready(&mut stdout))
            .await
            .with_context(|| format!("irsp {command} does not get ready"))?
            .with_context(|| format!("irsp {command}"))?;
        let running = Running {
            child,
            _stdout: stdout,
        };
        self.running.insert(command, running);
        Ok(ready)
    }
}

/// Reads up to the line `ready key=address ...`.
async fn ready(stdout: &mut BufReader<ChildStdout>) -> Result<Vec<(String, SocketAddr)>> {
    let mut lines = stdout.lines();
    while let Some(line) = lines.next_line().await? {
        if let Some(listening) = line.strip_prefix("ready ") {
            let listening = listening
                .split(' ')
                .filter_map(|listening| listening.split_once('='));
            return listening
                .map(|(key, address)| Ok((key.to_owned(), address.parse()?)))
                .collect();
        }
    }
    bail!("ended before it was ready")
}

/// Cargo puts the workspace's binaries two folders above the test executable.
#[expect(clippy::print_stderr, reason = "a story that is not told has to be seen")]
fn binary() -> Result<Option<PathBuf>> {
    let test = std::env::current_exe()?;
    let folder = test.ancestors().nth(2).context("no target directory")?;
    let binary = folder.join(format!("irsp{}", std::env::consts::EXE_SUFFIX));
    if binary.is_file() {
        return Ok(Some(binary));
    }
    eprintln!(
        "NOT TESTED: {} is not built; run `cargo build -p irsp` first",
        binary.display()
    );
    Ok(None)
}
