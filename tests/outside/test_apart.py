"""Points 1 and 8 with each role in its own process: the same way through, and any of them may be killed."""

from .platform import Apart
from .story import Application, Story
from .waiting import until


class RolesApart(Story):
    shape = Apart

    def push(self, caller, device, data):
        return caller.http.post("/v1/push", {"to": device.username, "channel": "set", "data": data})

    def listening(self, device, **options):
        lamp = self.connected(device, **options)
        lamp.subscribe(device.topic("status"), device.topic("down/#"))
        return lamp

    def answer(self, lamp, device, pushed):
        self.assertIn(pushed["id"], lamp.receive("/down/").topic)
        self.assertEqual(lamp.publish(device.topic(f"ack/{pushed['id']}"), "200"), 0)

    def again(self, app):
        """The application, after its server has come back."""
        return Application(app.id, app.key, self.platform.admin().as_application(app.id, app.key))

    def test_upload_status_push_and_presence(self):
        device, app, user = self.a_device(), self.an_application(), self.a_user()
        self.bind(user, device)
        lamp = self.listening(device, over="tls")
        self.presence(device, state="online")

        self.assertEqual(lamp.publish(device.topic(f"up/{app.id}/temp"), "21.5"), 0)
        self.assertEqual(lamp.receive("/status").json["code"], 200)
        self.assertEqual([upload["data"] for upload in self.stored(app, 1)], [21.5])

        for caller in (user, app):
            pushed = self.push(caller, device, {"on": True})
            self.assertEqual(pushed.code, 202, pushed.body)
            self.answer(lamp, device, pushed)
            self.receipt(caller.http, pushed["id"], status=200)
        lamp.leave()
        self.presence(device, state="offline", reason="disconnected")

    def test_clients_connect_and_upload_while_the_other_roles_are_down(self):
        device, app = self.a_device(), self.an_application()
        self.platform.kill_role("account")
        self.platform.kill_role("appserver")

        lamp = self.listening(device)
        self.assertEqual(lamp.publish(device.topic(f"up/{app.id}/temp"), "1"), 0)

        self.platform.start_role("account")
        self.platform.start_role("appserver")
        self.assertEqual(lamp.receive("/status").json["code"], 200)
        self.assertEqual([upload["data"] for upload in self.stored(self.again(app), 1)], [1])
        self.presence(device, state="online")

    def test_a_killed_message_server_comes_back_to_the_others(self):
        device, app = self.a_device(), self.an_application()
        self.connected(device).publish(device.topic(f"up/{app.id}/temp"), "1")
        self.platform.kill_role("broker")

        pushed = self.push(app, device, 1)
        self.assertEqual(pushed.code, 202)
        made = self.admin.post("/v1/devices", {"id": "made-meanwhile"})
        self.assertEqual((made.code, made["in_effect"]), (202, False))

        self.platform.start_role("broker")
        lamp = self.listening(device)
        self.answer(lamp, device, pushed)
        self.receipt(app.http, pushed["id"], status=200)
        self.assertEqual([upload["data"] for upload in self.stored(app, 1)], [1])
        self.operation_in_effect(made["operation"])
        self.connected(type(device)("made-meanwhile", made["code"]))

    def test_a_killed_application_server_forgets_no_push(self):
        device, app = self.a_device(), self.an_application()
        pushed = self.push(app, device, 1)
        self.platform.kill_role("appserver")
        lamp = self.listening(device)
        self.answer(lamp, device, pushed)
        self.platform.start_role("appserver")
        self.receipt(self.again(app).http, pushed["id"], status=200)

    def test_every_role_stops_in_order(self):
        lamp = self.connected(self.a_device())
        self.addCleanup(self.platform.start)
        self.assertEqual(self.platform.stop(), 0)
        self.assertEqual(lamp.wait_closed(), 0x8B)

    def operation_in_effect(self, operation):
        until(lambda: self.admin.get(f"/v1/operations/{operation}")["in_effect"], "the change is in effect", 40)
