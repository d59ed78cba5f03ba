"""Clauses 7.1 and 8.2 from outside: the account server may be away, logins end everywhere, and a race of resets, deletions,
bindings and reconnects with kill -9 between ends in a state that everybody agrees on."""

import http.client
import itertools
import random
import threading
import urllib.error
from pathlib import Path

from .platform import Apart, run
from .story import Device, Story
from .test_metrics import Scrape
from .waiting import until

#: Files that hold a secret because that is what they are for.
KEYS = {"admin.token", "hash.key", "token.key"}
#: No answer: the server was killed before it, or is not up yet.
SILENCE = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, OSError)


def must_not_stand(story, secrets, *more):
    """None of the secrets is in a file of the data directory, in the log, or among what a process shows of itself."""
    platform = story.platform
    processes = getattr(platform, "roles", {"up": platform.process}).values()
    shown = [Path(f"/proc/{process.child.pid}/{what}") for process in processes for what in ("cmdline", "environ")]
    files = [path for path in platform.data.rglob("*") if path.is_file() and path.name not in KEYS and path.suffix != ".key"]
    for path in [*files, platform.log, *shown, *more]:
        content = path.read_bytes()
        for secret in secrets:
            story.assertNotIn(secret.encode(), content, f"{path} holds a secret")


class AccountServerAway(Story):
    shape = Apart

    def questions(self):
        """What has been asked of the account server until now."""
        scrape = Scrape(self.platform.anybody().url)
        asked = scrape.samples["irsp_http_requests_total"]
        http = sum(value for labels, value in asked if labels.get("route") not in ("/metrics", "/healthz", "/readyz"))
        return http, scrape.sum("irsp_account_directory_pages_total")

    def test_devices_that_come_back_ask_it_nothing(self):
        device, user = self.a_device(), self.a_user()
        self.bind(user, device)
        crowd = [self.a_device() for _ in range(40)]
        until(lambda: self.questions()[1] >= 2, "both followers have read the directory")
        before = self.questions()
        for one in crowd:
            self.client(one).open().leave()
        lamps = [self.connected(one) for one in crowd]
        phone = self.connected(user)
        self.presence(crowd[-1], state="online")
        self.assertEqual(self.questions(), before)
        for lamp in lamps:
            lamp.leave()
        phone.leave()

    def test_what_is_registered_goes_on_while_it_is_down(self):
        device, app, user = self.a_device(), self.an_application(), self.a_user()
        self.bind(user, device)
        self.platform.kill_role("account")
        try:
            lamp, phone = self.connected(device, over="tls"), self.connected(user)
            lamp.subscribe(device.topic("down/#"), device.topic("status"))
            self.assertEqual(phone.subscribe(device.topic("live/#"), device.topic("presence")), [1, 1])
            self.assertEqual(lamp.publish(device.topic(f"up/{app.id}/temp"), "21"), 0)
            self.assertEqual(lamp.receive("/status").json["code"], 200)
            for caller in (user, app):
                pushed = caller.http.post("/v1/push", {"to": device.username, "channel": "set", "data": 1})
                self.assertEqual(pushed.code, 202, pushed.body)
                self.assertIn(pushed["id"], lamp.receive("/down/").topic)
            stranger = self.client(Device(device.id, "wrong"))
            self.assertNotEqual(stranger.connect(), 0)
        finally:
            self.platform.start_role("account")
        made = self.platform.admin().post("/v1/devices", {"id": "after-it-came-back"})
        self.assertIn(made.code, (201, 202), made.body)
        operation = f"/v1/operations/{made['operation']}"
        until(lambda: self.platform.admin().get(operation)["in_effect"], "the change is in force", within=60.0)

    def test_last_seen_follows_the_message_server(self):
        device = self.a_device()
        shown = self.admin.get(f"/v1/devices/{device.id}")
        self.assertNotIn("last_seen", shown.body, "it has never connected")
        lamp = self.connected(device)

        def online(expected):
            found = self.admin.get(f"/v1/devices/{device.id}").body
            return found if found.get("online") is expected else None

        first = until(lambda: online(True), "the device is shown online")
        lamp.leave()
        last = until(lambda: online(False), "the device is shown offline")
        self.assertGreaterEqual(last["last_seen"], shown["created"])
        self.assertEqual(first["version"], last["version"])


