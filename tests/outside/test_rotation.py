"""Certificates of links are renewed, and their authority changes, while messages go on (clause 8.5)."""

import shutil
import tempfile
import unittest
from pathlib import Path

from .federation import Domain, linked
from .hostile import Authority
from .mqtt import Client
from .waiting import until


@unittest.skipUnless(shutil.which("openssl"), "needs openssl")
class Rotation(unittest.TestCase):
    def test_a_new_certificate_and_a_new_authority_cost_no_message(self):
        folder = Path(tempfile.mkdtemp(prefix="irsp-rotation-"))
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        old, new = Authority(folder, "old"), Authority(folder, "new")
        crt, key = folder / "peer.crt", folder / "peer.key"

        def shows(authority, days):
            """As a renewal does."""
            made = authority.issue("b.example", days)
            shutil.copyfile(made[0], crt)
            shutil.copyfile(made[1], key)

        shows(old, 5)
        a = Domain("a.example")
        self.addCleanup(a.remove)
        b = Domain("b.example", f"federation.cert={crt}", f"federation.key={key}")
        self.addCleanup(b.remove)
        made = a.admin().post("/v1/peers", {"domain": "b.example", "ca": old.pem, "urls": [f"irsp://127.0.0.1:{b.door[1]}"]})
        self.assertEqual(made.code, 201, made)
        b.knows(a)
        linked((a, b))
        shop = b.admin().as_application("shop", b.admin().post("/v1/apps", {"id": "shop"})["key"])
        code = a.admin().post("/v1/devices", {"id": "lamp"})["code"]
        a.grants("dev/lamp", "app/shop@b.example", hears=True)
        lamp = Client(a, "dev/lamp", code).open()
        self.addCleanup(lamp.leave)
        sent = 0

        def uploads(count):
            nonlocal sent
            for _ in range(count):
                self.assertEqual(lamp.publish("v1/dev/lamp/up/shop@b.example/n", str(sent).encode()), 0)
                sent += 1

        def linked_anew(ca):
            """New terms part the link, and it is made again."""
            self.assertEqual(a.admin().patch("/v1/peers/b.example", {"ca": ca}).code, 200)
            uploads(20)
            until(lambda: a.is_linked(b) and self.stored(shop) == sent, "all have come over the new link", 60)

        uploads(20)
        linked_anew(old.pem + new.pem)
        shows(new, 6)
        linked_anew(new.pem + old.pem)
        linked_anew(new.pem)
        self.assertEqual([upload["data"] for upload in shop.get("/v1/apps/shop/uploads?limit=1000")["uploads"]], list(range(sent)))
        self.assertEqual(a.admin().patch("/v1/peers/b.example", {"ca": old.pem}).code, 200)
        until(lambda: "certificate" in a.link(b).get("trouble", ""), "the old authority is not believed any more", 60)

    @staticmethod
    def stored(shop):
        return len(shop.get("/v1/apps/shop/uploads?limit=1000")["uploads"])


if __name__ == "__main__":
    unittest.main()
