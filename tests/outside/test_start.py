"""Point 1: one command starts everything, and the second start uses what the first made."""

import stat
import subprocess
import unittest

from .platform import Platform, run
from .story import Story


class FirstStart(Story):
    def test_it_says_where_things_are_and_what_to_paste_next(self):
        said = "\n".join(self.platform.process.said)
        for part in ("home.example", str(self.platform.ca), str(self.platform.data / "admin.token"), "mosquitto_pub"):
            self.assertIn(part, said)

    def test_the_pasted_lines_work_as_they_stand(self):
        pasted = [line.strip() for line in self.platform.process.said if line.startswith("  ")]
        lines = [line for line in pasted if line.startswith(("ADMIN=", "curl ", "mosquitto_pub ", "CODE="))]
        self.assertEqual(len(lines), 6, pasted)
        script = ["set -euo pipefail"]
        for line in lines:
            if "/v1/devices" in line:
                line = f"MADE=$({line.split('#')[0]})"
            if line.startswith("CODE="):
                line = """CODE=$(printf %s "$MADE" | sed 's/.*"code":"\\([^"]*\\)".*/\\1/')"""
            script.append(line)
        script[-1] = f"for i in $(seq 50); do UP=$({script[-1]}); case $UP in *21.5*) break;; esac; sleep 0.1; done; echo \"$UP\""
        done = subprocess.run(["bash", "-c", "\n".join(script)], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn('"data":21.5', done.stdout)

    def test_secrets_are_readable_by_their_owner_alone(self):
        data = self.platform.data
        for path in [data / "admin.token", data / "hash.key", data / "token.key", *data.glob("pki/*.key")]:
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600, path)

    def test_the_api_describes_itself(self):
        described = self.platform.anybody().get("/openapi.json")
        self.assertEqual(described.code, 200)
        for path in ("/v1/users", "/v1/devices", "/v1/devices/bulk", "/v1/apps", "/v1/login", "/v1/bindings", "/v1/push"):
            self.assertIn(path, described["paths"])

    def test_only_loopback_listens(self):
        self.assertEqual({host for host, _ in self.platform.addresses.values()}, {"127.0.0.1"})


class SecondStart(unittest.TestCase):
    def test_it_uses_certificates_token_and_principals_again(self):
        platform = Platform()
        self.addCleanup(platform.remove)
        kept = [*sorted(platform.data.glob("pki/*")), platform.data / "admin.token"]
        before = [path.read_bytes() for path in kept]
        made = platform.admin().post("/v1/devices", {"id": "lamp-1"})
        self.assertEqual(made.code, 201)

        self.assertEqual(platform.stop(), 0)
        platform.start()

        self.assertEqual([path.read_bytes() for path in kept], before)
        self.assertEqual(platform.admin().get("/v1/devices/lamp-1").code, 200)
        self.assertNotIn("first start", "\n".join(platform.process.said))

    def test_another_irsp_in_the_same_directory_is_told_so(self):
        platform = Platform()
        self.addCleanup(platform.remove)
        ports = [word for key in platform.addresses for word in ("--set", f"{key}=127.0.0.1:0")]
        second = run("up", "--data", platform.data, *ports)
        self.assertEqual(second.returncode, 1)
        self.assertEqual(len(second.stderr.splitlines()), 1, second.stderr)
        self.assertIn("another irsp", second.stderr)
