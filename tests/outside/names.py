"""A name server on loopback that knows one service and the addresses of hosts, and can be told something else."""

import socket
import struct
import threading

A, SRV = 1, 33
NXDOMAIN = 3


def labels(name):
    return b"".join(bytes([len(part)]) + part.encode() for part in name.strip(".").split(".")) + b"\0"


class NameServer:
    """`services`: `_irsp._tcp.{domain}` to (host, port); `hosts`: name to address."""

    def __init__(self):
        self.services, self.hosts = {}, {}
        #: Names that were asked for.
        self.asked = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def stop(self):
        self._socket.close()

    def _serve(self):
        while True:
            try:
                question, whom = self._socket.recvfrom(4096)
                self._socket.sendto(self._answer(question), whom)
            except OSError:
                return

    def _answer(self, question):
        at, parts = 12, []
        while question[at]:
            parts.append(question[at + 1 : at + 1 + question[at]].decode().lower())
            at += 1 + question[at]
        (kind,) = struct.unpack(">H", question[at + 1 : at + 3])
        name = ".".join(parts)
        self.asked.append(name)
        data = None
        if kind == SRV and name in self.services:
            host, port = self.services[name]
            data = struct.pack(">HHH", 0, 0, port) + labels(host)
        elif kind == A and name in self.hosts:
            data = socket.inet_aton(self.hosts[name])
        known = name in self.services or name in self.hosts
        flags = 0x8580 | (0 if known else NXDOMAIN)
        head = question[:2] + struct.pack(">HHHHH", flags, 1, int(data is not None), 0, 0)
        answer = head + question[12 : at + 5]
        if data is not None:
            answer += b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 30, len(data)) + data
        return answer
