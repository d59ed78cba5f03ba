"""What a peer may not do (clauses 8.5, 9): refused each time with a code and a metric, and local traffic unharmed."""

import contextlib
import shutil
import socket
import tempfile
import time
import unittest

from .federation import Domain
from .hostile import PING, Authority, Peer, Refused, envelope
from .mqtt import Client
from .waiting import until


@unittest.skipUnless(shutil.which("openssl"), "needs openssl")
class Hostile(unittest.TestCase):
    """b.example knows evil.example by its authority, with a small rate."""

    @classmethod
    def setUpClass(cls):
        cls.b = Domain("b.example")
        cls.addClassCleanup(cls.b.remove)
        folder = tempfile.mkdtemp(prefix="irsp-hostile-")
        cls.addClassCleanup(shutil.rmtree, folder, ignore_errors=True)
        cls.evil, cls.other = Authority(folder, "evil"), Authority(folder, "other")
        admin = cls.b.admin()
        made = admin.post("/v1/peers", {"domain": "evil.example", "ca": cls.evil.pem, "rate_max": 50})
        assert made.code == 201, made
        cls.certificate = cls.evil.issue("evil.example")
        cls.key = admin.post("/v1/apps", {"id": "shop"})["key"]
        cls.shop = admin.as_application("shop", cls.key)
        cls.code = admin.post("/v1/devices", {"id": "lamp"})["code"]

    def tearDown(self):
        """Local traffic goes its way whatever a peer has done."""
        lamp = Client(self.b, "dev/lamp", self.code).open()
        lamp.subscribe("v1/dev/lamp/status")
        self.assertEqual(lamp.publish("v1/dev/lamp/up/shop/temp", b"1"), 0)
        self.assertEqual(lamp.receive("v1/dev/lamp/status").json["code"], 200)
        lamp.leave()

    @contextlib.contextmanager
    def counted(self, name, **labels):
        before = self.b.metric(name, **labels)
        yield
        until(lambda: self.b.metric(name, **labels) > before, f"{name} {labels} counts it")

    @contextlib.contextmanager
    def a_peer(self, greets=True):
        peer = Peer(self.b.door, self.certificate)
        try:
            if greets:
                self.assertEqual(peer.hello("evil.example", "b.example")["domain"], "b.example")
            yield peer
        finally:
            peer.close()

    def refused_at_the_door(self, certificate):
        with self.assertRaises(Refused):
            peer = Peer(self.b.door, certificate)
            try:
                peer.hello("evil.example", "b.example")
            finally:
                peer.close()

    def uploads(self, source):
        return self.shop.get(f"/v1/apps/shop/uploads?device={source}")["uploads"]

    def test_a_certificate_that_is_none_foreign_expired_or_a_strangers(self):
        with self.counted("irsp_peer_refused", reason="incomplete"):
            self.refused_at_the_door(None)
        with self.counted("irsp_peer_refused", reason="untrusted"):
            self.refused_at_the_door(self.other.issue("evil.example"))
        with self.counted("irsp_peer_refused", reason="stranger"):
            self.refused_at_the_door(self.evil.issue("b.example"))
        expired = self.evil.issue("evil.example", days=0)
        time.sleep(1.1)  # it ends with the second it was made in
        with self.counted("irsp_peer_refused", reason="expired"):
            self.refused_at_the_door(expired)

    def test_a_greeting_of_another_version_or_for_somebody_else(self):
        for greeting, code, reason in [
            (("evil.example", "b.example", (2, 0)), 400, "version"),
            (("other.example", "b.example"), 403, "greeting"),
            (("evil.example", "a.example"), 421, "greeting"),
        ]:
            with self.counted("irsp_peer_refused", reason=reason), self.a_peer(greets=False) as peer:
                peer.hello(*greeting)
                self.assertEqual(peer.goodbye(), code, greeting)
        with self.a_peer(greets=False) as peer:
            peer.hello("evil.example", "b.example", (1, 9))
            peer.send(77, b"of a newer version")
            peer.send(PING)
            peer.pong()  # a newer minor version is spoken to

    def test_a_spoofed_source_and_a_message_in_transit(self):
        for source, destination, code in [
            ("dev/x@a.example", "app/shop@b.example", 403),
            ("dev/lamp@b.example", "app/shop@b.example", 403),
            ("dev/lamp", "app/shop@b.example", 403),
            ("dev/x@evil.example", "app/shop@a.example", 421),
        ]:
            with self.counted("irsp_peer_envelopes_refused", code=code), self.a_peer() as peer:
                head = envelope("upload", source, destination)
                peer.deliver((head, b"1"))
                self.assertEqual(peer.answers(), {head["id"]: code}, (source, destination))
        self.assertEqual(self.uploads("dev/x@a.example"), [])

    def test_what_is_not_granted_or_not_for_peers(self):
        for kind, source, destination, code in [
            ("push", "app/x@evil.example", "dev/lamp@b.example", 403),
            ("push", "app/x@evil.example", "dev/nobody@b.example", 403),
            ("upload", "dev/x@evil.example", "app/nobody@b.example", 404),
            ("upload", "app/x@evil.example", "app/shop@b.example", 403),
            ("directory", "srv/account@evil.example", "srv/message@b.example", 403),
        ]:
            with self.a_peer() as peer:
                head = envelope(kind, source, destination)
                peer.deliver((head, b"{}"))
                self.assertEqual(peer.answers(), {head["id"]: code}, (kind, source, destination))

    def test_a_user_of_somebody_else_s_whom_a_device_is_shared_with(self):
        for bob in ("usr/bob@a.example", "usr/bob@evil.example"):
            given = self.b.admin().post("/v1/grants", {"principal": "dev/lamp", "to": bob, "pushes": True})
            self.assertEqual(given.code, 201, given)
        for source, destination, code in [
            ("usr/bob@a.example", "dev/lamp@b.example", 403),
            ("usr/bob@b.example", "dev/lamp@b.example", 403),
            ("usr/bob", "dev/lamp@b.example", 403),
            ("usr/eve@evil.example", "dev/lamp@b.example", 403),
            ("usr/bob@evil.example", "dev/nobody@b.example", 403),
            ("usr/bob@evil.example", "usr/bob@b.example", 403),
            ("usr/bob@evil.example", "dev/lamp@a.example", 421),
            ("usr/bob@evil.example", "dev/lamp@b.example", 202),
        ]:
            with self.a_peer() as peer:
                head = envelope("push", source, destination)
                peer.deliver((head, b"{}"))
                self.assertEqual(peer.answers(), {head["id"]: code}, (source, destination))

    def test_a_replay_takes_effect_once(self):
        head = envelope("upload", "dev/replayed@evil.example", "app/shop@b.example")
        for _ in range(2):
            with self.a_peer() as peer:
                for _ in range(3):
                    peer.deliver((head, b"1"))
                    [(named, code)] = peer.answers().items()
                    self.assertEqual(named, head["id"])
                    self.assertIn(code, (202, 200), "taken over, or stored already")
        until(lambda: self.uploads("dev/replayed@evil.example"), "it is stored")
        self.assertEqual(len(self.uploads("dev/replayed@evil.example")), 1)

    def test_the_end_of_a_message_that_is_not_its_own(self):
        sent = self.shop.post("/v1/push", {"to": "dev/lamp", "channel": "set", "text": "on"})
        self.assertEqual(sent.code, 202)
        with self.a_peer() as peer:
            head = envelope("upload", "dev/x@evil.example", "app/shop@b.example", id=sent["id"])
            peer.deliver((head, b"1"))
            self.assertEqual(peer.answers(), {sent["id"]: 409}, "an id that is taken tells nothing")
        self.assertEqual(self.shop.get(f"/v1/messages/{sent['id']}").body["status"], 202)

    def test_garbage_and_what_is_too_large(self):
        for name, data, code in [
            ("too large", b"\x7f\xff\xff\xff\x01", 413),
            ("empty", b"\0\0\0\0", 400),
            ("no items", b"\0\0\0\x05\x01\xff\xff\xff\xff", 400),
            ("no JSON", b"\0\0\0\x0b\x01\0\0\0\x02{}\0\0\0\0", 400),
            ("a second greeting that is none", b"\0\0\0\x03\0{}", 400),
        ]:
            with self.subTest(name), self.counted("irsp_peer_links_ended", cause="breach"), self.a_peer() as peer:
                peer.raw(data)
                self.assertEqual(peer.goodbye(), code)

    def test_a_handshake_that_does_not_go_on(self):
        with self.counted("irsp_peer_refused", reason="incomplete"), self.a_peer(greets=False) as peer:
            self.assertEqual(peer.part()[0], 0, "we are greeted")
            with self.assertRaises(Refused):
                peer.part()

    def test_strangers_who_say_nothing_keep_no_peer_out(self):
        silent = []
        try:
            for _ in range(300):
                silent.append(socket.create_connection(self.b.door, timeout=20))
            began = time.monotonic()
            with self.counted("irsp_peer_refused", reason="handshakes"), self.a_peer() as peer:
                peer.send(PING)
                peer.pong()
            self.assertLess(time.monotonic() - began, 8, "none of them had to end first")
        finally:
            for one in silent:
                one.close()

    def test_a_deletion_is_told_of_ones_own_only(self):
        for source, data, code in [
            ("dev/gone@evil.example", b'{"deleted":"dev/gone"}', 202),
            ("dev/gone@evil.example", b'{"deleted":"dev/lamp"}', 202),
            ("dev/lamp@b.example", b'{"deleted":"dev/lamp"}', 403),
            ("dev/gone@evil.example", b" " * 10_000, 413),
        ]:
            with self.a_peer() as peer:
                head = envelope("directory", source, "srv/app@b.example")
                peer.deliver((head, data))
                self.assertEqual(peer.answers(), {head["id"]: code}, (source, data[:40]))
        self.assertEqual(self.b.admin().get("/v1/devices/lamp").code, 200)
        for bob in ("usr/bob@a.example", "usr/eve@evil.example"):
            self.b.grants("dev/lamp", bob, pushes=True)
        for source, data, code in [
            ("usr/bob@a.example", b'{"deleted":"usr/bob"}', 403),
            ("usr/bob@evil.example", b'{"deleted":"usr/bob"}', 202),
            ("app/x@a.example", b'{"deleted":"app/x"}', 403),
            ("dev/x@a.example", b'{"granted":"usr/admin","hears":true,"pushes":true,"n":1}', 403),
            ("usr/eve@evil.example", b'{"deleted":"usr/eve"}', 202),
        ]:
            with self.a_peer() as peer:
                head = envelope("directory", source, "srv/app@b.example")
                peer.deliver((head, data))
                self.assertEqual(peer.answers(), {head["id"]: code}, (source, data[:40]))

        def named():
            return {grant["to"] for grant in self.b.admin().get("/v1/grants?principal=dev/lamp")["items"]}

        until(lambda: "usr/eve@evil.example" not in named(), "its own user's share ends")
        self.assertIn("usr/bob@a.example", named(), "and nobody else's")
        self.assertEqual(self.b.admin().get("/v1/grants/received")["items"], [])

    def test_a_flood_waits_in_its_own_connection(self):
        with self.counted("irsp_peer_throttled"), self.a_peer() as peer:
            heads = [envelope("upload", "dev/flood@evil.example", "app/shop@b.example") for _ in range(120)]
            for at in range(0, 120, 20):
                peer.deliver(*[(head, b"x") for head in heads[at : at + 20]])
            self.tearDown()
            self.assertEqual(set(peer.answers(len(heads)).values()), {202})

    def test_a_paused_peer_is_refused(self):
        admin = self.b.admin()
        try:
            with self.a_peer() as peer:
                self.assertEqual(admin.patch("/v1/peers/evil.example", {"state": "paused"}).code, 200)
                self.assertEqual(peer.goodbye(), 503)
            with self.counted("irsp_peer_refused", reason="paused"):
                self.refused_at_the_door(self.certificate)
        finally:
            admin.patch("/v1/peers/evil.example", {"state": "active"})

    def test_what_is_larger_than_one_of_ours_may_be_and_what_lives_longer(self):
        self.b.grants("dev/lamp", "app/large@evil.example", pushes=True)
        for kind, source, destination, size, code in [
            ("push", "app/large@evil.example", "dev/lamp@b.example", 1_000_001, 413),
            ("message", "app/large@evil.example", "app/shop@b.example", 1_000_001, 413),
            ("message", "app/large@evil.example", "app/shop@b.example", 1_000_000, 202),
            ("upload", "dev/large@evil.example", "app/shop@b.example", (1 << 20) + 1, 413),
            ("upload", "dev/large@evil.example", "app/shop@b.example", 1_000_001, 202),
        ]:
            with self.a_peer() as peer:
                head = envelope(kind, source, destination)
                peer.deliver((head, b"x" * size))
                self.assertEqual(peer.answers(), {head["id"]: code}, (kind, size))
        with self.a_peer() as peer:
            head = envelope("push", "app/large@evil.example", "dev/lamp@b.example", expirytime="2099-01-01T00:00:00Z")
            peer.deliver((head, b"1"))
            self.assertEqual(peer.answers(), {head["id"]: 202})
        expires = self.b.admin().get(f"/v1/messages/{head['id']}")["expires"]
        latest = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 30 * 86_400 + 60))
        self.assertLess(expires, latest, "it lives no longer than one of our own")

    def test_an_envelope_of_a_newer_version_is_refused_alone(self):
        with self.a_peer() as peer:
            newer = envelope("gossip", "dev/x@evil.example", "app/shop@b.example")
            channel = envelope("upload", "dev/x@evil.example", "app/shop@b.example", subject="a//b")
            good = envelope("upload", "dev/x@evil.example", "app/shop@b.example")
            peer.deliver((newer, b"?"), (channel, b"?"), (good, b"1"))
            wanted = {newer["id"]: 400, channel["id"]: 400, good["id"]: 202}
            self.assertEqual(peer.answers(3), wanted)

    def test_who_links_again_and_again_is_owed_the_newest_presence_only(self):
        self.tearDown()  # the lamp has a presence
        self.b.grants("dev/lamp", "app/watcher@evil.example", hears=True)
        for _ in range(8):
            with self.a_peer() as peer:
                while not any("deliver" in item for item in peer.items()):
                    pass
        link = until(
            lambda: "linked" not in (link := self.b.admin().get("/v1/peers/evil.example")["link"]) and link,
            "the last link has ended",
        )
        with self.a_peer() as peer:
            taken = peer.take(link["waiting"]).values()
        told = [head for head in taken if head["destination"].startswith("app/watcher")]
        self.assertIn(len(told), (1, 2), "the one that waited, and that of this link")


