"""External applications (clauses 7.4, 8.8): a third party's service, well-behaved and hostile, and what it asks of us."""

import itertools
import json
import socket
import struct
import time
import urllib.error
import urllib.request
import uuid
from collections import defaultdict

from . import webhook
from .platform import run
from .story import Story
from .waiting import until
from .web import Answer, read_json
from .webhook import Service, answer

LOOPBACK = "external.addresses_allowed=127.0.0.0/8"
QUICK = (
    LOOPBACK,
    "external.retry_min=50ms",
    "external.retry_max=200ms",
    "external.breaker_min=100ms",
    "external.breaker_max=200ms",
    "external.timeout=2s",
    "external.attempts_max=6",
)


class External(Story):
    settings = QUICK

    def a_service(self, behave=webhook.ok, **options):
        service = Service(behave, **options)
        self.addCleanup(service.close)
        return service

    def an_external(self, service):
        """An application whose confirmed endpoint the service is."""
        app = self.an_application(delivery="external")
        made = app.http.post(f"/v1/apps/{app.id}/endpoint", {"url": service.url})
        self.assertEqual((made.code, made["state"]), (201, "unconfirmed"), made.body)
        service.secret = made["secret"]
        confirmed = app.http.post(f"/v1/apps/{app.id}/endpoint/confirm")
        self.assertEqual((confirmed.code, confirmed["state"]), (200, "confirmed"), confirmed.body)
        return app

    def a_sender(self):
        device = self.a_device()
        client = self.connected(device)
        client.subscribe(device.topic("status"), qos=1)
        return device, client

    def upload(self, client, device, app, value):
        self.assertEqual(client.publish(device.topic(f"up/{app.id}/temp"), value, qos=1), 0)

    def ends(self, client, device, code):
        status = client.receive(device.topic("status")).json
        self.assertEqual(status["code"], code, status)
        return status

    def deliveries(self, app):
        found = app.http.get(f"/v1/apps/{app.id}/endpoint/deliveries?limit=1000")
        self.assertEqual(found.code, 200, found.body)
        return found["deliveries"]


