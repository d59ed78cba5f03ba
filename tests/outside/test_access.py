"""Point 4: who may connect and what they may do; every no has its code."""

import socket
import ssl

from . import mosquitto
from .mqtt import V5, V311
from .scrape import Scrape
from .story import Device, Story
from .waiting import until
from .wire import BareClient, ended

BAD_USER_NAME_OR_PASSWORD_V5 = 0x86
BAD_USER_NAME_OR_PASSWORD_V311 = 4
NOT_AUTHORIZED = 0x87
SESSION_TAKEN_OVER = 0x8E
PACKET_TOO_LARGE = 0x95
SUBACK_FAILURE_V311 = 0x80
ADMINISTRATIVE_ACTION = 0x98


class Connecting(Story):
    def bare(self, username, password):
        client = BareClient(self.platform, username, password)
        self.addCleanup(client.close)
        return client

    def test_every_client_library_over_every_transport(self):
        device, app = self.a_device(), self.an_application()
        topic = device.topic(f"up/{app.id}/temp")
        expected = 0
        for version in (V311, V5):
            for over in ("tcp", "tls", "ws"):
                with self.subTest("paho", version=version, over=over):
                    client = self.connected(device, version=version, over=over)
                    self.assertEqual(client.publish(topic, expected), 0)
                    client.leave()
                    expected += 1
        for version in ("311", "5"):
            for over in ("tcp", "tls"):
                with self.subTest("mosquitto_pub", version=version, over=over):
                    code, said = mosquitto.publish(
                        self.platform, device.username, device.code, topic, expected, over, version
                    )
                    self.assertEqual(code, 0, said)
                    expected += 1
        self.assertEqual([upload["data"] for upload in self.stored(app, expected)], list(range(expected)))

    def test_any_client_id_works_and_none_too(self):
        device = self.a_device()
        for client_id in ("", "lamp-1", "dev/lamp-1", "Küche 1", "x" * 200):
            with self.subTest(client_id=client_id):
                client = self.connected(device, client_id=client_id)
                client.leave()

    def test_a_wrong_code_is_refused(self):
        device = self.a_device()
        for code in ("wrong", "", device.code[:-1], device.code + "x"):
            with self.subTest(code=code):
                wrong = Device(device.id, code or " ")
                self.assertEqual(self.client(wrong).connect(), BAD_USER_NAME_OR_PASSWORD_V5)
                bare = self.bare(device.username, code)
                self.assertEqual(bare.connack, BAD_USER_NAME_OR_PASSWORD_V311)
                self.assertTrue(bare.ended())
        code, said = mosquitto.publish(self.platform, device.username, "wrong", "v1/x", "x", version="311")
        self.assertEqual(code, BAD_USER_NAME_OR_PASSWORD_V311, said)

    def test_a_session_belongs_to_its_principal_whatever_the_client_id(self):
        ann, bob = self.a_user(), self.a_user()
        first = self.connected(ann, client_id="phone")
        self.connected(bob, client_id="phone")
        self.assertEqual(first.subscribe(f"v1/usr/{ann.id}/status"), [1])
        self.connected(ann, client_id="phone")
        self.assertEqual(first.wait_closed(), SESSION_TAKEN_OVER)

    def test_a_packet_that_is_too_large_ends_its_connection_with_the_code(self):
        device = self.a_device()
        client = self.connected(device)
        client.send(device.topic("live/x"), "x" * 2_000_000)
        self.assertEqual(client.wait_closed(), PACKET_TOO_LARGE)
        self.connected(device)

    def test_an_unknown_device_looks_like_a_wrong_code(self):
        unknown = Device("nobody", self.a_device().code)
        self.assertEqual(self.client(unknown).connect(), BAD_USER_NAME_OR_PASSWORD_V5)

    def test_names_that_are_no_principal_are_refused(self):
        device = self.a_device()
        for name in ("lamp", "dev/", "dev/a/b", "srv/message", "as/home.example", "xxx/lamp-1", "dev/" + "x" * 90):
            with self.subTest(name=name):
                self.assertIn(self.bare(name, device.code).connack, (4, 5))
                code, said = mosquitto.publish(self.platform, name, device.code, "v1/x", "x")
                self.assertIn(code, (BAD_USER_NAME_OR_PASSWORD_V5, NOT_AUTHORIZED), said)

    def test_somebody_elses_secret_is_no_key(self):
        device, other, app = self.a_device(), self.a_device(), self.an_application()
        for secret in (other.code, app.key):
            self.assertEqual(self.client(Device(device.id, secret)).connect(), BAD_USER_NAME_OR_PASSWORD_V5)

    def test_a_deleted_device_is_disconnected_and_stays_out(self):
        device = self.a_device()
        client = self.connected(device)
        gone = self.admin.delete(f"/v1/devices/{device.id}")
        self.assertEqual((gone.code, gone["in_effect"]), (200, True))
        self.assertIn(client.wait_closed(), (ADMINISTRATIVE_ACTION, NOT_AUTHORIZED))
        self.assertEqual(self.client(device).connect(), BAD_USER_NAME_OR_PASSWORD_V5)

    def test_a_reset_code_ends_the_session_and_the_old_code(self):
        device = self.a_device()
        client = self.connected(device)
        reset = self.admin.post(f"/v1/devices/{device.id}/reset")
        self.assertEqual((reset.code, reset["in_effect"]), (200, True))
        self.assertIn(client.wait_closed(), (ADMINISTRATIVE_ACTION, NOT_AUTHORIZED))
        self.assertEqual(self.client(device).connect(), BAD_USER_NAME_OR_PASSWORD_V5)
        self.connected(Device(device.id, reset["code"]))

    def test_a_disabled_device_is_out_until_it_is_enabled(self):
        device = self.a_device()
        client = self.connected(device)
        self.assertEqual(self.admin.patch(f"/v1/devices/{device.id}", {"disabled": True}).code, 200)
        client.wait_closed()
        self.assertIn(self.client(device).connect(), (BAD_USER_NAME_OR_PASSWORD_V5, NOT_AUTHORIZED, 0x8A))
        self.assertEqual(self.admin.patch(f"/v1/devices/{device.id}", {"disabled": False}).code, 200)
        self.connected(device)

    def test_who_does_not_trust_the_ca_stops_nobody_else(self):
        host, port = self.platform.tls
        distrusting = ssl.create_default_context()
        with socket.create_connection((host, port), timeout=5) as door, self.assertRaises(ssl.SSLError):
            distrusting.wrap_socket(door, server_hostname="localhost")
        self.connected(self.a_device(), over="tls")

    def test_a_websocket_on_another_path_or_without_mqtt_is_refused(self):
        upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        upgrade += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        for path, headers, code in (
            ("/other", upgrade + "Sec-WebSocket-Protocol: mqtt\r\n", "404"),
            ("/mqtt", upgrade, "400"),
            ("/mqtt", upgrade + "Sec-WebSocket-Protocol: chat\r\n", "400"),
        ):
            with self.subTest(path=path), socket.create_connection(self.platform.ws, timeout=5) as door:
                door.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())
                self.assertEqual(door.recv(1000).decode().split()[1:2], [code])

    def test_silent_sockets_keep_nobody_out(self):
        doors = [socket.create_connection(address) for address in (self.platform.tcp, self.platform.tls) for _ in range(50)]
        for door in doors:
            self.addCleanup(door.close)
        device = self.a_device()
        for over in ("tcp", "tls", "ws"):
            self.connected(device, over=over).leave()


