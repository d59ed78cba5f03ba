"""Options of a push, by HTTP and by MQTT 5 with clients that are not ours."""

from .mqtt import V311
from .story import Story

MALFORMED, OTHER_ERROR = 0x99, 0x83


class PushOptions(Story):
    def setUp(self):
        super().setUp()
        self.device, self.app = self.a_device(), self.an_application()
        self.developer = self.connected(self.app)
        self.developer.subscribe(f"v1/app/{self.app.id}/status")

    def by_http(self, text, **options):
        body = {"to": self.device.username, "channel": "set", "text": text, **options}
        return self.app.http.post("/v1/push", body)

    def by_mqtt(self, text, **options):
        return self.developer.publish(f"v1/app/{self.app.id}/to/{self.device.username}/set", text, **options)

    def hears(self, version=5):
        """What the device hears, answering each, up to a last push that marks the end."""
        lamp = self.connected(self.device, version=version)
        lamp.subscribe(self.device.topic("down/#"))
        self.by_http("end")
        heard = []
        while True:
            down = lamp.receive("/down/")
            self.assertEqual(lamp.publish(self.device.topic(f"ack/{down.topic.split('/')[5]}"), "200"), 0)
            if down.payload == b"end":
                return heard
            heard.append(down.payload.decode())

    def test_one_id_is_one_push_by_both_ways(self):
        first = self.by_http("on", id="a")
        again = self.by_http("on", id="a")
        self.assertEqual((first.code, again.code, again["id"]), (202, 208, first["id"]))
        self.assertEqual(self.by_mqtt("on", id="a"), 0)
        told = self.developer.receive("/status").json
        self.assertEqual((told["code"], told["id"], told["message"]), (208, "a", first["id"]))
        self.assertEqual(self.by_mqtt("off", id="b"), 0)
        repeat = self.by_http("off", id="b")
        self.assertEqual((repeat.code, repeat["status"]), (208, 208))
        for version in (V311, 5):
            self.assertEqual(self.hears(version), ["on", "off"] if version == V311 else [])
        for id in (first["id"], repeat["id"]):
            self.receipt(self.app.http, id, status=200)

    def test_one_id_for_two_pushes_is_409(self):
        self.assertEqual(self.by_http("on", id="a").code, 202)
        self.assertEqual(self.by_http("off", id="a").code, 409)
        self.assertEqual(self.by_mqtt("off", id="a"), OTHER_ERROR)
        self.assertEqual(self.developer.receive("/status").json["code"], 409)
        self.assertEqual(self.by_mqtt("on", id="b"), 0)
        self.assertEqual(self.by_http("off", id="b").code, 409)
        self.assertEqual(self.hears(), ["on", "on"])

    def test_the_newest_with_a_key_takes_the_place_of_the_others(self):
        first = self.by_http("1", supersede_key="power")
        self.assertEqual(self.by_mqtt("2", supersedekey="power"), 0)
        self.by_http("3", supersede_key="colour")
        last = self.by_http("4", supersede_key="power")
        ended = self.receipt(self.app.http, first["id"], status=409)
        self.assertEqual(ended["cause"]["name"], "superseded")
        told = self.developer.receive("/status").json
        self.assertEqual((told["code"], told["cause"]), (409, {"name": "superseded", "by": last["id"]}))
        self.assertEqual(self.hears(), ["3", "4"])

    def test_a_key_outlives_a_crash(self):
        first = self.by_http("1", supersede_key="power")
        self.platform.crash()
        self.by_http("2", supersede_key="power")
        self.receipt(self.app.http, first["id"], status=409)
        self.assertEqual(self.hears(), ["2"])

    def test_a_push_for_one_session_does_not_reach_the_next(self):
        lamp = self.connected(self.device)
        epoch = self.presence(self.device, state="online")["epoch"]
        lamp.leave()
        late = self.by_http("late", only_if_epoch=epoch)
        self.assertEqual(self.by_mqtt("late", onlyifepoch=epoch), 0)
        next_one = self.by_http("next", only_if_epoch=epoch + 1)
        self.assertEqual(self.hears(), ["next"])
        ended = self.receipt(self.app.http, late["id"], status=409)
        self.assertEqual(ended["cause"], {"name": "epoch-changed", "epoch": epoch + 1})
        self.assertEqual(self.developer.receive("/status").json["code"], 409)
        self.receipt(self.app.http, next_one["id"], status=200)

    def test_expiry_by_both_ways(self):
        for answer in (self.by_http("x", expiry="31d"), self.by_http("x", expiry="1s", expires="2999-01-01T00:00:00Z")):
            self.assertEqual(answer.code, 400, answer.body)
        self.assertEqual(self.by_http("x", expires="2020-01-01T00:00:00Z").code, 408)
        self.assertEqual(self.by_mqtt("x", expiry=31 * 86_400), MALFORMED)
        self.assertEqual(self.by_mqtt("x", expiry=60, expirytime="2999-01-01T00:00:00Z"), MALFORMED)
        self.assertEqual(self.by_mqtt("x", expirytime="2020-01-01T00:00:00Z"), OTHER_ERROR)
        codes = [self.developer.receive("/status").json["code"] for _ in range(3)]
        self.assertEqual(codes, [400, 400, 408])
        self.assertEqual(self.hears(), [])

    def test_what_is_no_option_is_named(self):
        for name, value in (("supersedekey", ""), ("supersedekey", "x" * 129), ("onlyifepoch", "0"), ("id", "")):
            self.assertEqual(self.by_mqtt("x", **{name: value}), MALFORMED, name)
            self.assertTrue(self.developer.receive("/status").json["detail"])
        for name, value in (("supersede_key", ""), ("only_if_epoch", 0), ("only_if_epoch", "1"), ("priority", 1)):
            answer = self.by_http("x", **{name: value})
            self.assertEqual(answer.code, 400, answer.body)
            self.assertTrue(answer["detail"])
