"""A disk that fails on demand below one database: see faults.c."""

import mmap
import shutil
import subprocess
import tempfile
from pathlib import Path

from .platform import Platform

#: What `fail` may be told.
FSYNC, WRITE, READ_ONLY, FULL = b"f", b"i", b"r", b"s"
SIZE = 4096


def cannot():
    """Why faults cannot be made here, or None."""
    return None if shutil.which("cc") else "no C compiler (cc)"


class Faulty(Platform):
    """Every role in one process, above a disk that fails when it is told to."""

    def __init__(self, *settings):
        self.shim = Path(tempfile.mkdtemp(prefix="irsp-faults-"))
        library = self.shim / "faults.so"
        source = Path(__file__).with_name("faults.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
        file = self.shim / "control"
        file.write_bytes(bytes(SIZE))
        with open(file, "r+b") as opened:
            self._control = mmap.mmap(opened.fileno(), SIZE)
        super().__init__(*settings, environment={"LD_PRELOAD": str(library), "FAULTS": str(file)})

    def fail(self, how, database):
        """From now on the disk fails below this database; `.db` is all of them."""
        self._control[1:SIZE] = database.encode().ljust(SIZE - 1, b"\0")
        self._control[0:1] = how

    def heal(self):
        self._control[0:1] = b"\0"

    def remove(self):
        self.heal()
        super().remove()
        shutil.rmtree(self.shim, ignore_errors=True)