class Unbinding(Story):
    def test_what_waits_for_a_device_by_a_right_that_is_gone_ends_and_the_rest_arrives(self):
        device, app = self.a_device(), self.an_application()
        owner, guest = self.a_user(), self.a_user()
        self.bind(owner, device)
        share = f"/v1/bindings/{device.id}/{guest.id}"
        shared = owner.http.call("PUT", share, {"rights": ["receive", "push"]})
        self.assertEqual((shared.code, shared["in_effect"]), (201, True), shared.body)
        push = {"to": device.username, "channel": "set", "data": 1}
        pushed = {who: who.http.post("/v1/push", push)["id"] for who in (owner, guest, app)}
        narrowed = owner.http.call("PUT", share, {"rights": ["receive"]})
        self.assertEqual((narrowed.code, narrowed["in_effect"]), (200, True), narrowed.body)
        self.receipt(guest.http, pushed[guest], status=403, state="revoked")
        lamp = self.connected(device)
        lamp.subscribe(device.topic("down/#"))
        self.assertIn(pushed[owner], lamp.receive("/down/").topic)
        self.assertIn(pushed[app], lamp.receive("/down/").topic)
        self.assertEqual(lamp.received("/down/"), [])


class Logins(Story):
    def log_in(self, user):
        login = self.platform.anybody().post("/v1/login", {"id": user.id, "password": "correct horse"})
        self.assertEqual(login.code, 200, login.body)
        return login.body

    def test_a_logout_ends_sessions_and_http_of_that_login_alone(self):
        user = self.a_user()
        phone, desk = self.log_in(user), self.log_in(user)
        clients = {}
        for name, login in (("phone", phone), ("desk", desk)):
            clients[name] = self.connected(type(user)(user.id, login["token"], user.http), client_id=name)
        ended = self.admin.as_user(phone["token"]).post("/v1/logout")
        self.assertEqual((ended.code, ended["in_effect"]), (200, True), ended.body)
        clients["phone"].wait_closed()
        for path in ("/v1/me", "/v1/presence"):
            self.assertEqual(self.admin.as_user(phone["token"]).get(path).code, 401, path)
            self.assertEqual(self.admin.as_user(desk["token"]).get(path).code, 200, path)
        self.assertIsNone(clients["desk"].closed)
        again = self.client(type(user)(user.id, phone["token"], user.http), client_id="phone")
        self.assertNotEqual(again.connect(), 0)

    def test_a_refresh_token_shown_twice_ends_the_sessions_of_its_login(self):
        user = self.a_user()
        login = self.log_in(user)
        anybody = self.platform.anybody()
        client = self.connected(type(user)(user.id, login["token"], user.http))
        renewed = anybody.post("/v1/refresh", {"refresh_token": login["refresh_token"]})
        self.assertEqual(renewed.code, 200, renewed.body)
        self.assertEqual(self.admin.as_user(renewed["token"]).get("/v1/me").code, 200)
        self.assertEqual(anybody.post("/v1/refresh", {"refresh_token": login["refresh_token"]}).code, 401)
        client.wait_closed()
        for token in (login["token"], renewed["token"]):
            caller = self.admin.as_user(token)
            # The refusal does not wait for the followers.
            until(lambda caller=caller: caller.get("/v1/presence").code == 401, "the application server refuses the token")
        halves = login["refresh_token"].split(".") + renewed["refresh_token"].split(".")
        must_not_stand(self, {*halves, login["token"], renewed["token"], "correct horse"})


