"""What an operator scrapes: the figures are right under load, and the table that explains them is the whole of it."""

import re
import unittest
import urllib.error
import urllib.request

from .mqtt import V5
from .platform import ROOT
from .scrape import SAMPLE, Scrape
from .story import Story
from .waiting import until

#: Shown by roles that run apart only.
APART = {"irsp_bus_attached"}


class Metrics(Story):
    def scrape(self):
        return Scrape(self.platform.anybody().url)

    def test_every_metric_stands_in_the_table_and_every_row_is_shown(self):
        operations = (ROOT / "docs" / "operations.md").read_text()
        rows = [line.split("|")[1] for line in operations.splitlines() if line.startswith(("| `irsp_", "| `process_"))]
        explained = {name for row in rows for name in re.findall(r"`([a-z_]+)`", row)}
        self.platform.anybody().get("/healthz")
        self.assertEqual(explained - APART, self.scrape().names)

    def test_it_is_openmetrics_to_its_end(self):
        scrape = self.scrape()
        self.assertTrue(scrape.media_type.startswith("application/openmetrics-text"), scrape.media_type)
        self.assertEqual(scrape.lines[-1], "# EOF")
        for line in scrape.lines:
            self.assertTrue(line.startswith("# ") or SAMPLE.match(line), line)

    def test_the_ledger_adds_up_in_every_scrape_during_load(self):
        device, app = self.a_device(), self.an_application()
        before = self.scrape()
        lamp = self.connected(device, version=V5)
        for number in range(30):
            lamp.publish(device.topic(f"up/{app.id}/temp"), str(number))
            scrape = self.scrape()
            for server in ("message", "account", "app"):
                accepted = scrape.sum("irsp_courier_accepted_total", server=server)
                ended = scrape.sum("irsp_courier_ended_total", server=server)
                in_flight = scrape.sum("irsp_courier_in_flight", server=server)
                self.assertEqual(accepted, ended + in_flight, server)
                self.assertEqual(scrape.sum("irsp_courier_ledger_residue", server=server), 0)
        self.assertEqual(len(self.stored(app, 30)), 30)

        def grown(name, **labels):
            return self.scrape().sum(name, **labels) - before.sum(name, **labels)

        self.assertEqual(grown("irsp_edge_publishes_total", **{"class": "up"}), 30)
        until(
            lambda: grown("irsp_courier_ended_total", server="message", kind="upload", code="200") == 30,
            "every upload has ended",
        )
        self.assertEqual(grown("irsp_courier_accepted_total", server="message", kind="upload"), 30)
        self.assertEqual(grown("irsp_app_uploads_stored_total"), 30)

    def test_a_connection_is_counted_while_it_lives(self):
        def connections():
            return self.scrape().sum("irsp_edge_connections", listener="mqtt.tcp")

        until(lambda: connections() == 0, "earlier stories have left")
        logins = self.scrape().sum("irsp_edge_logins_total")
        lamp = self.connected(self.a_device())
        self.assertEqual(connections(), 1)
        scrape = self.scrape()
        self.assertEqual(scrape.sum("irsp_edge_logins_total"), logins + 1)
        self.assertEqual(scrape.sum("irsp_edge_sessions", state="connected"), 1)
        lamp.leave()
        until(lambda: connections() == 0, "the connection is gone")

    def test_what_is_refused_is_counted_by_its_code(self):
        device = self.a_device()
        before = self.scrape()
        lamp = self.connected(device, version=V5)
        self.assertEqual(lamp.publish(f"v1/dev/{device.id}-not/up/nobody/temp", "1"), 0x87)
        after = self.scrape()
        refused = "irsp_edge_publishes_refused_total"
        self.assertEqual(after.sum(refused, code="403") - before.sum(refused, code="403"), 1)

    def test_a_request_that_a_proxy_passes_on_is_refused(self):
        request = urllib.request.Request(
            self.platform.anybody().url + "/metrics", headers={"X-Forwarded-For": "192.0.2.1"}
        )
        with self.assertRaises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=30)
        with refused.exception as answer:
            self.assertEqual(answer.code, 403)

    def test_readiness_names_what_was_looked_at(self):
        ready = self.platform.anybody().get("/readyz")
        self.assertEqual((ready.code, ready["status"]), (200, "ready"))
        checks = {"message.store", "message.directory", "account.store", "app.store", "app.directory"}
        self.assertEqual(ready["checks"], dict.fromkeys(checks, "ok"))


if __name__ == "__main__":
    unittest.main()
