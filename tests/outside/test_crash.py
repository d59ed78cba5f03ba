"""Point 8: kill -9 at any time, and what was accepted is there, once."""

from .mqtt import V311
from .story import Story
from .waiting import until


class Crash(Story):
    def test_after_a_puback_the_upload_is_in_the_store_once(self):
        device, app = self.a_device(), self.an_application()
        lamp = self.connected(device, version=V311)
        self.assertEqual(lamp.publish(device.topic(f"up/{app.id}/temp"), "1"), 0)
        self.platform.crash()
        self.assertEqual([upload["data"] for upload in self.stored(app, 1)], [1])

    def test_after_a_202_the_push_reaches_the_device(self):
        device, app = self.a_device(), self.an_application()
        pushed = app.http.post("/v1/push", {"to": device.username, "channel": "set", "data": 1})
        self.assertEqual(pushed.code, 202)
        self.platform.crash()
        lamp = self.connected(device)
        lamp.subscribe(device.topic("down/#"))
        self.assertIn(pushed["id"], lamp.receive("/down/").topic)
        self.assertEqual(lamp.publish(device.topic(f"ack/{pushed['id']}"), "200"), 0)
        self.receipt(app.http, pushed["id"], status=200)

    def test_a_push_by_mqtt_reaches_the_device_and_its_end_the_application(self):
        device, app = self.a_device(), self.an_application()
        developer = self.connected(app, client_id="desk", session_expiry=3600, clean=False)
        developer.subscribe(f"v1/app/{app.id}/status")
        self.assertEqual(developer.publish(f"v1/app/{app.id}/to/{device.username}/set", "on"), 0)
        self.platform.crash()
        developer = self.connected(app, client_id="desk", session_expiry=3600, clean=False)
        developer.subscribe(f"v1/app/{app.id}/status")
        lamp = self.connected(device)
        lamp.subscribe(device.topic("down/#"))
        id = lamp.receive("/down/").topic.split("/")[5]
        self.assertEqual(lamp.publish(device.topic(f"ack/{id}"), "200"), 0)
        self.assertEqual(developer.receive("/status").json["code"], 200)

    def test_an_answered_push_does_not_come_again(self):
        device, app = self.a_device(), self.an_application()
        lamp = self.connected(device)
        lamp.subscribe(device.topic("down/#"))
        first = app.http.post("/v1/push", {"to": device.username, "channel": "set", "data": 1})
        lamp.receive("/down/")
        self.assertEqual(lamp.publish(device.topic(f"ack/{first['id']}"), "200"), 0)
        self.platform.crash()
        app.http.post("/v1/push", {"to": device.username, "channel": "set", "data": 2})
        lamp = self.connected(device)
        lamp.subscribe(device.topic("down/#"))
        self.assertEqual(lamp.receive("/down/").json, 2)
        self.receipt(app.http, first["id"], status=200)

    def test_loaded_nothing_acknowledged_is_lost_and_nothing_is_there_twice(self):
        device, app = self.a_device(), self.an_application()
        lamp = self.connected(device)
        topic = device.topic(f"up/{app.id}/n")
        sent = {n: lamp.send(topic, n) for n in range(400)}
        until(lambda: sum(lamp.acked(mid) is not None for mid in sent.values()) >= 100, "100 PUBACKs")
        self.platform.kill()
        lamp.vanish()
        acknowledged = {n for n, mid in sent.items() if lamp.acked(mid) == 0}
        self.platform.start()

        self.assertGreaterEqual(len(acknowledged), 100)
        end = self.connected(device)
        end.publish(topic, '"end"')
        until(lambda: (found := self.uploads(app)) and found[-1]["data"] == "end", "the last upload")
        stored = [upload["data"] for upload in self.uploads(app)[:-1]]
        self.assertEqual(len(stored), len(set(stored)), "stored twice")
        self.assertLessEqual(acknowledged, set(stored))

    def test_principals_bindings_and_a_reset_code_survive(self):
        device, user = self.a_device(), self.a_user()
        self.bind(user, device)
        reset = self.admin.post(f"/v1/devices/{device.id}/reset")
        self.platform.crash()
        self.assertEqual(self.client(device).connect(), 0x86)
        self.connected(type(device)(device.id, reset["code"]))
        self.assertEqual(user.http.post("/v1/push", {"to": device.username, "channel": "c", "data": 1}).code, 202)


class PresenceAfterACrash(Story):
    settings = ("mqtt.presence_grace=2s",)

    def test_it_is_true_again(self):
        stays, goes, comes = self.a_device(), self.a_device(), self.a_device()
        self.connected(stays), self.connected(goes)
        before = [self.presence(device, state="online") for device in (stays, goes)]
        self.platform.crash()
        self.connected(stays), self.connected(comes)

        after = self.presence(goes, state="offline", reason="server-stopped")
        self.assertGreater((after["epoch"], after["seq"]), (before[1]["epoch"], before[1]["seq"]))
        self.presence(comes, state="online")
        again = self.presence(stays, state="online")
        self.assertGreaterEqual(again["epoch"], before[0]["epoch"])

    def test_who_comes_back_in_time_was_never_offline(self):
        device, app = self.a_device(), self.an_application()
        self.connected(device)
        seen = self.presence(device, state="online")["n"]
        self.platform.kill()
        self.platform.start()
        back = self.connected(device)
        self.presence(device, state="online")
        stream = app.http.stream(f"/v1/presence/stream?after={seen}")
        self.addCleanup(stream.close)
        back.leave()
        states = []
        while not states or states[-1][1] != "disconnected":
            event = stream.next()
            if event["principal"] == device.username:
                states.append((event["state"], event["reason"]))
        self.assertEqual(states[-1], ("offline", "disconnected"))
        self.assertTrue(all(state == "online" for state, _ in states[:-1]), states)
