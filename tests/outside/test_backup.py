"""Backups while the platform runs, what restoring them gives back, and a restored account server beside newer others."""

import shutil

from .platform import Platform, run
from .story import Story
from .waiting import until

LISTS = ("/v1/users", "/v1/devices", "/v1/apps", "/v1/bindings")


def records(admin):
    """Everything but the versions: a restored account server numbers anew."""
    found = {path: admin.get(f"{path}?limit=1000")["items"] for path in LISTS}
    return {path: [{**item, "version": None} for item in items] for path, items in found.items()}


class Backup(Story):
    def back_up(self, name):
        to = self.platform.dir / name
        done = run("backup", to, "--data", self.platform.data)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(to.stat().st_mode & 0o777, 0o700)
        return to

    def restored(self, backup, data, *more):
        done = run("restore", backup, "--data", data, *more)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_what_was_backed_up_is_there_again_and_works(self):
        app, device, user = self.an_application(), self.a_device(attributes={"room": "hall"}), self.a_user()
        self.bind(user, device)
        client = self.connected(device)
        client.publish(device.topic(f"up/{app.id}/temp"), b"21")
        self.stored(app, 1)
        client.leave()
        self.presence(device, state="offline")
        before = records(self.admin)
        backup = self.back_up("whole")
        self.a_device()  # not in the backup

        data = self.platform.dir / "elsewhere"
        self.restored(backup, data)
        again = Platform(data=data)
        self.addCleanup(again.remove)
        self.assertEqual(records(again.admin()), before)
        self.assertEqual(len(again.admin().get(f"/v1/apps/{app.id}/uploads")["uploads"]), 1)
        here, self.platform = self.platform, again
        try:
            self.connected(device).leave()
        finally:
            self.platform = here

    def test_an_older_account_server_beside_newer_others_is_found_out(self):
        kept, reset, user = self.a_device(), self.a_device(), self.a_user()
        password = {"id": user.id, "password": "correct horse"}
        refresh = self.platform.anybody().post("/v1/login", password)["refresh_token"]
        backup = self.back_up("older")
        # What the others know and the backup does not.
        made, newer = self.a_device(), self.admin.post(f"/v1/devices/{reset.id}/reset")
        self.assertEqual(self.admin.delete(f"/v1/devices/{kept.id}").code, 200)
        self.connected(made).leave()
        self.assertEqual(self.platform.stop(), 0)
        refused = run("restore", backup, "--data", self.platform.data, "--only", "account")
        self.assertEqual((refused.returncode, len(refused.stderr.splitlines())), (1, 1), refused.stderr)
        self.assertIn("--replace", refused.stderr)
        self.restored(backup, self.platform.data, "--only", "account", "--replace")
        self.platform.start()
        self.admin = self.platform.admin()

        def login(device, code=None):
            device = type(device)(device.id, code or device.code)
            client = self.client(device)
            answer = client.connect()
            if answer == 0:
                client.leave()
            return answer

        # As the account server has it: the deleted one and the code before the reset are good again, what came later is not.
        until(lambda: login(kept) == 0, "a device deleted since is back")
        until(lambda: login(reset) == 0, "the code before the reset is good again")
        self.assertEqual(login(reset, newer["code"]), 0x86)
        self.assertEqual(login(made), 0x86)
        later = self.a_device()
        self.assertEqual(login(later), 0)
        # Logins have ended, whenever they began: here, and for the message server's offline check of tokens.
        anybody = self.platform.anybody()
        self.assertEqual(anybody.post("/v1/refresh", {"refresh_token": refresh}).code, 401)
        self.assertEqual(self.client(user).connect(), 0x86)
        self.assertEqual(anybody.post("/v1/login", password).code, 200)

    def test_a_running_data_directory_and_what_is_no_backup_are_refused(self):
        backup = self.back_up("refused")
        running = run("restore", backup, "--data", self.platform.data, "--replace")
        self.assertEqual(running.returncode, 1)
        self.assertIn("another irsp", running.stderr)
        twice = run("backup", backup, "--data", self.platform.data)
        self.assertEqual(twice.returncode, 1)
        (backup / "format").write_text("99\n")
        elsewhere = self.platform.dir / "newer"
        newer = run("restore", backup, "--data", elsewhere)
        self.assertEqual(newer.returncode, 1)
        self.assertIn("newer", newer.stderr)
        (backup / "format").unlink()
        (backup / "account.db").write_bytes(b"damaged" * 1000)
        damaged = run("restore", backup, "--data", elsewhere)
        self.assertEqual(damaged.returncode, 1)
        self.assertIn("account.db", damaged.stderr)
        self.assertFalse((elsewhere / "account.db").exists())
        shutil.rmtree(backup)