class Out(External):
    def test_an_upload_is_a_signed_event_and_its_answer_the_devices_status(self):
        service = self.a_service()
        app = self.an_external(service)
        device, client = self.a_sender()
        self.upload(client, device, app, "21.5")
        self.ends(client, device, 200)
        [event] = service.events
        self.assertEqual((event.body, event.kind, event.source), (b"21.5", "irsp.upload", device.username))
        self.assertEqual((event.headers["ce-specversion"], event.headers["ce-subject"]), ("1.0", "temp"))
        self.assertEqual(event.headers["ce-id"], event.headers["webhook-id"])
        self.assertEqual(service.unsigned, 0)
        lines = self.deliveries(app)
        self.assertEqual([(line["type"], line["code"], line["outcome"]) for line in lines],
                         [("irsp.upload", 200, "done"), ("irsp.challenge", 200, "done")])

    def test_a_message_of_another_application_comes_the_same_way(self):
        service = self.a_service()
        app, other = self.an_external(service), self.an_application()
        sent = other.http.post("/v1/message", {"to": f"app/{app.id}", "channel": "invoice", "data": 7, "wait": "10s"})
        self.assertEqual((sent.code, sent["status"]), (200, 200), sent.body)
        self.assertEqual([(event.kind, event.body) for event in service.events], [("irsp.message", b"7")])
        sender = self.connected(other)
        self.assertEqual(sender.publish(f"v1/app/{other.id}/to/app/{app.id}/invoice", "8"), 0)
        until(lambda: b"8" in service.bodies(), "the message by MQTT")

    def test_presence_comes_to_an_endpoint_that_asks_for_it_the_newest_of_each(self):
        service = self.a_service()
        app = self.an_external(service)
        silent, client = self.a_sender()
        client.leave()
        self.assertEqual(service.events, [], "it was not asked for")
        set_ = app.http.call("PUT", f"/v1/apps/{app.id}/endpoint", {"url": service.url, "presence": True})
        self.assertEqual((set_.code, set_["presence"], set_["state"]), (200, True, "confirmed"), set_.body)
        device, client = self.a_sender()
        def states():
            events = [event for event in service.events if event.source == device.username]
            self.assertTrue(all(event.kind == "irsp.presence" for event in events))
            return [json.loads(event.body) for event in events]
        until(lambda: [said["state"] for said in states()] == ["online"], "it is online")
        [online] = states()
        shown = app.http.get(f"/v1/presence/dev/{device.id}")
        self.assertEqual(shown.code, 200, shown.body)
        self.assertEqual({name: shown[name] for name in online}, online, "the same as the stream says")
        self.assertEqual(app.http.post(f"/v1/apps/{app.id}/endpoint/pause").code, 200)
        for _ in range(3):
            client.leave()
            client = self.connected(device)
        until(lambda: app.http.get(f"/v1/presence/dev/{device.id}")["n"] == online["n"] + 6, "it came and went")
        self.assertEqual(app.http.get(f"/v1/apps/{app.id}/endpoint")["waiting"], 1, "the newest waits")
        self.assertEqual(app.http.post(f"/v1/apps/{app.id}/endpoint/resume").code, 200)
        until(lambda: len(states()) == 2, "the newest is told")
        self.assertEqual((states()[1]["state"], states()[1]["n"]), ("online", online["n"] + 6))
        self.assertEqual(service.unsigned, 0)
        narrowed = self.admin.patch(f"/v1/apps/{app.id}", {"hears": {"only": []}})
        self.assertEqual(narrowed.code, 200, narrowed.body)
        client.leave()
        other = self.a_device()
        self.connected(other).leave()
        def gone():
            shown = self.admin.get(f"/v1/presence/dev/{other.id}")
            return shown.code == 200 and shown["state"] == "offline"
        until(gone, "it is gone")
        self.assertEqual(len(states()), 2, "what it does not hear it is not told")

    def test_refusals_are_the_devices_status(self):
        for code, status in [(404, 404), (413, 413), (422, 400), (405, 502)]:
            service = self.a_service(lambda handler, _event, code=code: answer(handler, code))
            app = self.an_external(service)
            device, client = self.a_sender()
            self.upload(client, device, app, "x")
            self.ends(client, device, status)
            self.assertEqual(len(service.events), 1, "it is not tried again")

    def test_a_failing_message_holds_up_its_own_device_only(self):
        def behave(handler, event):
            first_of_stuck = event.source == stuck.username and stuck_may_go is None
            answer(handler, 503 if first_of_stuck else 200)

        stuck_may_go = None
        service = self.a_service(behave)
        app = self.an_external(service)
        (stuck, one), (free, two) = self.a_sender(), self.a_sender()
        for value in "1", "2":
            self.upload(one, stuck, app, value)
        for value in "a", "b", "c":
            self.upload(two, free, app, value)
            self.ends(two, free, 200)
        stuck_may_go = True
        self.ends(one, stuck, 200)
        self.ends(one, stuck, 200)
        order = list(dict.fromkeys(service.bodies(stuck.username)))
        self.assertEqual(order, [b"1", b"2"])

    def test_hostile_answers(self):
        elsewhere = self.a_service()

        def redirect(handler, _event):
            answer(handler, 307, Location=elsewhere.url)

        def huge(handler, _event):
            handler.send_response(200)
            handler.send_header("Content-Length", str(1 << 40))
            handler.end_headers()
            for _ in range(1 << 10):
                handler.wfile.write(b"x" * 65536)

        def slow(handler, _event):
            time.sleep(4)
            answer(handler, 200)

        def midway(handler, _event):
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Len")
            handler.close_connection = True

        def lying(handler, _event):
            handler.send_response(200)
            handler.send_header("Content-Length", "100")
            handler.end_headers()
            handler.wfile.write(b"short")
            handler.close_connection = True

        def reset(handler, _event):
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n")
            handler.wfile.flush()
            # Closed with data unsent and no linger: the platform's side is reset.
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()
            handler.close_connection = True

        def garbage(handler, _event):
            handler.wfile.write(b"\x00\xff" * 100)
            handler.close_connection = True

        for hostile, first in [(redirect, "retried"), (huge, "done"), (slow, "retried"), (midway, "retried"),
                               (lying, "retried"), (reset, "retried"), (garbage, "retried")]:
            with self.subTest(hostile.__name__):
                service = self.a_service(hostile)
                app = self.an_external(service)
                device, client = self.a_sender()
                self.upload(client, device, app, "x")
                tried = until(lambda: [line for line in self.deliveries(app) if line["type"] == "irsp.upload"],
                              f"a try at {hostile.__name__}", within=30)
                self.assertEqual(tried[-1]["outcome"], first, tried[-1])
                service.behave = webhook.ok
                self.ends(client, device, 200)
        self.assertEqual(elsewhere.events, [], "redirects are not followed")

    def test_a_flapping_endpoint_gets_everything_once_in_effect_and_in_order(self):
        turns = itertools.count()

        def flaps(handler, event):
            turn = next(turns) % 4
            if turn == 0:
                handler.close_connection = True
            elif turn == 1:
                answer(handler, 503, Retry_After="0")
            else:
                done.setdefault(event.headers["webhook-id"], event.body)
                answer(handler, 200)

        done = {}
        service = self.a_service(flaps)
        app = self.an_external(service)
        device, client = self.a_sender()
        for n in range(30):
            self.upload(client, device, app, str(n))
        for _ in range(30):
            self.ends(client, device, 200)
        self.assertEqual(list(done.values()), [str(n).encode() for n in range(30)])
        self.assertGreater(len(service.events), 30, "it has flapped")

    def test_an_operator_does_all_of_it_from_a_terminal(self):
        service, app = self.a_service(), self.an_application(delivery="external")
        key = self.platform.dir / f"{app.id}.key"
        key.write_text(app.key)

        def endpoint(*words, code=0):
            done = run("endpoint", *words, "--json", "--url", self.admin.appserver, "--token-file", key)
            self.assertEqual(done.returncode, code, done.stderr)
            return json.loads(done.stdout) if done.stdout else done.stderr

        service.secret = endpoint("set", app.id, service.url)["secret"]
        self.assertEqual(endpoint("confirm", app.id)["state"], "confirmed")
        self.assertEqual(endpoint("test", app.id)["ok"], True)
        self.assertEqual(endpoint("pause", app.id)["state"], "paused")
        device, client = self.a_sender()
        self.upload(client, device, app, "x")
        until(lambda: endpoint("show", app.id)["waiting"] == 1, "it waits", within=30)
        self.assertEqual(endpoint("resume", app.id)["state"], "confirmed")
        self.ends(client, device, 200)
        [line] = endpoint("deliveries", app.id, "--count", "1")["deliveries"]
        self.assertEqual((line["type"], line["outcome"]), ("irsp.upload", "done"))
        shown = run("endpoint", "deliveries", app.id, "--url", self.admin.appserver, "--token-file", key).stdout
        self.assertIn("irsp.upload", shown)
        new = endpoint("rotate", app.id, "--overlap", "0s")
        self.assertEqual(len(new["secrets"]), 1)
        self.assertEqual(endpoint("test", app.id)["code"], 401, "the service knows the old one only")
        self.assertEqual(endpoint("replay", app.id)["replayed"], 0)
        self.assertIn("is removed", endpoint("remove", app.id))
        self.assertIn("404", endpoint("show", app.id, code=1))

    def test_a_slow_endpoint_harms_no_other(self):
        slow = self.a_service(lambda handler, _event: time.sleep(30))
        fast = self.a_service()
        slow_app, fast_app = self.an_external(slow), self.an_external(fast)
        for _ in range(20):
            device, client = self.a_sender()
            self.upload(client, device, slow_app, "x")
        until(lambda: slow.events, "the slow one is busy")
        device, client = self.a_sender()
        for n in range(50):
            self.upload(client, device, fast_app, str(n))
        until(lambda: len(fast.events) >= 50, "the fast one has them all")
        self.assertEqual(fast.bodies(), [str(n).encode() for n in range(50)])

    def test_what_fails_for_good_is_a_dead_letter_and_comes_again_when_asked(self):
        service = self.a_service(lambda handler, _event: answer(handler, 500))
        app = self.an_external(service)
        device, client = self.a_sender()
        self.upload(client, device, app, "late")
        status = self.ends(client, device, 502)
        letter = app.http.get(f"/v1/dead-letters/{status['message']}")
        self.assertEqual((letter.code, letter["server"], letter["text"]), (200, "app", "late"), letter.body)
        tries = [line for line in self.deliveries(app) if line["type"] == "irsp.upload"]
        self.assertEqual([line["attempt"] for line in tries], [6, 5, 4, 3, 2, 1])
        service.behave, before = webhook.ok, len(service.events)
        replayed = app.http.post(f"/v1/apps/{app.id}/endpoint/replay")
        self.assertEqual((replayed.code, replayed["replayed"]), (202, 1), replayed.body)
        until(lambda: len(service.events) > before, "it comes again")
        self.assertEqual(service.events[-1].headers["webhook-id"], service.events[0].headers["webhook-id"])
        until(lambda: app.http.get(f"/v1/dead-letters/{status['message']}").code == 404, "it is no dead letter")

    def test_pause_holds_and_resume_lets_go(self):
        service = self.a_service()
        app = self.an_external(service)
        paused = app.http.post(f"/v1/apps/{app.id}/endpoint/pause")
        self.assertEqual((paused.code, paused["state"]), (200, "paused"), paused.body)
        device, client = self.a_sender()
        self.upload(client, device, app, "x")
        until(lambda: app.http.get(f"/v1/apps/{app.id}/endpoint")["waiting"] == 1, "it waits")
        self.assertEqual(service.events, [])
        self.assertEqual(app.http.post(f"/v1/apps/{app.id}/endpoint/resume").code, 200)
        self.ends(client, device, 200)

    def test_a_rotated_secret_overlaps_with_the_old_one(self):
        service = self.a_service()
        app = self.an_external(service)
        new = app.http.post(f"/v1/apps/{app.id}/endpoint/rotate", {"overlap": "1h"})
        self.assertEqual((new.code, len(new["secrets"])), (200, 2), new.body)
        device, client = self.a_sender()
        for secret in service.secret, new["secret"]:
            service.secret = secret
            self.upload(client, device, app, "x")
            self.ends(client, device, 200)
        self.assertEqual(service.unsigned, 0)
        last = app.http.post(f"/v1/apps/{app.id}/endpoint/rotate", {"overlap": "0s"})
        self.assertEqual(len(last["secrets"]), 1, last.body)
        self.assertEqual(app.http.post(f"/v1/apps/{app.id}/endpoint/test")["code"], 401, "the old one is over")
        wanted = ["endpoint.set", "endpoint.confirm", "endpoint.rotate", "endpoint.rotate"]
        def audit():
            lines = self.admin.get(f"/v1/audit?action=endpoint&target=app/{app.id}")["items"]
            return [line["action"] for line in lines if line["who"] == app.username]
        until(lambda: audit() == wanted, "the orders are in the audit log")

    def test_nothing_is_sent_before_it_is_confirmed_and_a_deleted_application_ends_it(self):
        service = self.a_service()
        app = self.an_application(delivery="external")
        self.assertEqual(app.http.post(f"/v1/apps/{app.id}/endpoint", {"url": service.url}).code, 201)
        device, client = self.a_sender()
        self.upload(client, device, app, "x")
        until(lambda: app.http.get(f"/v1/apps/{app.id}/endpoint")["waiting"] == 1, "it waits")
        stranger = self.an_application()
        self.assertEqual(stranger.http.get(f"/v1/apps/{app.id}/endpoint").code, 403)
        self.assertEqual(self.admin.delete(f"/v1/apps/{app.id}").code, 200)
        self.ends(client, device, 410)
        self.assertEqual(service.events, [])

    def test_a_certificate_nobody_knows_is_refused(self):
        pki = self.platform.data / "pki"
        service = self.a_service(context=webhook.tls(pki / "server.crt", pki / "server.key"))
        app = self.an_application(delivery="external")
        self.assertEqual(app.http.post(f"/v1/apps/{app.id}/endpoint", {"url": service.url}).code, 201)
        refused = app.http.post(f"/v1/apps/{app.id}/endpoint/confirm")
        self.assertEqual(refused.code, 409, refused.body)
        self.assertIn("TLS", refused["detail"])


