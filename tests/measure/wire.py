"""MQTT 5.0 as bytes, on asyncio: as many clients as a process may have sockets, each a few dictionary entries."""

import asyncio
import collections
import struct

#: Publishes without an acknowledgement, below what a server takes at once (Receive Maximum).
UNDER_WAY = 64
#: Connections that ended by themselves.
LOST = []

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK = 0x10, 0x20, 0x30, 0x40, 0x82, 0x90


def text(value):
    data = value.encode()
    return struct.pack(">H", len(data)) + data


def length(value):
    out = bytearray()
    while True:
        value, byte = value >> 7, value & 0x7F
        out.append(byte | (0x80 if value else 0))
        if not value:
            return bytes(out)


def frame(first, body):
    return bytes([first]) + length(len(body)) + body


def publish(topic, payload, id):
    """PUBLISH at QoS 1."""
    return frame(PUBLISH | 2, text(topic) + struct.pack(">H", id) + b"\0" + payload)


def puback(id):
    return b"\x40\x02" + struct.pack(">H", id)


class Client(asyncio.Protocol):
    """One connection. `heard(client, topic, payload)` is called for each message, which is acknowledged then."""

    def __init__(self, username, password, filters=(), heard=None, client_id=""):
        self.username, self.password, self.filters, self.heard = username, password, filters, heard
        self.client_id = client_id or username.replace("/", "-")
        self.ready = asyncio.get_running_loop().create_future()
        self.input, self.next_id, self.closed = bytearray(), 0, False
        self.acknowledged, self.window = 0, asyncio.Semaphore(UNDER_WAY)
        self.replies, self.unacknowledged = collections.deque(), 0

    @classmethod
    async def open(cls, address, *words, **named):
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(lambda: cls(*words, **named), *address)
        await asyncio.wait_for(client.ready, 120)
        return client

    def connection_made(self, transport):
        self.transport = transport
        body = text("MQTT") + bytes([5, 0xC2]) + struct.pack(">H", 600) + b"\0"
        transport.write(frame(CONNECT, body + text(self.client_id) + text(self.username) + text(self.password)))

    def connection_lost(self, error):
        if not self.closed:
            LOST.append(f"{self.username}: {error or 'closed by the server'}")
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(f"{self.username}: {error}"))

    def data_received(self, data):
        self.input += data
        at, out, whole = 0, [], self.input
        while len(whole) - at >= 2:
            size, shift, pos = 0, 0, at + 1
            while pos < len(whole):
                byte = whole[pos]
                size |= (byte & 0x7F) << shift
                shift, pos = shift + 7, pos + 1
                if byte < 0x80:
                    break
            else:
                break
            if len(whole) - pos < size:
                break
            self._packet(whole[at], bytes(whole[pos : pos + size]), out)
            at = pos + size
        del whole[:at]
        if out:
            self.transport.write(b"".join(out))

    def _packet(self, first, body, out):
        kind = first & 0xF0
        if kind == PUBLISH:
            end = 2 + struct.unpack_from(">H", body)[0]
            topic, id = body[2:end].decode(), 0
            if first & 6:
                id = struct.unpack_from(">H", body, end)[0]
                end += 2
            # Properties are passed over: one length, of up to four bytes.
            size, shift = 0, 0
            while True:
                byte = body[end]
                size |= (byte & 0x7F) << shift
                shift, end = shift + 7, end + 1
                if byte < 0x80:
                    break
            if id:
                out.append(puback(id))
            if self.heard:
                self.heard(self, topic, body[end + size :], out)
        elif kind == PUBACK:
            if len(body) > 2 and body[2] >= 0x80:
                raise ConnectionError(f"{self.username}: a publish is refused with 0x{body[2]:02X}")
            self.acknowledged += 1
            self.unacknowledged -= 1
            if self.replies:
                self.reply(*self.replies.popleft(), out)
            else:
                self.window.release()
        elif kind == CONNACK:
            if body[1]:
                self.ready.set_exception(ConnectionError(f"{self.username}: CONNACK 0x{body[1]:02X}"))
            elif self.filters:
                body = struct.pack(">H", 1) + b"\0" + b"".join(text(filter) + b"\1" for filter in self.filters)
                out.append(frame(SUBSCRIBE, body))
            else:
                self.ready.set_result(None)
        elif kind == SUBACK and not self.ready.done():
            self.ready.set_result(None)

    def id(self):
        self.next_id = self.next_id % 60_000 + 1
        return self.next_id

    def reply(self, topic, payload, out):
        """Publishes from within `heard`, now or when there is room."""
        if self.unacknowledged >= UNDER_WAY:
            self.replies.append((topic, payload))
        else:
            self.unacknowledged += 1
            out.append(publish(topic, payload, self.id()))

    async def send(self, topic, payload):
        """Publishes at QoS 1, when there is room."""
        await self.window.acquire()
        self.unacknowledged += 1
        self.transport.write(publish(topic, payload, self.id()))

    def close(self):
        self.closed = True
        self.transport.abort()
