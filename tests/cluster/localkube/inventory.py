"""The list of clusters on this machine, and the lock of each.

Both belong to the machine, as control groups, routes and addresses do: checkouts with caches of their own share them.
"""

import contextlib
import fcntl
import json

from .console import Failure, say
from .settings import LOCKS, MARKER, STATE_HOME, Cluster

#: A cluster's name has no dot, so no cluster's folder is in the way.
FOLDER = STATE_HOME / ".clusters"


def _file(name):
    return FOLDER / f"{name}.json"


def remember(cluster):
    """Note a cluster *before* anything of it exists, so that ``down`` finds whatever a broken ``up`` left."""
    file = _file(cluster.name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(cluster.describe()))


def forget(cluster):
    """Drop the note when nothing of the cluster is left."""
    _file(cluster.name).unlink(missing_ok=True)


def known(name):
    """The cluster of that name as it was started, or ``None``. Its folder, in the usual place, tells the same as the note."""
    for file in (_file(name), STATE_HOME / name / MARKER):
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
            return Cluster.restore(json.loads(file.read_text()))
    return None


def all_known():
    """Every cluster that was started and not taken down."""
    names = {file.stem for file in FOLDER.glob("*.json")} | {file.parent.name for file in STATE_HOME.glob(f"*/{MARKER}")}
    return [cluster for cluster in map(known, sorted(names)) if cluster]


@contextlib.contextmanager
def locked(name):
    """One ``up`` or ``down`` at a time for each cluster."""
    LOCKS.mkdir(parents=True, exist_ok=True)
    with open(LOCKS / f"{name}.lock", "w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"  … another command works on cluster {name}: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def check_apart(cluster):
    """Two clusters must not share a folder or addresses."""
    for other in all_known():
        if other.name == cluster.name:
            continue
        if other.range.overlaps(cluster.range):
            raise Failure(f"the range {cluster.range} overlaps {other.range} of cluster {other.name}: choose another with --range")
        if other.folder == cluster.folder or other.folder in cluster.folder.parents or cluster.folder in other.folder.parents:
            raise Failure(f"the folder {cluster.folder} is in use by cluster {other.name}: choose another with --dir")
