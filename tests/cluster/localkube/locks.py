"""File locks, which the kernel releases when their process ends, for any reason."""

import fcntl

from .console import say


def acquire(file, waiting, report=say):
    """Lock an open file until it is closed. While another process holds the lock, wait, and report the text ``waiting()`` first."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        report(f"  … {waiting()}: waiting for it")
        fcntl.flock(file, fcntl.LOCK_EX)