class ForeignTopics(Story):
    #: Topics no device may publish to, whatever its id.
    NEVER = ("plain", "v1/dev", "v2/dev/{id}/up/x/y", "v1/dev/{id}/down/x/y/z", "v1/dev/{id}/status", "$SYS/x", "bus/message")

    def foreign(self, device, app):
        other = self.a_device()
        yield from (topic.format(id=device.id) for topic in self.NEVER)
        yield f"v1/dev/{other.id}/up/{app.id}/temp"
        yield f"v1/dev/{other.id}/live/x"
        yield f"v1/dev/{device.id}/presence"
        yield f"v1/app/{app.id}/to/dev/{device.id}/set"
        yield f"v1/dev/{device.id}/to/dev/{other.id}/set"

    def test_a_foreign_publish_gets_its_puback_code_on_5(self):
        device, app = self.a_device(), self.an_application()
        client = self.connected(device)
        for topic in self.foreign(device, app):
            with self.subTest(topic=topic):
                self.assertEqual(client.publish(topic, "x"), NOT_AUTHORIZED)
        self.assertEqual(client.publish(device.topic(f"up/{app.id}/temp"), "1"), 0)
        self.assertEqual([upload["data"] for upload in self.stored(app, 1)], [1])

    def test_a_foreign_publish_at_qos_0_ends_a_5_connection_with_its_code(self):
        device = self.a_device()
        client = self.connected(device)
        client.send("v1/dev/somebody-else/up/x/y", "x", qos=0)
        self.assertEqual(client.wait_closed(), NOT_AUTHORIZED)

    def test_a_foreign_publish_ends_a_311_connection_after_the_status_has_said_why(self):
        device, app = self.a_device(), self.an_application()
        for topic in self.foreign(device, app):
            with self.subTest(topic=topic):
                client = self.connected(device, version=V311)
                client.subscribe(device.topic("status"))
                self.assertIsNone(client.publish(topic, "x"))
                why = client.receive("/status").json
                self.assertEqual((why["code"], why["topic"]), (403, topic))
        self.assertEqual(self.uploads(app), [])

    def test_a_foreign_filter_gets_its_suback_code(self):
        device, other, app = self.a_device(), self.a_device(), self.an_application()
        foreign = ("#", "+/#", "v1/#", "v1/dev/#", "v1/dev/+/up/#", "$SYS/#", "bus/#", "$share/g/v1/dev/#")
        foreign += (f"v1/dev/{other.id}/#", f"v1/dev/{other.id}/presence", f"v1/app/{app.id}/live/#")
        for version, code in ((V5, NOT_AUTHORIZED), (V311, SUBACK_FAILURE_V311)):
            with self.subTest(version=version):
                client = self.connected(device, version=version)
                self.assertEqual(client.subscribe(*foreign), [code] * len(foreign))
                self.assertEqual(client.subscribe(device.topic("status"), "v1/#"), [1, code])
                client.leave()

    def test_an_application_hears_its_own_uploads_only(self):
        app, other = self.an_application(), self.an_application()
        client = self.connected(app)
        granted = (f"v1/dev/+/up/{app.id}/#", "v1/dev/+/presence", f"v1/app/{app.id}/status", f"$share/g/v1/dev/+/up/{app.id}/#")
        self.assertEqual(client.subscribe(*granted), [1] * len(granted))
        refused = (f"v1/dev/+/up/{other.id}/#", "v1/dev/+/up/+/#", "v1/dev/+/#", "v1/dev/+/down/#", "v1/dev/+/status", "#")
        self.assertEqual(client.subscribe(*refused), [NOT_AUTHORIZED] * len(refused))

    def test_a_user_hears_bound_devices_only(self):
        user, device, other = self.a_user(), self.a_device(), self.a_device()
        self.bind(user, device)
        client = self.connected(user)
        granted = (device.topic("presence"), device.topic("live/#"), device.topic("up/#"))
        self.assertEqual(client.subscribe(*granted), [1] * len(granted))
        refused = (other.topic("presence"), other.topic("live/#"), device.topic("down/#"), device.topic("status"), "v1/dev/+/presence")
        self.assertEqual(client.subscribe(*refused), [NOT_AUTHORIZED] * len(refused))

    def test_retained_and_wildcard_uploads_are_refused(self):
        device, app = self.a_device(), self.an_application()
        client = self.connected(device)
        self.assertGreaterEqual(client.publish(device.topic(f"up/{app.id}/temp"), "1", retain=True), 0x80)
        self.assertEqual(self.uploads(app), [])


