"""A device in Python (paho): a lamp that keeps the whole device contract (docs/device-contract.md).

    pip install 'paho-mqtt>=2.1,<3'
    IRSP_DEVICE=lamp-1 IRSP_CODE=... IRSP_APP=climate python lamp.py [--host 127.0.0.1] [--port 1883]

`irsp conform device -- python lamp.py` starts it and judges it; host and port then stand in the environment.
"""

import argparse
import json
import os
import random
import sys
import threading
import time
import uuid
from collections import OrderedDict
from datetime import datetime, timezone

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

#: Pushes remembered, so that a repeat is answered as the first was and not acted on again.
REMEMBERED = 256


class Lamp:
    """What the device does, without any MQTT."""

    def __init__(self):
        self.on = False
        self.done = OrderedDict()

    def take(self, mid, order, expires):
        """Carries a push out, once, and gives the answer."""
        if mid in self.done:
            return self.done[mid]
        if expires is not None and expires <= datetime.now(timezone.utc):
            return {"status": 408}
        try:
            self.on = bool(json.loads(order)["on"])
            answer = {"status": 200, "body": {"on": self.on}}
        except (ValueError, KeyError, TypeError):
            answer = {"status": 400, "body": "expected {\"on\": true or false}"}
        self.done[mid] = answer
        while len(self.done) > REMEMBERED:
            self.done.popitem(last=False)
        return answer


class Pauses:
    """Before each attempt: doubling, half of it by chance; from the start again once a connection has lasted."""

    def __init__(self, first, longest, steady):
        self.first, self.longest, self.steady = first, longest, steady
        self.attempts, self.since = 0, None

    def connected(self):
        self.since = time.monotonic()

    def next(self):
        if self.since is not None and time.monotonic() - self.since >= self.steady:
            self.attempts = 0
        self.since = None
        full = min(self.longest, self.first * 2 ** min(self.attempts, 16))
        self.attempts += 1
        return full * random.uniform(0.5, 1.0)


def properties(**values):
    found = Properties(values.pop("packet"))
    for name, value in values.items():
        setattr(found, name, value)
    return found


def main():
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--host", default=os.environ.get("IRSP_HOST", "127.0.0.1"))
    words.add_argument("--port", type=int, default=int(os.environ.get("IRSP_PORT", "1883")))
    words.add_argument("--every", type=float, default=10.0, help="seconds between uploads")
    words.add_argument("--pause", type=float, default=1.0, help="seconds before the first attempt to come back")
    words.add_argument("--steady", type=float, default=10.0, help="seconds after which a connection was a good one")
    words = words.parse_args()
    device, app = os.environ["IRSP_DEVICE"], os.environ["IRSP_APP"]
    own = f"v1/dev/{device}"
    lamp, pauses = Lamp(), Pauses(words.pause, 60.0, words.steady)

    # What is not acknowledged goes out again in the next connection, under its own id.
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2, client_id=device, protocol=mqtt.MQTTv5, reconnect_on_failure=False
    )
    client.username_pw_set(f"dev/{device}", os.environ["IRSP_CODE"])

    def on_connect(client, _userdata, _flags, reason, _properties):
        if reason.is_failure:
            print(f"refused: {reason}", file=sys.stderr)
            return
        pauses.connected()
        client.subscribe([(f"{own}/down/#", 1), (f"{own}/status", 1)])

    def on_message(client, _userdata, message):
        if message.topic == f"{own}/status":
            return
        mid = message.topic.split("/")[5]
        named = dict(getattr(message.properties, "UserProperty", []))
        expires = named.get("expirytime")
        expires = datetime.fromisoformat(expires.replace("Z", "+00:00")) if expires else None
        answer = lamp.take(mid, message.payload, expires)
        client.publish(f"{own}/ack/{mid}", json.dumps(answer), qos=1)

    def upload():
        while True:
            if client.is_connected():
                named = properties(packet=PacketTypes.PUBLISH, UserProperty=[("id", str(uuid.uuid4()))])
                client.publish(f"{own}/up/{app}/state", json.dumps({"on": lamp.on}), qos=1, properties=named)
            time.sleep(words.every)

    client.on_connect, client.on_message = on_connect, on_message
    threading.Thread(target=upload, daemon=True).start()
    session = properties(packet=PacketTypes.CONNECT, SessionExpiryInterval=3600)
    client.connect_async(words.host, words.port, keepalive=30, properties=session)
    while True:
        try:
            client.reconnect()
            client.loop_forever()
        except (OSError, ValueError) as error:
            print(f"no connection: {error}", file=sys.stderr)
        time.sleep(pauses.next())


if __name__ == "__main__":
    main()
