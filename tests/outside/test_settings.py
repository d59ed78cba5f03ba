"""Point 2: every bad setting is one line that names file, key and remedy, and an exit code that is not 0."""

import os
import socket
import tempfile
import unittest
from pathlib import Path

from .platform import LISTENERS, run

FREE = [word for key in LISTENERS for word in ("--set", f"{key}=127.0.0.1:0")]


class BadSettings(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="irsp-outside-")
        self.addCleanup(folder.cleanup)
        self.dir = Path(folder.name)
        self.data = self.dir / "data"

    def refused(self, *words, naming=(), **options):
        """The start fails with one line that names these."""
        done = run(*words, **options)
        self.assertNotEqual(done.returncode, 0, done.stdout)
        lines = done.stderr.strip().splitlines()
        self.assertEqual(len(lines), 1, done.stderr)
        for name in naming:
            self.assertIn(str(name), lines[0])
        return lines[0]

    def test_an_unknown_key_in_the_file(self):
        file = self.dir / "irsp.toml"
        file.write_text('[mqtt]\ntpc = "127.0.0.1:1883"\n')
        for command in ("up", "check"):
            self.refused(command, "--data", self.data, "--config", file, naming=(file, "mqtt.tpc"))
        self.assertFalse(self.data.exists())

    def test_an_unknown_key_on_the_command_line_and_in_the_environment(self):
        self.refused("up", "--data", self.data, "--set", "mqtt.tpc=1", naming=("mqtt.tpc", "--set"))
        environment = {**os.environ, "IRSP_MQTT__TPC": "1"}
        self.refused("up", "--data", self.data, naming=("IRSP_MQTT__TPC",), env=environment)

    def test_values_that_do_not_fit(self):
        for setting, key in (
            ("mqtt.tcp=nonsense", "mqtt.tcp"),
            ("stop.deadline=soon", "stop.deadline"),
            ("mqtt.receive_max=0", "mqtt.receive_max"),
            ("mqtt.receive_max=many", "mqtt.receive_max"),
            ("log.level=loudly!", "log.level"),
            ("domain=not a host", "domain"),
        ):
            with self.subTest(setting):
                self.refused("up", "--data", self.data, *FREE, "--set", setting, naming=(key,))

    def test_a_file_that_is_missing_or_not_toml(self):
        missing, bad = self.dir / "missing.toml", self.dir / "bad.toml"
        bad.write_text("mqtt = [")
        self.refused("up", "--config", missing, naming=(missing,))
        self.refused("up", "--config", bad, naming=(bad,))

    def test_a_busy_port(self):
        with socket.create_server(("127.0.0.1", 0)) as busy:
            address = "127.0.0.1:%d" % busy.getsockname()[1]
            for key in LISTENERS:
                with self.subTest(key):
                    words = ["up", "--data", self.data, *FREE, "--set", f"{key}={address}"]
                    self.refused(*words, naming=(key, address, "in use"))

    def test_a_newer_data_format(self):
        self.data.mkdir()
        (self.data / "format").write_text("2\n")
        line = self.refused("up", "--data", self.data, *FREE, naming=(self.data / "format", "newer"))
        self.assertIn("use a newer irsp or another --data", line)
        self.assertEqual([path.name for path in self.data.iterdir()], ["format"])

    def test_a_directory_that_cannot_be_written(self):
        file = self.dir / "file"
        file.write_text("")
        for data in (file, file / "below", "/proc/irsp"):
            self.refused("up", "--data", data, *FREE, naming=(data, "data_dir"))

    def test_every_source_and_their_order(self):
        file = self.dir / "irsp.toml"
        file.write_text('domain = "file.example"\n[stop]\ndeadline = "7s"\n')
        environment = {**os.environ, "IRSP_DOMAIN": "environment.example"}
        words = ("check", "--data", self.data, "--config", file, *FREE)
        shown = run(*words)
        self.assertEqual(shown.returncode, 0, shown.stderr)
        self.assertIn("file.example", shown.stdout)
        self.assertIn("7s", shown.stdout)
        self.assertIn("environment.example", run(*words, env=environment).stdout)
        argument = run(*words, "--set", "domain=argument.example", env=environment)
        self.assertIn("argument.example", argument.stdout)

    def test_check_writes_nothing(self):
        run("check", "--data", self.data, *FREE)
        self.assertFalse(self.data.exists())
