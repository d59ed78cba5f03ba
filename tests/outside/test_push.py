"""Point 7: a push ends with the device's answer, online or offline, and its receipt tells the story."""

from .mqtt import V311
from .story import Story
from .waiting import until

NOT_AUTHORIZED = 0x87
DAY = 86_400


class Pushes(Story):
    def listening(self, device, **options):
        lamp = self.connected(device, **options)
        self.assertEqual(lamp.subscribe(device.topic("down/#"), device.topic("status")), [1, 1])
        return lamp

    def push(self, caller, device, **more):
        more = more or {"data": {"on": True}}
        if not {"data", "text", "data_base64"} & more.keys():
            more["data"] = {"on": True}
        return caller.http.post("/v1/push", {"to": device.username, "channel": "set/power", **more})

    def answer(self, lamp, device, down, answer="200"):
        id = down.topic.split("/")[5]
        self.assertEqual(lamp.publish(device.topic(f"ack/{id}"), answer), 0)
        return id

    def test_one_that_is_too_large_for_its_device_ends_at_once(self):
        device, app = self.a_device(), self.an_application()
        self.listening(device, packet_size_max=1000)
        pushed = self.push(app, device, text="x" * 2000, wait="10s")
        self.assertEqual((pushed.code, pushed["status"]), (413, 413), pushed.body)

    def test_an_online_device_gets_it_at_once_and_its_answer_ends_it(self):
        device, app = self.a_device(), self.an_application()
        for version in (V311, 5):
            with self.subTest(version=version):
                lamp = self.listening(device, version=version)
                pushed = self.push(app, device)
                self.assertEqual((pushed.code, pushed["name"]), (202, "queued"))
                down = lamp.receive("/down/")
                self.assertEqual(down.topic, device.topic(f"down/{app.id}/{pushed['id']}/set/power"))
                self.assertEqual(down.json, {"on": True})
                self.assertEqual(self.receipt(app.http, pushed["id"])["status"], 202)
                self.answer(lamp, device, down, {"status": 200, "body": {"was": False}})
                receipt = self.receipt(app.http, pushed["id"], status=200)
                self.assertEqual(receipt["answer"]["code"], 200)
                self.assertEqual(receipt["answer"]["data"], {"was": False})
                stages = [stage["stage"] for stage in receipt["stages"]]
                self.assertEqual(stages[0], "accepted")
                times = [stage["time"] for stage in receipt["stages"]]
                self.assertEqual(times, sorted(times))
                lamp.leave()

    def test_the_devices_own_code_is_kept_apart_from_the_platforms(self):
        device, app = self.a_device(), self.an_application()
        lamp = self.listening(device)
        pushed = self.push(app, device)
        self.answer(lamp, device, lamp.receive("/down/"), "507")
        receipt = self.receipt(app.http, pushed["id"], status=200)
        self.assertEqual(receipt["answer"]["code"], 507)

    def test_who_waits_gets_the_answer_with_the_call(self):
        device, app = self.a_device(answers="mqtt"), self.an_application()
        self.listening(device)
        pushed = self.push(app, device, wait="10s")
        self.assertEqual((pushed.code, pushed["status"]), (200, 200), pushed.body)

    def test_a_device_that_answers_by_puback_alone(self):
        device, app = self.a_device(answers="mqtt"), self.an_application()
        self.listening(device)
        self.receipt(app.http, self.push(app, device)["id"], status=200)

    def test_an_offline_device_gets_it_when_it_returns_in_order(self):
        device, app = self.a_device(), self.an_application()
        for session_expiry in (None, DAY):
            with self.subTest(session_expiry=session_expiry):
                self.listening(device, session_expiry=session_expiry).leave()
                ids = [self.push(app, device, data=n) for n in range(3)]
                self.assertEqual([pushed.code for pushed in ids], [202] * 3)
                lamp = self.listening(device, session_expiry=session_expiry, clean=session_expiry is None)
                for n, pushed in enumerate(ids):
                    down = lamp.receive("/down/")
                    self.assertEqual((down.json, self.answer(lamp, device, down)), (n, pushed["id"]))
                    self.receipt(app.http, pushed["id"], status=200)
                lamp.leave()

    def test_a_device_that_never_connected_gets_it_at_its_first_time(self):
        device, app = self.a_device(), self.an_application()
        pushed = self.push(app, device)
        self.assertEqual(pushed.code, 202)
        lamp = self.listening(device)
        self.assertEqual(self.answer(lamp, device, lamp.receive("/down/")), pushed["id"])

    def test_unanswered_it_comes_again_at_the_next_session(self):
        device, app = self.a_device(), self.an_application()
        lamp = self.listening(device)
        pushed = self.push(app, device)
        lamp.receive("/down/")
        lamp.vanish()
        lamp = self.listening(device)
        self.assertEqual(self.answer(lamp, device, lamp.receive("/down/")), pushed["id"])
        self.receipt(app.http, pushed["id"], status=200)

    def test_answered_it_never_comes_again(self):
        device, app = self.a_device(), self.an_application()
        lamp = self.listening(device)
        first = self.push(app, device, data=1)
        self.answer(lamp, device, lamp.receive("/down/"))
        self.receipt(app.http, first["id"], status=200)
        lamp.leave()
        lamp = self.listening(device)
        self.push(app, device, data=2)
        self.assertEqual(lamp.receive("/down/").json, 2)

    def test_an_application_pushes_by_mqtt_and_hears_the_end(self):
        device, app = self.a_device(), self.an_application()
        lamp = self.listening(device)
        developer = self.connected(app)
        developer.subscribe(f"v1/app/{app.id}/status")
        self.assertEqual(developer.publish(f"v1/app/{app.id}/to/{device.username}/set", "on", id="mine-1"), 0)
        down = lamp.receive("/down/")
        self.assertEqual(down.payload, b"on")
        id = self.answer(lamp, device, down)
        status = developer.receive("/status").json
        self.assertEqual((status["code"], status["id"], status["message"]), (200, "mine-1", id))
        self.receipt(app.http, id, status=200)

    def test_a_bound_user_pushes_by_mqtt_and_http(self):
        device, user = self.a_device(), self.a_user()
        self.bind(user, device)
        lamp = self.listening(device)
        phone = self.connected(user, version=V311)
        phone.subscribe(f"v1/usr/{user.id}/status")
        self.assertEqual(phone.publish(f"v1/usr/{user.id}/to/{device.username}/set", "on"), 0)
        down = lamp.receive("/down/")
        self.assertTrue(down.topic.startswith(device.topic(f"down/usr:{user.id}/")), down.topic)
        id = self.answer(lamp, device, down)
        self.assertEqual(phone.receive("/status").json["code"], 200)
        self.receipt(user.http, id, status=200)

        pushed = self.push(user, device)
        self.assertEqual(pushed.code, 202)
        self.answer(lamp, device, lamp.receive("/down/"))
        self.receipt(user.http, pushed["id"], status=200)

    def test_an_application_pushes_to_a_user(self):
        user, app = self.a_user(), self.an_application()
        phone = self.connected(user)
        phone.subscribe(f"v1/usr/{user.id}/down/#")
        pushed = app.http.post("/v1/push", {"to": user.username, "channel": "alarm", "text": "smoke"})
        self.assertEqual(pushed.code, 202)
        down = phone.receive("/down/")
        self.assertEqual(down.payload, b"smoke")
        self.assertEqual(phone.publish(f"v1/usr/{user.id}/ack/{pushed['id']}", "200"), 0)
        self.receipt(app.http, pushed["id"], status=200)

    def test_an_unbound_user_is_refused(self):
        device, user = self.a_device(), self.a_user()
        self.assertEqual(self.push(user, device).code, 403)
        phone = self.connected(user)
        self.assertEqual(phone.publish(f"v1/usr/{user.id}/to/{device.username}/set", "on"), NOT_AUTHORIZED)

    def test_a_user_is_refused_again_once_unbound(self):
        device, user = self.a_device(), self.a_user()
        self.bind(user, device)
        self.assertEqual(self.push(user, device).code, 202)
        self.assertEqual(user.http.delete(f"/v1/bindings/{device.id}").code, 200)
        self.assertEqual(self.push(user, device).code, 403)

    def test_an_unknown_device_and_a_deleted_one(self):
        device, app = self.a_device(), self.an_application()
        unknown = type(device)("nobody", "")
        self.assertEqual(self.push(app, unknown).code, 404)
        self.admin.delete(f"/v1/devices/{device.id}")
        self.assertEqual(self.push(app, device).code, 410)
        developer = self.connected(app)
        developer.subscribe(f"v1/app/{app.id}/status")
        self.assertGreaterEqual(developer.publish(f"v1/app/{app.id}/to/dev/nobody/set", "on"), 0x80)

    def test_a_device_deleted_with_pushes_waiting_ends_them(self):
        device, app = self.a_device(), self.an_application()
        pushed = self.push(app, device)
        self.admin.delete(f"/v1/devices/{device.id}")
        self.receipt(app.http, pushed["id"], status=410)

    def test_a_reset_device_does_not_get_what_was_waiting(self):
        device, app = self.a_device(), self.an_application()
        waiting = self.push(app, device, data=1)
        reset = self.admin.post(f"/v1/devices/{device.id}/reset")
        lamp = self.listening(type(device)(device.id, reset["code"]))
        self.push(app, device, data=2)
        self.assertEqual(lamp.receive("/down/").json, 2)
        self.assertGreaterEqual(self.receipt(app.http, waiting["id"])["status"], 400)

    def test_an_expired_push_is_408_and_never_delivered(self):
        device, app = self.a_device(), self.an_application()
        pushed = self.push(app, device, data=1, expiry="1s")
        self.assertEqual(pushed.code, 202)
        self.receipt(app.http, pushed["id"], status=408)
        lamp = self.listening(device)
        self.push(app, device, data=2)
        self.assertEqual(lamp.receive("/down/").json, 2)
        self.assertEqual(self.push(app, device, expires="2020-01-01T00:00:00Z").code, 408)

    def test_an_expired_push_by_mqtt_is_told_on_the_status_topic(self):
        device, app = self.a_device(), self.an_application()
        developer = self.connected(app)
        developer.subscribe(f"v1/app/{app.id}/status")
        self.assertEqual(developer.publish(f"v1/app/{app.id}/to/{device.username}/set", "on", expiry=1), 0)
        self.assertEqual(developer.receive("/status").json["code"], 408)

    def test_the_same_id_twice_is_one_push(self):
        device, app = self.a_device(), self.an_application()
        lamp = self.listening(device)
        first, again = (self.push(app, device, data=1, id="mine") for _ in range(2))
        self.assertEqual((first.code, again.code, again["id"]), (202, 208, first["id"]))
        self.push(app, device, data=2)
        self.assertEqual([lamp.receive("/down/").json, lamp.receive("/down/").json], [1, 2])

    def test_an_answer_to_somebody_elses_push_is_refused(self):
        device, other, app = self.a_device(), self.a_device(), self.an_application()
        pushed = self.push(app, device)
        thief = self.connected(other)
        self.assertGreaterEqual(thief.publish(other.topic(f"ack/{pushed['id']}"), "200"), 0x80)
        self.assertGreaterEqual(thief.publish(device.topic(f"ack/{pushed['id']}"), "200"), 0x80)
        self.assertEqual(self.receipt(app.http, pushed["id"])["status"], 202)

    def test_a_malformed_answer_and_one_to_no_push_are_refused(self):
        device = self.a_device()
        lamp = self.connected(device)
        nothing = "0190163d-8694-739b-aea5-966c26f8ad91"
        for topic, answer in ((f"ack/{nothing}", "200"), (f"ack/{nothing}", "hello"), ("ack/17", "200")):
            self.assertGreaterEqual(lamp.publish(device.topic(topic), answer), 0x80, (topic, answer))

    def test_a_large_push_arrives_whole_and_a_larger_one_is_413(self):
        device, app = self.a_device(), self.an_application()
        text = "x" * 900_000
        self.assertEqual(self.push(app, device, text=text).code, 202)
        self.assertEqual(self.push(app, device, text=text * 2).code, 413)
        self.assertEqual(self.listening(device).receive("/down/").payload.decode(), text)

    def test_a_foreign_domain_is_421(self):
        device, app = self.a_device(), self.an_application()
        for domain, code in (("home.example", 202), ("other.example", 421)):
            pushed = app.http.post("/v1/push", {"to": f"{device.username}@{domain}", "channel": "c", "data": 1})
            self.assertEqual(pushed.code, code)

    def test_what_an_application_may_not_reach_is_403(self):
        device, other = self.a_device(), self.a_device()
        only = {"only": [device.username]}
        app = self.an_application(hears=only, pushes=only)
        self.assertEqual([self.push(app, to).code for to in (device, other)], [202, 403])
        self.assertEqual(app.http.get(f"/v1/presence/{other.username}").code, 403)
        developer = self.connected(app)
        filters = ("v1/dev/+/presence", device.topic("presence"), other.topic("presence"))
        self.assertEqual(developer.subscribe(*filters), [NOT_AUTHORIZED, 1, NOT_AUTHORIZED])

    def test_receipts_are_for_those_concerned(self):
        device, app, other = self.a_device(), self.an_application(), self.an_application()
        pushed = self.push(app, device)
        self.assertEqual(other.http.get(f"/v1/messages/{pushed['id']}").code, 404)
        self.assertEqual(self.admin.get(f"/v1/messages/{pushed['id']}").code, 200)

    def test_a_hundred_pushes_keep_their_order(self):
        device, app = self.a_device(answers="mqtt"), self.an_application()
        lamp = self.listening(device)
        for n in range(100):
            self.assertEqual(self.push(app, device, data=n).code, 202)
        until(lambda: len(lamp.received("/down/")) == 100, "100 pushes")
        self.assertEqual([message.json for message in lamp.received("/down/")], list(range(100)))
