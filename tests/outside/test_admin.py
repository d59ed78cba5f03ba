"""`irsp admin`: what an operator does from the command line, by a token, against a running platform."""

import csv
import io
import json

from .platform import run
from .story import Device, Story


class Admin(Story):
    def admin_says(self, *words):
        return run("admin", *words, "--url", self.platform.url, "--data", self.platform.data)

    def done(self, *words):
        said = self.admin_says(*words)
        self.assertEqual(said.returncode, 0, said.stderr)
        return said.stdout

    def told(self, *words):
        return json.loads(self.done(*words, "--json"))

    def test_a_device_from_registration_to_deletion(self):
        made = self.told("devices", "add", "desk-1", "--attribute", "room=hall", "--answers", "mqtt")
        self.connected(Device("desk-1", made["code"])).leave()
        shown = self.done("devices", "list", "--attribute", "room=hall")
        self.assertEqual(shown.split()[0], "id")
        self.assertIn("desk-1", shown)
        self.done("devices", "set", "desk-1", "--attribute", "room=", "--disable")
        self.assertEqual(self.told("devices", "show", "desk-1")["disabled"], True)
        reset = self.told("devices", "reset", "desk-1")
        self.assertNotEqual(reset["code"], made["code"])
        self.done("devices", "delete", "desk-1")
        gone = self.admin_says("devices", "show", "desk-1")
        self.assertEqual((gone.returncode, len(gone.stderr.splitlines())), (1, 1), gone.stderr)
        self.assertIn("410", gone.stderr)
        audit = self.told("audit", "--target", "dev/desk-1")
        self.assertEqual(
            [line["action"] for line in audit],
            ["device.register", "device.modify", "device.reset", "device.delete"],
        )

    def test_users_and_applications(self):
        password = self.platform.dir / "password"
        password.write_text("correct horse\n")
        self.done("users", "add", "desk-ann", "--password-file", password, "--role", "operator")
        login = self.platform.anybody().post("/v1/login", {"id": "desk-ann", "password": "correct horse"})
        self.assertEqual(login.code, 200, login.body)
        token = self.platform.dir / "operator"
        token.write_text(login["token"])
        refused = run("admin", "users", "delete", "desk-ann", "--url", self.platform.url, "--token-file", token)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("403", refused.stderr)
        made = self.told("apps", "add", "desk-app", "--hears", "dev/lamp-1,dev/lamp-2")
        self.assertEqual(made["hears"], {"only": ["dev/lamp-1", "dev/lamp-2"]})
        self.assertNotEqual(self.told("apps", "rotate", "desk-app")["key"], made["key"])
        self.assertIn("desk-app", self.done("apps", "list"))

    def test_a_file_of_devices_goes_in_whole_or_not_at_all(self):
        file = self.platform.dir / "devices.csv"
        file.write_text("id,attributes\nfile-1,\"{\"\"room\"\":\"\"hall\"\"}\"\nfile-2,\n")
        made = self.told("import", "devices", file)
        self.assertEqual([device["id"] for device in made["devices"]], ["file-1", "file-2"])
        self.connected(Device("file-2", made["devices"][1]["code"])).leave()
        file.write_text("id\nfile-3\nfile-1\nno way\n")
        refused = self.admin_says("import", "devices", file)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("line 4", refused.stderr)
        file.write_text("id\nfile-3\nfile-1\n")
        refused = self.admin_says("import", "devices", file)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("line 3", refused.stderr)
        exported = list(csv.DictReader(io.StringIO(self.done("export", "devices", "--format", "csv"))))
        ids = [row["id"] for row in exported]
        self.assertIn("file-2", ids)
        self.assertNotIn("file-3", ids)
        self.assertNotIn("code", exported[0])

    def test_nobody_there_is_one_line(self):
        said = run("admin", "users", "list", "--url", "http://127.0.0.1:9", "--data", self.platform.data)
        self.assertEqual((said.returncode, len(said.stderr.splitlines())), (1, 1), said.stderr)
