"""A peer written against the protocol from its description alone, which says what it likes."""

import json
import socket
import ssl
import struct
import subprocess
import time
import uuid
from pathlib import Path

HELLO, ITEMS, PING, PONG, GOODBYE = range(5)
DEADLINE = 20.0


class Authority:
    """A certificate authority made with openssl."""

    def __init__(self, folder, name):
        self.folder, self.name = Path(folder), name
        self.key, self.crt = self.folder / f"{name}.ca.key", self.folder / f"{name}.ca.crt"
        self._openssl("req", "-x509", *self._new_key(self.key), "-out", self.crt, "-subj", f"/CN={name}", "-days", "10")

    @property
    def pem(self):
        return self.crt.read_text()

    def issue(self, domain, days=5):
        """A certificate that names a domain; gives the files of the chain and of the key."""
        stem = f"{self.name}.{domain}.{days}"
        key, request, crt, extensions = (self.folder / f"{stem}.{part}" for part in ("key", "csr", "crt", "ext"))
        self._openssl("req", *self._new_key(key), "-out", request, "-subj", f"/CN={domain}")
        extensions.write_text(
            f"subjectAltName=URI:irsp://{domain}/srv/message\nextendedKeyUsage=clientAuth,serverAuth\n"
        )
        self._openssl(
            "x509", "-req", "-in", request, "-CA", self.crt, "-CAkey", self.key, "-CAcreateserial",
            "-days", str(days), "-extfile", extensions, "-out", crt,
        )
        return crt, key

    @staticmethod
    def _new_key(path):
        return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", path)

    @staticmethod
    def _openssl(*words):
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


class Refused(Exception):
    """The other side ended the connection without a goodbye."""


class Peer:
    """One connection to a domain's door."""

    def __init__(self, door, certificate=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["irsp-peer"])
        if certificate:
            context.load_cert_chain(*map(str, certificate))
        self.buffer = b""
        try:
            self.socket = context.wrap_socket(socket.create_connection(door, timeout=DEADLINE))
        except (ssl.SSLError, OSError) as error:
            raise Refused(str(error)) from error

    def close(self):
        self.socket.close()

    def send(self, tag, body=b""):
        self.raw(struct.pack(">IB", len(body) + 1, tag) + body)

    def raw(self, data):
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Refused(str(error)) from error

    def hello(self, domain, to, version=(1, 0)):
        """Greets, and gives the other side's greeting."""
        major, minor = version
        greeting = {"version": {"major": major, "minor": minor}, "domain": domain, "to": to}
        self.send(HELLO, json.dumps(greeting).encode())
        tag, body = self.part()
        assert tag == HELLO, (tag, body)
        return json.loads(body)

    def part(self):
        """The next part: its tag and its body."""
        while True:
            if len(self.buffer) >= 4:
                (length,) = struct.unpack(">I", self.buffer[:4])
                if len(self.buffer) >= 4 + length:
                    part, self.buffer = self.buffer[4 : 4 + length], self.buffer[4 + length :]
                    return part[0], part[1:]
            try:
                piece = self.socket.recv(65536)
            except OSError as error:
                raise Refused(str(error)) from error
            if not piece:
                raise Refused("closed")
            self.buffer += piece

    def goodbye(self):
        """The code with which the other side says goodbye."""
        while True:
            tag, body = self.part()
            if tag == GOODBYE:
                return json.loads(body)["code"]

    def pong(self):
        """Waits for the answer to a ping; what the other side has to say of its own may come before it."""
        while self.part()[0] != PONG:
            pass

    def deliver(self, *envelopes, place=None):
        """Sends envelopes (head, data) in one frame."""
        frame = b""
        for head, data in envelopes:
            item = {"deliver": {"from": "message", "place": place or {"seq": 1, "after": 0}, "envelope": head}}
            frame += self._item(item, data)
        self.send(ITEMS, frame)

    def answers(self, count=1):
        """The codes answered, by message id. What is delivered meanwhile stays unanswered."""
        found = {}
        end = time.monotonic() + DEADLINE
        while len(found) < count and time.monotonic() < end:
            found.update((item["answer"]["id"], item["answer"]["status"]) for item in self.items() if "answer" in item)
        return found

    def take(self, count):
        """Takes so many envelopes of the other side and answers each with 200; gives their heads by message id."""
        taken = {}
        end = time.monotonic() + DEADLINE
        while len(taken) < count and time.monotonic() < end:
            heads = [item["deliver"]["envelope"] for item in self.items() if "deliver" in item]
            taken.update((head["id"], head) for head in heads)
            answers = [{"answer": {"from": "message", "id": head["id"], "status": 200}} for head in heads]
            self.send(ITEMS, b"".join(map(self._item, answers)))
        return taken

    def items(self):
        """What the heads of the next part say; nothing if it has none."""
        tag, body = self.part()
        found = []
        while tag == ITEMS and body:
            (length,) = struct.unpack(">I", body[:4])
            found.append(json.loads(body[4 : 4 + length]))
            body = body[4 + length :]
            (data,) = struct.unpack(">I", body[:4])
            body = body[4 + data :]
        return found

    @staticmethod
    def _item(head, data=b""):
        text = json.dumps(head).encode()
        return struct.pack(">I", len(text)) + text + struct.pack(">I", len(data)) + data


def envelope(kind, source, destination, id=None, **more):
    """An envelope's head."""
    stamp = lambda seconds: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
    return {
        "id": id or str(uuid.uuid4()),
        "type": f"irsp.{kind}",
        "source": source,
        "destination": destination,
        "subject": "temp",
        "time": stamp(0),
        "expirytime": stamp(600),
        **more,
    }
