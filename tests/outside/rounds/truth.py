"""What clients were told, and the promises that follow from it (design.md, section 6)."""

import threading
import time
from collections import Counter


class Truth:
    """Every note is one step under a lock; a broken promise is a line in `broken`."""

    def __init__(self):
        self._lock = threading.RLock()
        self.broken = []
        #: (device, app, n) -> whether its acknowledgement came. Uploads; n rises with the order of sending.
        self.uploads = {}
        #: (device, app, n) of the application's store, and where the next page begins.
        self.stored = Counter()
        self._last_stored = {}
        #: (app, device, n) -> message id, None until the answer to the request has come. Pushes.
        self.pushes = {}
        self._last_pushed = {}
        self._pushed_at = {}
        self._heard_pushes = {}
        self._heard_in = set()
        #: Message id -> the connection of the device in which its answer was acknowledged.
        self.answered = {}
        self._answered_at = {}
        self.ended = {}
        self._statuses = Counter()
        self._observed = Counter()
        self._live = {}
        self._live_acknowledged = set()
        self._durable = set()
        self._presence = {}
        self._newest = {}
        self.counts = Counter()

    def break_(self, line):
        with self._lock:
            self.broken.append(line)

    # Uploads

    def upload_sent(self, key):
        with self._lock:
            self.uploads.setdefault(key, False)

    def upload_acknowledged(self, key):
        with self._lock:
            self.uploads[key] = True
            self.counts["uploads acknowledged"] += 1

    def upload_stored(self, key):
        """In the order of the application's store."""
        with self._lock:
            self.stored[key] += 1
            self.counts["uploads stored"] += 1
            device, app, n = key
            if key not in self.uploads:
                self.break_(f"stored, but never sent: {key}")
            if self.stored[key] > 1:
                self.break_(f"stored twice: {key}")
                return
            last = self._last_stored.get((device, app), -1)
            if n < last:
                self.break_(f"order in the store of app/{app}: {device} {n} after {last}")
            self._last_stored[device, app] = max(n, last)

    def lost_uploads(self):
        """Acknowledged and not stored. Empty at a quiet moment."""
        with self._lock:
            return [key for key, acknowledged in self.uploads.items() if acknowledged and not self.stored[key]]

    def upload_status(self, key, code, repeated):
        with self._lock:
            self._statuses[key] += not (repeated and self._statuses[key])
            self.counts["statuses heard"] += 1
            if code != 200:
                self.break_(f"status {code} of the upload {key}")
            if self._statuses[key] > 1:
                self.break_(f"two statuses of the upload {key}")

    def upload_observed(self, key):
        """A subscriber has heard an upload beside the application."""
        with self._lock:
            self._observed[key] += 1
            self.counts["uploads observed"] += 1
            if self._observed[key] > 1:
                self.break_(f"an observer heard the upload {key} twice")

    # Pushes

    def push_sent(self, key):
        with self._lock:
            self.pushes.setdefault(key, None)
            self._pushed_at.setdefault(key, time.monotonic())

    def push_accepted(self, key, id=None):
        with self._lock:
            known = self.pushes.get(key)
            if known and id and known != id:
                self.break_(f"one push, two messages: {key} is {known} and {id}")
            self.pushes[key] = id or known or ""
            self.counts["pushes acknowledged"] += 1

    def push_heard(self, device, app, n, id, connection):
        """A device was given a push, for the first time or again: once in a connection, DUP or not, and never in a
        connection that began after its answer was acknowledged."""
        key = (app, device, n)
        with self._lock:
            self.counts["pushes delivered"] += 1
            if key not in self.pushes:
                self.break_(f"delivered, but never sent: {key}")
            if (id, connection) in self._heard_in:
                self.break_(f"delivered twice in one connection: {key} {id}")
            self._heard_in.add((id, connection))
            if self.answered.get(id, connection) < connection:
                self.break_(f"delivered after its answer was acknowledged: {key} {id}")
            last = self._last_pushed.get((app, device), -1)
            if key not in self._heard_pushes and n < last:
                self.break_(f"order at {device}: push {n} of app/{app} for the first time after {last}")
            self._last_pushed[app, device] = max(n, last)
            first = self._heard_pushes.setdefault(key, id)
            if first != id:
                self.break_(f"delivered as two messages: {key} is {first} and {id}")
            elif self.pushes.get(key) in (None, ""):
                self.pushes[key] = id

    def session_heard(self, device, app, numbers):
        """The pushes of one application a device was given in one session, in order."""
        for before, after in zip(numbers, numbers[1:]):
            if after <= before:
                self.break_(f"order at {device} in one session: push {after} of app/{app} after {before}")

    def push_answered(self, id, connection):
        with self._lock:
            self.answered.setdefault(id, connection)
            self._answered_at.setdefault(id, time.monotonic())
            self.counts["answers acknowledged"] += 1

    def push_ended(self, key, id, code, expected, expiry=0.0):
        """An answer may come too late: not within its expiry, in seconds, since the push was first sent."""
        with self._lock:
            before = self.ended.setdefault(id, code)
            if before != code:
                self.break_(f"two ends of the push {key} {id}: {before} and {code}")
            if code not in expected:
                self.break_(f"the push {key} {id} ended with {code}, not {expected}")
            late = self._answered_at.get(id, 0.0) - self._pushed_at[key] > expiry
            if code != 200 and id in self.answered and not (code == 408 and late):
                self.break_(f"the push {key} {id} was answered and ended with {code}")

    def push_status(self, id, code):
        """The sender was told the end; None of it may contradict the receipt."""
        with self._lock:
            before = self.ended.setdefault(id, code)
            if before != code:
                self.break_(f"the sender of {id} was told {code}, the receipt says {before}")

    def unknown_pushes(self):
        """Acknowledged, but not seen under a message id."""
        with self._lock:
            return [key for key, id in self.pushes.items() if id == ""]

    # Live messages

    def live_heard(self, listener, device, n):
        """In one connection of one listener."""
        with self._lock:
            self.counts["live messages heard"] += 1
            last = self._live.get((listener, device), -1)
            if n <= last:
                self.break_(f"live message {n} of {device} after {last}")
            self._live[listener, device] = n

    def live_acknowledged(self, device, n):
        with self._lock:
            self._live_acknowledged.add((device, n))

    def durably_heard(self, device, n):
        """By a session that outlives its connections: maybe again, but in order."""
        with self._lock:
            last = self._live.get(("durable", device), -1)
            if (device, n) not in self._durable and n < last:
                self.break_(f"live message {n} of {device} durably for the first time after {last}")
            self._live["durable", device] = max(n, last)
            self._durable.add((device, n))
            self.counts["live messages durably heard"] += 1

    def lost_live(self):
        """Acknowledged and not heard by the durable session."""
        with self._lock:
            return sorted(self._live_acknowledged - self._durable)

    # Presence

    def presence_heard(self, observer, news):
        """`observer`: one connection, or None for HTTP. Equal (epoch, seq) is equal news, for everybody for ever."""
        device = news["principal"].split("@")[0]
        at = (news["epoch"], news["seq"])
        said = (news["state"], news["since"], news["reason"])
        with self._lock:
            self.counts["presence heard"] += 1
            before = self._presence.setdefault((device, at), said)
            if before != said:
                self.break_(f"presence {at} of {device}: {before} and {said}")
            if observer is not None:
                newest = self._newest.get((observer, device), (0, 0))
                if at < newest:
                    self.break_(f"presence of {device} went back for one observer: {at} after {newest}")
                self._newest[observer, device] = max(at, newest)

    def presence_epochs(self):
        """The greatest (epoch, seq) anybody has heard, by device."""
        with self._lock:
            greatest = {}
            for device, at in self._presence:
                greatest[device] = max(at, greatest.get(device, (0, 0)))
            return greatest