@unittest.skipUnless(shutil.which("openssl"), "needs openssl")
class Insatiable(unittest.TestCase):
    """b.example has room for forty messages of a domain; evil.example sends, and takes no news of the ends."""

    def test_who_takes_no_news_of_ends_is_refused_and_nobody_else(self):
        b = Domain("b.example", "courier.application_messages_max=40", "courier.messages_max=100")
        self.addCleanup(b.remove)
        folder = tempfile.mkdtemp(prefix="irsp-insatiable-")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        evil = Authority(folder, "evil")
        admin = b.admin()
        self.assertEqual(admin.post("/v1/peers", {"domain": "evil.example", "ca": evil.pem}).code, 201)
        self.assertEqual(admin.post("/v1/apps", {"id": "shop"}).code, 201)
        code = admin.post("/v1/devices", {"id": "lamp"})["code"]

        def links():
            peer = Peer(b.door, evil.issue("evil.example"))
            self.addCleanup(peer.close)
            peer.hello("evil.example", "b.example")
            return peer

        peer = links()
        self.assertEqual([head["type"] for head in peer.take(1).values()], ["irsp.directory"], "what it is granted")

        def sends(n, kind="message", source="app/x{}@evil.example"):
            heads = [envelope(kind, source.format(at), "app/shop@b.example") for at in range(n)]
            peer.deliver(*[(head, b"1") for head in heads])
            return list(peer.answers(n).values())

        codes = [code for _ in range(30) for code in sends(10)]
        self.assertEqual(codes.count(202), 40, codes)
        self.assertEqual(set(codes[40:]), {429})
        self.assertEqual(sends(1, "upload", "dev/x{}@evil.example"), [429], "of whatever kind")
        with_lamp = Client(b, "dev/lamp", code).open()
        with_lamp.subscribe("v1/dev/lamp/status")
        self.assertEqual(with_lamp.publish("v1/dev/lamp/up/shop/temp", b"1"), 0)
        self.assertEqual(with_lamp.receive("v1/dev/lamp/status").json["code"], 200)
        with_lamp.leave()
        peer.close()
        peer = links()
        self.assertEqual({head["type"] for head in peer.take(40).values()}, {"irsp.status"})
        until(lambda: sends(1) == [202], "it has taken what waited")


if __name__ == "__main__":
    unittest.main()
