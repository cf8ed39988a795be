"""Sessions: who works with a cluster from before it is started until after it is down.

A suite takes the cluster of its name down when it ends. Suites of two checkouts have clusters of the same names, so one waits for
the other. The lock is the kernel's: it ends with the process that holds it, however that ends.
"""

import contextlib
import fcntl
import os
import time
from pathlib import Path

from .console import say
from .settings import LOCKS


def _file(name):
    return LOCKS / f"{name}.session"


@contextlib.contextmanager
def held(name, what, tell=say):
    """Hold the session of a cluster's name, as ``what``, which others are told. Waits while another session is held, and tells of it."""
    LOCKS.mkdir(parents=True, exist_ok=True)
    with open(_file(name), "a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell(f"  … cluster {name} is in use by {holder(name) or 'another session'}: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"process {os.getpid()} since {time.strftime('%H:%M:%S')}: {what}, in {Path.cwd()}")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def holder(name):
    """Who holds the session of a cluster's name, in a few words; None where it is free."""
    try:
        file = open(_file(name), encoding="utf-8")
    except FileNotFoundError:
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read() or "a session that just begins"
    return None
