"""The command line of the rounds; see the package."""

import argparse
import random
import sys
import time

from .run import Run


def main():
    words = argparse.ArgumentParser(prog="tests/outside/run rounds", description="Kills the platform, round by round.")
    words.add_argument("--rounds", type=int, default=20)
    words.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    words.add_argument("--apart", action="store_true", help="three processes, each killed by itself")
    words.add_argument("--pace", type=float, default=1.0, help="how eager the clients are")
    given = words.parse_args()
    shape = "three processes" if given.apart else "one process"
    print(f"{given.rounds} rounds, seed {given.seed}, {shape}", flush=True)
    began = time.monotonic()
    try:
        run = Run(given.rounds, given.seed, given.apart, given.pace, say=lambda line: print(line, flush=True))
        counts = run.play()
    except AssertionError as error:
        sys.exit(f"BROKEN: {error}")
    print(f"all of it holds after {run.kills} kills in {time.monotonic() - began:.0f} s: {dict(counts)}")


if __name__ == "__main__":
    main()
