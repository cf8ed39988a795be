"""Console output: steps with their durations, and failures in one sentence."""

import contextlib
import sys
import time


class Failure(Exception):
    """An error that ends the command. Its text, one sentence and possibly an excerpt of a log, is shown to the user."""


def say(text=""):
    """Print a line to standard error and flush. Standard output is for results (``kubeconfig``, ``status``)."""
    print(text, file=sys.stderr, flush=True)


def seconds(duration):
    """Format a duration in seconds: ``0.4 s``, ``12 s``, ``3 min 05 s``."""
    if duration < 10:
        return f"{duration:.1f} s"
    if duration < 60:
        return f"{duration:.0f} s"
    minutes, rest = divmod(int(duration), 60)
    return f"{minutes} min {rest:02d} s"


@contextlib.contextmanager
def step(title):
    """Print the title, result and duration of a step when it ends. The block may add details with the function it receives."""
    started = time.monotonic()
    notes = []
    try:
        yield notes.append
    except BaseException:
        say(f"  ✗ {title} ({seconds(time.monotonic() - started)})")
        raise
    detail = f": {', '.join(notes)}" if notes else ""
    say(f"  ✓ {title}{detail} ({seconds(time.monotonic() - started)})")


class Progress:
    """Progress of a long operation: at most one line every ``every`` seconds."""

    def __init__(self, title, every=15.0):
        self.title, self.every = title, every
        self.started = self.last = time.monotonic()

    def tick(self, detail):
        """Print ``detail`` with the elapsed time, unless the last line is too recent."""
        now = time.monotonic()
        if now - self.last >= self.every:
            self.last = now
            say(f"    … {self.title}: {detail} ({seconds(now - self.started)})")
