"""Two domains parted under load for a little while (`partition`). Longer: tests/outside/run partition --seconds 600."""

import os
import unittest

from .partition.run import Run

SEED = int(os.environ.get("PARTITION_SEED", "1"))
SECONDS = float(os.environ.get("PARTITION_SECONDS", "20"))


class Partition(unittest.TestCase):
    def test_a_partition_under_load_costs_nothing(self):
        counts = Run(SECONDS, SEED).play()
        for what in ("uploads acknowledged", "pushes acknowledged", "answers acknowledged"):
            self.assertGreater(counts[what], 0, what)


if __name__ == "__main__":
    unittest.main()
