"""What every story has: a platform, and people and things in it with names of their own."""

import itertools
import unittest
from dataclasses import dataclass

from .mqtt import Client
from .platform import Platform
from .waiting import until
from .web import Api

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Device:
    id: str
    code: str

    @property
    def username(self):
        return f"dev/{self.id}"

    def topic(self, rest):
        return f"v1/dev/{self.id}/{rest}"


@dataclass(frozen=True)
class User:
    id: str
    token: str
    http: Api

    @property
    def username(self):
        return f"usr/{self.id}"


@dataclass(frozen=True)
class Application:
    id: str
    key: str
    http: Api

    @property
    def username(self):
        return f"app/{self.id}"


class Story(unittest.TestCase):
    """One platform for all stories of a class; each story makes its own principals."""

    settings = ()
    shape = Platform

    @classmethod
    def setUpClass(cls):
        cls.platform = cls.shape(*cls.settings)
        cls.addClassCleanup(cls.platform.remove)

    def setUp(self):
        self.admin = self.platform.admin()

    # People and things

    def a_device(self, **options):
        id = f"lamp-{next(_numbers)}"
        made = self.admin.post("/v1/devices", {"id": id, **options})
        self.assertEqual((made.code, made["in_effect"]), (201, True), made.body)
        return Device(id, made["code"])

    def an_application(self, **options):
        id = f"climate-{next(_numbers)}"
        made = self.admin.post("/v1/apps", {"id": id, **options})
        self.assertEqual((made.code, made["in_effect"]), (201, True), made.body)
        return Application(id, made["key"], self.admin.as_application(id, made["key"]))

    def a_user(self):
        id, password = f"ann-{next(_numbers)}", "correct horse"
        made = self.admin.post("/v1/users", {"id": id, "password": password})
        self.assertEqual(made.code, 201, made.body)
        login = self.platform.anybody().post("/v1/login", {"id": id, "password": password})
        self.assertEqual(login.code, 200, login.body)
        return User(id, login["token"], self.admin.as_user(login["token"]))

    def bind(self, user, device):
        bound = user.http.post("/v1/bindings", {"device": device.id, "code": device.code})
        self.assertEqual((bound.code, bound["in_effect"]), (201, True), bound.body)

    # Their clients

    def client(self, principal, **options):
        """A client of theirs, not yet connected; gone when the story ends."""
        secret = next(s for s in (getattr(principal, name, None) for name in ("code", "key", "token")) if s)
        client = Client(self.platform, principal.username, secret, **options)
        self.addCleanup(client.vanish)
        return client

    def connected(self, principal, **options):
        return self.client(principal, **options).open()

    # What there is to see

    def uploads(self, app):
        answer = app.http.get(f"/v1/apps/{app.id}/uploads?limit=1000")
        self.assertEqual(answer.code, 200, answer.body)
        return answer["uploads"]

    def stored(self, app, count):
        """The uploads of an application, once there are `count`."""
        return until(lambda: len(found := self.uploads(app)) >= count and found, f"{count} uploads at app/{app.id}")

    def presence(self, principal, **expected):
        """Presence by HTTP, once it is as expected."""

        def look():
            answer = self.admin.get(f"/v1/presence/{principal.username}")
            same = answer.code == 200 and all(answer[name] == value for name, value in expected.items())
            return answer.body if same else None

        return until(look, f"presence of {principal.username}: {expected}")

    def receipt(self, http, id, **expected):
        """The receipt of a message, once it is as expected."""

        def look():
            answer = http.get(f"/v1/messages/{id}")
            same = answer.code == 200 and all(answer[name] == value for name, value in expected.items())
            return answer.body if same else None

        return until(look, f"receipt of {id}: {expected}; is {http.get(f'/v1/messages/{id}')}")
