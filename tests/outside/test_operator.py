"""The operator's side of the courier: receipts, the tail, the ledger, dead letters, and the commands for them."""

import json
import sqlite3
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from .platform import Apart, binary, run
from .story import Story
from .waiting import until

QUICK = ("courier.failures_max=3", "courier.retry_min=100ms", "courier.retry_max=200ms")


class Operator(Story):
    settings = QUICK

    def irsp(self, *words):
        """An operator's command against this platform."""
        url = self.admin.appserver
        return run(*words, "--url", url, "--data", self.platform.data)

    def found(self, *words):
        """What a command says in JSON."""
        done = self.irsp(*words, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def refused(self, *words):
        """A command that fails: one line on standard error, and nothing else."""
        done = self.irsp(*words)
        self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        return done.stderr

    def sql(self, file, *statements):
        """Another process that meddles with a database."""
        with closing(sqlite3.connect(self.platform.data / file, timeout=20)) as db:
            for statement in statements:
                db.execute(statement)
            db.commit()

    def poison(self):
        """From here on the application server cannot store uploads that say `poison`."""
        self.sql(
            "app.db",
            "CREATE TRIGGER IF NOT EXISTS poisoned BEFORE INSERT ON uploads WHEN NEW.data = CAST('poison' AS BLOB)"
            " BEGIN SELECT RAISE(ABORT, 'poisoned'); END",
        )
        self.addCleanup(self.heal)

    def heal(self):
        self.sql("app.db", "DROP TRIGGER IF EXISTS poisoned")

    def dead_upload(self):
        """An upload that has become a dead letter: its sender, its application, its id."""
        device, app = self.a_device(), self.an_application()
        self.poison()
        client = self.connected(device)
        client.subscribe(device.topic("status"), qos=1)
        client.publish(device.topic(f"up/{app.id}/temp"), b"poison", qos=1)
        status = client.receive(device.topic("status")).json
        self.assertEqual((status["code"], status["name"]), (500, "failed"))
        return device, app, client, status["message"]


class DeadLetters(Operator):
    def test_a_dead_letter_is_listed_shown_and_sent_again(self):
        device, app, client, id = self.dead_upload()
        client.publish(device.topic(f"up/{app.id}/temp"), b"21", qos=1)
        self.stored(app, 1)

        listed = self.found("dead", "list")["dead_letters"]
        letter = next(letter for letter in listed if letter["id"] == id)
        self.assertEqual((letter["server"], letter["kind"], letter["status"]), ("message", "upload", 500))
        self.assertEqual((letter["failures"], letter["size"]), (3, 6))
        self.assertIn(id, self.irsp("dead", "list").stdout)
        shown = self.found("dead", "show", id)
        self.assertEqual(shown["text"], "poison")
        self.assertIn("poison", self.irsp("dead", "show", id).stdout)
        self.assertEqual(self.receipt(self.admin, id)["state"], "undeliverable")
        self.assertEqual(self.irsp("ledger").returncode, 0)

        again = self.found("dead", "retry", id)
        self.assertEqual((again["id"], again["state"]), (id, "in-flight"))
        until(lambda: self.receipt(self.admin, id)["state"] == "undeliverable", "it fails again")
        audit = until(lambda: self.admin.get("/v1/audit?action=dead-letter")["items"], "the order is in the audit log")
        self.assertEqual([(line["who"], line["action"], line["what"]) for line in audit], [("usr/admin", "dead-letter.retry", id)])
        self.heal()
        self.platform.crash()
        self.assertEqual(self.irsp("dead", "retry", "--all").returncode, 0)
        self.receipt(self.admin, id, state="done", status=200)
        self.assertEqual([upload.get("text", upload.get("data")) for upload in self.stored(app, 2)], [21, "poison"])
        self.assertEqual(self.found("dead", "list")["dead_letters"], [])
        self.assertIn("residue 0", self.irsp("ledger").stdout)
        self.assertIn("no dead letter", self.refused("dead", "retry", id))

    def test_a_discarded_letter_is_gone_and_its_receipt_stays(self):
        _, app, _, id = self.dead_upload()
        path = f"/v1/dead-letters/{id}"
        self.assertEqual(app.http.get(path).code, 200)
        self.assertEqual(self.an_application().http.get(path).code, 404)
        self.assertEqual(app.http.delete(path).code, 403)
        self.assertEqual(self.admin.post(f"{path}/retry", {"expiry": "31d"}).code, 400)
        self.assertEqual(self.admin.post(f"{path}/retry", {"expiry": "0s"}).code, 408)
        self.assertEqual(self.irsp("dead", "discard", id).returncode, 0)
        self.refused("dead", "show", id)
        self.assertEqual(self.receipt(self.admin, id)["state"], "undeliverable")
        self.assertEqual(self.admin.post(f"{path}/retry").code, 409)

    def test_nobody_knows_a_letter_that_is_none(self):
        nobody = "0190163d-8694-739b-aea5-966c26f8ad91"
        self.assertIn("404", self.refused("dead", "retry", nobody))
        self.assertIn("404", self.refused("dead", "show", nobody))
        self.assertIn("404", self.refused("trace", nobody))
        self.assertEqual(self.irsp("dead", "retry").returncode, 2)
        self.assertEqual(self.admin.get("/v1/dead-letters/17").code, 400)
        self.assertEqual(self.platform.anybody().get("/v1/dead-letters").code, 401)


class Receipts(Operator):
    def test_messages_are_found_by_principal_and_state_in_pages(self):
        device, other, app = self.a_device(), self.a_device(), self.an_application()
        client = self.connected(device)
        for n in range(3):
            client.publish(device.topic(f"up/{app.id}/temp"), str(n).encode(), qos=1)
        self.connected(other).publish(other.topic(f"up/{app.id}/temp"), b"x", qos=1)
        pushed = app.http.post("/v1/push", {"to": other.username, "channel": "set", "text": "on"})
        self.stored(app, 4)
        self.assertEqual(pushed.code, 202, pushed.body)

        def ids(http, query):
            answer = http.get(f"/v1/messages?{query}")
            self.assertEqual(answer.code, 200, answer.body)
            return [message["id"] for message in answer["messages"]]

        mine = until(lambda: len(found := ids(app.http, "state=done")) == 4 and found, "the uploads have ended")
        self.assertEqual(ids(app.http, "state=in-flight"), [pushed["id"]])
        self.assertEqual(sorted(mine), mine)
        self.assertEqual(ids(self.admin, f"principal={device.username}"), mine[:3])
        self.assertEqual(ids(self.admin, f"principal={device.username}&order=desc"), mine[:3][::-1])
        self.assertEqual(ids(self.admin, f"principal={other.username}&kind=push"), [pushed["id"]])
        page = app.http.get("/v1/messages?state=done&limit=3")
        self.assertEqual([message["id"] for message in page["messages"]], mine[:3])
        self.assertEqual(ids(app.http, f"state=done&limit=3&after={page['next']}"), mine[3:])
        self.assertEqual(ids(self.an_application().http, f"principal={device.username}"), [])
        for bad in ("state=dead-or-alive", "kind=x", "principal=lamp", "limit=0", "after=17", "colour=red"):
            self.assertEqual(app.http.get(f"/v1/messages?{bad}").code, 400, bad)

    def test_a_trace_draws_every_hop(self):
        device, app = self.a_device(), self.an_application()
        client = self.connected(device)
        client.publish(device.topic(f"up/{app.id}/temp"), b"21", qos=1)
        id = self.stored(app, 1)[0]["id"]
        self.receipt(app.http, id, status=200)
        drawn = self.found("trace", id)
        hops = {(stage["reporter"].split("@")[0], stage["stage"]) for stage in drawn["stages"]}
        self.assertIn(("srv/app", "accepted"), hops)
        self.assertEqual({stage for server, stage in hops if server == "srv/message"}, {"accepted", "routed", "sent", "answered", "ended"})
        text = self.irsp("trace", id).stdout
        self.assertIn("done (200 done)", text)
        self.assertIn("srv/app@home.example", text)

        key = self.platform.dir / "app.key"
        key.write_text(app.key)
        self.assertEqual(self.irsp("trace", id, "--token-file", key).returncode, 0)
        key.write_text(self.an_application().key)
        self.assertIn("404", self.refused("trace", id, "--token-file", key))

    def test_the_tail_shows_what_happens_and_to_whom_it_concerns(self):
        device, app, other = self.a_device(), self.an_application(), self.an_application()
        client = self.connected(device)
        words = [binary("irsp"), "tail", "--json", "--principal", device.username, "--url", self.admin.appserver]
        words += ["--data", self.platform.data, "--count", "2"]
        tail = subprocess.Popen([*map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(tail.kill)
        stream, strange = app.http.stream("/v1/messages/stream"), other.http.stream("/v1/messages/stream")
        self.addCleanup(stream.close)
        self.addCleanup(strange.close)
        with ThreadPoolExecutor() as threads:
            told = threads.submit(tail.communicate)
            # The command says nothing when it begins to listen: there is news until it has heard enough.
            while not told.done():
                client.publish(device.topic(f"up/{app.id}/temp"), b"21", qos=1)
            out, errors = told.result()
        self.assertEqual(tail.returncode, 0, errors)
        events = [json.loads(line) for line in out.splitlines()]
        self.assertEqual(len(events), 2)
        self.assertEqual({event["source"].split("@")[0] for event in events}, {device.username})
        first = stream.next()
        self.assertEqual((first["kind"], first["stage"]), ("upload", "accepted"))
        self.assertTrue(strange.events.empty(), "it concerns another application")


class Ledger(Operator):
    def test_a_residue_is_told_at_the_start_and_by_the_command(self):
        device, app = self.a_device(), self.an_application()
        self.connected(device).publish(device.topic(f"up/{app.id}/temp"), b"21", qos=1)
        self.stored(app, 1)
        ledger = self.found("ledger")
        self.assertEqual((ledger["residue"], ledger["balanced"], ledger["silent"]), (0, True, []))
        self.assertEqual([server["server"] for server in ledger["servers"]], ["account", "message", "app"])
        self.assertEqual(app.http.get("/v1/ledger").code, 403)
        self.platform.stop()
        self.sql("message.db", "UPDATE ledger SET count = count + 1 WHERE kind = 'upload' AND status = 0")
        self.platform.start()
        self.assertIn("the ledger does not add up", self.platform.log.read_text())
        wrong = self.irsp("ledger")
        self.assertEqual(wrong.returncode, 1)
        self.assertIn("residue 1", wrong.stdout)
        self.assertEqual(len(wrong.stderr.splitlines()), 1, wrong.stderr)
        self.platform.stop()
        self.assertIn("cannot be reached", self.refused("ledger"))
        self.platform.start()


class FromApart(Operator):
    shape = Apart

    def test_a_dead_letter_of_another_process_is_sent_again(self):
        _, app, _, id = self.dead_upload()
        self.assertEqual(self.found("ledger")["silent"], [])
        self.heal()
        self.assertEqual(self.found("dead", "retry", id)["server"], "message")
        self.receipt(self.admin, id, state="done")
        self.stored(app, 1)
        self.platform.kill_role("account")
        silent = self.irsp("ledger")
        self.assertEqual(silent.returncode, 1)
        self.assertIn("account", silent.stderr)
