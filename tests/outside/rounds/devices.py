"""Devices: they upload, hear pushes and answer them, in every way a device may."""

import json

from ..mqtt import V311, V5
from .actor import PAUSE, MqttActor

CHANNEL = "n"


class Device(MqttActor):
    """`qos` of its uploads. `named`: with an id, and sent again until acknowledged. `by_mqtt`: PUBACK is its answer.
    `durable`: in one session that outlives its connections."""

    def __init__(self, run, id, code, version=V5, qos=1, named=True, by_mqtt=False, present=True, durable=False):
        options = {"client_id": id, "session_expiry": 3600, "clean": False} if durable else {}
        super().__init__(run, id, f"dev/{id}", code, version, **options)
        self.id, self.qos, self.is_named, self.by_mqtt = id, qos, named, by_mqtt
        #: Whether it should be connected.
        self.present = present
        self._n = 0
        self._live = 0
        self._in_session = {}
        #: Pushes of this session without an answer.
        self._forgotten = []

    def session(self):
        if not self.present:
            self.over.wait(PAUSE)
            return
        super().session()

    def wants_to_leave(self):
        return not self.present and not self.outbox

    def filters(self):
        return [f"v1/dev/{self.id}/down/#", f"v1/dev/{self.id}/status"]

    def connecting(self):
        self._in_session, self._forgotten = {}, []
        for token in [token for token in self.outbox if not self._is_repeatable(token)]:
            del self.outbox[token]

    def disconnected(self):
        for app, numbers in self._in_session.items():
            self.run.truth.session_heard(self.id, app, numbers)
        self._in_session = {}

    def _is_repeatable(self, token):
        kind = token[0]
        return self.is_named if kind == "upload" else kind == "answer"

    def act(self):
        if self.dice.random() < 0.1:
            self._live += 1
            self.send(("live", self._live), f"v1/dev/{self.id}/live/n", str(self._live), 1)
        if self.dice.random() < 0.4 * self.run.pace:
            self.upload(self.dice.choice(self.run.apps))

    def upload(self, app):
        self._n += 1
        key = (self.id, app, self._n)
        self.run.truth.upload_sent(key)
        if self.is_named and self.version == V311:
            event = {"specversion": "1.0", "id": f"n{self._n}", "source": "/", "type": CHANNEL, "data": self._n}
            self.send(("upload", key), f"v1/dev/{self.id}/ce/{app}", json.dumps(event), self.qos)
        else:
            id = self.named(f"n{self._n}") if self.is_named else {}
            self.send(("upload", key), f"v1/dev/{self.id}/up/{app}/{CHANNEL}", str(self._n), self.qos, **id)

    def acknowledged(self, token):
        kind, what = token
        if kind == "upload":
            self.run.truth.upload_acknowledged(what)
        elif kind == "live":
            self.run.truth.live_acknowledged(self.id, what)
        elif kind == "answer":
            self.run.truth.push_answered(what, self.connections)

    def heard(self, message):
        levels = message.topic.split("/")
        if levels[3] == "status":
            self._status(json.loads(message.payload), message.dup)
            return
        app, id = levels[4], levels[5]
        n = json.loads(message.payload)["n"]
        self.run.truth.push_heard(self.id, app, n, id, self.connections)
        # A durable session repeats what its last connection did not acknowledge, and says so.
        if not message.dup:
            self._in_session.setdefault(app, []).append(n)
        # Now and then a device forgets to answer; it is asked again in its next session.
        if not self.by_mqtt and self.dice.random() < 0.1:
            self._forgotten.append(id)
        elif not self.by_mqtt:
            self._answer(id)

    def rest(self):
        while self._forgotten:
            self._answer(self._forgotten.pop())

    def _answer(self, id):
        self.send(("answer", id), f"v1/dev/{self.id}/ack/{id}", "200", 1)

    def _status(self, status, repeated):
        if "topic" in status:
            self.run.truth.break_(f"{self.name} was refused: {status}")
        elif self.is_named:
            self.run.truth.upload_status((self.id, status["app"], int(status["id"][1:])), status["code"], repeated)
