"""Clauses 8.5, 8.6 and 8.7: three domains as three processes with their own authorities, and a bad network between them."""

import contextlib
import time
import unittest

from .federation import Domain, linked
from .mqtt import V311, Client
from .proxy import Proxy
from .waiting import until


@contextlib.contextmanager
def client(domain, username, password, **options):
    """A connected MQTT client that says goodbye at the end."""
    made = Client(domain, username, password, **options)
    made.connect()
    try:
        yield made
    finally:
        made.leave()


class Federation(unittest.TestCase):
    """a.example dials b.example through a proxy; c.example and b.example dial each other directly."""

    @classmethod
    def setUpClass(cls):
        cls.a, cls.b, cls.c = (Domain(f"{letter}.example") for letter in "abc")
        for domain in (cls.a, cls.b, cls.c):
            cls.addClassCleanup(domain.remove)
        cls.proxy = Proxy(cls.b.door)
        cls.addClassCleanup(cls.proxy.stop)
        cls.a.knows(cls.b, f"irsp://127.0.0.1:{cls.proxy.port}")
        cls.b.knows(cls.a)
        cls.b.knows(cls.c, True)
        cls.c.knows(cls.b, True)
        linked((cls.a, cls.b), (cls.b, cls.c))
        made = cls.b.admin().post("/v1/apps", {"id": "climate"})
        cls.key = made["key"]
        cls.climate = cls.b.admin().as_application("climate", cls.key)

    def a_device(self, id, **grants):
        made = self.a.admin().post("/v1/devices", {"id": id})
        self.assertEqual(made.code, 201, made)
        if grants:
            self.a.grants(f"dev/{id}", "app/climate@b.example", **grants)
        return made["code"]

    def uploads(self, source):
        page = self.climate.get(f"/v1/apps/climate/uploads?device={source}&limit=1000")
        self.assertEqual(page.code, 200, page)
        return page["uploads"]

    def test_a_device_uploads_to_an_application_of_another_domain(self):
        code = self.a_device("meter", hears=True)
        with client(self.b, "app/climate", self.key) as watcher, client(self.a, "dev/meter", code, version=V311) as meter:
            watcher.subscribe("v1/dev/+/up/climate/#")
            meter.subscribe("v1/dev/meter/status")
            meter.publish("v1/dev/meter/up/climate@b.example/temp", b"21.5")
            status = meter.receive("v1/dev/meter/status").json
            self.assertEqual((status["code"], status["app"]), (200, "climate"), status)
            seen = watcher.receive("v1/dev/meter@a.example/up/climate/temp")
            self.assertEqual(seen.payload, b"21.5")
        (upload,) = self.uploads("dev/meter@a.example")
        self.assertEqual((upload["source"], upload["channel"]), ("dev/meter@a.example", "temp"))
        receipt = self.a.admin().get(f"/v1/messages/{status['message']}").body
        self.assertEqual(receipt["status"], 200)

    def test_an_application_pushes_to_a_device_of_another_domain_and_hears_its_answer(self):
        code = self.a_device("lamp", pushes=True)
        with client(self.a, "dev/lamp", code) as lamp:
            lamp.subscribe("v1/dev/lamp/down/#")
            sent = self.climate.post("/v1/push", {"to": "dev/lamp@a.example", "channel": "set", "data": {"on": True}})
            self.assertEqual(sent.code, 202, sent)
            push = lamp.receive("v1/dev/lamp/down/")
            _, _, _, _, sender, mid, channel = push.topic.split("/")
            self.assertEqual((sender, channel, push.json), ("climate@b.example", "set", {"on": True}))
            lamp.publish(f"v1/dev/lamp/ack/{mid}", b'{"status":200,"body":{"on":true}}')
            ended = until(
                lambda: (found := self.climate.get(f"/v1/messages/{sent['id']}")).body["status"] != 202 and found.body,
                "the push has ended in its own domain",
            )
            self.assertEqual((ended["status"], ended["answer"]["data"]), (200, {"on": True}))
            with client(self.b, "app/climate", self.key) as app:
                app.subscribe("v1/app/climate/status")
                app.publish("v1/app/climate/to/dev/lamp@a.example/set", b"off")
                push = lamp.receive("v1/dev/lamp/down/")
                lamp.publish(f"v1/dev/lamp/ack/{push.topic.split('/')[5]}", b"204")
                status = app.receive("v1/app/climate/status").json
                self.assertEqual((status["code"], status["answer"]["status"]), (200, 204), status)

    def test_an_application_messages_an_application_of_another_domain(self):
        made = self.c.admin().post("/v1/apps", {"id": "billing"})
        sent = self.climate.post(
            "/v1/message", {"to": "app/billing@c.example", "channel": "invoice", "data": {"n": 7}, "wait": "30s"}
        )
        self.assertEqual(sent.code, 200, sent)
        billing = self.c.admin().as_application("billing", made["key"])
        (message,) = billing.get("/v1/apps/billing/uploads")["uploads"]
        self.assertEqual(message["source"], "app/climate@b.example")
        gone = self.climate.post("/v1/message", {"to": "app/nobody@c.example", "channel": "x", "text": "", "wait": "30s"})
        self.assertEqual(gone.code, 404, gone)

    def test_without_a_grant_nothing_passes_and_a_withdrawal_acts_at_once(self):
        code = self.a_device("shy")
        with client(self.a, "dev/shy", code) as shy:
            self.assertEqual(shy.publish("v1/dev/shy/up/climate@b.example/temp", b"1"), 0x87)
            self.assertEqual(shy.publish("v1/dev/shy/up/climate@c.example/temp", b"1"), 0x87)
        push = {"to": "dev/shy@a.example", "channel": "set", "text": "on", "wait": "30s"}
        self.assertEqual(self.climate.post("/v1/push", push).code, 403)
        self.a.grants("dev/shy", "app/climate@b.example", pushes=True, hears=True)
        waiting = self.climate.post("/v1/push", {"to": "dev/shy@a.example", "channel": "set", "text": "on"})
        self.assertEqual(waiting.code, 202, waiting)
        gone = self.a.admin().delete("/v1/grants?principal=dev/shy&to=app/climate@b.example")
        self.assertEqual(gone.code, 200, gone)
        until(lambda: self.climate.get(f"/v1/messages/{waiting['id']}").body["status"] == 403, "what waited ends with 403")
        self.assertEqual(self.climate.post("/v1/push", push).code, 403)

    def test_a_domain_that_is_no_peer_is_refused(self):
        unknown = self.climate.post("/v1/push", {"to": "dev/x@nowhere.example", "channel": "set", "text": "on"})
        self.assertEqual(unknown.code, 421, unknown)
        relayed = self.a.admin().post("/v1/push", {"to": "dev/x@c.example", "channel": "set", "text": "on", "from": "app/x"})
        self.assertIn(relayed.code, (403, 421), relayed)

    def foreign_presence(self, id):
        found = self.climate.get(f"/v1/presence/dev/{id}@a.example")
        return found.body["state"] if found.code == 200 else found.code

    def test_presence_stays_unknown_while_either_side_s_terms_say_so_and_is_right_again_afterwards(self):
        code = self.a_device("gate", hears=True)
        few = {"kinds": ["upload", "push", "message"]}
        state = lambda: self.foreign_presence("gate")
        sides = [
            (self.a, "/v1/peers/b.example", {"out": few}, {"out": {}}),
            (self.b, "/v1/peers/a.example", {"in": few}, {"in": {}}),
        ]
        for side, peer, narrow, wide in sides:
            with client(self.a, "dev/gate", code) as gate:
                until(lambda: state() == "online", "it is seen", 60)
                self.assertEqual(side.admin().patch(peer, narrow).code, 200)
                until(lambda: state() == "unknown", "its state is nobody's business any more", 60)
                linked((self.a, self.b))
            with client(self.a, "dev/gate", code) as gate:
                before = len(self.uploads("dev/gate@a.example"))
                gate.publish("v1/dev/gate/up/climate@b.example/temp", b"1")
                until(lambda: len(self.uploads("dev/gate@a.example")) > before, "what is sent later has come", 60)
            self.assertEqual(state(), "unknown", narrow)
            self.assertEqual(self.climate.get("/v1/presence/dev/gate@a.example")["reason"], "out-of-sight")
            self.assertEqual(side.admin().patch(peer, wide).code, 200)
            until(lambda: state() == "offline", "the right state", 60)
        until(lambda: self.a.residue() == 0 and self.b.residue() == 0, "nothing is lost", 60)

    def test_presence_is_right_when_an_application_hears_more_again(self):
        code = self.a_device("fence", hears=True)
        try:
            with client(self.a, "dev/fence", code):
                until(lambda: self.foreign_presence("fence") == "online", "it is seen", 60)
                narrow = self.b.admin().patch("/v1/apps/climate", {"hears": {"only": ["dev/other@a.example"]}})
                self.assertEqual(narrow.code, 200, narrow)
                linked((self.a, self.b))
        finally:
            wide = self.b.admin().patch("/v1/apps/climate", {"hears": "everyone"})
        self.assertEqual(wide.code, 200, wide)
        until(lambda: self.foreign_presence("fence") == "offline", "the right state", 60)

    def test_presence_is_known_unknown_and_known_again(self):
        code = self.a_device("porch", hears=True)

        def presence():
            found = self.climate.get("/v1/presence/dev/porch@a.example")
            return found.body["state"] if found.code == 200 else found.code

        with client(self.a, "dev/porch", code):
            until(lambda: presence() == "online", "b's application sees a's device online")
            self.proxy.closed = True
            self.proxy.cut()
            try:
                until(lambda: presence() == "unknown", "out of sight is unknown", 60)
                shown = self.climate.get("/v1/presence/dev/porch@a.example").body
                self.assertEqual((shown["reason"], shown["principal"]), ("out-of-sight", "dev/porch@a.example"))
            finally:
                self.proxy.closed = False
            until(lambda: presence() == "online", "the truth again", 60)
        until(lambda: presence() == "offline", "it has gone")
        self.a.admin().delete("/v1/grants?principal=dev/porch&to=app/climate@b.example")
        until(lambda: presence() == 403, "withdrawn")

    def test_a_peer_that_is_away_is_caught_up_with_in_order(self):
        code = self.a_device("pump", hears=True)
        self.proxy.closed = True
        self.proxy.cut()
        with client(self.a, "dev/pump", code) as pump:
            pump.subscribe("v1/dev/pump/status")
            until(lambda: not self.a.is_linked(self.b), "the link is down", 60)
            for n in range(100):
                self.assertEqual(pump.publish("v1/dev/pump/up/climate@b.example/n", str(n).encode()), 0)
            link = self.a.link(self.b)
            self.assertGreaterEqual(link["waiting"], 100)
            self.assertIn("oldest", link)
            self.proxy.closed = False
            until(lambda: len(self.uploads("dev/pump@a.example")) >= 100, "b has caught up", 60)
        uploads = self.uploads("dev/pump@a.example")
        self.assertEqual([upload["data"] for upload in uploads], list(range(100)))

    def test_a_bad_network_loses_nothing_and_repeats_nothing(self):
        code = self.a_device("turbine", hears=True)
        with client(self.a, "dev/turbine", code) as turbine:
            for n in range(300):
                self.assertEqual(turbine.publish("v1/dev/turbine/up/climate@b.example/n", str(n).encode()), 0)
                if n % 60 == 10:
                    self.proxy.cut(reset=n % 120 == 10)
                if n == 100:
                    self.proxy.delay, self.proxy.piece = 0.005, 700
                if n == 200:
                    self.proxy.delay, self.proxy.piece = 0.0, 65536
            until(lambda: len(self.uploads("dev/turbine@a.example")) >= 300, "all have come", 120)
        uploads = self.uploads("dev/turbine@a.example")
        self.assertEqual([upload["data"] for upload in uploads], list(range(300)))
        for domain in (self.a, self.b):
            until(lambda: domain.residue() == 0, f"{domain.name}: ledgers add up and nothing is in flight", 60)

    def test_a_slow_line_is_not_flooded_with_repeats(self):
        code, count, size = self.a_device("camera", hears=True), 600, 1000
        self.proxy.delay, self.proxy.piece = 0.05, 6000
        before, taken = self.proxy.carried, self.proxy.taken
        try:
            with client(self.a, "dev/camera", code) as camera:
                for n in range(count):
                    data = str(n).rjust(size).encode()
                    self.assertEqual(camera.publish("v1/dev/camera/up/climate@b.example/n", data), 0)
                until(lambda: len(self.uploads("dev/camera@a.example")) >= count, "all have come", 120)
        finally:
            self.proxy.delay, self.proxy.piece = 0.0, 65536
        self.assertLess(self.proxy.carried - before, 3 * count * size, "each message and its answers about once")
        self.assertEqual(self.proxy.taken, taken, "over one connection")

    def test_a_killed_peer_comes_back_without_loss(self):
        code = self.a_device("boiler", hears=True)
        with client(self.a, "dev/boiler", code) as boiler:
            for n in range(60):
                self.assertEqual(boiler.publish("v1/dev/boiler/up/climate@b.example/n", str(n).encode()), 0)
                if n == 20:
                    self.b.crash()
            until(lambda: len(self.uploads("dev/boiler@a.example")) >= 60, "all have come", 120)
        uploads = self.uploads("dev/boiler@a.example")
        self.assertEqual([upload["data"] for upload in uploads], list(range(60)))

    def test_a_deletion_is_told_and_confirmed(self):
        code = self.a_device("heater", hears=True, pushes=True)
        with client(self.a, "dev/heater", code):
            until(lambda: self.climate.get("/v1/presence/dev/heater@a.example").code == 200, "b has heard of it")
        self.proxy.closed = True
        self.proxy.cut()
        try:
            until(lambda: not self.a.is_linked(self.b), "the link is down", 60)
            self.assertEqual(self.a.admin().delete("/v1/devices/heater").code, 200)
            (told,) = self.a.admin().get("/v1/deletions?principal=dev/heater")["items"]
            self.assertEqual((told["domain"], told["status"]), ("b.example", 202), "not confirmed yet")
        finally:
            self.proxy.closed = False

        def confirmed():
            (told,) = self.a.admin().get("/v1/deletions?principal=dev/heater")["items"]
            return told["status"] == 200 and "ended" in told

        until(confirmed, "b has confirmed it", 60)
        self.assertNotEqual(self.climate.get("/v1/presence/dev/heater@a.example").code, 200)
        gone = self.climate.post("/v1/push", {"to": "dev/heater@a.example", "channel": "set", "text": "on", "wait": "30s"})
        self.assertIn(gone.code, (403, 410), gone)

    def test_what_goes_out_keeps_the_pace_that_was_settled(self):
        code = self.a_device("chatty", hears=True)
        self.assertEqual(self.a.admin().patch("/v1/peers/b.example", {"out_rate_max": 20}).code, 200)
        linked((self.a, self.b))
        try:
            with client(self.a, "dev/chatty", code) as chatty:
                for n in range(100):
                    self.assertEqual(chatty.publish("v1/dev/chatty/up/climate@b.example/n", str(n).encode()), 0)
                self.assertGreater(self.a.link(self.b)["waiting"], 20, "accepted here, and waiting")
                began = time.monotonic()
                until(lambda: len(self.uploads("dev/chatty@a.example")) >= 100, "all have come", 60)
                self.assertGreater(time.monotonic() - began, 1.5)
        finally:
            self.a.admin().patch("/v1/peers/b.example", {"out_rate_max": 1_000_000})
        self.assertEqual([upload["data"] for upload in self.uploads("dev/chatty@a.example")], list(range(100)))

    def test_pause_drain_and_remove(self):
        admin, climate = self.c.admin(), {"id": "till"}
        key = admin.post("/v1/apps", climate)["key"]
        till = admin.as_application("till", key)
        message = {"to": "app/climate@b.example", "channel": "sale", "text": "1"}
        self.assertEqual(admin.patch("/v1/peers/b.example", {"state": "paused"}).code, 200)
        until(lambda: not self.c.is_linked(self.b), "paused")
        waits = till.post("/v1/message", message)
        self.assertEqual(waits.code, 202, waits)
        self.assertEqual(admin.patch("/v1/peers/b.example", {"state": "draining"}).code, 200)
        refused = till.post("/v1/message", message)
        self.assertEqual(refused.code, 503, refused)
        until(lambda: till.get(f"/v1/messages/{waits['id']}").body["status"] == 200, "what waited is still sent", 60)
        self.assertEqual(admin.patch("/v1/peers/b.example", {"state": "paused"}).code, 200)
        self.assertEqual(admin.patch("/v1/peers/b.example", {"state": "paused"}).code, 200)
        waits = till.post("/v1/message", message)
        self.assertEqual(admin.delete("/v1/peers/b.example").code, 200)
        until(lambda: till.get(f"/v1/messages/{waits['id']}").body["status"] == 421, "what waited ends with 421")
        self.assertEqual(till.post("/v1/message", message).code, 421)
        self.assertEqual(admin.get("/v1/peers/b.example").code, 410)
        self.c.knows(self.b, True)
        linked((self.b, self.c))


if __name__ == "__main__":
    unittest.main()
