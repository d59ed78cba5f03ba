"""Domains that know each other: each a process of its own with its own authority."""

import re
import urllib.request

from .platform import Platform
from .waiting import until


class Domain(Platform):
    """`irsp up` as one domain, with a door for other domains."""

    def __init__(self, name, *settings, **options):
        self.name = name
        super().__init__(
            f"domain={name}", "federation.listen=127.0.0.1:0", "courier.retry_max=2s", *settings, **options
        )
        # From now on its own port, also after a restart.
        self.settings = tuple(setting for setting in self.settings if not setting.startswith("federation.listen"))

    @property
    def door(self):
        """Where other domains dial."""
        return self.addresses["federation.listen"]

    def knows(self, other, url=None, **terms):
        """Registers `other` as a peer, dialled at `url` (`True`: at its own door) or not at all."""
        urls = [] if url is None else [f"irsp://127.0.0.1:{other.door[1]}" if url is True else url]
        body = {"domain": other.name, "ca": other.ca.read_text(), "urls": urls, **terms}
        made = self.admin().post("/v1/peers", body)
        assert made.code == 201, made
        return made.body

    def link(self, other):
        """How the link to `other` stands."""
        return self.admin().get(f"/v1/peers/{other.name}").body.get("link") or {}

    def is_linked(self, other):
        return bool(self.link(other).get("linked"))

    def grants(self, principal, to, **what):
        made = self.admin().post("/v1/grants", {"principal": principal, "to": to, **what})
        assert made.code == 201, made
        return made.body

    def residue(self):
        """Of all servers' ledgers; `None` while something is in flight or unknown."""
        ledger = self.admin().get("/v1/ledger")
        if ledger.code != 200 or ledger.body["silent"]:
            return None
        kinds = [kind for server in ledger.body["servers"] for kind in server["kinds"]]
        if any(kind["in_flight"] for kind in kinds):
            return None
        return sum(abs(kind["residue"]) for kind in kinds)

    def metric(self, name, **labels):
        """A counter's or gauge's value; 0 before there is one."""
        text = urllib.request.urlopen(self.url + "/metrics", timeout=30).read().decode()
        total = 0.0
        for line in text.splitlines():
            found = re.match(r"(\w+?)(?:_total)?(?:\{(.*)\})? (\S+)$", line)
            if found and found[1] == name and all(f'{key}="{value}"' in (found[2] or "") for key, value in labels.items()):
                total += float(found[3])
        return total


def linked(*pairs):
    for one, other in pairs:
        until(lambda: one.is_linked(other) and other.is_linked(one), f"{one.name} and {other.name} are linked", 60)
