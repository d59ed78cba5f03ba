"""Who works across the two domains: the rounds' clients, with addresses of the other domain."""

import json

from ..rounds.devices import CHANNEL, Device
from ..rounds.pushers import HttpPusher


class Abroad(Device):
    """A device whose application is at home in another domain."""

    def upload(self, app):
        """By the name under which its own domain knows the application."""
        self._n += 1
        key = (self.id, app, self._n)
        self.run.truth.upload_sent(key)
        self.send(("upload", key), f"v1/dev/{self.id}/up/{app}/{CHANNEL}", str(self._n), self.qos, id=f"n{self._n}")

    def _status(self, status, repeated):
        app = self.run.apps[0]
        if "topic" in status:
            self.run.truth.break_(f"{self.name} was refused: {status}")
        else:
            self.run.truth.upload_status((self.id, app, int(status["id"][1:])), status["code"], repeated)


class PusherAbroad(HttpPusher):
    """An application that pushes to devices of another domain."""

    @property
    def platform(self):
        return self.run.b

    @property
    def known_as(self):
        return f"{self.app}@{self.run.b.name}"

    def address(self, device):
        return f"dev/{device}@{self.run.a.name}"
