"""The ledgers, read from the databases themselves: accepted, ended by code, and in flight."""

import sqlite3
from collections import Counter

DATABASES = ("message.db", "account.db", "app.db")


def read(path):
    """(accepted by kind, ended by (kind, code), in flight by kind) of one committed state."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10) as sql:
        sql.execute("BEGIN")
        accepted, ended = Counter(), Counter()
        for kind, code, count in sql.execute("SELECT kind, status, count FROM ledger"):
            if code == 0:
                accepted[kind] += count
            else:
                ended[kind, code] += count
        waiting = sql.execute("SELECT kind, count(*) FROM message WHERE ended_at IS NULL GROUP BY kind")
        in_flight = Counter(dict(waiting.fetchall()))
    return accepted, ended, in_flight


def residue(ledger):
    accepted, ended, in_flight = ledger
    return accepted.total() - ended.total() - in_flight.total()


def integrity(path):
    """`ok`, or what SQLite finds wrong with the file."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10) as sql:
        return sql.execute("PRAGMA integrity_check").fetchone()[0]
