//! A mosquitto of the test's own, on a free loopback port, ended with the test.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// Three ports, all held until all are known.
fn free_ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

pub(crate) struct Mosquitto {
    binary: PathBuf,
    dir: TempDir,
    port: u16,
    ws: u16,
    tls: u16,
    child: Child,
}

impl Mosquitto {
    /// `None`, and a line on standard error, when mosquitto is not installed.
    pub(crate) async fn start() -> Option<Mosquitto> {
        Mosquitto::with_inflight(0).await
    }

    /// One that has so many messages under way to a client; 0 is as many as there are.
    pub(crate) async fn with_inflight(inflight: u32) -> Option<Mosquitto> {
        let Some(binary) = find("mosquitto").filter(|_| find("mosquitto_passwd").is_some()) else {
            eprintln!(
                "SKIPPED: mosquitto and mosquitto_passwd are not installed, the run against them was not made"
            );
            return None;
        };
        // Somebody else may take a port between its choice and its use.
        for _ in 0..5 {
            let mut broker = Mosquitto::at(&binary, free_ports(), inflight);
            if broker.listens().await {
                return Some(broker);
            }
        }
        panic!("mosquitto found no ports");
    }

    fn at(binary: &Path, [port, ws, tls]: [u16; 3], inflight: u32) -> Mosquitto {
        let dir = tempfile::tempdir().unwrap();
        write_passwords(dir.path());
        let (certificate, key) = write_certificate(dir.path());
        let conf = format!(
            "listener {port} 127.0.0.1\nlistener {ws} 127.0.0.1\nprotocol websockets\n\
             listener {tls} 127.0.0.1\ncertfile {}\nkeyfile {}\nallow_anonymous false\npassword_file {}\nuser root\n\
             max_inflight_messages {inflight}\nmax_queued_messages 0\n",
            certificate.display(),
            key.display(),
            dir.path().join("passwords").display()
        );
        std::fs::write(dir.path().join("mosquitto.conf"), conf).unwrap();
        Mosquitto {
            binary: binary.to_owned(),
            child: spawn(binary, dir.path()),
            dir,
            port,
            ws,
            tls,
        }
    }

    /// Kills it and starts it again later; it has forgotten every session.
    pub(crate) async fn restart_after(&mut self, outage: Duration) {
        self.end();
        tokio::time::sleep(outage).await;
        self.child = spawn(&self.binary, self.dir.path());
        assert!(self.listens().await, "its ports are taken");
    }

    pub(crate) fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    pub(crate) fn ws_url(&self) -> String {
        format!("ws://127.0.0.1:{}/mqtt", self.ws)
    }

    pub(crate) fn tls_url(&self) -> String {
        format!("mqtts://127.0.0.1:{}", self.tls)
    }

    /// What its TLS clients trust.
    pub(crate) fn ca(&self) -> PathBuf {
        self.dir.path().join("tls.crt")
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn creds_path(&self) -> PathBuf {
        self.dir.path().join("creds.csv")
    }

    /// Writes a file beside the broker's own.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Writes the credentials of the first `devices` devices.
    pub(crate) fn creds(&self, devices: usize) -> PathBuf {
        let lines = (0..devices).map(|i| format!("c-{i},dev/sim-{i},code-{i}\n"));
        let text = format!("client_id,username,password\n{}", lines.collect::<String>());
        std::fs::write(self.creds_path(), text).unwrap();
        self.creds_path()
    }

    /// Writes 20 credentials, one with a wrong code.
    pub(crate) fn spoil_code(&self, device: usize) {
        let text = std::fs::read_to_string(self.creds(20)).unwrap();
        let text = text.replace(&format!(",code-{device}\n"), ",wrong\n");
        std::fs::write(self.creds_path(), text).unwrap();
    }

    /// Waits until all its doors are open; `false` if it has ended instead.
    async fn listens(&mut self) -> bool {
        for port in [self.port, self.ws, self.tls] {
            let mut tries = 0;
            while TcpStream::connect(("127.0.0.1", port)).is_err() {
                tries += 1;
                assert!(tries < 200, "mosquitto does not listen on port {port}");
                if self.child.try_wait().unwrap().is_some() {
                    return false;
                }
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
        }
        true
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.end();
    }
}

fn spawn(binary: &Path, dir: &Path) -> Child {
    Command::new(binary)
        .arg("-c")
        .arg(dir.join("mosquitto.conf"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Passwords of 20 devices, an application and the application server, hashed by mosquitto's own tool.
fn write_passwords(dir: &Path) {
    let path = dir.join("passwords");
    let mut file = std::fs::File::create(&path).unwrap();
    for i in 0..20 {
        writeln!(file, "dev/sim-{i}:code-{i}").unwrap();
    }
    writeln!(file, "srv/app:code-app").unwrap();
    writeln!(file, "app/climate:code-app").unwrap();
    drop(file);
    let done = Command::new("mosquitto_passwd")
        .arg("-U")
        .arg(&path)
        .status()
        .unwrap();
    assert!(done.success());
}

/// A certificate for the loopback address, which is its own authority, and its key.
fn write_certificate(dir: &Path) -> (PathBuf, PathBuf) {
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (dir.join("tls.crt"), dir.join("tls.key"));
    std::fs::write(&certificate, own.cert.pem()).unwrap();
    std::fs::write(&key, own.signing_key.serialize_pem()).unwrap();
    (certificate, key)
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}
