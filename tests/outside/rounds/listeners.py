"""A developer's client that hears uploads, live messages and presence of all devices while they come."""

import json
import threading

from ..mqtt import V5
from .actor import MqttActor


class Listener(MqttActor):
    """In a session that ends with each connection: it hears what comes while it is there, and nothing twice."""

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


class DurableListener(MqttActor):
    """In one session that outlives its connections and the server's processes: it misses no live message."""

    def __init__(self, run, app, key):
        name = f"durable ear of {app}"
        super().__init__(run, name, f"app/{app}", key, V5, client_id="durable", session_expiry=3600, clean=False)
        self.subscribed = threading.Event()

    def filters(self):
        return ["v1/dev/+/live/#"]

    def act(self):
        self.subscribed.set()

    def heard(self, message):
        device = message.topic.split("/")[2]
        self.run.truth.durably_heard(device, json.loads(message.payload))
