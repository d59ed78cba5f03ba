"""What a scrape of /metrics shows."""

import re
import urllib.request
from collections import defaultdict

SAMPLE = re.compile(r'^([a-z_]+)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'([a-z_]+)="([^"]*)"')


class Scrape:
    """One answer of /metrics."""

    def __init__(self, url):
        with urllib.request.urlopen(url + "/metrics", timeout=30) as response:
            self.media_type = response.headers["Content-Type"]
            self.lines = response.read().decode().splitlines()
        self.names = {line.split()[2] for line in self.lines if line.startswith("# TYPE ")}
        self.samples = defaultdict(list)
        for line in self.lines:
            if found := SAMPLE.match(line):
                name, labels, value = found.groups()
                self.samples[name].append((dict(LABEL.findall(labels or "")), float(value)))

    def sum(self, name, **labels):
        """All samples of a name that carry these labels, added up."""
        return sum(value for has, value in self.samples[name] if labels.items() <= has.items())
