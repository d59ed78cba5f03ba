"""The HTTP API with nothing but urllib."""

import base64
import json
import queue
import socket
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass

TIMEOUT = 30.0
#: What the application server answers when the roles run apart; everything else is the account server's.
APPSERVER_PATHS = ("/v1/push", "/v1/presence", "/v1/message", "/v1/ledger", "/v1/dead-letters", "/v1/ext",
                   "/endpoint", "/uploads", "/latest")


@dataclass(frozen=True)
class Answer:
    """Status code and JSON body of an answer."""

    code: int
    body: object

    def __getitem__(self, name):
        return self.body[name]


class Api:
    """The API as one caller sees it."""

    def __init__(self, url, bearer=None, basic=None, appserver=None):
        self.url = url
        self.appserver = appserver or url
        self.headers = {}
        if bearer:
            self.headers["Authorization"] = f"Bearer {bearer}"
        if basic:
            self.headers["Authorization"] = "Basic " + base64.b64encode(basic.encode()).decode()

    def as_application(self, app, key):
        return Api(self.url, basic=f"app/{app}:{key}", appserver=self.appserver)

    def as_user(self, token):
        return Api(self.url, bearer=token, appserver=self.appserver)

    def get(self, path):
        return self.call("GET", path)

    def post(self, path, body=None):
        return self.call("POST", path, {} if body is None else body)

    def patch(self, path, body):
        return self.call("PATCH", path, body)

    def delete(self, path):
        return self.call("DELETE", path)

    def call(self, method, path, body=None, raw=None):
        """One request; an error status is an answer like any other."""
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        request = self._request(path, method, data)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
                return Answer(response.status, read_json(response.read()))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, read_json(error.read()))

    def stream(self, path):
        """Listens to server-sent events from now on."""
        return EventStream(self._request(path, "GET", None))

    def _request(self, path, method, data):
        base = self.appserver if any(part in path for part in APPSERVER_PATHS) else self.url
        headers = dict(self.headers)
        if data is not None:
            headers["Content-Type"] = "application/json"
        return urllib.request.Request(base + path, data=data, headers=headers, method=method)


def read_json(body):
    try:
        return json.loads(body) if body else None
    except ValueError:
        return body


class EventStream:
    """Server-sent events; open once the first line has come."""

    def __init__(self, request):
        self.response = urllib.request.urlopen(request, timeout=TIMEOUT)
        self.events = queue.Queue()
        first = self.response.readline()
        if not first.startswith(b":"):
            raise AssertionError(f"a stream starts with a comment, not {first!r}")
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        event = {}
        try:
            for line in self.response:
                line = line.decode().rstrip("\r\n")
                if not line and "data" in event:
                    self.events.put(event)
                if not line:
                    event = {}
                elif not line.startswith(":"):
                    name, _, value = line.partition(":")
                    event[name] = value.strip()
        except (OSError, ValueError, AttributeError):
            pass  # closed by us or by the server: there are no more events

    def next(self, within=TIMEOUT):
        """The data of the next event."""
        return json.loads(self.events.get(timeout=within)["data"])

    def close(self):
        """Wakes the reader first, which holds the response while it waits."""
        if self._reader.is_alive():
            try:
                with socket.fromfd(self.response.fileno(), socket.AF_INET, socket.SOCK_STREAM) as door:
                    door.shutdown(socket.SHUT_RDWR)
            except (OSError, ValueError, AttributeError):
                pass  # the server was first
        self._reader.join()
        self.response.close()