class WrongInput(Story):
    def test_http_without_or_with_a_wrong_credential(self):
        device = self.a_device()
        for api in (self.platform.anybody(), self.admin.as_user("wrong"), self.admin.as_application("nobody", "x")):
            for path in ("/v1/devices", f"/v1/devices/{device.id}", "/v1/presence", "/v1/users", "/v1/apps/x/uploads"):
                self.assertEqual(api.get(path).code, 401, path)
            self.assertEqual(api.post("/v1/devices", {"id": "x"}).code, 401)
            self.assertEqual(api.post("/v1/push", {"to": "dev/x", "channel": "c", "text": "t"}).code, 401)

    def test_a_user_is_no_admin(self):
        user, device = self.a_user(), self.a_device()
        for answer in (
            user.http.post("/v1/devices", {"id": "mine"}),
            user.http.post("/v1/apps", {"id": "mine"}),
            user.http.delete(f"/v1/devices/{device.id}"),
            user.http.post(f"/v1/devices/{device.id}/reset"),
            user.http.get("/v1/audit"),
        ):
            self.assertEqual(answer.code, 403, answer.body)

    def test_bodies_that_are_not_understood(self):
        for path in ("/v1/devices", "/v1/users", "/v1/apps", "/v1/devices/bulk", "/v1/push", "/v1/login", "/v1/bindings"):
            for raw in (b"", b"{", b"[]", b"null", b'{"id":1}', b'{"no":"such"}', b"\xff\xfe", b'{"id":"a b"}'):
                with self.subTest(path=path, raw=raw):
                    answer = self.admin.call("POST", path, raw=raw)
                    self.assertEqual(answer.code, 400, answer.body)
                    self.assertIn("detail", answer.body)

    def test_a_record_is_an_object_and_a_wrong_method_a_problem(self):
        app = self.an_application(delivery="external")
        for path, raw in ((f"/v1/apps/{app.id}/endpoint/rotate", b"[]"), (f"/v1/apps/{app.id}/endpoint/replay", b"[]"),
                          ("/v1/push", b'["dev/x","c","t"]'), ("/v1/login", b'["ann","pw"]'), ("/v1/devices", b'["x"]')):
            with self.subTest(path=path):
                answer = self.admin.call("POST", path, raw=raw)
                self.assertEqual((answer.code, answer["status"]), (400, 400), answer.body)
        for path in ("/v1/push", "/v1/presence", "/v1/ledger", f"/v1/apps/{app.id}/endpoint", "/v1/devices"):
            with self.subTest(path=path):
                answer = self.admin.call("PATCH", path, {})
                self.assertEqual((answer.code, answer["status"]), (405, 400), answer.body)

    def test_a_channel_that_no_client_could_hear_is_refused_at_every_door(self):
        app, device = self.an_application(), self.a_device()
        client = self.connected(device)
        for channel in ("a\nb", "a\x01", "\x7f", "\x85", "\ufffe", "\ufdd0", "/".join("abcdefghijklmnopq")):
            with self.subTest(channel=channel):
                pushed = app.http.post("/v1/push", {"to": device.username, "channel": channel, "data": 1})
                self.assertEqual(pushed.code, 400, pushed.body)
                self.assertGreaterEqual(client.publish(device.topic(f"up/{app.id}/{channel}"), "1"), 0x80)
        self.assertEqual(client.publish(device.topic(f"up/{app.id}/" + "/".join("abcdefghijklmnop")), "1"), 0)

    def test_what_exists_and_what_does_not(self):
        device = self.a_device()
        self.assertEqual(self.admin.post("/v1/devices", {"id": device.id}).code, 409)
        self.assertEqual(self.admin.get("/v1/devices/nobody").code, 404)
        self.assertEqual(self.admin.delete("/v1/devices/nobody").code, 404)
        self.assertEqual(self.admin.get("/v1/nothing").code, 404)
        self.assertEqual(self.admin.call("PUT", "/v1/devices", {"id": "x"}).code, 405)
        self.assertEqual(self.admin.get("/v1/messages/not-an-id").code, 400)
        self.assertEqual(self.admin.get("/v1/presence/dev/nobody").code, 404)

    def test_a_wrong_password_and_too_many_of_them(self):
        user = self.a_user()
        codes = {self.platform.anybody().post("/v1/login", {"id": user.id, "password": "wrong"}).code for _ in range(25)}
        self.assertLessEqual(codes, {401, 429})
        self.assertIn(429, codes)

    def test_logins_over_mqtt_stand_in_the_audit_log(self):
        device, app = self.a_device(), self.an_application()
        for _ in range(3):
            self.connected(device).leave()
        self.connected(app).leave()
        for _ in range(3):
            self.assertEqual(self.client(Device(device.id, "WRONG")).connect(), BAD_USER_NAME_OR_PASSWORD_V5)
        def audit(principal):
            lines = self.admin.get(f"/v1/audit?action=login&target={principal.username}")["items"]
            return [(line["action"], line["who"], line["from"], line["status"]) for line in lines]
        done, refused = (("login.mqtt", who, "127.0.0.1", code) for who, code in ((device.username, 200), ("nobody", 401)))
        until(lambda: audit(device) == [done, refused], "a login and a refusal stand there once")
        until(lambda: [line[1] for line in audit(app)] == [app.username], "the application's too")

    def test_binding_needs_the_code(self):
        user, device = self.a_user(), self.a_device()
        self.assertEqual(user.http.post("/v1/bindings", {"device": device.id, "code": "wrong"}).code, 403)
        self.assertEqual(user.http.post("/v1/bindings", {"device": "nobody", "code": device.code}).code, 403)
        self.bind(user, device)
        self.assertEqual(user.http.post("/v1/bindings", {"device": device.id, "code": device.code}).code, 200)

    def test_a_malformed_packet_ends_that_connection_only(self):
        device = self.a_device()
        good = self.connected(device)
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x10\xff\xff\xff\xff\x7f", b"\x00" * 64, b"\x30\x05\x00\x01a\x00"):
            with self.subTest(garbage=garbage), socket.create_connection(self.platform.tcp, timeout=5) as door:
                door.sendall(garbage)
                self.assertTrue(ended(door))
        app = self.an_application()
        self.assertEqual(good.publish(device.topic(f"up/{app.id}/temp"), "1"), 0)


