"""A bare MQTT client on a socket, for what a well-behaved library does not do: fall silent, or die."""

import socket
import struct

from .waiting import DEADLINE


def _text(text):
    data = text.encode()
    return struct.pack(">H", len(data)) + data


def _length(number):
    """A variable byte integer [MQTT-1.5.5]."""
    low, high = number % 128, number // 128
    return bytes([low | 0x80]) + _length(high) if high else bytes([low])


def ended(door):
    """Waits until the server closes a connection; True when it did within the deadline."""
    try:
        while door.recv(4096):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


class WebSocketDoor:
    """A connection's bytes as binary frames, the way a browser sends them."""

    def __init__(self, address):
        self.socket, self.read = socket.create_connection(address, timeout=DEADLINE), b""
        head = ["GET /mqtt HTTP/1.1", "Host: x", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
        head += ["Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==", "Sec-WebSocket-Protocol: mqtt", "", ""]
        self.socket.sendall("\r\n".join(head).encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += self.socket.recv(1)
        if not answer.startswith(b"HTTP/1.1 101 "):
            raise AssertionError(answer.decode())

    def sendall(self, data):
        """One masked frame of less than 64 KiB."""
        length = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack(">H", len(data))
        self.socket.sendall(b"\x82" + length + bytes(4) + data)

    def recv(self, count):
        """Of one frame of less than 126 bytes, or what is left of it."""
        if not self.read:
            head = self.socket.recv(2, socket.MSG_WAITALL)
            self.read = self.socket.recv(head[1], socket.MSG_WAITALL) if head else b""
        data, self.read = self.read[:count], self.read[count:]
        return data

    def setsockopt(self, *words):
        self.socket.setsockopt(*words)

    def close(self):
        self.socket.close()


class BareClient:
    """Sends CONNECT and then only what it is told to. `door`: a connection that is open already."""

    def __init__(self, platform, username, password, keep_alive=60, client_id="bare", clean=True, door=None, level=4):
        body = _text("MQTT") + bytes([level, 0b1100_0000 | clean << 1]) + struct.pack(">H", keep_alive)
        body += (b"\0" if level == 5 else b"") + _text(client_id) + _text(username) + _text(password)
        self.socket = door or socket.create_connection(platform.tcp, timeout=DEADLINE)
        self.socket.sendall(b"\x10" + _length(len(body)) + body)
        first, connack = self.packet()
        if first != 0x20:
            raise AssertionError(f"not a CONNACK: {connack.hex()}")
        self.connack, self.session_present = connack[1], connack[0] == 1

    def send(self, first, *fields):
        """Sends a packet: its first byte, then bytes, texts and packet identifiers."""
        kinds = {int: lambda number: struct.pack(">H", number), str: _text, bytes: bytes}
        body = b"".join(kinds[type(field)](field) for field in fields)
        self.socket.sendall(bytes([first]) + _length(len(body)) + body)

    def packet(self):
        """Reads the next packet: its first byte and what follows its length."""
        first, length, shift = self._exactly(1)[0], 0, 0
        while True:
            byte = self._exactly(1)[0]
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return first, self._exactly(length)

    def ended(self):
        """Waits until the server closes the connection; True when it did within the deadline."""
        return ended(self.socket)

    def reset(self):
        """Dies: the peer gets a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self):
        self.socket.close()

    def _exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise AssertionError(f"closed after {data.hex()}")
            data += more
        return data