class Killed(External):
    def test_kill_9_loses_nothing_and_keeps_each_devices_order(self):
        flaps = defaultdict(int)

        def flapping(handler, event):
            flaps[event.source] += 1
            answer(handler, 503 if flaps[event.source] % 3 == 0 else 200)

        service = self.a_service(flapping)
        app = self.an_external(service)
        senders = [self.a_sender() for _ in range(4)]
        for round in range(3):
            for n in range(10):
                for device, client in senders:
                    self.upload(client, device, app, str(round * 10 + n))
            self.platform.crash()
            senders = [(device, self.connected(device)) for device, _ in senders]
        wanted = [str(n).encode() for n in range(30)]
        for device, _ in senders:
            def came(device=device):
                # A try that was not answered comes again under its id: the first of each counts.
                first = dict.fromkeys(event.headers["webhook-id"] for event in list(service.events))
                bodies = {event.headers["webhook-id"]: event.body for event in list(service.events)
                          if event.source == device.username}
                return [bodies[id] for id in first if id in bodies]
            until(lambda: len(came()) >= 30, f"all uploads of {device.id}", within=60)
            self.assertEqual(came(), wanted)
        self.assertEqual(service.unsigned, 0)


class Fenced(External):
    """Without an exception for loopback."""

    settings = ("external.timeout=2s",)

    def test_private_addresses_are_refused_by_number_and_by_name(self):
        app = self.an_application(delivery="external")
        path = f"/v1/apps/{app.id}/endpoint"
        for url in ("https://127.0.0.1/", "https://10.0.0.1/", "https://169.254.169.254/", "https://[::1]/", "ftp://x/",
                    "https://[::ffff:127.0.0.1]/", "https://user:pw@hooks.example/", "nonsense"):
            refused = app.http.post(path, {"url": url})
            self.assertEqual(refused.code, 400, (url, refused.body))
        service = self.a_service()
        for host in ("localhost", "127.1", "0x7f000001", "2130706433"):
            made = app.http.post(path, {"url": f"https://{host}:{service.port}/"})
            self.assertIn(made.code, (200, 201), made.body)
            refused = app.http.post(f"{path}/confirm")
            self.assertEqual(refused.code, 409, (host, refused.body))
            self.assertRegex(refused["detail"], "not reachable from the public internet|cannot be resolved")
        self.assertEqual(service.events, [])


