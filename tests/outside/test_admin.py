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
            # A login over MQTT is noted a moment later.
            [line["action"] for line in audit if line["action"] != "login.mqtt"],
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

    def test_a_refusal_is_a_problem_for_scripts(self):
        admin = ["--url", self.platform.url, "--data", self.platform.data, "--json"]

        def problem(*words):
            said = run("admin", *words, *admin)
            self.assertEqual((said.returncode, said.stdout), (1, ""), said.stderr)
            return json.loads(said.stderr)

        missing = problem("devices", "show", "desk-none")
        self.assertEqual((missing["status"], missing["title"]), (404, "no-such-principal"))
        lines = self.platform.dir / "lines.csv"
        lines.write_text("id\nno way\n\nstill no\n")
        self.assertEqual([line["line"] for line in problem("import", "devices", lines)["errors"]], [2, 4])
        self.assertNotIn("status", problem("import", "devices", self.platform.dir / "no-file"))
        unreached = run("admin", "me", "--url", "http://127.0.0.1:1", "--data", self.platform.data, "--json")
        self.assertIn("cannot be reached", json.loads(unreached.stderr)["detail"])

    def test_versions_and_keys(self):
        made = self.told("devices", "add", "desk-3", "--idempotency-key", "desk")
        again = self.told("devices", "add", "desk-3", "--idempotency-key", "desk")
        self.assertEqual(again, made)
        url = ["--url", self.platform.url, "--data", self.platform.data]
        self.told("devices", "set", "desk-3", "--attribute", "room=hall", "--if-match", made["version"])
        for words in (["set", "desk-3", "--disable"], ["reset", "desk-3"], ["delete", "desk-3"]):
            stale = run("admin", "devices", *words, "--if-match", str(made["version"]), *url)
            self.assertEqual(stale.returncode, 1, words)
            self.assertIn("412", stale.stderr)
        for words in (["devices", "list", "--if-match", "7"], ["devices", "delete", "desk-3", "--idempotency-key", "k"]):
            self.assertIn("takes none", run("admin", *words, *url).stderr)
        now = self.told("devices", "show", "desk-3")["version"]
        self.done("devices", "delete", "desk-3", "--if-match", now)

    def test_a_login_is_kept_in_files_renewed_and_ended(self):
        folder = self.platform.dir
        (folder / "password").write_text("correct horse\n")
        self.done("users", "add", "desk-bob", "--password-file", folder / "password")
        token = folder / "bob"

        def as_anybody(*words):
            said = run("admin", *words, "--url", self.platform.url)
            self.assertEqual(said.returncode, 0, said.stderr)
            return said.stdout

        def as_bob(*words):
            return run("admin", *words, "--url", self.platform.url, "--token-file", token)

        as_anybody("login", "desk-bob", "--password-file", folder / "password", "--out", token)
        self.assertEqual(token.stat().st_mode & 0o777, 0o600)
        first = token.read_text()
        as_anybody("refresh", token)
        self.assertNotEqual(token.read_text(), first)
        self.assertIn("usr/desk-bob", as_bob("me").stdout)
        logins = self.told("users", "logins", "desk-bob")
        self.assertEqual(len(logins), 1)
        self.assertIn(logins[0]["id"], as_bob("users", "logins", "desk-bob").stdout)
        lamp = self.a_device()
        (folder / "code").write_text(lamp.code)
        self.assertEqual(as_bob("bindings", "add", lamp.id, "--code-file", folder / "code").returncode, 0)
        self.done("users", "add", "desk-eve", "--password-file", folder / "password")
        shared = as_bob("bindings", "share", lamp.id, "desk-eve", "--rights", "presence,receive", "--json")
        self.assertEqual(json.loads(shared.stdout)["rights"], ["presence", "receive"])
        self.assertEqual(as_bob("bindings", "transfer", lamp.id, "--to", "desk-eve").returncode, 0)
        kept = folder / "kept"
        kept.write_text(token.read_text())
        as_anybody("logout", token)
        self.assertFalse(token.exists())
        ended = run("admin", "me", "--url", self.platform.url, "--token-file", kept)
        self.assertEqual((ended.returncode, len(ended.stderr.splitlines())), (1, 1), ended.stderr)
        (folder / "reset").write_text(self.told("users", "reset", "desk-bob")["code"])
        (folder / "new").write_text("battery staple")
        as_anybody("redeem", "desk-bob", "--code-file", folder / "reset", "--password-file", folder / "new")
        wrong = run("admin", "login", "desk-bob", "--password-file", folder / "password", "--url", self.platform.url)
        self.assertIn("401", wrong.stderr)
        self.assertIn("refresh_token", as_anybody("login", "desk-bob", "--password-file", folder / "new"))

    def test_codes_and_certificates(self):
        made = self.told("devices", "add", "desk-2", "--certificate", "ab" * 32, "--issued", f"{'cd' * 32},desk-2")
        self.assertEqual(len(made["certificates"]), 2)
        more = self.told("devices", "add-code", "desk-2")
        self.connected(Device("desk-2", more["code"])).leave()
        self.assertEqual(len(self.told("devices", "codes", "desk-2")), 2)
        self.done("devices", "revoke-code", "desk-2", more["id"])
        self.assertNotEqual(self.client(Device("desk-2", more["code"])).connect(), 0)
        self.assertNotIn("certificates", self.told("devices", "set", "desk-2", "--no-certificates"))

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
