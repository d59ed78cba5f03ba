"""A disk that is full, read-only, locked or lies about fsync: the sender hears 507 or 503, the server lives, goes on by
itself when the fault ends, and loses nothing it has accepted.

A fault is made below one database by a library between the server and the kernel (`faults.c`), a lock by another
process' transaction, and a full disk, where this user may mount one, by a small file system.
"""

import os
import sqlite3
import subprocess
import tempfile
import unittest
from pathlib import Path

from . import faults
from .faults import Faulty
from .mqtt import V311
from .platform import Platform
from .story import Story
from .waiting import until

SETTINGS = ("courier.retry_min=100ms", "courier.retry_max=500ms", "mqtt.presence_grace=2s")
#: PUBACK reason codes of 503 and 507.
UNAVAILABLE, FULL = 0x83, 0x97
NO_SUCH_PACKET = 0x92
HOWS = (faults.FSYNC, faults.WRITE, faults.READ_ONLY, faults.FULL)
#: Longer than the server waits for another one's lock.
LOCKED = 30.0


class Disk(Story):
    """What holds for every fault."""

    settings = SETTINGS

    def healthy(self, device, app, n):
        """An upload goes all the way, and so does a push."""
        lamp = self.client(device)
        until(lambda: lamp.connect() == 0, "the device connects")
        lamp.subscribe(device.topic("status"), device.topic("down/#"))
        until(lambda: lamp.publish(device.topic(f"up/{app.id}/n"), n, id=f"healthy-{n}") == 0, "an upload is accepted")
        self.assertEqual(lamp.receive("/status").json["code"], 200)
        pushed = until(lambda: (answer := self.push(app, device, n)).code == 202 and answer, "a push is accepted")
        until(lambda: self.answer(lamp, device, pushed["id"]), "an answer is accepted")
        self.receipt(app.http, pushed["id"], status=200)
        until(lambda: n in self.numbers(app), "the upload is stored")
        return lamp

    def numbers(self, app):
        return [upload["data"] for upload in self.uploads(app)]

    def push(self, app, device, n):
        return app.http.post("/v1/push", {"to": device.username, "channel": "set", "data": n})

    def answer(self, lamp, device, id):
        return lamp.publish(device.topic(f"ack/{id}"), "200") == 0

    def refused(self, device, app, code, within=15.0):
        """Uploads of both versions are refused, each as its version can say it."""
        lamp = self.connected(device)
        self.assertEqual(lamp.publish(device.topic(f"up/{app.id}/n"), "-1", within=within), code)
        # paho goes on with a PUBREL after a PUBREC that refuses; the server knows no such packet.
        self.assertIn(lamp.publish(device.topic(f"up/{app.id}/n"), "-1", qos=2, within=within), (code, NO_SUCH_PACKET))
        lamp.leave()
        lamp = self.connected(device, version=V311)
        lamp.subscribe(device.topic("status"))
        self.assertIsNone(lamp.publish(device.topic(f"up/{app.id}/n"), "-1", within=within), "acknowledged")
        status = lamp.receive("/status").json
        self.assertEqual(status["code"], 507 if code == FULL else 503, status)
        lamp.wait_closed()

    def alive(self):
        """What needs no disk goes on: the server answers, clients come, and live messages pass."""
        self.assertEqual(self.platform.anybody().get("/healthz").code, 200)
        lamp = self.connected(self.bystander)
        lamp.subscribe(self.bystander.topic("live/#"))
        self.assertEqual(lamp.publish(self.bystander.topic("live/n"), "1"), 0)
        self.assertEqual(lamp.receive("/live/").payload, b"1")