class In(External):
    settings = (*QUICK, "external.rate_max=40", "external.batch_max=30")

    def ask(self, app, body, secret, id=None, at=None, **headers):
        """A request to `/v1/ext` that is signed by ourselves."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        id, at = id or f"evt-{uuid.uuid4()}", at or int(time.time())
        headers = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
        headers |= {"webhook-id": id, "webhook-timestamp": str(at), "webhook-signature": webhook.sign(secret, id, at, raw)}
        request = urllib.request.Request(f"{self.admin.appserver}/v1/ext/{app.id}", raw, headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return Answer(response.status, read_json(response.read()))
        except urllib.error.HTTPError as error:
            with error:
                self.retry_after = error.headers["Retry-After"]
                return Answer(error.code, read_json(error.read()))

    def an_asker(self):
        service = self.a_service()
        return self.an_external(service), service.secret

    def test_a_signed_push_reaches_the_device_once(self):
        app, secret = self.an_asker()
        device = self.a_device()
        lamp = self.connected(device)
        lamp.subscribe(device.topic("down/#"))
        push = {"to": device.username, "channel": "set", "data": {"on": True}}
        first = self.ask(app, push, secret, id="evt-1")
        self.assertEqual((first.code, first["status"]), (202, 202), first.body)
        self.assertEqual(lamp.receive("/down/").json, {"on": True})
        again = self.ask(app, push, secret, id="evt-1")
        self.assertEqual((again.code, again["id"]), (208, first["id"]), again.body)
        event = self.ask(app, b"off", secret, Content_Type="text/plain", ce_specversion="1.0", ce_id="e-2", ce_source="x",
                         ce_type="irsp.push", ce_destination=device.username, ce_subject="set")
        self.assertEqual(event.code, 202, event.body)
        self.assertEqual(lamp.receive("/down/").payload, b"off")

    def test_who_does_not_sign_rightly_is_refused(self):
        app, secret = self.an_asker()
        other, other_secret = self.an_asker()
        push = {"to": self.a_device().username, "channel": "set", "data": 1}
        self.assertEqual(self.ask(app, push, other_secret).code, 401)
        self.assertEqual(self.ask(app, push, secret, at=int(time.time()) - 3600).code, 401)
        self.assertEqual(self.ask(app, push, secret, at=int(time.time()) + 3600).code, 401)
        self.assertEqual(other.http.post(f"/v1/ext/{app.id}", push).code, 403)
        self.assertEqual(self.platform.anybody().post(f"/v1/ext/{app.id}", push).code, 401)
        self.assertEqual(app.http.post(f"/v1/ext/{app.id}", push).code, 202, "the key will do")
        self.assertEqual(self.ask(app, {"nonsense": 1}, secret).code, 400)
        self.assertEqual(self.ask(app, {**push, "to": "dev/nobody"}, secret).code, 404)

    def test_a_batch_has_one_status_each_and_the_rate_is_bounded(self):
        app, secret = self.an_asker()
        device, hosted = self.a_device(), self.an_application()
        batch = [
            {"to": device.username, "channel": "set", "data": 1},
            {"to": "dev/nobody", "channel": "set", "data": 2},
            {"to": f"app/{hosted.id}", "channel": "note", "data": 3},
            {"colour": "red"},
        ]
        answered = self.ask(app, batch, secret, id="batch-1")
        self.assertEqual(answered.code, 200, answered.body)
        self.assertEqual([item["status"] for item in answered["items"]], [202, 404, 202, 400], answered.body)
        self.assertEqual([upload["data"] for upload in self.stored(hosted, 1)], [3])
        again = self.ask(app, batch, secret, id="batch-1")
        self.assertEqual([item["status"] for item in again["items"]], [208, 404, 208, 400], again.body)
        many = [{"to": device.username, "channel": "set", "data": n} for n in range(30)]
        codes = [self.ask(app, many, secret).code for _ in range(4)]
        self.assertIn(429, codes)
        self.assertGreaterEqual(int(self.retry_after), 1)
        self.assertEqual(self.ask(app, many * 2, secret).code, 400, "a batch is bounded")
