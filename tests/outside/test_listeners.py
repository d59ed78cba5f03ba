"""Issue of the edge: what is spoken below MQTT, who a load balancer says one is, and how fast one may publish."""

import socket
import ssl
import struct
import warnings

from .scrape import Scrape
from .story import Story
from .waiting import DEADLINE, until
from .wire import BareClient, WebSocketDoor, ended

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
OVER_QUOTA_V311 = 3


class Tls(Story):
    settings = ("mqtt.wss=127.0.0.1:0",)

    def context(self, alpn=(), version=None):
        context = ssl.create_default_context(cafile=self.platform.ca)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if version:
            context.minimum_version = context.maximum_version = version
        return context

    def door(self, key="mqtt.tls", **options):
        """A TLS connection, handshake done; closed when the story ends."""
        with socket.create_connection(self.platform.addresses[key], timeout=DEADLINE) as door:
            tls = self.context(**options).wrap_socket(door, server_hostname="localhost")
        self.addCleanup(tls.close)
        return tls

    def test_tls_1_2_and_1_3_with_and_without_alpn(self):
        device = self.a_device()
        for version, word in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
            for alpn, agreed in (((), None), (("mqtt",), "mqtt"), (("x-other", "mqtt"), "mqtt")):
                with self.subTest(version=word, alpn=alpn):
                    door = self.door(version=version, alpn=alpn)
                    self.assertEqual((door.version(), door.selected_alpn_protocol()), (word, agreed))
                    client = BareClient(self.platform, device.username, device.code, door=door)
                    self.assertEqual(client.connack, 0)
                    client.close()

    def test_another_protocol_by_alpn_is_refused_in_the_handshake(self):
        for key, alpn in (("mqtt.tls", "http/1.1"), ("mqtt.tls", "h2"), ("mqtt.wss", "mqtt")):
            with self.subTest(key=key, alpn=alpn), self.assertRaises(ssl.SSLError) as refused:
                self.door(key, alpn=(alpn,))
            self.assertIn("no application protocol", str(refused.exception).lower().replace("_", " "))

    def test_a_websocket_over_tls_agrees_on_http(self):
        self.assertEqual(self.door("mqtt.wss", alpn=("http/1.1",)).selected_alpn_protocol(), "http/1.1")

    def test_a_websocket_that_breaks_while_it_is_ended_takes_nothing_with_it(self):
        device = self.a_device()
        for _ in range(20):
            client = BareClient(self.platform, device.username, device.code, door=WebSocketDoor(self.platform.ws))
            client.socket.sendall(bytes(2))
            client.reset()
        whole = BareClient(self.platform, device.username, device.code, door=WebSocketDoor(self.platform.ws))
        whole.send(0xC0)
        self.assertEqual(whole.packet(), (0xD0, b""))
        whole.close()
        self.assertFalse("panicked" in self.platform.log.read_text(), "the log tells of a panic")

    def test_a_websocket_message_larger_than_any_packet_is_told_so(self):
        device, door = self.a_device(), WebSocketDoor(self.platform.ws)
        client = BareClient(self.platform, device.username, device.code, door=door, level=5)
        door.socket.sendall(b"\x82\xff" + struct.pack(">Q", 1 << 24) + bytes(4))
        first, body = client.packet()
        self.assertEqual((first, body[0]), (0xE0, 0x95))
        client.close()

    def test_older_versions_are_refused(self):
        context = self.context()
        with warnings.catch_warnings(action="ignore"):
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        # The library's own policy would refuse before the server could.
        context.set_ciphers("ALL:@SECLEVEL=0")
        with socket.create_connection(self.platform.tls, timeout=DEADLINE) as door:
            with self.assertRaises((ssl.SSLError, ConnectionError)) as refused:
                context.wrap_socket(door, server_hostname="localhost")
        self.assertNotIn("no protocols available", str(refused.exception).lower().replace("_", " "))


