"""Applications that push: one by HTTP, one by MQTT. A push without an answer is sent again under the same id."""

import json
import time
import urllib.error

from ..mqtt import V5
from .actor import PAUSE, Actor, MqttActor

#: Expires before an absent device returns; in seconds.
SHORT = 1.0


class HttpPusher(Actor):
    """One request at a time, so that the order of acceptance is the order of `n`."""

    def __init__(self, run, app, key, devices):
        super().__init__(run, f"http {app}")
        self.app, self.key, self.devices = app, key, devices
        self._n = 0
        self._open = None
        self.may_expire = set()

    @property
    def platform(self):
        """Where the application is at home."""
        return self.run.platform

    @property
    def known_as(self):
        """By what name devices know the application."""
        return self.app

    def address(self, device):
        return f"dev/{device}"

    def session(self):
        if self._open is None:
            if self.run.pausing.is_set() or self.dice.random() > 0.5 * self.run.pace:
                return
            self._n += 1
            device = self.dice.choice(self.devices)
            body = {"to": self.address(device), "channel": "set", "data": {"n": self._n}, "id": f"p{self._n}"}
            key = (self.known_as, device, self._n)
            if self.dice.random() < 0.1:
                body["expiry"] = f"{SHORT:g}s"
                self.may_expire.add(key)
            self.run.truth.push_sent(key)
            self._open = (key, body)
        key, body = self._open
        try:
            answer = self.platform.admin().as_application(self.app, self.key).post("/v1/push", body)
        except (urllib.error.URLError, OSError, json.JSONDecodeError, EOFError):
            return
        except Exception as error:
            if type(error).__module__ == "http.client":
                return  # cut off in the middle of an answer
            raise
        if answer.code in (200, 202, 208):
            self.run.truth.push_accepted(key, answer["id"])
        elif answer.code == 408 and key in self.may_expire:
            pass  # it has ended, and nothing names it
        elif answer.code in (503, 507):
            return
        else:
            self.run.truth.break_(f"the push {key} was refused: {answer}")
        self._open = None
        time.sleep(PAUSE / 4)

    def quiet(self):
        return self._open is None


class MqttPusher(MqttActor):
    """Pushes at QoS 1 and 2 in one order, and hears how they end."""

    def __init__(self, run, app, key, devices):
        super().__init__(run, f"mqtt {app}", f"app/{app}", key, V5)
        self.app, self.devices = app, devices
        self._n = 0

    def filters(self):
        return [f"v1/app/{self.app}/status"]

    def act(self):
        if self.dice.random() < 0.2 * self.run.pace:
            self._n += 1
            device = self.dice.choice(self.devices)
            key = (self.app, device, self._n)
            self.run.truth.push_sent(key)
            topic = f"v1/app/{self.app}/to/dev/{device}/set"
            payload = json.dumps({"n": self._n})
            self.send(key, topic, payload, self.dice.choice((1, 2)), id=f"p{self._n}")

    def acknowledged(self, token):
        self.run.truth.push_accepted(token)

    def heard(self, message):
        status = json.loads(message.payload)
        if status["code"] == 208:
            return  # sent again after a cut; it names the push it repeats
        if "topic" in status:
            self.run.truth.break_(f"{self.name} was refused: {status}")
        else:
            self.run.truth.push_status(status["message"], status["code"])