@unittest.skipIf(faults.cannot(), f"SKIPPED disk faults: {faults.cannot()}")
class FailingDisk(Disk):
    """Each fault below the message server's database, then below the application server's and the account server's."""

    shape = Faulty

    def setUp(self):
        super().setUp()
        self.addCleanup(self.platform.heal)
        self.bystander = self.a_device()

    def test_the_message_server_refuses_and_recovers(self):
        for how in HOWS:
            with self.subTest(how=how):
                device, app = self.a_device(), self.an_application()
                self.healthy(device, app, 1)
                self.platform.fail(how, "message.db")
                self.refused(device, app, FULL if how == faults.FULL else UNAVAILABLE)
                self.alive()
                self.platform.heal()
                self.healthy(device, app, 2)
                self.assertEqual(self.numbers(app), [1, 2])

    def test_an_upload_waits_for_the_application_servers_disk(self):
        for how in HOWS:
            with self.subTest(how=how):
                device, app = self.a_device(), self.an_application()
                lamp = self.healthy(device, app, 1)
                self.platform.fail(how, "app.db")
                for n in range(2, 10):
                    self.assertEqual(lamp.publish(device.topic(f"up/{app.id}/n"), n), 0)
                pushed = self.push(app, device, 1)
                self.assertEqual(pushed.code, 507 if how == faults.FULL else 503, pushed.body)
                self.assertEqual(self.numbers(app), [1])
                self.platform.heal()
                until(lambda: len(self.numbers(app)) >= 9, "the uploads are stored")
                self.assertEqual(self.numbers(app), list(range(1, 10)))

    def test_the_account_server_refuses_changes_and_logins_go_on(self):
        device, app = self.a_device(), self.an_application()
        for how in HOWS:
            with self.subTest(how=how):
                self.platform.fail(how, "account.db")
                made = self.admin.post("/v1/devices", {"id": f"refused-{how.decode()}"})
                self.assertEqual(made.code, 507 if how == faults.FULL else 503, made.body)
                self.connected(device).leave()
                self.platform.heal()
                self.assertEqual(self.admin.get(f"/v1/devices/refused-{how.decode()}").code, 404)
                until(lambda: self.admin.post("/v1/devices", {"id": f"made-{how.decode()}"}).code == 201, "a change")

    def test_an_answer_that_was_refused_can_be_given_again(self):
        for how in (faults.FSYNC, faults.FULL):
            with self.subTest(how=how):
                app, device = self.an_application(), self.a_device()
                lamp = self.connected(device, version=V311)
                lamp.subscribe(device.topic("down/#"))
                pushed = self.push(app, device, 1)
                lamp.receive("/down/")
                self.platform.fail(how, "message.db")
                self.assertFalse(self.answer(lamp, device, pushed["id"]))
                self.platform.heal()
                lamp = self.connected(device)
                lamp.subscribe(device.topic("down/#"))
                self.assertIn(pushed["id"], lamp.receive("/down/").topic)
                self.assertTrue(self.answer(lamp, device, pushed["id"]))
                self.receipt(app.http, pushed["id"], status=200)

    def test_an_answer_by_puback_is_kept_until_the_disk_is_well(self):
        """The device has forgotten it, and there is no way to tell it no."""
        for how in (faults.FSYNC, faults.FULL):
            with self.subTest(how=how):
                app, device = self.an_application(), self.a_device(answers="mqtt")
                lamp = self.client(device)
                heard = []
                lamp.paho.on_message = lambda _client, _data, message, heard=heard: heard.append(message)
                lamp.paho.manual_ack_set(True)
                lamp.open().subscribe(device.topic("down/#"))
                pushed = self.push(app, device, 1)
                until(lambda: heard, "the push comes")
                self.platform.fail(how, "message.db")
                lamp.paho.ack(heard[0].mid, heard[0].qos)
                # What is sent behind it is answered behind it.
                self.assertNotEqual(lamp.publish(device.topic(f"up/{app.id}/n"), "-1"), 0)
                self.assertEqual(app.http.get(f"/v1/messages/{pushed['id']}")["status"], 202)
                self.platform.heal()
                self.receipt(app.http, pushed["id"], status=200)
                self.assertEqual(len(heard), 1)

    def test_a_failed_fsync_and_a_kill_lose_nothing_that_was_accepted(self):
        device, app = self.a_device(), self.an_application()
        lamp = self.connected(device)
        accepted = []
        for n in range(20):
            self.platform.fail(faults.FSYNC if n % 2 else b"\0", "message.db")
            if lamp.publish(device.topic(f"up/{app.id}/n"), n, id=f"u{n}") == 0:
                accepted.append(n)
        self.assertEqual(accepted, list(range(0, 20, 2)))
        self.platform.fail(faults.FSYNC, "message.db")
        self.platform.kill()
        lamp.vanish()
        self.platform.heal()
        self.platform.start()
        # What was refused may be there, as a message whose acknowledgement was lost; sent again, it is there once.
        lamp = self.connected(device)
        for n in range(20):
            self.assertEqual(lamp.publish(device.topic(f"up/{app.id}/n"), n, id=f"u{n}"), 0)
        self.assertEqual(sorted(upload["data"] for upload in self.stored(app, 20)), list(range(20)))

    def test_a_start_on_a_full_disk_says_so_and_loses_nothing(self):
        device, app = self.a_device(), self.an_application()
        self.healthy(device, app, 1)
        self.platform.kill()
        self.platform.fail(faults.FULL, ".db")
        with self.assertRaisesRegex(AssertionError, r"irsp: .*full"):
            self.platform.start()
        self.platform.heal()
        self.platform.start()
        self.assertEqual(self.numbers(app), [1])
        self.healthy(device, app, 2)


