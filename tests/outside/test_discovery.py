"""Clause 8.5: a peer without an address is found, and a name is never believed without the certificate."""

import json
import unittest
import urllib.error
import urllib.request

from .federation import Domain, linked
from .names import NameServer
from .waiting import until


class Discovery(unittest.TestCase):
    def a_domain(self, name, *settings):
        domain = Domain(name, *settings)
        self.addCleanup(domain.remove)
        return domain

    def test_a_forged_answer_leads_to_no_link_and_the_true_one_does(self):
        names = NameServer()
        self.addCleanup(names.stop)
        a = self.a_domain("a.example", "federation.discover_srv=true", f"federation.resolver=127.0.0.1:{names.port}")
        b, c = self.a_domain("b.example"), self.a_domain("c.example")
        for other in (b, c):
            a.knows(other)
            other.knows(a)
        until(lambda: "the DNS has no _irsp._tcp.b.example" in a.link(b).get("trouble", ""), "b is not found")
        names.hosts["host.c.example"] = "127.0.0.1"
        names.services["_irsp._tcp.c.example"] = ("host.c.example", b.door[1])
        # That there is nothing is remembered for a minute; another word of the operator makes it look anew.
        self.assertEqual(a.admin().patch("/v1/peers/c.example", {"urls": [f"irsp://127.0.0.1:{b.door[1]}"]}).code, 200)
        until(lambda: "certificate" in a.link(c).get("trouble", ""), "b's door shows b's certificate, not c's")
        self.assertFalse(a.is_linked(c))
        names.services["_irsp._tcp.c.example"] = ("host.c.example", c.door[1])
        linked((a, c))
        self.assertFalse(a.is_linked(b))

    def test_a_domain_says_where_it_listens_to_everybody(self):
        a = self.a_domain("a.example", "federation.advertise=irsp://fed.a.example:7443, irsp://192.0.2.1:7443")
        with urllib.request.urlopen(a.url + "/.well-known/irsp", timeout=30) as answer:
            document = json.load(answer)
            self.assertIn("max-age", answer.headers["Cache-Control"])
        self.assertEqual(document, {"domain": "a.example", "links": ["irsp://fed.a.example:7443", "irsp://192.0.2.1:7443"]})
        silent = self.a_domain("b.example")
        with self.assertRaises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(silent.url + "/.well-known/irsp", timeout=30)
        self.assertEqual(refused.exception.code, 404)
        refused.exception.close()


if __name__ == "__main__":
    unittest.main()
