"""What all clients have in common: a thread that connects, works until it is cut off, and comes back."""

import random
import threading
import time

from ..mqtt import V311, Client

#: Between two attempts to come back, and between two looks at what has come.
PAUSE = 0.02
#: Packets sent without an acknowledgement.
WINDOW = 16


class Actor:
    """`session` is one connection's life; it returns when the connection is gone or the run is over."""

    def __init__(self, run, name):
        self.run = run
        self.name = name
        self.dice = random.Random(f"{run.seed}/{name}")
        self.over = threading.Event()
        self.failure = None
        self.thread = threading.Thread(target=self._live, name=name, daemon=True)

    def start(self):
        self.thread.start()
        return self

    def stop(self):
        self.over.set()
        self.thread.join(timeout=60)

    def _live(self):
        try:
            while not self.over.is_set():
                self.session()
                self.over.wait(PAUSE)
        except Exception as error:  # what goes wrong in a thread is told by the judge
            self.failure = error
            self.run.truth.break_(f"{self.name} failed: {error!r}")

    def session(self):
        raise NotImplementedError

    def quiet(self):
        """Whether everything this client has begun has been answered."""
        return True


class MqttActor(Actor):
    """An actor with one paho connection after the other, and an outbox that is sent again until acknowledged."""

    def __init__(self, run, name, principal, secret, version, **options):
        super().__init__(run, name)
        self.principal, self.secret, self.version, self.options = principal, secret, version, options
        self.client = None
        #: Attempts to connect: what a session brings along is heard by paho's thread before `connect` has returned.
        self.connections = 0
        #: What was not acknowledged, in order: token -> (topic, payload, qos, attributes).
        self.outbox = {}
        self._under_way = {}

    def session(self):
        client = Client(self.run.platform, self.principal, self.secret, version=self.version, **self.options)
        client.paho.on_message = lambda _c, _u, message: self.heard(message)
        self.connections += 1
        self._under_way = {}
        self.connecting()
        try:
            code = client.connect()
        except (OSError, AssertionError):
            client.vanish()
            return
        try:
            if code != 0:
                if code not in (None, 3, 0x88, 0x8B):
                    self.run.truth.break_(f"{self.name}: CONNACK {code}")
                return
            self.client = client
            if client.subscribe(*self.filters()) is not None:
                self._work(client)
        finally:
            self.client = None
            client.vanish()
            self.disconnected()

    def _work(self, client):
        for token in list(self.outbox):
            self._give(client, token)
        while not self.over.is_set() and client.closed is None:
            self._acknowledged(client)
            if self.wants_to_leave():
                client.leave()
                return
            if self.run.pausing.is_set():
                self.rest()
            elif len(self.outbox) < WINDOW:
                self.act()
            time.sleep(PAUSE / 4)
        self._acknowledged(client)

    def send(self, token, topic, payload, qos, **attributes):
        """From the actor's thread or from paho's, whose connection may have ended meanwhile."""
        self.outbox[token] = (topic, payload, qos, attributes)
        if (client := self.client) is not None:
            self._give(client, token)

    def _give(self, client, token):
        topic, payload, qos, attributes = self.outbox[token]
        self._under_way[client.send(topic, payload, qos=qos, **attributes)] = token

    def _acknowledged(self, client):
        for mid, token in list(self._under_way.items()):
            code = client.acked(mid)
            if code is None:
                continue
            del self._under_way[mid]
            self.outbox.pop(token, None)
            if code == 0:
                self.acknowledged(token)
            else:
                self.run.truth.break_(f"{self.name}: {token} was refused with {code}")

    def quiet(self):
        return self.client is not None and not self.outbox

    def named(self, id):
        """The sender's id, where the version has a place for it."""
        return {} if self.version == V311 else {"id": id}

    def filters(self):
        raise NotImplementedError

    def heard(self, message):
        raise NotImplementedError

    def connecting(self):
        """Before a connection: what it brings along is heard before `connect` has returned."""

    def disconnected(self):
        pass

    def acknowledged(self, token):
        pass

    def act(self):
        """Something new."""

    def rest(self):
        """What is left to do while nothing new is begun."""

    def wants_to_leave(self):
        return False
