"""What outlives a kill -9 of the message server: sessions, subscriptions, and what waits for them."""

import sqlite3
import time

from .mqtt import V5, V311
from .story import Story
from .waiting import until
from .wire import BareClient

MANY = 1000


class Sessions(Story):
    def setUp(self):
        super().setUp()
        self.app = self.an_application()
        self.live = f"v1/app/{self.app.id}/live/"

    def keeping(self, client_id, version=V5, **more):
        """A connection of the application whose session outlives it."""
        expiry = 3600 if version == V5 else None
        return self.connected(
            self.app, client_id=client_id, version=version, clean=False, session_expiry=expiry, **more
        )

    def test_a_thousand_messages_queued_for_an_offline_session(self):
        for version in (V311, V5):
            with self.subTest(version=version):
                away = self.keeping(f"away-{version}", version)
                self.assertFalse(away.session_present)
                away.subscribe(f"{self.live}{version}/#")
                away.leave()
                sender = self.connected(self.app, version=version)
                sent = [sender.send(f"{self.live}{version}/n", n) for n in range(MANY)]
                until(lambda: all(sender.acked(mid) is not None for mid in sent), "every PUBACK")
                self.platform.crash()
                away = self.keeping(f"away-{version}", version)
                self.assertTrue(away.session_present)
                heard = [away.receive("/n") for _ in range(MANY)]
                self.assertEqual([message.json for message in heard], list(range(MANY)))
                # what is sent now arrives after all of it, and nothing twice
                self.connected(self.app).publish(f"{self.live}{version}/end", "1")
                away.receive("/end")
                self.assertEqual(away.received("/"), [])
                # acknowledged is forgotten: what is stored later (a retained message) is answered after that
                self.assertEqual(away.publish(f"v1/app/{self.app.id}/live/aside", "1", retain=True), 0)
                away.leave()
                self.platform.crash()
                away = self.keeping(f"away-{version}", version)
                self.connected(self.app).publish(f"{self.live}{version}/again", "1")
                self.assertIn("/again", away.receive("/").topic)
                away.leave()

    def test_a_connected_session_goes_on_after_a_crash(self):
        hears = self.keeping("hears", V311)
        hears.subscribe(self.live + "#", qos=2)
        sender = self.connected(self.app)
        self.assertEqual(sender.publish(self.live + "one", "1", qos=2), 0)
        self.assertEqual(hears.receive("/one").qos, 2)
        self.platform.crash()
        sender = self.connected(self.app)
        self.assertEqual(sender.publish(self.live + "two", "2", qos=2), 0)
        hears = self.keeping("hears", V311)
        self.assertTrue(hears.session_present)
        self.assertEqual(hears.receive("/").payload, b"2")

    def test_a_clean_start_begins_anew(self):
        away = self.keeping("away")
        away.subscribe(self.live + "#")
        away.leave()
        self.connected(self.app).publish(self.live + "old", "1")
        self.connected(self.app, client_id="away", clean=True).leave()
        self.platform.crash()
        away = self.keeping("away")
        self.assertFalse(away.session_present)
        away.subscribe(self.live + "new")
        self.connected(self.app).publish(self.live + "new", "1")
        self.assertIn("/new", away.receive("/").topic)

    def test_a_subscription_that_was_taken_back_stays_so(self):
        away = self.keeping("away")
        away.subscribe(self.live + "a", self.live + "b")
        away.unsubscribe(self.live + "a")
        away.leave()
        self.platform.crash()
        sender = self.connected(self.app)
        sender.publish(self.live + "a", "1")
        sender.publish(self.live + "b", "1")
        self.assertIn("/b", self.keeping("away").receive("/").topic)

    def test_a_reset_ends_the_stored_session(self):
        device = self.a_device()
        lamp = self.connected(device, version=V311, clean=False, client_id="lamp")
        lamp.subscribe(device.topic("live/#"))
        lamp.leave()
        reset = self.admin.post(f"/v1/devices/{device.id}/reset")
        self.assertTrue(reset["in_effect"])
        self.platform.crash()
        again = type(device)(device.id, reset["code"])
        lamp = self.connected(again, version=V311, clean=False, client_id="lamp")
        self.assertFalse(lamp.session_present)

    def test_queued_uploads_reach_a_developer(self):
        device = self.a_device()
        developer = self.keeping("desk")
        developer.subscribe(f"v1/dev/+/up/{self.app.id}/#")
        developer.leave()
        lamp = self.connected(device)
        for n in range(20):
            self.assertEqual(lamp.publish(device.topic(f"up/{self.app.id}/n"), n), 0)
        self.platform.crash()
        developer = self.keeping("desk")
        self.assertEqual([developer.receive("/up/").json for _ in range(20)], list(range(20)))

    def test_a_locked_database_refuses_and_what_it_refused_is_not_there(self):
        away = self.keeping("away")
        away.subscribe(self.live + "#")
        away.leave()
        sender = self.connected(self.app)
        other = sqlite3.connect(self.platform.data / "message.db", isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN IMMEDIATE")
        self.assertEqual(sender.publish(self.live + "refused", "1"), 0x83)
        other.execute("ROLLBACK")
        self.assertEqual(sender.publish(self.live + "stored", "1"), 0)
        away = self.keeping("away")
        self.assertIn("/stored", away.receive("/").topic)

    def test_retained_messages_survive(self):
        sender = self.connected(self.app, client_id="sender")
        self.assertEqual(sender.publish(self.live + "color", "red", retain=True), 0)
        self.assertEqual(sender.publish(self.live + "color", "blue", qos=2, retain=True), 0)
        self.assertEqual(sender.publish(self.live + "gone", "1", retain=True), 0)
        self.assertEqual(sender.publish(self.live + "gone", "", retain=True), 0)
        self.assertEqual(sender.publish(self.live + "brief", "1", retain=True, expiry=3600), 0)
        self.platform.crash()
        hears = self.connected(self.app)
        hears.subscribe(self.live + "#")
        heard = {message.topic.rsplit("/")[-1]: message for message in (hears.receive("/"), hears.receive("/"))}
        self.assertEqual(heard["color"].payload, b"blue")
        self.assertEqual(heard["brief"].payload, b"1")
        self.assertTrue(all(message.retain for message in heard.values()))
        # whose they are, too
        sender = self.connected(self.app, client_id="sender")
        sender.subscribe(self.live + "#", no_local=True)
        self.connected(self.app).publish(self.live + "end", "1")
        self.assertIn("/end", hears.receive("/").topic)
        self.assertIn("/end", sender.receive("/").topic)


class Bare(Story):
    """With a client that says every packet itself."""

    def setUp(self):
        super().setUp()
        self.app, self.device = self.an_application(), self.a_device()

    def bare(self):
        client = BareClient(self.platform, self.device.username, self.device.code, clean=False)
        self.addCleanup(client.close)
        self.assertEqual(client.connack, 0)
        return client


class Pushes(Bare):
    """Pushes that were sent and not acknowledged when the server ended."""

    PUBACK = 0x40

    def push(self, data):
        answer = self.app.http.post("/v1/push", {"to": self.device.username, "channel": "set", "data": data})
        self.assertEqual(answer.code, 202)

    def identifier(self, body):
        """Of a PUBLISH: it stands behind the topic."""
        at = 2 + int.from_bytes(body[:2], "big")
        return int.from_bytes(body[at : at + 2], "big")

    def test_pushes_come_again_with_dup_and_their_identifiers(self):
        lamp = self.bare()
        lamp.send(0x82, 1, self.device.topic("down/#"), b"\x01")
        self.assertEqual(lamp.packet(), (0x90, b"\x00\x01\x01"))
        for n in (1, 2, 3):
            self.push(n)
        sent = [lamp.packet() for _ in range(3)]
        self.assertEqual([first for first, _ in sent], [0x32] * 3)
        for end in (self.platform.crash, self.stop_and_start):
            end()
            lamp = self.bare()
            self.assertTrue(lamp.session_present)
            again = [lamp.packet() for _ in range(3)]
            self.assertEqual(again, [(0x3A, body) for _, body in sent], "with DUP and their identifiers")
        lamp.send(0xE0)
        self.assertTrue(lamp.ended())
        # What is accepted in the millisecond of the session's end may have been sent, for all the server knows.
        time.sleep(0.01)
        self.push(4)
        # Stopped, not killed: a kill may come before the session's end is stored.
        self.stop_and_start()
        lamp = self.bare()
        self.assertEqual([lamp.packet()[0] for _ in range(3)], [0x3A] * 3)
        first, body = lamp.packet()
        self.assertEqual((first, body[-1:]), (0x32, b"4"), "it was never sent")
        lamp.send(self.PUBACK, self.identifier(body))

    def stop_and_start(self):
        self.platform.stop()
        self.platform.start()


class Retained(Bare):
    """Retained messages that a new subscription was handed and has not acknowledged."""

    PUBACK, PUBREC, PUBREL, PUBCOMP = 0x40, 0x50, 0x62, 0x70

    def test_they_come_again_with_dup_and_their_identifiers_until_they_are_acknowledged(self):
        sender = self.connected(self.app)
        for qos in (0, 1, 2):
            self.assertIn(sender.publish(self.device.topic(f"live/{qos}"), qos, qos=qos, retain=True), (0, None))
        lamp = self.bare()
        lamp.send(0x82, 1, self.device.topic("live/#"), b"\x02")
        self.assertEqual(lamp.packet(), (0x90, b"\x00\x01\x02"))
        zero, one, two = sorted((lamp.packet() for _ in range(3)), key=lambda packet: packet[0])
        self.assertEqual((zero[0], one[0], two[0]), (0x31, 0x33, 0x35))
        self.platform.crash()
        lamp = self.bare()
        self.assertTrue(lamp.session_present)
        again = sorted((lamp.packet(), lamp.packet()), key=lambda packet: packet[0])
        self.assertEqual(again, [(0x3B, one[1]), (0x3D, two[1])])
        first, second = (int.from_bytes(body[-3:-1], "big") for _, body in again)
        lamp.send(self.PUBACK, first)
        lamp.send(self.PUBREC, second)
        self.assertEqual(lamp.packet(), (self.PUBREL, second.to_bytes(2, "big")))
        lamp.send(self.PUBCOMP, second)
        # What is stored later is answered when the acknowledgements are stored.
        lamp.send(0x82, 2, self.device.topic("live/none"), b"\x01")
        self.assertEqual(lamp.packet(), (0x90, b"\x00\x02\x01"))
        self.platform.crash()
        lamp = self.bare()
        self.assertEqual(self.connected(self.app).publish(self.device.topic("live/end"), "3"), 0)
        self.assertEqual(lamp.packet()[1][-1:], b"3", "nothing before it")

    def test_what_comes_later_comes_behind_them(self):
        sender = self.connected(self.app)
        many = [self.device.topic(f"live/{n}") for n in range(300)]
        sent = [sender.send(topic, "old", retain=True) for topic in many]
        until(lambda: all(sender.acked(mid) is not None for mid in sent), "every PUBACK")
        lamp = self.connected(self.device, version=V311, clean=False, client_id="lamp")
        lamp.subscribe(self.device.topic("live/#"))
        sent = [sender.send(topic, "new", retain=True) for topic in many]
        heard = {}
        for _ in range(600):
            message = lamp.receive("/live/")
            heard.setdefault(message.topic, []).append((message.payload, message.retain))
        self.assertEqual(heard, {topic: [(b"old", True), (b"new", False)] for topic in many})


class ExactlyOnce(Bare):
    """QoS 2 across a kill."""

    PUBREC, PUBREL, PUBCOMP = 0x50, 0x62, 0x70

    def acknowledged(self, client, first, id):
        self.assertEqual(client.packet(), (first, id.to_bytes(2, "big")))

    def test_an_upload_repeated_after_the_crash_is_stored_once(self):
        topic = self.device.topic(f"up/{self.app.id}/n")
        lamp = self.bare()
        lamp.send(0x34, topic, 7, b"1")
        self.acknowledged(lamp, self.PUBREC, 7)
        self.platform.crash()
        lamp = self.bare()
        self.assertTrue(lamp.session_present)
        lamp.send(0x3C, topic, 7, b"1")
        self.acknowledged(lamp, self.PUBREC, 7)
        lamp.send(self.PUBREL, 7)
        self.acknowledged(lamp, self.PUBCOMP, 7)
        self.platform.crash()
        lamp = self.bare()
        lamp.send(0x34, topic, 7, b"2")
        self.acknowledged(lamp, self.PUBREC, 7)
        self.assertEqual([upload["data"] for upload in self.stored(self.app, 2)], [1, 2])

    def test_a_delivery_keeps_its_identifier_and_a_released_one_is_not_sent_again(self):
        lamp = self.bare()
        lamp.send(0x82, 1, self.device.topic("live/#"), b"\x02")
        self.assertEqual(lamp.packet(), (0x90, b"\x00\x01\x02"))
        sender = self.connected(self.app)
        for n in "12":
            self.assertEqual(sender.publish(self.device.topic("live/n"), n, qos=2), 0)
        (one, first), (two, second) = lamp.packet(), lamp.packet()
        self.assertEqual((one, two), (0x34, 0x34))
        ids = [int.from_bytes(body[-3:-1], "big") for body in (first, second)]
        lamp.send(self.PUBREC, ids[0])
        self.acknowledged(lamp, self.PUBREL, ids[0])
        self.platform.crash()
        lamp = self.bare()
        self.acknowledged(lamp, self.PUBREL, ids[0])
        self.assertEqual(lamp.packet(), (0x3C, second), "with DUP and its identifier")
        lamp.send(self.PUBCOMP, ids[0])
        lamp.send(self.PUBREC, ids[1])
        self.acknowledged(lamp, self.PUBREL, ids[1])
        lamp.send(self.PUBCOMP, ids[1])
        self.assertEqual(self.connected(self.app).publish(self.device.topic("live/n"), "3", qos=2), 0)
        self.assertEqual(lamp.packet()[1][-1:], b"3")


class Wills(Story):
    """What a kill leaves of last wills. A client that does not come back within the grace time is gone."""

    settings = ("mqtt.presence_grace=1s",)

    def test_the_will_of_a_session_that_was_cut_is_published_and_a_discarded_one_is_not(self):
        app = self.an_application()
        lamps = [self.a_device() for _ in range(2)]
        for lamp in lamps:
            self.client(
                lamp, version=V311, clean=False, client_id="lamp", will=(lamp.topic("live/gone"), "gone")
            ).open()
        stays, leaves = lamps
        left = self.connected(leaves, version=V311, clean=False, client_id="lamp")
        left.leave()
        hears = self.connected(app, client_id="hears", clean=False, session_expiry=3600)
        hears.subscribe("v1/dev/+/live/gone")
        hears.leave()
        self.platform.crash()
        hears = self.connected(app, client_id="hears", clean=False, session_expiry=3600)
        self.assertEqual(hears.receive("/gone").topic, stays.topic("live/gone"))
        # once: another start has nothing left to publish
        self.assertEqual(hears.publish(f"v1/app/{app.id}/live/aside", "1", retain=True), 0)
        hears.leave()
        self.platform.crash()
        hears = self.connected(app, client_id="hears", clean=False, session_expiry=3600)
        self.connected(leaves).publish(leaves.topic("live/gone"), "a marker")
        self.assertEqual(hears.receive("/gone").payload, b"a marker")

    def test_another_session_in_the_place_of_its_own_does_not_wait_for_the_delay(self):
        app, lamp = self.an_application(), self.a_device()
        will = lamp.topic("live/gone"), "gone"
        self.client(
            lamp, clean=False, session_expiry=3600, client_id="lamp", will=will, will_delay=1800
        ).open()
        self.platform.crash()
        hears = self.connected(app)
        hears.subscribe(lamp.topic("live/gone"))
        self.connected(lamp, clean=True, client_id="lamp")
        self.assertEqual(hears.receive("/gone").payload, b"gone")
