"""The partition itself: load, bad network, healing, judgement."""

import random
import threading
import time

from ..federation import Domain, linked
from ..mqtt import V5
from ..proxy import Proxy
from ..rounds import ledger
from ..rounds.truth import Truth
from ..waiting import until
from .people import Abroad, PusherAbroad
from .weather import Weather

DEVICES = {
    "pump": {"version": V5, "qos": 1},
    "meter": {"version": V5, "qos": 2},
    "valve": {"version": V5, "qos": 1, "by_mqtt": True},
}
#: How long healing may take on a slow machine, whatever waits.
PATIENCE = 300.0
SETTINGS = ("courier.retry_min=100ms", "mqtt.presence_grace=1s", "courier.principal_messages_max=1000000", "log.level=warn")


class Run:
    """Two domains through one partition. `play` raises AssertionError with everything that was broken."""

    def __init__(self, seconds, seed, pace=0.5, say=lambda line: None):
        self.seconds, self.seed, self.pace, self.say = seconds, seed, pace, say
        self.dice = random.Random(f"{seed}/run")
        self.truth = Truth()
        self.pausing, self.over = threading.Event(), threading.Event()
        self.actors = []

    def play(self):
        self.a, self.b = Domain("a.example", *SETTINGS), Domain("b.example", *SETTINGS)
        self.proxy = Proxy(self.b.door)
        try:
            self._people()
            self._weather()
            self._heal()
            self._judge()
            return self.truth.counts
        finally:
            self.over.set()
            for actor in self.actors:
                actor.over.set()
            for actor in self.actors:
                actor.stop()
            self.proxy.stop()
            self.a.remove()
            self.b.remove()

    @property
    def platform(self):
        """Where the devices connect."""
        return self.a

    def _people(self):
        self.a.knows(self.b, f"irsp://127.0.0.1:{self.proxy.port}")
        self.b.knows(self.a)
        linked((self.a, self.b))
        self.key = self.b.admin().post("/v1/apps", {"id": "climate"})["key"]
        self.apps = [f"climate@{self.b.name}"]
        for id, behaviour in DEVICES.items():
            answers = {"answers": "mqtt"} if behaviour.get("by_mqtt") else {}
            code = self.a.admin().post("/v1/devices", {"id": id, **answers})["code"]
            self.a.grants(f"dev/{id}", f"app/{self.apps[0]}", hears=True, pushes=True)
            self.actors.append(Abroad(self, id, code, **behaviour))
        self.pusher = PusherAbroad(self, "climate", self.key, list(DEVICES))
        self.actors.append(self.pusher)
        for actor in self.actors:
            actor.start()

    def _weather(self):
        def killed():
            waiting = self.a.link(self.b).get("waiting"), self.b.link(self.a).get("waiting")
            self.say(f"parted: {waiting[0]} wait at a, {waiting[1]} at b; both are killed")
            self.a.crash()
            self.b.crash()

        Weather(self.proxy, self.dice, self.over).play(self.seconds, killed)

    def _heal(self):
        """Nobody begins anything new, and what was begun ends."""
        began = time.monotonic()
        waiting = self.a.link(self.b).get("waiting"), self.b.link(self.a).get("waiting")
        self.pausing.set()
        until(lambda: all(actor.quiet() for actor in self.actors), lambda: f"all are answered; {self._found()}", PATIENCE)
        until(lambda: not any(self._in_flight()), lambda: f"nothing is in flight: {self._in_flight()}; {self._found()}", PATIENCE)
        self.say(f"healed in {time.monotonic() - began:.0f} s: {waiting[0]} waited at a, {waiting[1]} at b")

    def _judge(self):
        self._read_store()
        for key in self.truth.lost_uploads():
            self.truth.break_(f"lost: the acknowledged upload {key}")
        self._read_receipts()
        for domain in (self.a, self.b):
            for name in ledger.DATABASES:
                found = ledger.read(domain.data / name)
                if ledger.residue(found) != 0:
                    self.truth.break_(f"{domain.name}, {name}: a residue: {found}")
            until(lambda: domain.residue() == 0, f"{domain.name}: its ledgers add up over HTTP too", 60)
            log = domain.log.read_text(errors="replace")
            for word in ("panicked", "ledger does not add up"):
                if word in log:
                    self.truth.break_(f"{domain.name}: the log says {word}")
        if self.truth.broken:
            raise AssertionError(f"seed {self.seed}: {len(self.truth.broken)} broken\n  {self._found()}")

    def _read_store(self):
        climate, after, more = self.b.admin().as_application("climate", self.key), 0, True
        while more:
            page = climate.get(f"/v1/apps/climate/uploads?limit=1000&after={after}")["uploads"]
            for upload in page:
                device = upload["source"].removeprefix("dev/").removesuffix(f"@{self.a.name}")
                self.truth.upload_stored((device, self.apps[0], upload["data"]))
                after = upload["seq"]
            more = len(page) == 1000

    def _read_receipts(self):
        """Every push by the word of both sides. One that expires while the domains are parted may end with 408 at its
        sender although the device has answered: its end could not be told."""
        for key, id in self.truth.pushes.items():
            if not id:
                continue
            code = self.b.admin().get(f"/v1/messages/{id}")["status"]
            expires = key in self.pusher.may_expire
            if code == 408 and expires:
                self.truth.counts["pushes expired"] += 1
                continue
            self.truth.push_ended(key, id, code, (200,))
            if id not in self.truth.answered and not self._answers_by_mqtt(key):
                self.truth.break_(f"done, but never answered: {key} {id}")

    @staticmethod
    def _answers_by_mqtt(key):
        return DEVICES[key[1]].get("by_mqtt", False)

    def _in_flight(self):
        ledgers = [ledger.read(domain.data / name) for domain in (self.a, self.b) for name in ledger.DATABASES]
        return [dict(in_flight) for _, _, in_flight in ledgers]

    def _found(self):
        return "\n  ".join(self.truth.broken[:20])
