"""The command line of the partition; see the package."""

import argparse
import random
import sys

from .run import Run


def main():
    words = argparse.ArgumentParser(prog="tests/outside/run partition", description="Parts two domains under load.")
    words.add_argument("--seconds", type=float, default=60.0, help="how long the network is bad")
    words.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    words.add_argument("--pace", type=float, default=0.5, help="how eager the clients are")
    given = words.parse_args()
    print(f"{given.seconds:g} s, seed {given.seed}", flush=True)
    try:
        run = Run(given.seconds, given.seed, given.pace, say=lambda line: print(line, flush=True))
        counts = run.play()
    except AssertionError as error:
        sys.exit(f"BROKEN: {error}")
    print(f"all of it holds: {dict(counts)}")


if __name__ == "__main__":
    main()
