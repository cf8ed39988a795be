"""Polling of conditions with a timeout."""

import time

#: Default timeout in seconds, generous because the machine may have other load.
GENEROUS = 120
#: Timeout in seconds for garbage collection. The controller discovers new kinds every 30 s; on a new cluster the Dask kinds are new.
COLLECTED = 180


class Never(AssertionError):
    """A condition did not become true in time."""


def until(check, what, timeout=GENEROUS, pause=0.1):
    """Call ``check`` until it returns something true, and return that.

    An AssertionError in ``check`` means "not yet", and so does a missing part of an object: a status that is not written yet has
    no conditions. After ``timeout`` seconds :class:`Never` is raised with ``what`` and the last result. The timeout only bounds a
    failing test; it makes no claim about how long the operation takes.
    """
    end = time.monotonic() + timeout
    while True:
        try:
            seen = check()
            if seen:
                return seen
        except (AssertionError, LookupError, TypeError) as error:
            seen = error
        if time.monotonic() > end:
            raise Never(f"waited {timeout:g} s for {what}; last result: {seen!r}")
        time.sleep(pause)


def stays(check, what, seconds=2.0, pause=0.1):
    """Call ``check`` repeatedly for ``seconds``; it must return true each time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert check(), f"{what} did not stay true"
        time.sleep(pause)
