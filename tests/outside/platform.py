"""Starts the platform as an operator would: the `irsp` binary, a data directory, and the line it says when ready."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path

from .waiting import until
from .web import Api

START_DEADLINE = 30.0
STOP_DEADLINE = 20.0

ROOT = Path(__file__).resolve().parents[2]
LISTENERS = ("mqtt.tcp", "mqtt.tls", "mqtt.ws", "http.listen")


def binary(name):
    """The program to judge: $IRSP (and what stands beside it), else a release build, else a debug build."""
    given = os.environ.get("IRSP")
    folders = [Path(given).resolve().parent] if given else [ROOT / "target" / kind for kind in ("release", "debug")]
    if name == "irsp" and given:
        return Path(given).resolve()
    for folder in folders:
        if (folder / name).exists():
            return folder / name
    raise FileNotFoundError(f"no {name} in {', '.join(map(str, folders))}: cargo build -p {name}")


def run(*words, timeout=START_DEADLINE, **options):
    """Runs `irsp` with these words to its end."""
    return subprocess.run(
        [str(binary("irsp")), *map(str, words)], capture_output=True, text=True, timeout=timeout, **options
    )


class Process:
    """One running `irsp` that has said it is ready."""

    def __init__(self, words, log, environment=None):
        self.log = log
        command = [str(binary("irsp")), *map(str, words)]
        with open(log, "ab") as errors:
            self.child = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, **(environment or {})}
            )
        self.said = []
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        until(lambda: self._ready.is_set() or self.child.poll() is not None, "irsp is ready or ends", START_DEADLINE)
        if not self.addresses:
            raise AssertionError(f"irsp ended with {self.child.wait()}: {Path(log).read_text()[-2000:]}")

    def _read(self):
        with self.child.stdout as lines:
            for line in lines:
                self.said.append(line.rstrip("\n"))
                if line.startswith("ready "):
                    self._ready.set()
        self._ready.set()

    @property
    def addresses(self):
        """Key to (host, port), as the ready line says."""
        for line in self.said:
            if line.startswith("ready "):
                found = re.findall(r"(\S+)=([\d.]+):(\d+)", line)
                return {key: (host, int(port)) for key, host, port in found}
        return {}

    def reload(self):
        """SIGHUP."""
        self.child.send_signal(signal.SIGHUP)

    def kill(self):
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self):
        """SIGTERM; gives the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, sign):
        if self.child.poll() is None:
            self.child.send_signal(sign)
        code = self.child.wait(timeout=STOP_DEADLINE)
        self._reader.join(timeout=STOP_DEADLINE)
        return code


class Platform:
    """Every role in one process, in a data directory of its own, on free ports of loopback."""

    def __init__(self, *settings, environment=None, data=None):
        self.dir = Path(tempfile.mkdtemp(prefix="irsp-outside-"))
        self.data = data or self.dir / "data"
        self.environment = environment
        self.log = self.dir / "log"
        self.settings = settings
        self.addresses = {key: ("127.0.0.1", 0) for key in LISTENERS}
        self.process = None
        self.start()

    def start(self):
        """Starts it; again on the ports it had before."""
        words = ["up", "--data", self.data]
        for key, (host, port) in self.addresses.items():
            words += ["--set", f"{key}={host}:{port}"]
        for setting in self.settings:
            words += ["--set", setting]
        self.process = Process(words, self.log, self.environment)
        self.addresses = self.process.addresses

    def reload(self):
        """SIGHUP: it reads its certificates again."""
        self.process.reload()

    def crash(self):
        """kill -9, and a new start on the same ports."""
        self.kill()
        self.start()

    def kill(self):
        self.process.kill()

    def stop(self):
        return self.process.stop()

    def remove(self):
        """Ends it and takes its data away."""
        self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)

    @property
    def ca(self):
        return self.data / "pki" / "ca.crt"

    @property
    def tcp(self):
        return self.addresses["mqtt.tcp"]

    @property
    def tls(self):
        return self.addresses["mqtt.tls"]

    @property
    def ws(self):
        return self.addresses["mqtt.ws"]

    @property
    def url(self):
        host, port = self.addresses["http.listen"]
        return f"http://{host}:{port}"

    def admin(self):
        """The HTTP API, with the admin token."""
        return Api(self.url, bearer=(self.data / "admin.token").read_text().strip())

    def anybody(self):
        """The HTTP API, without credentials."""
        return Api(self.url)


class Apart(Platform):
    """The same platform with each role in its own process, attached to the message server over MQTT/TLS."""

    ROLES = {
        "broker": ("mqtt.tcp", "mqtt.tls", "mqtt.ws", "broker.listen"),
        "account": ("account.listen",),
        "appserver": ("appserver.listen",),
    }

    def __init__(self, *settings, **options):
        self.roles = {}
        super().__init__(*settings, **options)

    def start(self):
        for role in self.ROLES:
            self.start_role(role)
        self.process = self.roles["broker"]

    def start_role(self, role):
        words = [role, "--data", self.data]
        for key in self.ROLES[role]:
            host, port = self.addresses.get(key, ("127.0.0.1", 0))
            words += ["--set", f"{key}={host}:{port}"]
        if role != "broker":
            host, port = self.tls
            words += ["--set", f"bus.url=mqtts://{host}:{port}"]
        for setting in self.settings:
            words += ["--set", setting]
        self.roles[role] = Process(words, self.log, self.environment)
        self.addresses.update(self.roles[role].addresses)

    def kill_role(self, role):
        self.roles[role].kill()

    def kill(self):
        for process in self.roles.values():
            process.kill()

    def stop(self):
        """SIGTERM to each, the message server last; gives the greatest exit code."""
        return max(self.roles[role].stop() for role in reversed(self.ROLES))

    def admin(self):
        token = (self.data / "admin.token").read_text().strip()
        return Api(self._url("account.listen"), bearer=token, appserver=self._url("appserver.listen"))

    def anybody(self):
        return Api(self._url("account.listen"), appserver=self._url("appserver.listen"))

    def _url(self, key):
        host, port = self.addresses[key]
        return f"http://{host}:{port}"
