"""The rounds themselves: load, kill, restart; and the quiet moments in which everything must add up."""

import random
import threading
import time

from ..mqtt import V5, V311
from ..platform import Apart, Platform
from ..waiting import until
from . import ledger
from .actor import PAUSE
from .devices import Device
from .listeners import DurableListener, Listener
from .pushers import SHORT, HttpPusher, MqttPusher
from .truth import Truth

#: A quiet moment comes after so many rounds.
QUIET_EVERY = 10
#: Between a start and the next kill, in seconds.
LOAD_MIN, LOAD_MAX = 0.0, 0.8
#: How long quiet may take on a slow machine.
PATIENCE = 120.0
GRACE = 1.0
SETTINGS = (
    f"mqtt.presence_grace={GRACE:g}s",
    "courier.retry_min=100ms",
    "courier.retry_max=1s",
    "log.level=warn",
)
#: id, and how it behaves.
DEVICES = {
    "v5-qos1": {"version": V5, "qos": 1},
    "v3-qos1": {"version": V311, "qos": 1},
    "v5-qos2": {"version": V5, "qos": 2},
    "v3-qos2": {"version": V311, "qos": 2},
    "durable": {"version": V5, "qos": 1, "durable": True},
    "v3-nameless": {"version": V311, "qos": 1, "named": False},
    "v5-by-mqtt": {"version": V5, "qos": 1, "by_mqtt": True},
    "v3-by-mqtt": {"version": V311, "qos": 2, "by_mqtt": True},
    "away": {"version": V5, "qos": 1, "present": False},
    "comes-and-goes": {"version": V311, "qos": 1},
}


