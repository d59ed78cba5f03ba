#!/usr/bin/env python3
"""Measures federation: added latency, catch-up rate over one link, memory per idle peer, 100 peers on one server.

    python3 tests/measure/federation.py [--uploads 20000] [--peers 100] [--rounds 200]

The program is $IRSP, else target/release/irsp, else target/debug/irsp. Needs paho-mqtt (tests/outside/run makes a
virtual environment with it) and openssl. Figures are JSON on standard output.
"""

import argparse
import json
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from outside.federation import Domain, linked
from outside.hostile import Authority, Peer
from outside.mqtt import Client
from outside.platform import binary
from outside.proxy import Proxy
from outside.waiting import until


def resident(domain):
    """Resident memory of the domain's process, kB."""
    status = Path(f"/proc/{domain.process.child.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1])


def ends(client, topic, rounds):
    """Milliseconds from publish to status, one at a time: median and 95th percentile."""
    took = []
    for _ in range(rounds):
        begin = time.perf_counter()
        client.publish(topic, b"21.5")
        client.receive("/status")
        took.append((time.perf_counter() - begin) * 1000)
    took.sort()
    return {"p50_ms": round(statistics.median(took), 2), "p95_ms": round(took[int(len(took) * 0.95)], 2)}


def ended(domain):
    """Uploads that have ended at the domain's message server."""
    ledger = domain.admin().get("/v1/ledger").body
    kinds = [kind for server in ledger["servers"] if server["server"] == "message" for kind in server["kinds"]]
    return sum(end["count"] for kind in kinds if kind["kind"] == "upload" for end in kind["ended"])


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--uploads", type=int, default=20_000)
    options.add_argument("--peers", type=int, default=100)
    options.add_argument("--rounds", type=int, default=200)
    given = options.parse_args()
    figures = {"program": str(binary("irsp"))}
    a = Domain("a.example", "courier.principal_messages_max=1000000")
    b = Domain("b.example")
    proxy = Proxy(b.door)
    try:
        a.knows(b, f"irsp://127.0.0.1:{proxy.port}")
        b.knows(a, rate_max=1_000_000)
        linked((a, b))
        for domain in (a, b):
            made = domain.admin().post("/v1/apps", {"id": "climate"})
            assert made.code == 201, made
        code = a.admin().post("/v1/devices", {"id": "lamp"})["code"]
        a.grants("dev/lamp", "app/climate@b.example", hears=True)
        lamp = Client(a, "dev/lamp", code).open()
        lamp.subscribe("v1/dev/lamp/status")
        ends(lamp, "v1/dev/lamp/up/climate/temp", 20)
        figures["local"] = ends(lamp, "v1/dev/lamp/up/climate/temp", given.rounds)
        figures["across"] = ends(lamp, "v1/dev/lamp/up/climate@b.example/temp", given.rounds)
        lamp.unsubscribe("v1/dev/lamp/status")

        proxy.closed = True
        proxy.cut()
        until(lambda: not a.is_linked(b), "cut", 60)
        sent = [lamp.send("v1/dev/lamp/up/climate@b.example/n", b"%d" % n) for n in range(given.uploads)]
        until(lambda: lamp.acked(sent[-1]) is not None, "all are accepted", 600)
        before = ended(a)
        proxy.closed = False
        until(lambda: a.is_linked(b), "linked again", 120)
        begin = time.perf_counter()
        until(lambda: ended(a) - before >= given.uploads, "caught up", 600)
        seconds = time.perf_counter() - begin
        figures["catch_up"] = {"uploads": given.uploads, "per_second": round(given.uploads / seconds)}
        lamp.leave()

        with tempfile.TemporaryDirectory() as folder:
            authority = Authority(folder, "many")
            names = [f"p{n}.example" for n in range(given.peers)]
            for name in names:
                made = b.admin().post("/v1/peers", {"domain": name, "ca": authority.pem})
                assert made.code in (201, 202), made
            begin_kb = resident(b)
            peers = []
            for name in names:
                peers.append(Peer(b.door, authority.issue(name)))
                peers[-1].hello(name, "b.example")
            until(lambda: b.metric("irsp_peer_links") >= given.peers, "all are linked", 60)
            held = resident(b) - begin_kb
            figures["idle_peers"] = {"peers": given.peers, "kb_each": round(held / given.peers, 1)}
            for peer in peers:
                peer.close()
    finally:
        proxy.stop()
        for domain in (a, b):
            domain.remove()
    json.dump(figures, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
