"""Waiting for what happens by itself."""

import time

#: Seconds after which what has not happened will not, on a machine that others use, too.
GENEROUS = 120
#: Seconds for garbage collection, which looks every 30 s whether there are new kinds: on a fresh cluster ours are.
COLLECTED = 180


class Never(AssertionError):
    """It did not happen in time."""


def until(check, what, timeout=GENEROUS, pause=0.1):
    """Call ``check`` until it returns something true, and return that.

    An AssertionError of ``check`` means "not yet", and so does a part of an object that is not there: a status that was not
    written yet has no conditions. After ``timeout`` seconds a failure says ``what`` was waited for, and
    what was seen last. The timeout only bounds a test that fails; it claims nothing about how long a thing takes.
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
            raise Never(f"waited {timeout:g} s for {what}; at last: {seen!r}")
        time.sleep(pause)


def stays(check, what, seconds=2.0, pause=0.1):
    """Call ``check`` for some time; it must be true each time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert check(), f"{what} did not stay so"
        time.sleep(pause)
