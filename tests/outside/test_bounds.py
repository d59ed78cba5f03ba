"""What is in flight is bounded at acceptance: 429 for a principal's quota, 507 when all is full; nothing is dropped later."""

from .mqtt import V311
from .platform import Apart
from .story import Story
from .waiting import until

QUOTA_EXCEEDED = 0x97


class Pushes(Story):
    """Three messages for a device or from it, six from an application."""

    settings = ("courier.principal_messages_max=3", "courier.application_messages_max=6")

    def push(self, app, device, **more):
        return app.http.post("/v1/push", {"to": device.username, "channel": "c", "data": 1, **more})

    def test_a_devices_queue_is_full_with_429_until_it_has_answered(self):
        device, app = self.a_device(answers="mqtt"), self.an_application()
        pushed = [self.push(app, device, data=n) for n in range(4)]
        self.assertEqual([answer.code for answer in pushed], [202, 202, 202, 429], pushed)
        developer = self.connected(app)
        developer.subscribe(f"v1/app/{app.id}/status")
        topic = f"v1/app/{app.id}/to/{device.username}/c"
        self.assertEqual(developer.publish(topic, "x"), QUOTA_EXCEEDED)
        refused = developer.receive("/status").json
        self.assertEqual((refused["code"], refused["name"]), (429, "over-quota"))
        lamp = self.connected(device)
        lamp.subscribe(device.topic("down/#"))
        for answer in pushed[:3]:
            self.receipt(app.http, answer["id"], status=200)
        self.assertEqual([message.json for message in lamp.received("/down/")], [0, 1, 2])
        self.assertEqual(self.push(app, device).code, 202)

    def test_an_application_has_a_quota_over_all_its_devices(self):
        app = self.an_application()
        devices = [self.a_device() for _ in range(7)]
        codes = [self.push(app, device).code for device in devices]
        self.assertEqual(codes, [202] * 6 + [429])
        self.assertEqual(self.push(self.an_application(), devices[6]).code, 202)

    def test_what_replaces_needs_no_room_and_a_repeat_neither(self):
        device, app = self.a_device(), self.an_application()
        first = self.push(app, device, id="mine", supersede_key="power")
        others = [self.push(app, device).code for _ in range(3)]
        self.assertEqual(others, [202, 202, 429])
        self.assertEqual(self.push(app, device, id="mine", supersede_key="power").code, 208)
        self.assertEqual(self.push(app, device, supersede_key="power").code, 202)
        ended = self.receipt(app.http, first["id"], status=409)
        self.assertEqual(ended["cause"]["name"], "superseded")

    def test_the_quota_outlives_a_crash(self):
        device, app = self.a_device(), self.an_application()
        self.assertEqual([self.push(app, device).code for _ in range(3)], [202] * 3)
        self.platform.crash()
        self.assertEqual(self.push(app, device).code, 429)


class Uploads(Story):
    """Uploads of a device stay in flight while the application server is away."""

    shape = Apart
    settings = ("courier.principal_messages_max=3", "courier.messages_max=7")

    def test_a_device_over_its_quota_and_a_full_server(self):
        devices, app = [self.a_device() for _ in range(4)], self.an_application()
        lamps = [self.connected(device) for device in devices[:3]]
        old = self.connected(devices[3], version=V311)
        old.subscribe(devices[3].topic("status"))
        for lamp, device in zip(lamps, devices):
            lamp.subscribe(device.topic("status"))
            # Presence and the like has been told before the application server goes.
            self.assertEqual(lamp.publish(device.topic(f"up/{app.id}/first"), "0"), 0)
            self.assertEqual(lamp.receive("/status").json["code"], 200)
        self.platform.kill_role("appserver")

        def upload(n, value):
            return lamps[n].publish(devices[n].topic(f"up/{app.id}/temp"), value)

        self.assertEqual([upload(0, str(n)) for n in range(4)], [0, 0, 0, QUOTA_EXCEEDED])
        self.assertEqual(lamps[0].receive("/status").json["code"], 429)
        self.assertEqual([upload(1, str(n)) for n in range(3)], [0, 0, 0])
        answers = [upload(2, str(n)) for n in range(2)]
        self.assertEqual(answers[-1], QUOTA_EXCEEDED)
        self.assertEqual(lamps[2].receive("/status").json["code"], 507)
        # MQTT 3.1.1 has no "no": the reason is on the status topic, and the connection ends without an acknowledgement.
        self.assertIsNone(old.publish(devices[3].topic(f"up/{app.id}/temp"), "1"))
        self.assertEqual(old.receive("/status").json["code"], 507)

        self.platform.start_role("appserver")
        stored = 9 + answers.count(0)
        until(lambda: len(self.uploads(app)) == stored, f"{stored} uploads, each once")
        for n in (0, 1):
            until(lambda n=n: upload(n, "9") == 0, "room again")
