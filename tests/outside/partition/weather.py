"""What the network between the domains is like: bad in every way for a while, gone for half of the time, then bad again."""

import contextlib


class Weather:
    """Plays `seconds` of bad network on a proxy, by dice."""

    #: Of the whole time, the link is gone in one piece for so much of it.
    GONE = 0.5

    def __init__(self, proxy, dice, over):
        self.proxy, self.dice, self.over = proxy, dice, over

    def play(self, seconds, parted):
        """`parted` is called once, in the middle, while nothing passes."""
        around = seconds * (1 - self.GONE) / 2
        self._bad(around)
        with self._gone():
            self.over.wait(seconds * self.GONE / 2)
            parted()
            self.over.wait(seconds * self.GONE / 2)
        self._bad(around)

    def _bad(self, seconds):
        kinds = [self._gone, self._held, self._half, self._slow, self._torn]
        self.dice.shuffle(kinds)
        for kind in kinds:
            spell = seconds / (2 * len(kinds))
            with kind():
                self.over.wait(spell)
            # Fair weather in between, so that something passes.
            self.over.wait(spell)

    @contextlib.contextmanager
    def _gone(self):
        self.proxy.closed = True
        self.proxy.cut()
        yield
        self.proxy.closed = False

    @contextlib.contextmanager
    def _held(self):
        """Connections stand, and nothing passes."""
        self.proxy.held = True
        yield
        self.proxy.held = False

    @contextlib.contextmanager
    def _half(self):
        """Nothing comes back: what is lost of a TLS stream ends it."""
        self.proxy.half = True
        yield
        self.proxy.half = False
        self.proxy.cut()

    @contextlib.contextmanager
    def _slow(self):
        self.proxy.delay, self.proxy.piece = 0.02, 1400
        yield
        self.proxy.delay, self.proxy.piece = 0.0, 65536

    @contextlib.contextmanager
    def _torn(self):
        """Reset again and again, at any byte."""
        self.proxy.piece = self.dice.randrange(300, 3000)
        for _ in range(5):
            self.over.wait(self.dice.uniform(0.2, 0.6))
            self.proxy.cut(reset=True)
        yield
        self.proxy.piece = 65536
