"""An attached application in Python (paho): receives uploads and messages, and answers each once it has done it.

    pip install 'paho-mqtt>=2.1,<3'
    IRSP_KEY=... python climate.py --host 127.0.0.1 --port 1883 --app climate [--group workers] [--db climate.db]

Start it several times with the same --group and another --db each: they share the work. The contract is in
docs/profile.md, "Attached applications".
"""

import argparse
import json
import os
import signal
import sqlite3
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion


class Store:
    """What has been done. The same message may come twice: its effect and its answer are stored together, once."""

    def __init__(self, path):
        self.db = sqlite3.connect(path, check_same_thread=False)
        self.db.execute("CREATE TABLE IF NOT EXISTS done (id TEXT PRIMARY KEY, answer TEXT NOT NULL)")
        self.db.execute("CREATE TABLE IF NOT EXISTS reading (source TEXT, channel TEXT, time TEXT, value TEXT)")

    def handle(self, event):
        """Does what the event asks, once, and gives the answer."""
        known = self.db.execute("SELECT answer FROM done WHERE id = ?", (event["id"],)).fetchone()
        if known:
            return json.loads(known[0])
        answer = self.decide(event)
        with self.db:
            if answer["status"] == 200:
                self.db.execute(
                    "INSERT INTO reading VALUES (?, ?, ?, ?)",
                    (event["source"], event["subject"], event["time"], json.dumps(event.get("data"))),
                )
            self.db.execute("INSERT INTO done VALUES (?, ?)", (event["id"], json.dumps(answer)))
        return answer

    def decide(self, event):
        if not isinstance(event.get("data"), (int, float)):
            return {"status": 400, "body": {"why": "a reading is a number"}}
        count = self.db.execute("SELECT count(*) FROM reading WHERE source = ?", (event["source"],)).fetchone()[0]
        return {"status": 200, "body": {"readings": count + 1}}


def main():
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--host", default="127.0.0.1")
    words.add_argument("--port", type=int, default=1883)
    words.add_argument("--app", default="climate")
    words.add_argument("--group")
    words.add_argument("--db", default="climate.db")
    words.add_argument("--v311", action="store_true", help="speak MQTT 3.1.1 instead of 5")
    words = words.parse_args()
    store = Store(words.db)
    own = f"v1/app/{words.app}"

    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311 if words.v311 else mqtt.MQTTv5)
    client.username_pw_set(f"app/{words.app}", os.environ["IRSP_KEY"])

    def on_connect(client, _userdata, _flags, reason, _properties):
        if reason.is_failure:
            print(f"refused: {reason}", file=sys.stderr)
            return
        share = f"$share/{words.group}/" if words.group else ""
        client.subscribe([(f"{share}{own}/in/upload/#", 1), (f"{share}{own}/in/message/#", 1)])

    def on_subscribe(_client, _userdata, _mid, reasons, _properties):
        print("refused" if any(reason.is_failure for reason in reasons) else "ready", flush=True)

    def on_message(client, _userdata, message):
        event = json.loads(message.payload)
        answer = store.handle(event)
        client.publish(f"{own}/ack/{event['id']}", json.dumps(answer), qos=1)
        print(event["id"], answer["status"], flush=True)

    client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
    signal.signal(signal.SIGTERM, lambda *_: client.disconnect())
    client.connect(words.host, words.port)
    # Reconnects by itself; what was not answered comes again.
    client.loop_forever(retry_first_connection=True)


if __name__ == "__main__":
    main()
