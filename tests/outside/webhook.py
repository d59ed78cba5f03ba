"""A third party's HTTP service: takes signed events, checks the signatures by itself, and misbehaves when told to."""

import base64
import hashlib
import hmac
import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOLERANCE = 300


def sign(secret, id, timestamp, body):
    """One signature of Standard Webhooks."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def signed_by(secret, headers, body):
    """Whether one of the request's signatures is this secret's, and fresh."""
    expected = sign(secret, headers["webhook-id"], headers["webhook-timestamp"], body)
    fresh = abs(time.time() - int(headers["webhook-timestamp"])) < TOLERANCE
    return fresh and any(hmac.compare_digest(expected, given) for given in headers["webhook-signature"].split(" "))


class Event:
    """One request as it came."""

    def __init__(self, path, headers, body):
        self.path, self.body = path, body
        self.headers = {name.lower(): value for name, value in headers.items()}

    @property
    def kind(self):
        return self.headers.get("ce-type")

    @property
    def source(self):
        return self.headers["ce-source"].split("@")[0]


def ok(handler, _event):
    answer(handler, 200)


def answer(handler, code, body=b"", **headers):
    handler.send_response(code)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


class Service:
    """A service on a free port of loopback. `behave(handler, event)` answers everything but challenges."""

    def __init__(self, behave=ok, context=None, port=0):
        self.behave, self.events, self.secret = behave, [], None
        self.unsigned = 0
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                service.take(self, Event(self.path, self.headers, body))

            def do_GET(self):
                service.events.append(Event(self.path, self.headers, b""))
                answer(self, 200)

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass  # a client that went away is no news here

        self.server = Server(("127.0.0.1", port), Handler)
        if context:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.scheme = "https" if context else "http"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.port}/hook"

    def take(self, handler, event):
        if self.secret and not signed_by(self.secret, event.headers, event.body):
            self.unsigned += 1
            return answer(handler, 401)
        if event.kind == "irsp.challenge":
            return answer(handler, 200, json.loads(event.body)["challenge"].encode())
        self.events.append(event)
        self.behave(handler, event)

    def bodies(self, source=None):
        """What came, in order; of one sender if it is named."""
        return [event.body for event in list(self.events) if source in (None, event.source)]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def tls(certificate, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
