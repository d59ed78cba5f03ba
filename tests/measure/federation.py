#!/usr/bin/env python3
"""Measures federation: two domains and the local path in the same run, a partition, and many peers on one server.

    python3 tests/measure/federation.py [--uploads 100000] [--peers 100] [--rounds 300] [--json federation.json]

`latency`: one upload at a time, from its publish to its status, locally and across. `rate`: uploads of 16 devices at QoS 1 from the first
byte to the last end, locally and across. `queue`: the same uploads while the peer is away, what they cost in memory, and how
fast they are caught up with. `peers`: as many others linked with one server: memory of each, and what all of them send at once
beside local latency; and as many names that are dialled and not there.

The program is $IRSP, else target/release/irsp, else target/debug/irsp. Needs paho-mqtt (tests/outside/run makes a
virtual environment with it) and openssl.
"""

import argparse
import json
import re
import socket
import statistics
import struct
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from outside.federation import Domain, linked
from outside.hostile import Authority, Peer, envelope
from outside.mqtt import Client
from outside.platform import binary
from outside.proxy import Proxy
from outside.waiting import until

DEVICES = 16
PAYLOAD = b"x" * 200
ACROSS, LOCAL = "climate@b.example", "climate"


def status(domain, field):
    """A line of the process's status, kB."""
    text = Path(f"/proc/{domain.process.child.pid}/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+)", text)[1])


