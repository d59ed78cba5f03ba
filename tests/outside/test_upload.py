"""Point 5: an upload is on disk before its PUBACK, stored once, answered, and seen as it happens."""

import json

from . import mosquitto
from .mqtt import V5, V311
from .story import Story
from .waiting import until


class Uploads(Story):
    def test_an_upload_is_stored_once_and_its_status_comes_back(self):
        device, app = self.a_device(), self.an_application()
        lamp = self.connected(device, version=V311)
        lamp.subscribe(device.topic("status"))

        self.assertEqual(lamp.publish(device.topic(f"up/{app.id}/climate/temp"), "21.50"), 0)

        status = lamp.receive("/status").json
        self.assertEqual((status["code"], status["channel"]), (200, "climate/temp"))
        (upload,) = self.stored(app, 1)
        self.assertEqual((upload["device"], upload["channel"], upload["data"]), (device.id, "climate/temp", 21.5))
        self.assertEqual(status["id"], upload["id"])
        receipt = self.receipt(app.http, upload["id"], status=200)
        self.assertEqual(receipt["kind"], "upload")

    def test_at_every_qos(self):
        device, app = self.a_device(), self.an_application()
        lamp = self.connected(device)
        for qos in (0, 1, 2):
            lamp.publish(device.topic(f"up/{app.id}/temp"), str(qos), qos=qos)
        self.assertEqual(sorted(upload["data"] for upload in self.stored(app, 3)), [0, 1, 2])

    def test_bytes_text_and_json_stay_what_they_are(self):
        device, app = self.a_device(), self.an_application()
        lamp = self.connected(device)
        for payload in (b"\xff\x00", "warm", '{"b":1,"a":null}', b""):
            lamp.publish(device.topic(f"up/{app.id}/raw"), payload)
        shown = [
            {name: upload[name] for name in ("data", "text", "data_base64") if name in upload}
            for upload in self.stored(app, 4)
        ]
        expected = [{"data_base64": "/wA="}, {"text": "warm"}, {"data": {"b": 1, "a": None}}, {"text": ""}]
        self.assertEqual(shown, expected)

    def test_the_same_id_twice_is_one_upload(self):
        device, app = self.a_device(), self.an_application()
        lamp = self.connected(device)
        lamp.subscribe(device.topic("status"))
        for _ in range(2):
            self.assertLess(lamp.publish(device.topic(f"up/{app.id}/temp"), "1", id="reading-17"), 0x80)
        lamp.publish(device.topic(f"up/{app.id}/temp"), "2")
        self.assertEqual([upload["data"] for upload in self.stored(app, 2)], [1, 2])

    def test_a_cloud_event_brings_its_own_id_and_time(self):
        device, app = self.a_device(), self.an_application()
        lamp = self.connected(device, version=V311)
        event = {
            "specversion": "1.0",
            "id": "reading-1",
            "source": device.username,
            "type": "temp",
            "time": "2026-01-02T03:04:05Z",
            "data": {"celsius": 21.5},
        }
        for _ in range(2):
            self.assertEqual(lamp.publish(device.topic(f"ce/{app.id}"), event), 0)
        lamp.publish(device.topic(f"up/{app.id}/end"), "0")
        uploads = self.stored(app, 2)
        self.assertEqual(len(uploads), 2)
        self.assertEqual((uploads[0]["sender_id"], uploads[0]["data"]), ("reading-1", {"celsius": 21.5}))
        self.assertTrue(uploads[0]["time"].startswith("2026-01-02T03:04:05"))

    def test_an_unknown_application_is_answered_404(self):
        device = self.a_device()
        lamp = self.connected(device)
        lamp.subscribe(device.topic("status"))
        code = lamp.publish(device.topic("up/nobody/temp"), "1")
        self.assertEqual(lamp.receive("/status").json["code"], 404, f"PUBACK was {code}")

    def test_a_live_http_stream_shows_it_as_it_happens(self):
        device, app = self.a_device(), self.an_application()
        stream = app.http.stream(f"/v1/apps/{app.id}/uploads/stream")
        self.addCleanup(stream.close)
        lamp = self.connected(device)
        lamp.publish(device.topic(f"up/{app.id}/temp"), "1")
        lamp.publish(device.topic(f"up/{app.id}/temp"), "2")
        self.assertEqual([stream.next()["data"], stream.next()["data"]], [1, 2])

    def test_a_stream_resumes_where_it_ended(self):
        device, app = self.a_device(), self.an_application()
        lamp = self.connected(device)
        for n in range(4):
            lamp.publish(device.topic(f"up/{app.id}/n"), n)
        seen = self.stored(app, 4)[1]["seq"]
        stream = app.http.stream(f"/v1/apps/{app.id}/uploads/stream?after={seen}")
        self.addCleanup(stream.close)
        self.assertEqual([stream.next()["data"], stream.next()["data"]], [2, 3])

    def test_a_developer_who_was_away_hears_what_came_meanwhile(self):
        device, app = self.a_device(), self.an_application()
        for version in (V311, V5):
            with self.subTest(version=version):
                desk = {"version": version, "client_id": "desk", "clean": False}
                if version == V5:
                    desk["session_expiry"] = 3600
                developer = self.connected(app, **desk)
                developer.subscribe(f"v1/dev/+/up/{app.id}/#")
                developer.leave()
                lamp = self.connected(device)
                for n in range(3):
                    lamp.publish(device.topic(f"up/{app.id}/n"), n)
                developer = self.connected(app, **desk)
                self.assertTrue(developer.session_present)
                self.assertEqual([developer.receive("/up/").json for _ in range(3)], [0, 1, 2])
                developer.leave()

    def test_a_developer_subscribes_with_the_application_key(self):
        device, app = self.a_device(), self.an_application()
        developer = mosquitto.Subscriber(self.platform, app.username, app.key, f"v1/dev/+/up/{app.id}/#", count=2)
        watcher = self.connected(app, version=V311)
        watcher.subscribe(f"v1/dev/+/up/{app.id}/#")
        topic = device.topic(f"up/{app.id}/temp")
        for payload in ("1", "2"):
            code, said = mosquitto.publish(self.platform, device.username, device.code, topic, payload, version="311")
            self.assertEqual(code, 0, said)
        self.assertEqual(developer.messages(), [(topic, "1"), (topic, "2")])
        self.assertEqual([watcher.receive().payload, watcher.receive().payload], [b"1", b"2"])

    def test_a_shared_subscription_hears_each_upload_once(self):
        device, app = self.a_device(), self.an_application()
        workers = [self.connected(app, client_id=f"worker-{n}") for n in range(2)]
        for worker in workers:
            self.assertEqual(worker.subscribe(f"$share/work/v1/dev/+/up/{app.id}/#"), [1])
        whole = self.connected(app)
        whole.subscribe(f"v1/dev/+/up/{app.id}/#")
        lamp = self.connected(device)
        for n in range(20):
            lamp.publish(device.topic(f"up/{app.id}/n"), n)
        for n in range(20):
            self.assertEqual(whole.receive().json, n)
        heard = lambda: sorted(message.json for worker in workers for message in worker.received("/up/"))
        until(lambda: len(heard()) >= 20, "the workers have all")
        self.assertEqual(heard(), list(range(20)))

    def test_a_users_upload_is_stored_too(self):
        user, app = self.a_user(), self.an_application()
        phone = self.connected(user)
        self.assertEqual(phone.publish(f"v1/usr/{user.id}/up/{app.id}/note", json.dumps("hi")), 0)
        (upload,) = self.stored(app, 1)
        self.assertEqual((upload["source"].split("@")[0], upload["data"]), (user.username, "hi"))

    def test_other_applications_see_nothing_of_it(self):
        device, app, other = self.a_device(), self.an_application(), self.an_application()
        self.connected(device).publish(device.topic(f"up/{app.id}/temp"), "1")
        self.stored(app, 1)
        self.assertEqual(self.uploads(other), [])
        self.assertIn(other.http.get(f"/v1/apps/{app.id}/uploads").code, (403, 404))

    def test_pages_follow_each_other(self):
        device, app = self.a_device(), self.an_application()
        lamp = self.connected(device)
        for n in range(5):
            lamp.publish(device.topic(f"up/{app.id}/n"), n)
        self.stored(app, 5)
        seen, after = [], 0
        while after is not None:
            page = app.http.get(f"/v1/apps/{app.id}/uploads?limit=2&after={after}")
            seen += [upload["data"] for upload in page["uploads"]]
            after = page["next"]
        self.assertEqual(seen, [0, 1, 2, 3, 4])


class Live(Story):
    """Topics of a device's own, which are not tracked."""

    def test_owner_bound_user_and_application_hear_it(self):
        device, user, app = self.a_device(), self.a_user(), self.an_application()
        self.bind(user, device)
        listeners = [self.connected(device), self.connected(user), self.connected(app)]
        for listener in listeners:
            self.assertEqual(listener.subscribe(device.topic("live/#")), [1])
        self.assertEqual(self.connected(user).publish(device.topic("live/color"), "red"), 0)
        for listener in listeners:
            self.assertEqual(listener.receive("/live/color").payload, b"red")

    def test_retained_comes_to_those_who_come_later(self):
        device, user = self.a_device(), self.a_user()
        self.bind(user, device)
        self.connected(device).publish(device.topic("live/color"), "red", retain=True)
        phone = self.connected(user)
        phone.subscribe(device.topic("live/#"))
        message = phone.receive("/live/color")
        self.assertEqual((message.payload, message.retain), (b"red", True))
