"""Points 3 and 9: many devices at once, and the simulator's verdict."""

import csv
import json
import subprocess

from .platform import binary, run
from .story import Device, Story
from .waiting import until


class Provisioned(Story):
    def provision(self, *more):
        out = self.platform.dir / "creds.csv"
        words = ["provision", "--devices", 20, "--prefix", "sim-", "--app", "climate", "--out", out]
        return out, run(*words, "--url", self.platform.url, "--data", self.platform.data, *more)

    def test_twenty_devices_upload_and_the_simulator_is_content(self):
        out, done = self.provision("--app-key-out", self.platform.dir / "climate.key")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(out.stat().st_mode & 0o777, 0o600)
        with out.open() as file:
            lines = list(csv.reader(file))
        devices = [line for line in lines if line[1].startswith("dev/")]
        self.assertEqual([line[1] for line in devices], [f"dev/sim-{n}" for n in range(1, 21)])
        self.connected(Device("sim-7", devices[6][2])).leave()

        again = run("provision", "--devices", 20, "--app", "climate", "--out", out, "--url", self.platform.url, "--data", self.platform.data)
        self.assertEqual(again.returncode, 1)
        self.assertEqual(len(again.stderr.splitlines()), 1, again.stderr)

        report = self.platform.dir / "report.json"
        words = ["--creds", out, "--app", "climate", "--rate", 100, "--duration", "2s", "--report", report]
        words += ["--url", "mqtt://%s:%d" % self.platform.tcp, "--http", self.platform.url]
        words += ["--token-file", self.platform.data / "admin.token"]
        sim = subprocess.run([binary("devicesim"), *map(str, words)], capture_output=True, text=True, timeout=60)
        self.assertEqual(sim.returncode, 0, sim.stdout + sim.stderr)
        self.assertIn("PASS", sim.stdout)
        self.assertIsInstance(json.loads(report.read_text()), dict)
        count = self.admin.get("/v1/apps/climate/uploads?limit=1000")
        self.assertGreaterEqual(len(count["uploads"]), 150)

    def test_the_simulator_fails_with_wrong_codes(self):
        creds = self.platform.dir / "wrong.csv"
        creds.write_text("client_id,username,password\nx,dev/nobody,wrong\n")
        words = ["--creds", creds, "--app", "climate", "--duration", "1s", "--settle", "1s"]
        words += ["--url", "mqtt://%s:%d" % self.platform.tcp]
        sim = subprocess.run([binary("devicesim"), *map(str, words)], capture_output=True, text=True, timeout=60)
        self.assertEqual(sim.returncode, 1, sim.stdout + sim.stderr)


class ByHttp(Story):
    def test_bulk_made_devices_connect(self):
        made = self.admin.post("/v1/devices/bulk", {"prefix": "many-", "count": 100})
        self.assertIn(made.code, (201, 202), made.body)
        devices = made["devices"]
        self.assertEqual(len({device["code"] for device in devices}), 100)
        until(lambda: self.admin.get(f"/v1/operations/{made['operation']}")["in_effect"], "they are in effect")
        self.connected(Device(devices[99]["id"], devices[99]["code"]))

    def test_an_operation_tells_what_each_server_said(self):
        made = self.admin.post("/v1/devices", {"id": "told-1"})
        operation = self.admin.get(f"/v1/operations/{made['operation']}")
        self.assertTrue(operation["in_effect"])
        followers = {follower["server"]: (follower["state"], follower["status"]) for follower in operation["followers"]}
        self.assertEqual(followers, {"message": ("in_force", 200), "app": ("in_force", 200)})

    def test_modify_and_rotate(self):
        app, device = self.an_application(), self.a_device()
        changed = self.admin.patch(f"/v1/devices/{device.id}", {"attributes": {"room": "kitchen"}})
        self.assertEqual((changed.code, changed["attributes"]), (200, {"room": "kitchen"}))
        client = self.connected(app)
        rotated = self.admin.post(f"/v1/apps/{app.id}/keys/rotate")
        self.assertEqual((rotated.code, rotated["in_effect"]), (200, True))
        client.wait_closed()
        self.assertEqual(self.client(app).connect(), 0x86)
        self.assertEqual(app.http.get(f"/v1/apps/{app.id}/uploads").code, 401)
        self.connected(type(app)(app.id, rotated["key"], app.http))
