"""A developer's client that hears uploads, live messages and presence of all devices while they come."""

import json

from ..mqtt import V5
from .actor import MqttActor


class Listener(MqttActor):
    def __init__(self, run, app, key):
        super().__init__(run, f"ear of {app}", f"app/{app}", key, V5)
        self.app = app

    def filters(self):
        return [f"v1/dev/+/up/{self.app}/#", "v1/dev/+/live/#", "v1/dev/+/presence"]

    def heard(self, message):
        _, _, device, branch, *_ = message.topic.split("/")
        truth, connection = self.run.truth, (self.name, self.connections)
        if branch == "up":
            truth.upload_observed((device, self.app, json.loads(message.payload)))
        elif branch == "live":
            truth.live_heard(connection, device, json.loads(message.payload))
        elif branch == "presence":
            truth.presence_heard(connection, json.loads(message.payload))