def named(address, port=40_000, command=0x21):
    """A PROXY header of version 2 for a client over IPv4."""
    addresses = socket.inet_aton(address) + socket.inet_aton("192.0.2.1") + struct.pack(">HH", port, 1883)
    return SIGNATURE + bytes([command, 0x11]) + struct.pack(">H", len(addresses)) + addresses


class BehindALoadBalancer(Story):
    """Who comes from 127.0.0.1 is a load balancer, who comes from 127.0.0.2 is anybody."""

    settings = ("mqtt.proxies=127.0.0.1", "mqtt.connections_per_address_max=2")

    def door(self, first, source="127.0.0.1", over="tcp"):
        """A connection that begins with these bytes."""
        address = getattr(self.platform, over)
        door = socket.create_connection(address, timeout=DEADLINE, source_address=(source, 0))
        self.addCleanup(door.close)
        door.sendall(first)
        return door

    def arrives(self, device, first, source="127.0.0.1"):
        door = self.door(first, source)
        client = BareClient(self.platform, device.username, device.code, door=door)
        self.addCleanup(client.close)
        return client

    def refused(self, reason):
        return Scrape(self.platform.anybody().url).sum("irsp_edge_refused_total", reason=reason)

    def test_limits_count_whom_the_load_balancer_names(self):
        devices = [self.a_device() for _ in range(5)]
        for device, address in zip(devices, ("203.0.113.7", "203.0.113.7", "203.0.113.8")):
            self.assertEqual(self.arrives(device, named(address)).connack, 0)
        self.assertEqual(self.arrives(devices[3], named("203.0.113.7")).connack, OVER_QUOTA_V311)
        # The balancer's own connection, a health check, counts as its own.
        self.assertEqual(self.arrives(devices[4], named("203.0.113.7", command=0x20)).connack, 0)

    def test_tls_begins_behind_the_header(self):
        device = self.a_device()
        context = ssl.create_default_context(cafile=self.platform.ca)
        door = context.wrap_socket(self.door(named("203.0.113.20"), over="tls"), server_hostname="localhost")
        self.addCleanup(door.close)
        self.assertEqual(BareClient(self.platform, device.username, device.code, door=door).connack, 0)

    def test_a_load_balancer_that_names_nobody_is_closed(self):
        before = self.refused("proxy")
        for first in (b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0", b"PROXY TCP4 203.0.113.7 192.0.2.1 40000 1883\r\n"):
            self.assertTrue(ended(self.door(first.ljust(16, b"x"))))
        until(lambda: self.refused("proxy") - before == 2, "both are counted")

    def test_nobody_else_says_who_they_are(self):
        device = self.a_device()
        before = self.refused("malformed")
        self.assertTrue(ended(self.door(named("203.0.113.30"), source="127.0.0.2")))
        until(lambda: self.refused("malformed") > before, "it is counted as no CONNECT")
        self.assertEqual(self.arrives(device, b"", source="127.0.0.2").connack, 0)


class PublishRate(Story):
    settings = ("mqtt.publish_rate_max=100",)

    def held(self):
        scrape = Scrape(self.platform.anybody().url)
        return scrape.sum("irsp_edge_limit_refusals_total", limit="mqtt.publish_rate_max")

    def test_who_publishes_too_fast_is_slowed_and_nothing_is_lost_and_nobody_else_waits(self):
        fast, calm = self.a_device(), self.a_device()
        client, other = self.connected(fast), self.connected(calm)
        self.assertEqual(client.subscribe(fast.topic("live/#")), [1])
        before = self.held()
        sent = [client.send(fast.topic("live/n"), str(n)) for n in range(400)]
        # While the fast one is held, another is served at once.
        self.assertEqual(other.publish(calm.topic("live/x"), "1"), 0)
        heard = [client.receive("live/n", within=60).payload for _ in sent]
        self.assertEqual(heard, [str(n).encode() for n in range(400)])
        until(lambda: all(client.acked(mid) == 0 for mid in sent), "all are acknowledged", within=60)
        self.assertGreater(self.held(), before)
