"""The servers that are measured: each in a directory of its own, on loopback ports that the system chose, stopped by pid."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

START_WAIT_S = 60
STOP_WAIT_S = 20


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A server under measurement. `hear` is how its publishes are heard again, `load` what else the load needs."""

    name = ""
    program = ""

    def __init__(self, folder, load):
        self.folder = pathlib.Path(folder) / self.name
        self.folder.mkdir()
        self.port = free_port()
        self.log = open(self.folder / "log", "wb")
        self.load = load
        self.processes = []
        self.options = []

    @classmethod
    def missing(cls):
        """Why it cannot be measured here, or None."""
        return None if shutil.which(cls.program) else f"{cls.program} is not installed"

    def spawn(self, *command, **environment):
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=self.folder,
            env={**os.environ, **{key: str(value) for key, value in environment.items()}},
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def wait_for_port(self, port):
        deadline = time.monotonic() + START_WAIT_S
        while time.monotonic() < deadline:
            if self.processes[-1].poll() is not None:
                break
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.1)
        raise RuntimeError(f"{self.name} does not listen:\n{(self.folder / 'log').read_text()[-2000:]}")

    def wait_for_word(self, word):
        deadline = time.monotonic() + START_WAIT_S
        while word not in (self.folder / "log").read_text():
            if time.monotonic() > deadline or self.processes[-1].poll() is not None:
                raise RuntimeError(f"{self.name} does not start:\n{(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.1)

    def stop(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_WAIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.log.close()

    @property
    def pid(self):
        return self.processes[-1].pid

    def disk_bytes(self):
        files = (path for path in self.folder.rglob("*") if path.is_file())
        return sum(path.stat().st_blocks * 512 for path in files)


class Irsp(Server):
    name = "irsp"
    program = os.environ.get("IRSP", "target/release/irsp")

    @classmethod
    def missing(cls):
        return None if os.access(cls.program, os.X_OK) else f"{cls.program}: build it first (cargo build --release)"

    def version(self):
        return subprocess.check_output([self.program, "--version"], text=True).strip()

    def start(self):
        program = os.path.abspath(self.program)
        http, data = free_port(), self.folder / "data"
        settings = {"mqtt.tcp": f"127.0.0.1:{self.port}", "mqtt.tls": "", "mqtt.ws": "", "log.level": "warn,rumqttd=warn"}
        settings |= {"data_dir": data, "http.listen": f"127.0.0.1:{http}"}
        self.spawn(program, "up", *(word for key, value in settings.items() for word in ("--set", f"{key}={value}")))
        self.wait_for_word("ready")
        credentials = self.folder / "credentials.csv"
        subprocess.check_call(
            [program, "provision", "--data", data, "--url", f"http://127.0.0.1:{http}", "--app", "climate"]
            + ["--app-key-out", self.folder / "climate.key"]
            + ["--devices", str(self.load.devices), "--out", credentials],
            stdout=subprocess.DEVNULL,
        )
        self.options = ["--creds", credentials, "--hear", "status"]

    def logins(self):
        """Client id, user name and password of every device, and of the application that hears them."""
        lines = (self.folder / "credentials.csv").read_text().split()
        key = (self.folder / "climate.key").read_text().strip()
        return [tuple(line.split(",")) for line in lines] + [("climate", "app/climate", key)]


class Nats(Server):
    name = "nats"
    program = "nats-server"

    def version(self):
        return subprocess.check_output([self.program, "--version"], text=True).strip()

    def start(self):
        config = self.folder / "nats.conf"
        config.write_text(
            f'server_name: measured\nlisten: "127.0.0.1:{free_port()}"\n'
            f'jetstream {{ store_dir: "{self.folder}/store" }}\nmqtt {{ listen: "127.0.0.1:{self.port}" }}\n'
        )
        self.spawn(self.program, "-c", config)
        self.wait_for_port(self.port)
        self.options = self.load.heard_by_peers()


class RabbitMq(Server):
    name = "rabbitmq"
    # The packaged wrapper in the path changes the user; this one does as it is told.
    program = "/usr/lib/rabbitmq/bin/rabbitmq-server"

    def version(self):
        package = ["dpkg-query", "--showformat=${Version}", "--show", "rabbitmq-server"]
        return "rabbitmq-server " + subprocess.check_output(package, text=True).strip()

    def start(self):
        names = free_port()
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp = none\nmqtt.listeners.tcp.default = 127.0.0.1:{self.port}\nmqtt.allow_anonymous = true\n"
            "mqtt.default_user = guest\nmqtt.default_pass = guest\nmqtt.subscription_ttl = 86400000\nmqtt.prefetch = 1000\n"
        )
        (self.folder / "plugins").write_text("[rabbitmq_mqtt].\n")
        self.spawn("epmd", "-address", "127.0.0.1", "-port", names)
        self.spawn(
            self.program,
            ERL_EPMD_ADDRESS="127.0.0.1",
            ERL_EPMD_PORT=names,
            HOME=self.folder,
            RABBITMQ_CONFIG_FILE=self.folder / "rabbitmq.conf",
            RABBITMQ_DIST_PORT=free_port(),
            RABBITMQ_ENABLED_PLUGINS_FILE=self.folder / "plugins",
            RABBITMQ_LOG_BASE=self.folder,
            RABBITMQ_MNESIA_BASE=self.folder / "mnesia",
            RABBITMQ_NODENAME="measured@localhost",
        )
        self.wait_for_port(self.port)
        self.options = self.load.heard_by_peers()


class Mosquitto(Server):
    """With the same logins as irsp, in a password file, and its defaults."""

    name = "mosquitto"
    program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"

    def version(self):
        said = subprocess.run([self.program, "-h"], capture_output=True, text=True, check=False).stdout
        return said.splitlines()[0]

    def start(self):
        passwords = self.folder / "passwords"
        lines = {(user, secret) for _, user, secret in self.load.logins}
        passwords.write_text("".join(f"{user}:{secret}\n" for user, secret in sorted(lines)))
        subprocess.check_call(["mosquitto_passwd", "-U", passwords])
        config = self.folder / "mosquitto.conf"
        config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\n"
            "user root\nlog_type error\n"
        )
        self.spawn(self.program, "-c", config)
        self.wait_for_port(self.port)


# What stores durably; mosquitto does not, and is measured at the edge.
ALL = [Irsp, Nats, RabbitMq]
