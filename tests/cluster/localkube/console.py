"""What a person sees: steps with their durations, and failures in one sentence."""

import contextlib
import sys
import time


class Failure(Exception):
    """Something that ends the command; its text is the one sentence (and log excerpt) shown to the person."""


def say(text=""):
    """Print a line at once, on standard error: standard output belongs to results (``kubeconfig``, ``status``)."""
    print(text, file=sys.stderr, flush=True)


def seconds(duration):
    """A duration as a person writes it: ``0.4 s``, ``12 s``, ``3 min 05 s``."""
    if duration < 10:
        return f"{duration:.1f} s"
    if duration < 60:
        return f"{duration:.0f} s"
    minutes, rest = divmod(int(duration), 60)
    return f"{minutes} min {rest:02d} s"


@contextlib.contextmanager
def step(title):
    """Announce one step and say how long it took; the step may yield details through the returned ``note``."""
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
    """A line every few seconds while something long is under way."""

    def __init__(self, title, every=15.0):
        self.title, self.every = title, every
        self.started = self.last = time.monotonic()

    def tick(self, detail):
        """Say ``detail`` with the time passed, unless the last line is too recent."""
        now = time.monotonic()
        if now - self.last >= self.every:
            self.last = now
            say(f"    … {self.title}: {detail} ({seconds(now - self.started)})")
