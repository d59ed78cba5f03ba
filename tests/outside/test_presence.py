"""Point 6: every way to come and go becomes ordered events, the same for all who look."""

from .mqtt import V311
from .story import Story
from .wire import BareClient


class Presence(Story):
    def watch(self, device):
        """Both a subscriber and the live HTTP stream, with the application's key."""
        app = self.an_application()
        watcher = self.connected(app)
        stream = app.http.stream("/v1/presence/stream")
        self.addCleanup(stream.close)
        self.assertEqual(watcher.subscribe("v1/dev/+/presence"), [1])

        def mine_by_mqtt():
            return watcher.receive(device.topic("presence")).json

        def mine_by_http():
            while True:
                event = stream.next()
                if event["principal"] == device.username:
                    return event

        return mine_by_mqtt, mine_by_http

    def assert_seen(self, watchers, *expected):
        """All who look see these (state, reason) in this order, with the same rising epoch and sequence."""
        seen = [[watch() for _ in expected] for watch in watchers]
        for events in seen:
            self.assertEqual([(event["state"], event["reason"]) for event in events], list(expected))
            order = [(event["epoch"], event["seq"]) for event in events]
            self.assertEqual(order, sorted(set(order)))
        by_mqtt, by_http = ([(event["epoch"], event["seq"], event["since"]) for event in events] for events in seen)
        self.assertEqual(by_mqtt, by_http)

    def test_connect_and_clean_disconnect(self):
        device = self.a_device()
        watchers = self.watch(device)
        self.connected(device).leave()
        self.assert_seen(watchers, ("online", "connected"), ("offline", "disconnected"))
        self.presence(device, state="offline", reason="disconnected")

    def test_a_killed_socket(self):
        device = self.a_device()
        watchers = self.watch(device)
        bare = BareClient(self.platform, device.username, device.code)
        self.presence(device, state="online")
        bare.reset()
        self.assert_seen(watchers, ("online", "connected"), ("offline", "connection-lost"))

    def test_silence_longer_than_the_keep_alive(self):
        device = self.a_device()
        watchers = self.watch(device)
        bare = BareClient(self.platform, device.username, device.code, keep_alive=1)
        self.addCleanup(bare.close)
        self.assertTrue(bare.ended())
        self.assert_seen(watchers, ("online", "connected"), ("offline", "keep-alive-timeout"))

    def test_a_second_connection_takes_over(self):
        device = self.a_device()
        watchers = self.watch(device)
        first = self.connected(device, client_id="one")
        self.connected(device, client_id="two").leave()
        self.assertEqual(first.wait_closed(), 0x8E, "session taken over")
        seen = [[watch()] for watch in watchers]
        for events, watch in zip(seen, watchers):
            while events[-1]["reason"] != "disconnected":
                events.append(watch())
            order = [(event["epoch"], event["seq"]) for event in events]
            self.assertEqual(order, sorted(set(order)))
            self.assertEqual(events[0]["state"], "online")
            self.assertGreater(events[-1]["epoch"], events[0]["epoch"])
        self.presence(device, state="offline", reason="disconnected")

    def test_a_deleted_device_goes_offline(self):
        device = self.a_device()
        watchers = self.watch(device)
        self.connected(device)
        self.admin.delete(f"/v1/devices/{device.id}")
        self.assert_seen(watchers, ("online", "connected"), ("offline", "revoked"))

    def test_it_is_retained_for_those_who_come_later(self):
        device, user = self.a_device(), self.a_user()
        self.bind(user, device)
        self.connected(device)
        self.presence(device, state="online")
        phone = self.connected(user, version=V311)
        self.assertEqual(phone.subscribe(device.topic("presence")), [1])
        news = phone.receive("/presence")
        self.assertTrue(news.retain)
        self.assertEqual((news.json["state"], news.json["principal"]), ("online", device.username))

    def test_the_epoch_rises_with_every_session(self):
        device = self.a_device()
        epochs = []
        for _ in range(3):
            client = self.connected(device)
            epochs.append(self.presence(device, state="online")["epoch"])
            client.leave()
            self.presence(device, state="offline")
        self.assertEqual(epochs, sorted(set(epochs)))

    def test_the_list_holds_everyone(self):
        device, user = self.a_device(), self.a_user()
        self.connected(device), self.connected(user)
        self.presence(device, state="online")
        self.presence(user, state="online")
        listed = {entry["principal"]: entry["state"] for entry in self.admin.get("/v1/presence?limit=1000")["presence"]}
        self.assertEqual((listed[device.username], listed[user.username]), ("online", "online"))


class Restarted(Story):
    def test_a_session_that_outlives_the_server_hears_what_is_new_and_nothing_twice(self):
        app, device = self.an_application(), self.a_device()
        lasting = {"client_id": "lasting", "session_expiry": 600, "clean": False}
        watcher = self.connected(app, **lasting)
        self.assertEqual(watcher.subscribe("v1/dev/+/presence"), [1])
        self.connected(device).leave()
        for state in "online", "offline":
            self.assertEqual(watcher.receive("/presence").json["state"], state)
        for end in self.platform.stop, self.platform.kill:
            watcher.leave()
            end()
            self.platform.start()
            watcher = self.connected(app, **lasting)
            self.assertTrue(watcher.session_present)
            self.connected(device).leave()
            news = watcher.receive("/presence").json
            while end == self.platform.kill and news["state"] == "offline":
                news = watcher.receive("/presence").json  # the last before a kill may come again
            self.assertEqual(news["state"], "online", news)
            self.assertEqual(watcher.receive("/presence").json["state"], "offline")
        late = self.connected(app, client_id="late")
        self.assertEqual(late.subscribe(device.topic("presence")), [1])
        self.assertTrue(late.receive("/presence").retain, "it is retained all the same")


class LastWill(Story):
    def test_a_will_on_a_live_topic_reaches_its_listeners(self):
        device, user = self.a_device(), self.a_user()
        self.bind(user, device)
        phone = self.connected(user)
        phone.subscribe(device.topic("live/#"))
        self.connected(device, will=(device.topic("live/state"), "gone")).vanish()
        self.assertEqual(phone.receive("/live/state").payload, b"gone")

    def test_a_will_on_an_upload_topic_is_an_upload(self):
        for version in (V311, 5):
            device, app = self.a_device(), self.an_application()
            self.connected(device, version=version, will=(device.topic(f"up/{app.id}/state"), '"gone"')).vanish()
            self.assertEqual([upload["data"] for upload in self.stored(app, 1)], ["gone"])

    def test_a_clean_goodbye_discards_the_will(self):
        device, app = self.a_device(), self.an_application()
        topic = device.topic(f"up/{app.id}/state")
        self.connected(device, will=(topic, '"gone"')).leave()
        self.connected(device).publish(topic, '"end"')
        self.assertEqual([upload["data"] for upload in self.stored(app, 1)], ["end"])

    def test_a_will_on_a_foreign_topic_is_refused_at_connect(self):
        device, other = self.a_device(), self.a_device()
        self.assertGreaterEqual(self.client(device, will=(other.topic("live/x"), "boo")).connect(), 0x80)
