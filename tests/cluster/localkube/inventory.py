"""The list of clusters on this machine, and a lock for each.

Both belong to the machine, as control groups, routes and addresses do, so checkouts with separate caches share them.
"""

import contextlib
import json

from . import locks
from .console import Failure
from .settings import LOCKS, MARKER, STATE_HOME, Cluster

#: Folder of the list. A cluster's name has no dot, so the folder of no cluster conflicts with it.
FOLDER = STATE_HOME / ".clusters"


def _file(name):
    return FOLDER / f"{name}.json"


def remember(cluster):
    """Record a cluster *before* anything of it exists, so that ``down`` finds everything that an incomplete ``up`` left."""
    file = _file(cluster.name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(cluster.describe()))


def forget(cluster):
    """Delete the record of a cluster, after the cluster is removed."""
    _file(cluster.name).unlink(missing_ok=True)


def known(name):
    """Return the cluster of that name as it was started, or ``None``. If the record is lost, the default folder has a copy."""
    for file in (_file(name), STATE_HOME / name / MARKER):
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
            return Cluster.restore(json.loads(file.read_text()))
    return None


def all_known():
    """Return all clusters that were started and not taken down, sorted by name."""
    names = {file.stem for file in FOLDER.glob("*.json")} | {file.parent.name for file in STATE_HOME.glob(f"*/{MARKER}")}
    return [cluster for cluster in map(known, sorted(names)) if cluster]


@contextlib.contextmanager
def locked(name):
    """Hold the lock that allows one ``up`` or ``down`` at a time per cluster."""
    LOCKS.mkdir(parents=True, exist_ok=True)
    with open(LOCKS / f"{name}.lock", "w", encoding="ascii") as lock:
        locks.acquire(lock, lambda: f"another command is working on cluster {name}")
        yield


def check_apart(cluster):
    """Raise :class:`Failure` if another cluster has an overlapping folder or address range."""
    for other in all_known():
        if other.name == cluster.name:
            continue
        if other.range.overlaps(cluster.range):
            raise Failure(f"the range {cluster.range} overlaps {other.range} of cluster {other.name}: choose another with --range")
        if other.folder == cluster.folder or other.folder in cluster.folder.parents or cluster.folder in other.folder.parents:
            raise Failure(f"the folder {cluster.folder} is in use by cluster {other.name}: choose another with --dir")