class Run:
    """One platform through many kills. `play` raises AssertionError with everything that was broken."""

    def __init__(self, rounds, seed, apart=False, pace=1.0, say=lambda line: None):
        self.rounds, self.seed, self.apart, self.pace, self.say = rounds, seed, apart, pace, say
        self.dice = random.Random(f"{seed}/run")
        self.truth = Truth()
        #: Set: clients begin nothing new.
        self.pausing = threading.Event()
        self.apps = ["climate", "garden"]
        self.kills = 0
        self._checked = set()

    def play(self):
        self.platform = (Apart if self.apart else Platform)(*SETTINGS)
        try:
            self._people()
            for round in range(1, self.rounds + 1):
                self._round()
                if round % QUIET_EVERY == 0 or round == self.rounds:
                    self._quiet()
                    self.say(f"round {round}: {self.kills} kills, {dict(self.truth.counts)}")
                self._judge(round)
            self._end()
            return self.truth.counts
        finally:
            for actor in getattr(self, "actors", []):
                actor.over.set()
            for actor in getattr(self, "actors", []):
                actor.stop()
            self.platform.remove()

    def _people(self):
        admin = self.platform.admin()
        keys = {app: admin.post("/v1/apps", {"id": app})["key"] for app in self.apps}
        self.devices = []
        for id, behaviour in DEVICES.items():
            answers = {"answers": "mqtt"} if behaviour.get("by_mqtt") else {}
            code = admin.post("/v1/devices", {"id": id, **answers})["code"]
            self.devices.append(Device(self, id, code, **behaviour))
        climate, garden = self.apps
        self.http = HttpPusher(self, climate, keys[climate], list(DEVICES))
        # What the durable session hears begins with its subscription.
        durable = DurableListener(self, garden, keys[garden])
        self.actors = [durable.start()]
        until(durable.subscribed.is_set, "the durable listener has subscribed", PATIENCE)
        listener = Listener(self, climate, keys[climate])
        pusher = MqttPusher(self, garden, keys[garden], list(DEVICES))
        self.actors += [actor.start() for actor in (*self.devices, self.http, listener, pusher)]

    # A round

    def _round(self):
        for device in self.devices:
            if device.id == "comes-and-goes":
                device.present = self.dice.random() < 0.5
        time.sleep(self.dice.uniform(LOAD_MIN, LOAD_MAX))
        self.kills += 1
        if not self.apart:
            self.platform.crash()
            return
        roles = [role for role in Apart.ROLES if self.dice.random() < 0.5] or [self.dice.choice(list(Apart.ROLES))]
        for role in roles:
            self.platform.kill_role(role)
        time.sleep(self.dice.choice((0, 0.1)))
        for role in roles:
            self.platform.start_role(role)

    # Quiet

    def _quiet(self):
        """Everybody is there, begins nothing, and what was begun ends."""
        for device in self.devices:
            device.present = True
        self.pausing.set()
        until(lambda: all(actor.quiet() for actor in self.actors), self._restless, PATIENCE)
        self._until_all_has_ended()
        self._read_store()
        for key in self.truth.lost_uploads():
            self.truth.break_(f"lost: the acknowledged upload {key}")
        for key in self.truth.unknown_pushes():
            self.truth.break_(f"lost: the acknowledged push {key}")
        until(
            lambda: not self.truth.lost_live(),
            lambda: f"the durable listener hears all that was acknowledged: {self.truth.lost_live()[:9]}",
            PATIENCE,
        )
        self._read_receipts()
        self._read_ledgers()
        self._read_presence(offline=[])
        gone = [device for device in self.devices if device.id in ("away", "comes-and-goes")]
        for device in gone:
            device.present = False
        self._read_presence(offline=[f"dev/{device.id}" for device in gone])
        self.pausing.clear()

    def _restless(self):
        names = [actor.name for actor in self.actors if not actor.quiet()]
        return f"every client has its answers; missing: {names}; {self.truth.broken[:3]}"

    def _ledgers(self):
        return {name: ledger.read(self.platform.data / name) for name in ledger.DATABASES}

    def _until_all_has_ended(self):
        """Ledgers without anything in flight."""
        until(
            lambda: all(not in_flight for _, _, in_flight in self._ledgers().values()),
            lambda: f"nothing is in flight: {self._ledgers()}; {self.truth.broken[:3]}",
            PATIENCE,
        )

    def _read_ledgers(self):
        ledgers = self._ledgers()
        for name, found in ledgers.items():
            if ledger.residue(found) != 0:
                self.truth.break_(f"the ledger of {name} has a residue: {found}")
        accepted, ended, _ = ledgers["message.db"]
        stored = self.truth.counts["uploads stored"]
        if accepted["upload"] != stored or ended["upload", 200] != stored:
            self.truth.break_(f"the stores have {stored} uploads, message.db: {accepted}, {ended}")

    def _read_store(self):
        """What was stored since the last time, in the order of the store."""
        self.after = getattr(self, "after", {app: 0 for app in self.apps})
        for app in self.apps:
            more = True
            while more:
                path = f"/v1/apps/{app}/uploads?limit=1000&after={self.after[app]}"
                page = self._get(path)["uploads"]
                for upload in page:
                    self.truth.upload_stored((upload["device"], app, upload["data"]))
                    self.after[app] = upload["seq"]
                more = len(page) == 1000

    def _read_receipts(self):
        with self.truth._lock:
            pushes = {key: id for key, id in self.truth.pushes.items() if id and id not in self._checked}
        for key, id in pushes.items():
            self._read_receipt(key, id)
            self._checked.add(id)

    def _read_receipt(self, key, id):
        receipt = self._get(f"/v1/messages/{id}")
        expected = (200, 408) if key in self.http.may_expire else (200,)
        self.truth.push_ended(key, id, receipt["status"], expected, expiry=SHORT)
        if receipt.body.get("partial"):
            self.truth.break_(f"the receipt of {key} {id} is partial at a quiet moment")
        ends = [stage.get("code") for stage in receipt["stages"] if stage["stage"] == "ended"]
        if len(set(ends)) != 1:
            self.truth.break_(f"the servers disagree on the end of {key} {id}: {ends}")

    def _read_presence(self, offline):
        """By HTTP; what the listener hears over MQTT is compared by `truth`."""
        for device in self.devices:
            name = f"dev/{device.id}"
            wanted = "offline" if name in offline else "online"

            def look():
                answer = self._get(f"/v1/presence/{name}")
                newest = self.truth.presence_epochs().get(name, (0, 0))
                at = (answer["epoch"], answer["seq"])
                return answer if answer["state"] == wanted and at >= newest else None

            found = until(look, lambda: f"{name} is {wanted}: {self._get(f'/v1/presence/{name}')}", PATIENCE)
            self.truth.presence_heard(None, {**found.body, "principal": name})

    def _get(self, path):
        answer = self.platform.admin().get(path)
        if answer.code != 200:
            raise AssertionError(f"GET {path}: {answer}")
        return answer

    # The end

    def _end(self):
        """Ends are final: receipts say what they said; the files are whole; an orderly stop leaves it so."""
        self.pausing.set()
        with self.truth._lock:
            ended = [(key, id) for key, id in self.truth.pushes.items() if id in self._checked]
        for key, id in self.dice.sample(ended, min(len(ended), 100)):
            self._read_receipt(key, id)
        self._judge(self.rounds)
        for actor in self.actors:
            actor.stop()
        if (code := self.platform.stop()) != 0:
            self.truth.break_(f"an orderly stop ended with {code}")
        for name, found in self._ledgers().items():
            # The devices have just gone offline: that news may still be in flight, but nothing is missing.
            if ledger.residue(found) != 0:
                self.truth.break_(f"the ledger of {name} has a residue: {found}")
            if (said := ledger.integrity(self.platform.data / name)) != "ok":
                self.truth.break_(f"{name}: {said}")
        self._judge(self.rounds)

    def _judge(self, round):
        log = self.platform.log.read_text(errors="replace")
        for word in ("panicked", "ledger does not add up"):
            if word in log:
                self.truth.break_(f"the log says: {[line for line in log.splitlines() if word in line][:3]}")
        if self.truth.broken:
            found = "\n  ".join(self.truth.broken[:20])
            raise AssertionError(
                f"seed {self.seed}, {'apart, ' if self.apart else ''}round {round}: {len(self.truth.broken)} broken\n  {found}"
            )
