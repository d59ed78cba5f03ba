"""mosquitto_pub and mosquitto_sub, as a user would call them."""

import subprocess

TIMEOUT = 20


def _words(program, platform, username, password, over, version, more):
    host, port = getattr(platform, over)
    words = [program, "-h", host, "-p", port, "-V", version]
    if username is not None:
        words += ["-u", username]
    if password is not None:
        words += ["-P", password]
    if over == "tls":
        words += ["--cafile", platform.ca]
    return [str(word) for word in [*words, *more]]


def publish(platform, username, password, topic, payload, over="tcp", version="5", qos=1, more=()):
    """Runs mosquitto_pub; gives (exit code, everything it said)."""
    options = ["-q", qos, "-t", topic, "-m", payload, *more]
    words = _words("mosquitto_pub", platform, username, password, over, version, options)
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT)
    return done.returncode, done.stdout


class Subscriber:
    """mosquitto_sub until `count` messages have come; ready once SUBACK has come."""

    def __init__(self, platform, username, password, *filters, count=1, over="tcp", version="5", qos=1):
        options = ["-d", "-v", "-q", qos, "-C", count, "-W", TIMEOUT]
        for filter in filters:
            options += ["-t", filter]
        words = ["stdbuf", "-oL", *_words("mosquitto_sub", platform, username, password, over, version, options)]
        self.child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.said = []
        for line in self.child.stdout:
            self.said.append(line.rstrip("\n"))
            if line.startswith("Subscribed (mid") or "received SUBACK" in line:
                return
        raise AssertionError(f"mosquitto_sub did not subscribe: {self.said}")

    def messages(self):
        """The messages as (topic, payload), once all have come."""
        out, _ = self.child.communicate(timeout=TIMEOUT + 5)
        lines = [line for line in out.splitlines() if line.startswith("v1/")]
        return [tuple(line.split(" ", 1)) for line in lines]