def cpu(domain):
    """Seconds of CPU the domain's process has used."""
    fields = Path(f"/proc/{domain.process.child.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def latency(client, topic, rounds):
    """From publish to status, one at a time: median and 95th percentile."""
    took = []
    for _ in range(rounds):
        begin = time.perf_counter()
        client.send(topic, PAYLOAD)
        client.receive("/status")
        took.append((time.perf_counter() - begin) * 1000)
    took.sort()
    return {"p50_ms": round(statistics.median(took), 2), "p95_ms": round(took[int(len(took) * 0.95)], 2)}


def ended(domain):
    """Uploads that have ended at the domain's message server."""
    ledger = domain.admin().get("/v1/ledger").body
    kinds = [kind for server in ledger["servers"] if server["server"] == "message" for kind in server["kinds"]]
    return sum(end["count"] for kind in kinds if kind["kind"] == "upload" for end in kind["ended"])


def text(value):
    return struct.pack(">H", len(value)) + value.encode()


def upload(domain, id, code, app, count):
    """Uploads at QoS 1 over a socket of its own, as fast as they are taken; returns when all are acknowledged."""
    with socket.create_connection(domain.tcp) as door:
        body = text("MQTT") + bytes([4, 0xC2]) + struct.pack(">H", 600) + text(f"bulk-{id}") + text(f"dev/{id}") + text(code)
        assert len(body) < 128
        door.sendall(bytes([0x10, len(body)]) + body)
        assert door.recv(4) == b"\x20\x02\0\0"
        topic = text(f"v1/dev/{id}/up/{app}/n")
        rest = len(topic) + 2 + len(PAYLOAD)
        head = bytes([0x32, rest & 0x7F | 0x80, rest >> 7]) + topic
        packets = b"".join(head + struct.pack(">H", n % 65535 + 1) + PAYLOAD for n in range(count))
        sender = threading.Thread(target=door.sendall, args=(packets,))
        sender.start()
        left = 4 * count
        while left:
            left -= len(door.recv(65536)) or left
        sender.join()


def all_upload(domain, codes, app, uploads):
    threads = [threading.Thread(target=upload, args=(domain, id, code, app, uploads // DEVICES)) for id, code in codes.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def rate(domains, codes, app, uploads):
    """Uploads a second until all have ended, and CPU of each domain a message."""
    a = domains[0]
    before, used, begin = ended(a), [cpu(domain) for domain in domains], time.perf_counter()
    all_upload(a, codes, app, uploads)
    accepted = time.perf_counter() - begin
    until(lambda: ended(a) - before >= uploads, "all have ended", 600)
    took = time.perf_counter() - begin
    costs = [round((cpu(domain) - was) / uploads * 1e6) for domain, was in zip(domains, used)]
    return {"accepted_per_s": round(uploads / accepted), "ended_per_s": round(uploads / took), "cpu_us": costs}


def queue(a, b, proxy, codes, uploads):
    """The same while the peer is away, and after."""
    proxy.closed = True
    proxy.cut()
    until(lambda: not a.is_linked(b), "parted", 60)
    before, empty_kb = ended(a), status(a, "VmRSS")
    all_upload(a, codes, ACROSS, uploads)
    waiting, full_kb = a.link(b)["waiting"], status(a, "VmRSS")
    proxy.closed = False
    until(lambda: a.is_linked(b), "linked again", 120)
    begin = time.perf_counter()
    until(lambda: ended(a) - before >= uploads, "caught up", 600)
    took = time.perf_counter() - begin
    return {"waiting": waiting, "empty_kb": empty_kb, "full_kb": full_kb, "catch_up_per_s": round(uploads / took),
            "kb_after": status(a, "VmRSS")}


def peers(b, lamp, count, rounds):
    """So many links to one server, idle and then all at work, beside local traffic; then so many peers who are not there."""
    with tempfile.TemporaryDirectory() as folder:
        authority = Authority(folder, "many")
        names = [f"p{n}.example" for n in range(count)]
        for name in names:
            made = b.admin().post("/v1/peers", {"domain": name, "ca": authority.pem})
            assert made.code in (201, 202), made
        certificates = [authority.issue(name) for name in names]
        alone, begin_kb = latency(lamp, f"v1/dev/lamp/up/{LOCAL}/n", rounds), status(b, "VmRSS")
        links = []
        for name, certificate in zip(names, certificates):
            links.append(Peer(b.door, certificate))
            links[-1].hello(name, "b.example")
        until(lambda: b.metric("irsp_peer_links") >= count, "all are linked", 60)
        idle_kb = status(b, "VmRSS") - begin_kb
        idle = latency(lamp, f"v1/dev/lamp/up/{LOCAL}/n", rounds)

        def work(at):
            for _ in range(5):
                heads = [envelope("upload", f"dev/x@{names[at]}", "app/climate@b.example") for _ in range(100)]
                links[at].deliver(*((head, PAYLOAD) for head in heads))
                assert set(links[at].answers(100).values()) == {202}

        begin = time.perf_counter()
        workers = [threading.Thread(target=work, args=(at,)) for at in range(count)]
        for worker in workers:
            worker.start()
        busy = latency(lamp, f"v1/dev/lamp/up/{LOCAL}/n", rounds)
        for worker in workers:
            worker.join()
        taken = round(500 * count / (time.perf_counter() - begin))
        for link in links:
            link.close()
        for n in range(count):
            url = f"irsp://127.0.0.1:{9}"
            made = b.admin().post("/v1/peers", {"domain": f"gone{n}.example", "ca": authority.pem, "urls": [url]})
            assert made.code in (201, 202), made
        used = cpu(b)
        time.sleep(10)
        return {"peers": count, "idle_kb_each": round(idle_kb / count, 1), "latency_without": alone, "latency_idle": idle,
                "latency_busy": busy, "taken_per_s": taken, "dialling_in_vain_cpu_ms_per_s": round((cpu(b) - used) * 100, 1)}


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--uploads", type=int, default=100_000)
    options.add_argument("--peers", type=int, default=100)
    options.add_argument("--rounds", type=int, default=300)
    options.add_argument("--json", type=Path)
    given = options.parse_args()
    uploads = given.uploads // DEVICES * DEVICES
    figures = {"program": binary("irsp").name, "uploads": uploads}
    settings = ("courier.principal_messages_max=1000000", "log.level=warn")
    a, b = Domain("a.example", *settings), Domain("b.example", *settings)
    proxy = Proxy(b.door)
    try:
        a.knows(b, f"irsp://127.0.0.1:{b.door[1]}")
        b.knows(a, rate_max=1_000_000)
        linked((a, b))
        lamps = []
        for domain in (a, b):
            assert domain.admin().post("/v1/apps", {"id": "climate"}).code == 201
            code = domain.admin().post("/v1/devices", {"id": "lamp"})["code"]
            lamp = Client(domain, "dev/lamp", code).open()
            lamp.paho.socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            lamp.subscribe("v1/dev/lamp/status")
            lamps.append(lamp)
        codes = {f"d{n}": a.admin().post("/v1/devices", {"id": f"d{n}"})["code"] for n in range(DEVICES)}
        for id in ("lamp", *codes):
            a.grants(f"dev/{id}", "app/climate@b.example", hears=True)
        latency(lamps[0], f"v1/dev/lamp/up/{LOCAL}/n", 20)
        figures["latency"] = {app: latency(lamps[0], f"v1/dev/lamp/up/{app}/n", given.rounds) for app in (LOCAL, ACROSS)}
        figures["rate"] = {app: rate((a, b), codes, app, uploads) for app in (LOCAL, ACROSS)}
        assert a.admin().patch("/v1/peers/b.example", {"urls": [f"irsp://127.0.0.1:{proxy.port}"]}).code == 200
        until(lambda: proxy.taken > 0 and a.is_linked(b), "linked through the proxy", 60)
        figures["queue"] = queue(a, b, proxy, codes, uploads)
        figures["peers"] = peers(b, lamps[1], given.peers, given.rounds)
    finally:
        proxy.stop()
        for domain in (a, b):
            domain.remove()
    print(json.dumps(figures, indent=2))
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
