"""A paho client with an inbox, for 3.1.1 and 5.0, over plain TCP, TLS and WebSocket."""

import json
import socket
import threading
from dataclasses import dataclass

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from .waiting import DEADLINE

V311 = paho.MQTTv311
V5 = paho.MQTTv5


@dataclass(frozen=True)
class Message:
    topic: str
    payload: bytes
    retain: bool
    qos: int

    @property
    def json(self):
        return json.loads(self.payload)


class Client:
    """One MQTT connection. `refused`, `closed` and every acknowledgement are reason codes as numbers."""

    def __init__(
        self,
        platform,
        username,
        password,
        version=V5,
        over="tcp",
        client_id=None,
        keep_alive=60,
        session_expiry=None,
        packet_size_max=None,
        clean=True,
        will=None,
        will_delay=0,
        certificate=None,
        tls_version=None,
        ca=None,
    ):
        transport = "websockets" if over == "ws" else "tcp"
        extra = {} if version == V5 else {"clean_session": clean}
        self.paho = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=version,
            transport=transport,
            reconnect_on_failure=False,
            **extra,
        )
        self.version, self.clean, self.keep_alive = version, clean, keep_alive
        self.session_expiry, self.packet_size_max = session_expiry, packet_size_max
        self.address = getattr(platform, over)
        if username is not None:
            self.paho.username_pw_set(username, password)
        if over == "ws":
            self.paho.ws_set_options(path="/mqtt")
        if over == "tls":
            crt, key = certificate.files if certificate else (None, None)
            self.paho.tls_set(ca_certs=str(ca or platform.ca), certfile=crt, keyfile=key)
            if tls_version is not None:
                context = self.paho._ssl_context
                context.minimum_version = context.maximum_version = tls_version
        if will:
            topic, payload, *rest = will
            properties = Properties(PacketTypes.WILLMESSAGE) if version == V5 else None
            if will_delay:
                properties.WillDelayInterval = will_delay
            self.paho.will_set(topic, payload, qos=1, retain=bool(rest and rest[0]), properties=properties)
        self.connack = None
        self.session_present = None
        self.closed = None
        self.closed_by_server = None
        self.inbox = []
        self._acks = {}
        self._changed = threading.Condition()
        self.paho.on_connect = self._on_connect
        self.paho.on_disconnect = self._on_disconnect
        self.paho.on_message = self._on_message
        self.paho.on_publish = lambda _c, _u, mid, code, _p: self._on_ack(mid, code.value)
        self.paho.on_unsubscribe = lambda _c, _u, mid, _codes, _p: self._on_ack(mid, 0)
        self.paho.on_subscribe = lambda _c, _u, mid, codes, _p: self._on_ack(mid, [code.value for code in codes])

    def connect(self):
        """Sends CONNECT and gives the reason code of the CONNACK."""
        extra = {}
        if self.version == V5:
            properties = Properties(PacketTypes.CONNECT)
            if self.session_expiry is not None:
                properties.SessionExpiryInterval = self.session_expiry
            if self.packet_size_max is not None:
                properties.MaximumPacketSize = self.packet_size_max
            extra = {"clean_start": self.clean, "properties": properties}
        self.connack, self.closed, self.closed_by_server = None, None, None
        self.paho.connect(*self.address, keepalive=self.keep_alive, **extra)
        self.paho.loop_start()
        self._wait(lambda: self.connack is not None or self.closed is not None, "CONNACK")
        return self.connack

    def open(self):
        """Connects, or fails the test."""
        code = self.connect()
        if code != 0:
            raise AssertionError(f"CONNACK {code}, closed {self.closed}")
        return self

    def publish(self, topic, payload, qos=1, retain=False, within=DEADLINE, **attributes):
        """Publishes and waits for the acknowledgement; gives its reason code (None: closed instead)."""
        if isinstance(payload, (dict, list)):
            payload = json.dumps(payload)
        info = self.paho.publish(topic, payload, qos=qos, retain=retain, properties=self._properties(attributes))
        return self._ack(info.mid, "PUBACK", within)

    def send(self, topic, payload, qos=1, retain=False, **attributes):
        """Publishes without waiting; gives the packet to ask `acked` about."""
        return self.paho.publish(topic, payload, qos=qos, retain=retain, properties=self._properties(attributes)).mid

    def _properties(self, attributes):
        """User properties by their names, and `expiry`, where the version has them."""
        if not attributes or self.version != V5:
            return None
        properties = Properties(PacketTypes.PUBLISH)
        expiry = attributes.pop("expiry", None)
        if expiry is not None:
            properties.MessageExpiryInterval = expiry
        if attributes:
            properties.UserProperty = [(name, str(value)) for name, value in attributes.items()]
        return properties

    def acked(self, mid):
        """The reason code of a publish that was sent, or None as long as there is none."""
        return self._acks.get(mid)

    def subscribe(self, *filters, qos=1, no_local=False):
        """Subscribes and gives one reason code for each filter."""
        if self.version == V5:
            options = SubscribeOptions(qos=qos, noLocal=no_local)
            _, mid = self.paho.subscribe([(filter, options) for filter in filters])
        else:
            _, mid = self.paho.subscribe([(filter, qos) for filter in filters])
        return self._ack(mid, "SUBACK", DEADLINE)

    def unsubscribe(self, *filters):
        """Unsubscribes and waits until the server has said so."""
        _, mid = self.paho.unsubscribe(list(filters))
        return self._ack(mid, "UNSUBACK", DEADLINE)

    def receive(self, topic="", within=DEADLINE):
        """Takes the oldest message whose topic contains `topic`."""

        def take():
            for message in self.inbox:
                if topic in message.topic:
                    self.inbox.remove(message)
                    return message
            return None

        return self._wait(take, f"a message on {topic or 'any topic'}; have {self.inbox}", within)

    def received(self, topic):
        """Every message waiting whose topic contains `topic`."""
        with self._changed:
            return [message for message in self.inbox if topic in message.topic]

    def leave(self):
        """Says goodbye."""
        self.paho.disconnect()
        self._wait(lambda: self.closed is not None, "the end of the connection")
        self.paho.loop_stop()

    def vanish(self):
        """Closes the connection without a goodbye."""
        self.paho.on_disconnect = None
        door = self.paho.socket()
        if door is not None:
            try:
                door.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the server was first
        self.paho.loop_stop()
        self.closed = 0

    def wait_closed(self, within=DEADLINE):
        """Waits until the server closes; gives the reason code of its DISCONNECT, None when it sent none."""
        self._wait(lambda: self.closed is not None, "the server closes", within)
        self.paho.loop_stop()
        return self.closed if self.closed_by_server else None

    def _ack(self, mid, name, within):
        self._wait(lambda: mid in self._acks or self.closed is not None, name, within)
        return self._acks.pop(mid, None)

    def _wait(self, what, description, within=DEADLINE):
        with self._changed:
            found = None

            def look():
                nonlocal found
                found = what()
                return found

            if not self._changed.wait_for(look, timeout=within):
                raise AssertionError(f"not within {within:g} s: {description}")
            return found

    def _on_connect(self, _client, _userdata, flags, code, _properties):
        with self._changed:
            self.connack, self.session_present = code.value, flags.session_present
            self._changed.notify_all()

    def _on_disconnect(self, _client, _userdata, flags, code, _properties):
        with self._changed:
            self.closed, self.closed_by_server = code.value, flags.is_disconnect_packet_from_server
            self._changed.notify_all()

    def _on_message(self, _client, _userdata, message):
        with self._changed:
            self.inbox.append(Message(message.topic, message.payload, message.retain, message.qos))
            self._changed.notify_all()

    def _on_ack(self, mid, code):
        with self._changed:
            self._acks[mid] = code
            self._changed.notify_all()