class WhatIsTakenBack(Story):
    """Rights that are lost count for what waits, too."""

    settings = ("mqtt.inflight_max=10",)

    def last_deliveries(self):
        return Scrape(self.platform.anybody().url).sum("irsp_edge_last_delivery_seconds_count")

    def test_nothing_that_waits_is_delivered_after_an_unbinding(self):
        device, user = self.a_device(), self.a_user()
        self.bind(user, device)
        hearer = BareClient(self.platform, user.username, user.token)
        self.addCleanup(hearer.close)
        hearer.send(0x82, 1, device.topic("live/#"), bytes([1]))
        self.assertEqual(hearer.packet(), (0x90, bytes([0, 1, 1])))
        lamp = self.connected(device)
        for n in range(30):
            self.assertEqual(lamp.publish(device.topic("live/n"), str(n)), 0)
        sent = [hearer.packet() for _ in range(10)]
        before = self.last_deliveries()
        gone = self.admin.delete(f"/v1/bindings/{device.id}/{user.id}")
        self.assertEqual((gone.code, gone["in_effect"]), (200, True))
        until(lambda: self.last_deliveries() > before, "the last delivery is known")
        topic = device.topic("live/n").encode()
        for first, body in sent:
            self.assertEqual(first & 0xF0, 0x30)
            identifier = body[2 + len(topic) :][:2]
            hearer.send(0x40, identifier)
        for _ in range(2):
            hearer.send(0xC0)
            self.assertEqual(hearer.packet(), (0xD0, b""))

    def test_the_last_delivery_to_a_session_that_is_ended_is_measured(self):
        device = self.a_device()
        client = self.connected(device)
        before = self.last_deliveries()
        self.assertEqual(self.admin.post(f"/v1/devices/{device.id}/reset").code, 200)
        self.assertEqual(client.wait_closed(), NOT_AUTHORIZED)
        until(lambda: self.last_deliveries() > before, "it is measured")


class Guessing(Story):
    settings = ("mqtt.login_failures_free=2", "mqtt.login_delay=10ms", "mqtt.login_delay_max=20ms")

    def delayed(self):
        scrape = Scrape(self.platform.anybody().url)
        return scrape.sum("irsp_edge_limit_refusals_total", limit="mqtt.login_delay")

    def test_who_guesses_is_answered_late_and_the_right_code_is_not(self):
        device = self.a_device()
        wrong = Device(device.id, "wrong")
        for _ in range(2):
            self.assertEqual(self.client(wrong).connect(), BAD_USER_NAME_OR_PASSWORD_V5)
        self.assertEqual(self.delayed(), 0)
        for _ in range(3):
            self.assertEqual(self.client(wrong).connect(), BAD_USER_NAME_OR_PASSWORD_V5)
        self.assertEqual(self.delayed(), 3)
        self.connected(device)
        self.assertEqual(self.client(wrong).connect(), BAD_USER_NAME_OR_PASSWORD_V5)
        self.assertEqual(self.delayed(), 3)
