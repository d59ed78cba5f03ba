"""docs/federation.md is pasteable: its commands, in their order, in an empty folder."""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest
from pathlib import Path

from .platform import ROOT, binary


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


class Walkthrough(unittest.TestCase):
    @unittest.skipUnless(shutil.which("curl"), "needs curl")
    def test_two_domains_on_one_machine(self):
        text = (ROOT / "docs" / "federation.md").read_text()
        blocks = re.findall(r"```sh\n(.*?)```", text, re.S)
        self.assertGreaterEqual(len(blocks), 6)
        script = "set -e\n" + "\n".join(blocks)
        for port in sorted(set(re.findall(r"127\.0\.0\.1:(\d+)", script))):
            script = re.sub(rf"\b{port}\b", str(free_port()), script)
        folder = tempfile.mkdtemp(prefix="irsp-federation-")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        path = f"{binary('irsp').parent}{os.pathsep}{os.environ['PATH']}"
        shell = subprocess.Popen(
            ["bash", "-c", script],
            cwd=folder,
            env={**os.environ, "PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            # The two domains hold the pipe open: the shell's own end is what counts.
            code = shell.wait(timeout=120)
        finally:
            os.killpg(shell.pid, signal.SIGTERM)
        said = shell.communicate(timeout=60)[0]
        self.assertEqual(code, 0, said + Path(folder, "a.log").read_text()[-2000:])
        for line in ("b.example is a peer", "dev/lamp-1 to app/climate@b.example is granted", "dev/lamp-1@a.example"):
            self.assertIn(line, said)


if __name__ == "__main__":
    unittest.main()