class Slot(threading.Thread):
    """One device after another, ordered about until told to stop. It knows what it was answered, and what it was not."""

    def __init__(self, story, number, seed):
        super().__init__(daemon=True)
        self.story, self.number, self.dice = story, number, random.Random(seed)
        self.names = (f"race-{number}-{n}" for n in itertools.count())
        self.id = self.code = None
        #: The last order was not answered: what became of it is not known.
        self.unsure = False
        self.told, self.ended, self.secrets = 0, [], set()
        self.stopped = threading.Event()
        self.failed = None

    def run(self):
        while not self.stopped.is_set():
            try:
                self.order()
                self.told += 1
            except SILENCE:
                self.unsure = True
                self.stopped.wait(0.05)
            except Exception as error:  # shown by the story
                self.failed = error
                return

    def order(self):
        admin = self.story.admin
        if self.id is None or self.unsure:
            self.settle(admin)
            return
        match self.dice.randrange(6):
            case 0 | 1:
                self.keep(admin.post(f"/v1/devices/{self.id}/reset", {"unbind": self.dice.random() < 0.5}), 200)
            case 2:
                self.unsure = True
                gone = admin.delete(f"/v1/devices/{self.id}")
                self.expect(gone, 200, 202)
                self.unsure = False
                self.ended.append((self.id, self.code))
                self.id = None
            case 3:
                bound = self.story.ann.http.post("/v1/bindings", {"device": self.id, "code": self.code})
                self.expect(bound, 200, 201, 202)
            case _:
                client = self.story.client(Device(self.id, self.code))
                client.connect()
                client.vanish()

    def settle(self, admin):
        """A device that is there, and its code."""
        if self.id is not None:
            shown = admin.get(f"/v1/devices/{self.id}")
            self.expect(shown, 200, 404, 410)
            if shown.code == 200:
                self.keep(admin.post(f"/v1/devices/{self.id}/reset"), 200)
                return
        self.id = next(self.names)
        self.code = "none"
        self.keep(admin.post("/v1/devices", {"id": self.id}), 201)

    def keep(self, answer, code):
        self.expect(answer, code, 202)
        if self.code is not None:
            self.ended.append((self.id, self.code))
        self.code, self.unsure = answer["code"], False
        self.secrets.add(self.code)

    def expect(self, answer, *codes):
        if answer.code in (503, 429):
            raise ConnectionError(str(answer.body))
        if answer.code not in codes:
            raise AssertionError(f"{self.id}: {answer.code} {answer.body}")


class Race(Story):
    SLOTS = 4
    ROUNDS = 3
    ORDERS = 40

    def test_resets_deletions_bindings_and_reconnects_with_kills_between_end_in_one_state(self):
        self.ann = self.a_user()
        seed = random.randrange(1 << 32)
        with self.subTest(seed=seed):
            self.race(seed)

    def race(self, seed):
        slots = [Slot(self, number, seed + number) for number in range(self.SLOTS)]
        for slot in slots:
            slot.start()
        for _ in range(self.ROUNDS):
            goal = sum(slot.told for slot in slots) + self.ORDERS
            until(
                lambda goal=goal: sum(slot.told for slot in slots) >= goal or any(slot.failed for slot in slots),
                f"{self.ORDERS} orders",
                within=240.0,
            )
            self.platform.crash()
        for slot in slots:
            slot.stopped.set()
        for slot in slots:
            slot.join(timeout=120)
            self.assertFalse(slot.is_alive())
            if slot.failed:
                raise slot.failed
        self.agreed()
        for slot in slots:
            if slot.id is None or slot.unsure:
                slot.settle(self.admin)
            until(lambda slot=slot: self.client(Device(slot.id, slot.code)).connect() == 0, f"{slot.id} connects", within=60.0)
            for id, code in slot.ended[-6:]:
                self.assertNotEqual(self.client(Device(id, code)).connect(), 0, f"{id} with an ended code")
                if id != slot.id:
                    self.assertIn(self.admin.get(f"/v1/devices/{id}").code, (404, 410))
        self.agreed()
        secrets = set().union(*(slot.secrets for slot in slots)) | {self.ann.token, "correct horse"}
        must_not_stand(self, secrets)

    def agreed(self):
        """Both followers hold the account server's last change, and every ledger adds up."""

        def same():
            changes = Scrape(self.platform.anybody().url).samples["irsp_directory_change"]
            return len(changes) == 2 and len({value for _, value in changes}) == 1

        made = self.admin.post("/v1/devices", {"id": f"mark-{random.randrange(1 << 48)}"})
        self.assertIn(made.code, (201, 202), made.body)
        until(same, "the followers hold the same change", within=60.0)
        operation = f"/v1/operations/{made['operation']}"
        until(lambda: self.admin.get(operation)["in_effect"], "the last change is in force", within=60.0)
        until(
            lambda: run("ledger", "--url", self.platform.url, "--data", self.platform.data).returncode == 0,
            "the ledger adds up",
            within=60.0,
        )
