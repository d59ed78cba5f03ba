"""Attached applications, with paho and mosquitto of both versions, over TLS, across kill -9, and the worked examples."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import unittest
from pathlib import Path

from .mosquitto import Subscriber, publish
from .mqtt import V5, V311
from .platform import ROOT
from .story import Story
from .waiting import until

EXAMPLES = ROOT / "examples" / "attached"
MODULES = ROOT / "target" / "outside" / "node"
NPM_DEADLINE = 120


class Attached(Story):
    def application(self, **options):
        return self.an_application(delivery="attached", **options)

    def listening(self, app, *filters, **options):
        client = self.connected(app, **options)
        filters = filters or (f"v1/app/{app.id}/in/#",)
        self.assertEqual(client.subscribe(*filters), [1] * len(filters))
        return client

    def answer(self, client, app, work, answer=200):
        id = work.json["id"]
        self.assertEqual(client.publish(f"v1/app/{app.id}/ack/{id}", json.dumps(answer)), 0)
        return id

    def test_it_receives_and_its_answer_is_the_status(self):
        for version in (V311, V5):
            with self.subTest(version=version):
                app, device = self.application(), self.a_device()
                client = self.listening(app, version=version)
                lamp = self.connected(device, version=version)
                lamp.subscribe(device.topic("status"))
                self.assertEqual(lamp.publish(device.topic(f"up/{app.id}/room/temp"), "21.50"), 0)
                work = client.receive("/in/upload/")
                self.assertEqual(
                    work.topic, f"v1/app/{app.id}/in/upload/{device.username}/{work.json['id']}/room/temp"
                )
                self.assertIn(b'"data":21.50', work.payload, "JSON keeps its spelling")
                self.assertEqual(self.receipt(app.http, work.json["id"])["status"], 202)
                self.answer(client, app, work, {"status": 409, "body": {"why": "stale"}})
                status = lamp.receive("/status").json
                self.assertEqual((status["code"], status["answer"]["status"]), (409, 409))

    def test_a_kill_of_the_platform_loses_and_disorders_nothing(self):
        app, device = self.application(), self.a_device()
        lamp = self.connected(device)
        sent = 40
        for n in range(sent):
            self.assertEqual(lamp.publish(device.topic(f"up/{app.id}/n"), n), 0)
        client = self.listening(app)
        done = []
        for _ in range(10):
            work = client.receive("/in/upload/")
            done.append((work.json["data"], self.answer(client, app, work)))
        client.vanish()
        lamp.vanish()
        self.platform.crash()
        client = self.listening(app)
        while len(done) < sent:
            work = client.receive("/in/upload/")
            done.append((work.json["data"], self.answer(client, app, work)))
        self.assertEqual([n for n, _ in done], list(range(sent)))
        for _, id in done:
            self.receipt(app.http, id, status=200)

    def test_a_group_takes_over_what_a_lost_member_had(self):
        app = self.application()
        group = f"$share/workers/v1/app/{app.id}/in/upload/#"
        members = [self.listening(app, group, client_id=f"m{n}") for n in range(3)]
        devices = [self.a_device() for _ in range(6)]
        lamps = [self.connected(device) for device in devices]
        for n in range(5):
            for device, lamp in zip(devices, lamps):
                self.assertEqual(lamp.publish(device.topic(f"up/{app.id}/n"), n), 0)
        until(
            lambda: sum(len(member.received("/in/")) for member in members) == 30, "all of it is with the members"
        )
        lost = members.pop(0)
        self.assertTrue(lost.received("/in/"), "every member has a part")
        lost.vanish()
        until(
            lambda: sum(len(member.received("/in/")) for member in members) == 30, "the living have all of it"
        )
        heard = {}
        for member in members:
            for work in list(member.received("/in/")):
                heard.setdefault(work.json["source"], []).append(work.json["data"])
                self.answer(member, app, work)
        self.assertEqual(set(heard), {device.username for device in devices})
        for source, order in heard.items():
            self.assertEqual(order, list(range(5)), source)

    def test_a_client_that_answers_nothing_hurts_nobody(self):
        slow, quick, device = self.application(), self.an_application(), self.a_device()
        self.listening(slow)
        lamp = self.connected(device)
        for n in range(50):
            self.assertEqual(lamp.publish(device.topic(f"up/{slow.id}/n"), n), 0)
            self.assertEqual(lamp.publish(device.topic(f"up/{quick.id}/n"), n), 0)
        self.assertEqual([upload["data"] for upload in self.stored(quick, 50)], list(range(50)))

    def test_presence_says_online_when_the_way_is_open(self):
        app, device = self.application(), self.a_device(answers="mqtt")
        client = self.listening(app)
        for _ in range(5):
            lamp = self.client(device, session_expiry=3600, clean=False)
            lamp.open()
            lamp.subscribe(device.topic("down/#"))
            news = client.receive(f"/in/presence/{device.username}")
            self.assertEqual(news.json["data"]["state"], "online")
            pushed = app.http.post("/v1/push", {"to": device.username, "channel": "set", "data": 1, "wait": "15s"})
            self.assertEqual(pushed.code, 200, pushed.body)
            lamp.leave()
            gone = client.receive(f"/in/presence/{device.username}").json["data"]
            self.assertEqual((gone["state"], gone["reason"]), ("offline", "disconnected"))


class ByMosquitto(Story):
    """An attached application of two shell commands, as its developer would try it first."""

    def works(self, over, version):
        app, device = self.an_application(delivery="attached"), self.a_device()
        listens = Subscriber(
            self.platform, app.username, app.key, f"v1/app/{app.id}/in/upload/#", over=over, version=version
        )
        lamp = self.connected(device)
        lamp.subscribe(device.topic("status"))
        self.assertEqual(lamp.publish(device.topic(f"up/{app.id}/room/temp"), "21.5"), 0)
        [(topic, payload)] = listens.messages()
        event = json.loads(payload)
        self.assertEqual(topic, f"v1/app/{app.id}/in/upload/{device.username}/{event['id']}/room/temp")
        self.assertEqual((event["type"], event["data"]), ("irsp.upload", 21.5))
        code, said = publish(
            self.platform, app.username, app.key, f"v1/app/{app.id}/ack/{event['id']}",
            '{"status":200,"body":"thanks"}', over=over, version=version,
        )
        self.assertEqual(code, 0, said)
        status = lamp.receive("/status").json
        self.assertEqual((status["code"], status["answer"]), (200, {"status": 200, "body": '"thanks"'}))

    def test_plain_and_over_tls_in_both_versions(self):
        for over in ("tcp", "tls"):
            for version in ("5", "311"):
                with self.subTest(over=over, version=version):
                    self.works(over, version)

    def test_a_foreign_key_receives_and_answers_nothing(self):
        app, other, device = self.an_application(delivery="attached"), self.an_application(), self.a_device()
        thief = self.connected(other)
        self.assertEqual(thief.subscribe(f"v1/app/{app.id}/in/#"), [0x87])
        lamp = self.connected(device)
        self.assertEqual(lamp.publish(device.topic(f"up/{app.id}/n"), 1), 0)
        own = self.connected(app)
        own.subscribe(f"v1/app/{app.id}/in/#")
        id = own.receive("/in/upload/").json["id"]
        self.assertEqual(thief.publish(f"v1/app/{app.id}/ack/{id}", "200"), 0x87)
        self.assertEqual(self.receipt(app.http, id)["status"], 202)


class Kills(Story):
    """kill -9 of either side, again and again, while uploads come; over TLS."""

    def test_every_upload_is_done_once_in_order_through_kills_of_both_sides(self):
        app, device = self.an_application(delivery="attached"), self.a_device()
        database = self.platform.dir / "kills.db"
        start = [sys.executable, EXAMPLES / "climate.py", "--db", database]
        sent = 0
        for victim in ("application", "platform", "application", "platform"):
            example = Example(self, start, app, None)
            lamp = self.connected(device, over="tls")
            for _ in range(15):
                self.assertEqual(lamp.publish(device.topic(f"up/{app.id}/n"), sent), 0)
                sent += 1
            # In the middle: some of it is answered, and some is not.
            until(lambda: len(example.said) > 3, "the application is at work", 60)
            if victim == "application":
                example.end()
                lamp.vanish()
            else:
                self.platform.crash()
                example.end()
        Example(self, start, app, None)
        until(lambda: len(self.done(app)) >= sent, lambda: f"{sent} uploads are done: {len(self.done(app))}", 90)
        self.assertEqual(len(self.done(app)), sent)
        with sqlite3.connect(database) as readings:
            values = [int(value) for (value,) in readings.execute("SELECT value FROM reading ORDER BY rowid")]
        self.assertEqual(values, list(range(sent)), "each once, in order")

    def done(self, app):
        found = app.http.get("/v1/messages?kind=upload&state=done&limit=1000")
        self.assertEqual(found.code, 200, found.body)
        return found["messages"]


class Example:
    """A worked example as its reader would start it; what it prints are the messages it has answered."""

    def __init__(self, story, words, app, database):
        host, port = story.platform.tcp
        if database:
            command = [*words, host, str(port), app.id, database]
        else:
            command = [*words, "--host", host, "--port", str(port), "--app", app.id]
        self.child = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "IRSP_KEY": app.key}
        )
        self.said = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        story.addCleanup(self.end)
        if not database:
            until(lambda: "ready" in self.said, lambda: f"the example is ready; it said {self.said}", 60)

    def _read(self):
        with self.child.stdout as lines:
            for line in lines:
                self.said.append(line.strip())

    def end(self):
        self.child.kill()
        self.child.wait(timeout=20)
        self.reader.join(timeout=20)


class Examples(Story):
    def works(self, start, database=None):
        """One application by its worked example: answers, refuses, and goes on after a kill of either side."""
        app, device = self.an_application(delivery="attached"), self.a_device()
        example = Example(self, start, app, database)
        lamp = self.connected(device)
        lamp.subscribe(device.topic("status"))
        self.assertEqual(lamp.publish(device.topic(f"up/{app.id}/temp"), 21.5), 0)
        status = lamp.receive("/status").json
        self.assertEqual((status["code"], json.loads(status["answer"]["body"])), (200, {"readings": 1}))
        self.assertEqual(lamp.publish(device.topic(f"up/{app.id}/temp"), "warm"), 0)
        self.assertEqual(lamp.receive("/status").json["code"], 400)
        sender = self.an_application()
        asked = sender.http.post("/v1/message", {"to": app.username, "channel": "n", "data": 7, "wait": "15s"})
        self.assertEqual((asked.code, asked["answer"]["data"]), (200, {"readings": 1}), asked.body)

        lamp.vanish()
        self.platform.crash()
        lamp = self.connected(device)
        lamp.subscribe(device.topic("status"))
        self.assertEqual(lamp.publish(device.topic(f"up/{app.id}/temp"), 22), 0)
        status = lamp.receive("/status", within=60).json
        self.assertEqual(status["code"], 200)
        example.end()
        self.assertEqual(lamp.publish(device.topic(f"up/{app.id}/temp"), 23), 0)
        Example(self, start, app, database)
        self.assertEqual(lamp.receive("/status", within=60).json["code"], 200)

    def test_python(self):
        for version in ([], ["--v311"]):
            with self.subTest(version=version):
                database = self.platform.dir / f"climate{len(version)}.db"
                self.works([sys.executable, EXAMPLES / "climate.py", "--db", database, *version])

    def test_rust(self):
        folders = [ROOT / "target" / kind / "examples" for kind in ("release", "debug")]
        program = next((folder / "climate" for folder in folders if (folder / "climate").exists()), None)
        if program is None:
            self.skipTest("SKIPPED: the Rust example is not built: cargo build -p irsp-application --examples")
        self.works([program], database=self.platform.dir / "climate-rust.db")

    def test_javascript(self):
        node, npm = shutil.which("node"), shutil.which("npm")
        if not (node and npm):
            self.skipTest("SKIPPED: the JavaScript example needs node and npm")
        MODULES.mkdir(parents=True, exist_ok=True)
        for name in ("climate.js", "package.json"):
            shutil.copy(EXAMPLES / name, MODULES / name)
        if not (MODULES / "node_modules" / "mqtt").is_dir():
            try:
                subprocess.run(
                    [npm, "install", "--silent", "--no-audit", "--no-fund"], cwd=MODULES, check=True, timeout=NPM_DEADLINE
                )
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                self.skipTest(f"SKIPPED: mqtt.js cannot be installed here: {error}")
        for version in ([], ["--v311"]):
            with self.subTest(version=version):
                self.works([node, str(Path(MODULES) / "climate.js"), *version])


if __name__ == "__main__":
    unittest.main()
