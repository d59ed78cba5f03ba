"""A few rounds of `kill -9` under load (`rounds`), in one process and in three. More: tests/outside/run rounds."""

import os
import unittest

from .rounds.run import Run

#: Another seed or another length for a longer look; a failure names its own.
SEED = int(os.environ.get("ROUNDS_SEED", "1"))
ROUNDS = int(os.environ.get("ROUNDS", "6"))


class Rounds(unittest.TestCase):
    def held(self, counts):
        """The load was real: every kind of promise was put to the test."""
        for what in ("uploads acknowledged", "pushes acknowledged", "answers acknowledged", "presence heard"):
            self.assertGreater(counts[what], 0, what)

    def test_one_process(self):
        self.held(Run(ROUNDS, SEED).play())

    def test_three_processes(self):
        self.held(Run(ROUNDS, SEED, apart=True).play())
