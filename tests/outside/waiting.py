"""Bounded waiting: nothing sleeps for a guess, everything has a deadline."""

import time

DEADLINE = 15.0
PAUSE = 0.02


def until(what, description, within=DEADLINE):
    """Polls `what` until it gives something true, and returns that. `description`: words, or what finds them at the end."""
    end = time.monotonic() + within
    while True:
        found = what()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {within:g} s: {description() if callable(description) else description}")
        time.sleep(PAUSE)
