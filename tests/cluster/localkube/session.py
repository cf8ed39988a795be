"""Sessions: exclusive use of a cluster's name from before the start of the cluster until after its end.

A suite takes its cluster down when it ends. The suites of two checkouts have clusters of the same names, so one must wait for
the other. The lock is a file lock: the kernel releases it when the process ends, for any reason.
"""

import contextlib
import fcntl
import os
import time
from pathlib import Path

from . import locks
from .console import say
from .settings import LOCKS


def _file(name):
    return LOCKS / f"{name}.session"


@contextlib.contextmanager
def held(name, what, report=say):
    """Hold the session of a cluster's name. Waits while another process holds it, and reports that.

    ``what`` describes this process to those that wait for it.
    """
    LOCKS.mkdir(parents=True, exist_ok=True)
    with open(_file(name), "a", encoding="utf-8") as file:
        locks.acquire(file, lambda: f"cluster {name} is in use by {holder(name) or 'another session'}", report)
        file.truncate(0)
        file.write(f"process {os.getpid()} since {time.strftime('%H:%M:%S')}: {what}, in {Path.cwd()}")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def holder(name):
    """Return a description of the process that holds the session of a cluster's name, or None if the session is free."""
    try:
        file = open(_file(name), encoding="utf-8")
    except FileNotFoundError:
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read() or "a session that is just starting"
    return None
