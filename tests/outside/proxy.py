"""A TCP proxy on loopback that treats connections badly: slow, cut, reset, held, half dead."""

import contextlib
import select
import socket
import struct
import threading
import time


class Proxy:
    """Carries what comes to `self.port` on to `target` (host, port), as `self` is told to."""

    def __init__(self, target):
        self.target = target
        #: Seconds that every piece takes.
        self.delay = 0.0
        #: Bytes of a piece.
        self.piece = 65536
        #: New connections are closed at once.
        self.closed = False
        #: Nothing is carried any more, and nobody is told.
        self.held = False
        #: Nothing is carried back to whoever called.
        self.half = False
        #: Connections taken, and bytes carried in either direction.
        self.taken = self.carried = 0
        self._pairs = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._stopped = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, reset=False):
        """Ends every connection there is, with FIN or with RST."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    if reset:
                        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    else:
                        end.shutdown(socket.SHUT_RDWR)
                    end.close()

    def stop(self):
        self._stopped = True
        self._listener.close()
        self.cut()

    def _accept(self):
        while not self._stopped:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            self.taken += 1
            try:
                if self.closed:
                    raise OSError
                called = socket.create_connection(self.target, timeout=5)
                for end in (caller, called):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError:
                caller.close()
                continue
            with self._lock:
                self._pairs.append((caller, called))
            threading.Thread(target=self._carry, args=(caller, called), daemon=True).start()

    def _carry(self, caller, called):
        try:
            while not self._stopped:
                ready, _, _ = select.select([caller, called], [], [], 0.1)
                for source in ready:
                    if self.held:
                        time.sleep(0.05)
                        continue
                    piece = source.recv(self.piece)
                    if not piece:
                        raise OSError
                    self.carried += len(piece)
                    if self.delay:
                        time.sleep(self.delay)
                    if source is called and self.half:
                        continue
                    (called if source is caller else caller).sendall(piece)
        except (OSError, ValueError):
            for end in (caller, called):
                with contextlib.suppress(OSError):
                    end.close()