class LockedDatabase(Disk):
    """Another process holds the write lock."""

    def lock(self, name):
        sql = sqlite3.connect(self.platform.data / name, isolation_level=None, timeout=10)
        sql.execute("BEGIN EXCLUSIVE")
        self.addCleanup(sql.close)
        return sql

    def test_the_message_server_refuses_and_recovers(self):
        device, app = self.a_device(), self.an_application()
        self.healthy(device, app, 1)
        sql = self.lock("message.db")
        self.refused(device, app, UNAVAILABLE, within=LOCKED)
        sql.execute("ROLLBACK")
        self.healthy(device, app, 2)
        self.assertEqual(self.numbers(app), [1, 2])

    def test_an_upload_waits_for_the_application_server(self):
        device, app = self.a_device(), self.an_application()
        lamp = self.healthy(device, app, 1)
        sql = self.lock("app.db")
        for n in range(2, 6):
            self.assertEqual(lamp.publish(device.topic(f"up/{app.id}/n"), n), 0)
        self.assertEqual(self.push(app, device, 1).code, 503)
        sql.execute("ROLLBACK")
        until(lambda: len(self.numbers(app)) >= 5, "the uploads are stored", LOCKED)
        self.assertEqual(self.numbers(app), [1, 2, 3, 4, 5])

    def test_the_account_server_refuses_and_recovers(self):
        sql = self.lock("account.db")
        self.assertEqual(self.admin.post("/v1/devices", {"id": "refused"}).code, 503)
        sql.execute("ROLLBACK")
        self.a_device()


class SmallDisk(Disk):
    """A file system that is really full."""

    MEGABYTES = 6

    @classmethod
    def setUpClass(cls):
        cls.disk = Path(tempfile.mkdtemp(prefix="irsp-small-"))
        cls.addClassCleanup(cls.disk.rmdir)
        options = f"size={cls.MEGABYTES}m,mode=0700"
        words = ["mount", "-t", "tmpfs", "-o", options, "irsp-small", str(cls.disk)]
        if os.geteuid() != 0 or subprocess.run(words, stderr=subprocess.DEVNULL).returncode != 0:
            raise unittest.SkipTest("SKIPPED a full disk: only root may mount one, where mounting is allowed")
        cls.addClassCleanup(lambda: subprocess.run(["umount", "--lazy", str(cls.disk)], check=True))
        cls.platform = Platform(*cls.settings, data=cls.disk / "data")
        cls.addClassCleanup(cls.platform.remove)

    def test_what_was_accepted_before_is_there_and_the_rest_is_refused(self):
        device, app = self.a_device(), self.an_application()
        lamp = self.healthy(device, app, 0)
        ballast = self.disk / "ballast"
        with open(ballast, "wb") as file:
            free = os.statvfs(self.disk).f_bavail * os.statvfs(self.disk).f_bsize
            file.write(bytes(max(free - (1 << 20), 0)))
        accepted, code, n = [0], 0, 0
        while code == 0 and n < 1000:
            n += 1
            code = lamp.publish(device.topic(f"up/{app.id}/blob"), f'"{n}{"x" * 20_000}"', id=f"b{n}")
            if code == 0:
                accepted.append(n)
        self.assertEqual(code, FULL)
        self.assertGreater(len(accepted), 1)
        self.assertEqual(self.platform.anybody().get("/healthz").code, 200)
        ballast.unlink()
        self.healthy(device, app, n)
        found = until(lambda: len(found := self.uploads(app)) > len(accepted) and found, "what was accepted is stored")
        blobs = [upload["data"] for upload in found if isinstance(upload["data"], str)]
        self.assertEqual([int(blob.rstrip("x")) for blob in blobs], accepted[1:])
