"""Clause 8.7: a device of one domain is shared with a user of another, for presence and pushes, until the share ends."""

import contextlib
import unittest

from .federation import Domain, linked
from .mqtt import Client
from .proxy import Proxy
from .waiting import until

PASSWORD = "correct horse"


@contextlib.contextmanager
def client(domain, username, password, **options):
    """A connected MQTT client that says goodbye at the end."""
    made = Client(domain, username, password, **options)
    made.connect()
    try:
        yield made
    finally:
        made.leave()


class ForeignUser(unittest.TestCase):
    """a.example has the devices; bob is a user of b.example, and another bob is one of c.example."""

    @classmethod
    def setUpClass(cls):
        cls.a, cls.b, cls.c = (Domain(f"{letter}.example") for letter in "abc")
        for domain in (cls.a, cls.b, cls.c):
            cls.addClassCleanup(domain.remove)
        cls.proxy = Proxy(cls.b.door)
        cls.addClassCleanup(cls.proxy.stop)
        cls.a.knows(cls.b, f"irsp://127.0.0.1:{cls.proxy.port}")
        cls.b.knows(cls.a)
        cls.a.knows(cls.c, True)
        cls.c.knows(cls.a)
        linked((cls.a, cls.b), (cls.a, cls.c))
        cls.ann = cls.a_user(cls.a, "ann")
        cls.bob, cls.strange = cls.a_user(cls.b, "bob"), cls.a_user(cls.c, "bob")

    @staticmethod
    def a_user(domain, id):
        made = domain.admin().post("/v1/users", {"id": id, "password": PASSWORD})
        assert made.code == 201, made
        login = domain.anybody().post("/v1/login", {"id": id, "password": PASSWORD})
        assert login.code == 200, login
        return domain.admin().as_user(login["token"])

    def ann_s_device(self, id):
        made = self.a.admin().post("/v1/devices", {"id": id})
        self.assertEqual(made.code, 201, made)
        self.assertEqual(self.ann.post("/v1/bindings", {"device": id, "code": made["code"]}).code, 201)
        return made["code"]

    def share(self, id, to="usr/bob@b.example", **rights):
        given = self.ann.post("/v1/grants", {"principal": f"dev/{id}", "to": to, **rights})
        self.assertEqual(given.code, 201, given)

    def withdraw(self, id, to="usr/bob@b.example"):
        gone = self.ann.delete(f"/v1/grants?principal=dev/{id}&to={to}")
        self.assertEqual(gone.code, 200, gone)

    def push(self, user, device, **more):
        return user.post("/v1/push", {"to": f"dev/{device}@a.example", "channel": "set", "text": "on", **more})

    def presence(self, user, id):
        found = user.get(f"/v1/presence/dev/{id}@a.example")
        return found.body["state"] if found.code == 200 else found.code

    def ended(self, user, sent):
        found = user.get(f"/v1/messages/{sent['id']}")
        return found.body if found.code == 200 and found.body["status"] != 202 else None

    def listed(self):
        """What b's bob is granted by a, as b shows it to him: the device's name, hears, pushes."""
        items = self.bob.get("/v1/grants/received")["items"]
        return {(one["principal"].partition("@")[0][4:], one["hears"], one["pushes"]) for one in items}

    def test_a_peer_that_is_added_again_is_told_what_is_granted_now(self):
        for id in ("kept", "narrowed", "withdrawn", "gone"):
            self.ann_s_device(id)
            self.share(id, hears=True, pushes=True)
        until(lambda: len(self.listed()) >= 4, "b was told of all")
        others = {one for one in self.listed() if one[0] not in ("kept", "narrowed", "withdrawn", "gone")}
        self.assertEqual(self.a.admin().delete("/v1/peers/b.example").code, 200)
        self.share("narrowed", hears=True)
        self.withdraw("withdrawn")
        self.assertEqual(self.a.admin().delete("/v1/devices/gone").code, 200)
        self.ann_s_device("new")
        self.share("new", pushes=True)
        self.a.knows(self.b, f"irsp://127.0.0.1:{self.proxy.port}")
        linked((self.a, self.b))
        now = others | {("kept", True, True), ("narrowed", True, False), ("new", False, True)}
        until(lambda: self.listed() == now, "b lists what is granted now", 30)
        self.assertEqual(self.b.admin().delete("/v1/peers/a.example").code, 200)
        self.assertEqual(self.listed(), set(), "of who is no peer nothing is listed")
        self.withdraw("new")
        self.b.knows(self.a)
        linked((self.a, self.b))
        until(lambda: self.listed() == now - {("new", False, True)}, "and the news that waited meanwhile", 30)

    def test_a_push_of_a_foreign_user_is_answered(self):
        code = self.ann_s_device("lamp")
        self.share("lamp", pushes=True)
        with client(self.a, "dev/lamp", code) as lamp:
            lamp.subscribe("v1/dev/lamp/down/#")
            sent = self.push(self.bob, "lamp", id="first")
            self.assertEqual(sent.code, 202, sent)
            push = lamp.receive("v1/dev/lamp/down/")
            _, _, _, _, sender, mid, channel = push.topic.split("/")
            self.assertEqual((sender, channel, push.payload), ("usr:bob@b.example", "set", b"on"))
            lamp.publish(f"v1/dev/lamp/ack/{mid}", b'{"status":200,"body":{"on":true}}')
            receipt = until(lambda: self.ended(self.bob, sent), "the push has ended in its own domain")
            self.assertEqual((receipt["status"], receipt["answer"]["data"]), (200, {"on": True}))
            self.assertEqual(self.push(self.bob, "lamp", id="first").code, 208, "one id, one push")
            seen = self.ann.get(f"/v1/messages/{sent['id']}")
            self.assertEqual((seen.code, seen["source"]), (200, "usr/bob@b.example"), "the owner sees who pushed")
            self.assertEqual(self.push(self.bob, "lamp", expiry="1s", wait="30s").code, 408, "it was not answered")
            token = self.bob_s_token()
            with client(self.b, "usr/bob", token) as phone:
                phone.subscribe("v1/usr/bob/status")
                phone.publish("v1/usr/bob/to/dev/lamp@a.example/set", b"off")
                push = next(push for push in iter(lambda: lamp.receive("v1/dev/lamp/down/"), None) if push.payload == b"off")
                lamp.publish(f"v1/dev/lamp/ack/{push.topic.split('/')[5]}", b"204")
                statuses = iter(lambda: phone.receive("v1/usr/bob/status").json, None)
                status = next(status for status in statuses if "answer" in status)
                self.assertEqual((status["code"], status["answer"]["status"]), (200, 204), status)

    def bob_s_token(self):
        return self.b.anybody().post("/v1/login", {"id": "bob", "password": PASSWORD})["token"]

    def test_presence_is_known_unknown_and_known_again(self):
        code = self.ann_s_device("porch")
        self.assertEqual(self.presence(self.bob, "porch"), 403)
        self.share("porch", hears=True)
        with client(self.a, "dev/porch", code):
            until(lambda: self.presence(self.bob, "porch") == "online", "bob sees it online")
            listed = self.bob.get("/v1/presence")["presence"]
            self.assertIn("dev/porch@a.example", [one["principal"] for one in listed])
            self.proxy.closed = True
            self.proxy.cut()
            try:
                until(lambda: self.presence(self.bob, "porch") == "unknown", "out of sight is unknown", 60)
            finally:
                self.proxy.closed = False
            until(lambda: self.presence(self.bob, "porch") == "online", "the truth again", 60)
        until(lambda: self.presence(self.bob, "porch") == "offline", "it has gone")
        self.assertEqual(self.push(self.bob, "porch", wait="30s").code, 403, "only presence was shared")
        self.assertEqual(self.presence(self.strange, "porch"), 403)
        self.withdraw("porch")
        until(lambda: self.presence(self.bob, "porch") == 403, "withdrawn")
        listed = self.bob.get("/v1/presence")["presence"]
        self.assertNotIn("dev/porch@a.example", [one["principal"] for one in listed])

    def test_who_was_given_nothing_may_nothing(self):
        self.ann_s_device("shy")
        self.share("shy", pushes=True)
        self.assertEqual(self.push(self.strange, "shy", wait="30s").code, 403, "the other bob")
        self.assertEqual(self.presence(self.bob, "shy"), 403, "only pushes were shared")
        eve = self.a_user(self.b, "eve")
        self.assertEqual(self.push(eve, "shy", wait="30s").code, 403)
        self.assertEqual(self.push(eve, "nobody", wait="30s").code, 403, "as a device that is not there")
        self.assertEqual(self.bob.post("/v1/push", {"to": "usr/ann@a.example", "channel": "x", "text": ""}).code, 403)
        for refused, body in (
            (400, {"to": "usr/ann@a.example", "hears": True}),
            (400, {"to": "usr/bob@b.example"}),
            (400, {"to": "usr/bob@b.example", "receive": True}),
        ):
            self.assertEqual(self.ann.post("/v1/grants", {"principal": "dev/shy", **body}).code, refused, body)
        mallory = self.a_user(self.a, "mallory")
        body = {"principal": "dev/shy", "to": "usr/mallory@b.example", "pushes": True}
        self.assertEqual(mallory.post("/v1/grants", body).code, 403, "it is not hers to share")

    def test_a_withdrawal_acts_at_once_also_on_what_waits(self):
        self.ann_s_device("fan")
        self.share("fan", pushes=True, hears=True)
        waiting = self.push(self.bob, "fan")
        self.assertEqual(waiting.code, 202, waiting)
        self.share("fan", hears=True)
        receipt = until(lambda: self.ended(self.bob, waiting), "what waited has ended")
        self.assertEqual(receipt["status"], 403)
        self.assertEqual(self.push(self.bob, "fan", wait="30s").code, 403)
        self.share("fan", pushes=True)
        waiting = self.push(self.bob, "fan")
        unbound = self.ann.delete("/v1/bindings/fan")
        self.assertEqual(unbound.code, 200, unbound)
        receipt = until(lambda: self.ended(self.bob, waiting), "with the owner's binding it ends, too")
        self.assertEqual(receipt["status"], 403)

    def test_a_device_that_is_deleted_is_nobodys(self):
        code = self.ann_s_device("heater")
        self.share("heater", pushes=True, hears=True)
        with client(self.a, "dev/heater", code):
            until(lambda: self.presence(self.bob, "heater") == "online", "bob sees it")
        waiting = self.push(self.bob, "heater")
        self.assertEqual(self.a.admin().delete("/v1/devices/heater").code, 200)
        receipt = until(lambda: self.ended(self.bob, waiting), "what waited has ended")
        self.assertIn(receipt["status"], (403, 410))
        until(lambda: self.presence(self.bob, "heater") == 403, "its presence is forgotten")
        self.assertEqual(self.push(self.bob, "heater", wait="30s").code, 403)

    def received(self, user):
        page = user.get("/v1/grants/received")
        self.assertEqual(page.code, 200, page)
        return {(one["principal"], one["hears"], one["pushes"]) for one in page["items"]}

    def test_what_is_shared_is_listed_where_it_is_shared(self):
        self.ann_s_device("gate")
        self.share("gate", pushes=True)
        until(lambda: ("dev/gate@a.example", False, True) in self.received(self.bob), "bob finds it in his list")
        self.assertEqual(self.received(self.strange), set())
        self.share("gate", hears=True, pushes=True)
        until(lambda: ("dev/gate@a.example", True, True) in self.received(self.bob), "with what it is now")
        self.withdraw("gate")
        until(lambda: not [one for one in self.received(self.bob) if one[0] == "dev/gate@a.example"], "and not any more")

    def test_a_user_who_is_deleted_takes_the_shares_along(self):
        code = self.ann_s_device("oven")
        dora = self.a_user(self.b, "dora")
        self.share("oven", "usr/dora@b.example", pushes=True, hears=True)
        until(lambda: self.received(dora), "b knows of the share")
        with client(self.a, "dev/oven", code):
            until(lambda: self.presence(dora, "oven") == "online", "dora sees it")
        waiting = self.push(dora, "oven")
        self.assertEqual(waiting.code, 202, waiting)
        self.assertEqual(self.b.admin().delete("/v1/users/dora").code, 200)

        def shares():
            return self.a.admin().get("/v1/grants?principal=dev/oven")["items"]

        until(lambda: not shares(), "a has ended the share")
        until(lambda: self.ended(self.b.admin(), waiting), "what waited has ended")
        self.assertEqual(self.ended(self.b.admin(), waiting)["status"], 403)

        def told():
            (one,) = self.b.admin().get("/v1/deletions?principal=usr/dora")["items"]
            return one["domain"] == "a.example" and one["status"] == 200

        until(told, "a has confirmed it")
        self.assertEqual(self.b.admin().get("/v1/grants/received?to=usr/dora")["items"], [])

    def test_an_application_that_is_deleted_is_told_to_who_granted_it_something(self):
        self.assertEqual(self.b.admin().post("/v1/apps", {"id": "shop"}).code, 201)
        self.ann_s_device("till")
        self.share("till", "app/shop@b.example", hears=True)
        until(lambda: self.b.admin().get("/v1/grants/received?to=app/shop")["items"], "b knows of the grant")
        self.assertEqual(self.b.admin().delete("/v1/apps/shop").code, 200)
        until(lambda: not self.a.admin().get("/v1/grants?principal=dev/till")["items"], "a has ended the grant")
        (told,) = until(lambda: self.b.admin().get("/v1/deletions?principal=app/shop")["items"], "it was told")
        self.assertEqual(told["domain"], "a.example")

    def test_z_nothing_is_left_under_way(self):
        for domain in (self.a, self.b, self.c):
            until(lambda: domain.residue() == 0, f"{domain.name}: ledgers add up and nothing is in flight", 60)


if __name__ == "__main__":
    unittest.main()
