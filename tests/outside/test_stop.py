"""Point 10: SIGTERM drains; clients are told, nothing accepted is lost, exit code 0."""

import threading
import time

from .mqtt import V5, V311
from .story import Story
from .waiting import until

SERVER_SHUTTING_DOWN = 0x8B


class Stop(Story):
    def setUp(self):
        if self.platform.process.child.poll() is not None:
            self.platform.start()
        super().setUp()

    def test_clients_are_told_and_the_exit_code_is_0(self):
        lamps = [self.connected(self.a_device(), over=over) for over in ("tcp", "tls", "ws")]
        old = self.connected(self.a_device(), version=V311)
        start = time.monotonic()
        self.assertEqual(self.platform.stop(), 0)
        self.assertLess(time.monotonic() - start, 10)
        self.assertEqual([lamp.wait_closed() for lamp in lamps], [SERVER_SHUTTING_DOWN] * 3)
        old.wait_closed()

    def test_nothing_acknowledged_is_lost(self):
        device, app = self.a_device(), self.an_application()
        lamp = self.connected(device, version=V5)
        topic = device.topic(f"up/{app.id}/n")
        sent = {n: lamp.send(topic, n) for n in range(300)}
        until(lambda: sum(lamp.acked(mid) is not None for mid in sent.values()) >= 50, "50 PUBACKs")
        self.assertEqual(self.platform.stop(), 0)
        lamp.wait_closed()
        self.platform.start()
        acknowledged = [n for n, mid in sent.items() if lamp.acked(mid) == 0]
        stored = [upload["data"] for upload in self.stored(app, len(acknowledged))]
        self.assertEqual(len(stored), len(set(stored)))
        self.assertLessEqual(set(acknowledged), set(stored))

    def test_a_live_stream_does_not_hold_it_up(self):
        app = self.an_application()
        streams = [app.http.stream(path) for path in (f"/v1/apps/{app.id}/uploads/stream", "/v1/presence/stream")]
        start = time.monotonic()
        self.assertEqual(self.platform.stop(), 0)
        self.assertLess(time.monotonic() - start, 9)
        for stream in streams:
            stream.close()

    def test_a_waiting_push_does_not_hold_it_up(self):
        device, app = self.a_device(), self.an_application()
        answers = []

        def push():
            try:
                answers.append(app.http.post("/v1/push", {"to": device.username, "channel": "c", "data": 1, "wait": "30s"}).code)
            except OSError as error:
                answers.append(error)

        waiting = threading.Thread(target=push)
        waiting.start()
        lamp = self.connected(device)
        lamp.subscribe(device.topic("down/#"))
        lamp.receive("/down/")
        start = time.monotonic()
        self.assertEqual(self.platform.stop(), 0)
        self.assertLess(time.monotonic() - start, 9)
        waiting.join(timeout=10)
        self.assertEqual(answers, [202])
