"""`irsp conform`: our own platform passes clause by clause, another broker in its place is found out; the example device passes."""

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as xml
from pathlib import Path

from .federation import Domain, linked
from .platform import ROOT, Platform, run
from .waiting import until

DEADLINE = 600
CLAUSES = 19


def free_port():
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return door.getsockname()[1]


def listens(port):
    with socket.socket() as door:
        return door.connect_ex(("127.0.0.1", port)) == 0


def conform(platform, *words, mqtt=None):
    host, port = mqtt or platform.tcp
    return run("conform", "platform", "--url", platform.url, "--mqtt", f"mqtt://{host}:{port}",
               "--token-file", platform.data / "admin.token", "--json", *words, timeout=DEADLINE)


def standing(report):
    """Clause to what its checks came to."""
    stands = {}
    for finding in report["findings"]:
        stands.setdefault(finding["clause"], set()).add(finding["verdict"])
    return stands


class OnPlatform(unittest.TestCase):
    def test_two_linked_domains_and_a_webhook_pass_every_clause(self):
        hook = free_port()
        home = Domain("a.example", "external.addresses_allowed=127.0.0.0/8", "external.retry_min=50ms")
        self.addCleanup(home.remove)
        other = Domain("b.example")
        self.addCleanup(other.remove)
        home.knows(other, True)
        other.knows(home)
        linked((home, other))
        host, port = other.tcp
        junit = home.dir / "conform.xml"
        done = conform(
            home, "--hook-listen", f"127.0.0.1:{hook}", "--hook-url", f"http://127.0.0.1:{hook}/irsp",
            "--other-url", other.url, "--other-mqtt", f"mqtt://{host}:{port}",
            "--other-token-file", other.data / "admin.token", "--junit", junit, "--patience", "40s",
        )
        report = json.loads(done.stdout)
        failed = [finding for finding in report["findings"] if finding["verdict"] != "pass"]
        self.assertEqual((done.returncode, failed, report.get("notes")), (0, [], None), done.stderr)
        self.assertEqual(len(standing(report)), CLAUSES)
        suite = xml.parse(junit).getroot()
        self.assertEqual((suite.get("tests"), suite.get("failures")), (str(len(report["findings"])), "0"))
        for kind in "users", "devices", "apps":
            self.assertNotIn("conform-", json.dumps(home.admin().get(f"/v1/{kind}").body))

    @unittest.skipUnless(shutil.which("mosquitto"), "SKIPPED: needs the mosquitto broker")
    def test_another_broker_in_the_place_of_the_message_server_is_found_out(self):
        platform = Platform()
        self.addCleanup(platform.remove)
        folder = Path(tempfile.mkdtemp(prefix="irsp-mosquitto-"))
        self.addCleanup(shutil.rmtree, folder, True)
        port = free_port()
        settings = folder / "mosquitto.conf"
        settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
        broker = subprocess.Popen(["mosquitto", "-c", settings], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(broker.wait)
        self.addCleanup(broker.kill)
        until(lambda: listens(port), "mosquitto listens")
        done = conform(platform, "--patience", "8s", "--only", "7.1,7.2,7.4,8.2.4,8.3.1,9", mqtt=("127.0.0.1", port))
        self.assertEqual(done.returncode, 1, done.stdout)
        stands = standing(json.loads(done.stdout))
        failing = {clause for clause, verdicts in stands.items() if "fail" in verdicts}
        self.assertEqual(failing, {"7.2", "8.2.4", "8.3.1", "9"}, done.stdout)
        self.assertIn("not conformant: 7.2, 8.2.4, 8.3.1, 9", done.stderr)

    def test_what_cannot_be_reached_is_said(self):
        platform = Platform()
        self.addCleanup(platform.remove)
        done = conform(platform, "--only", "7.2", "--patience", "1s", mqtt=("127.0.0.1", free_port()))
        self.assertEqual(done.returncode, 1)
        self.assertIn("ConnectionRefused".lower(), done.stdout.lower().replace(" ", ""))


class OnDevice(unittest.TestCase):
    def judged(self, *words):
        return run("conform", "device", "--listen", "127.0.0.1:0", "--json", *words, timeout=DEADLINE)

    def test_the_example_device_passes(self):
        lamp = ROOT / "examples" / "device" / "lamp.py"
        done = self.judged("--patience", "90s", "--steady", "3s", "--", sys.executable, lamp, "--every", "1", "--pause", "0.4", "--steady", "2")
        report = json.loads(done.stdout)
        failed = [finding for finding in report["findings"] if finding["verdict"] != "pass"]
        self.assertEqual((done.returncode, failed), (0, []), done.stderr)
        self.assertEqual(set(standing(report)), {"7.2", "8.3.1", "8.3.3"})

    def test_a_device_that_never_comes_fails(self):
        done = self.judged("--patience", "1s", "--", sys.executable, "-c", "pass")
        self.assertEqual(done.returncode, 1)
        self.assertIn("not conformant: 7.2", done.stderr)


if __name__ == "__main__":
    unittest.main()
