"""The cluster's control group: resource limits of pods, and the kernel's list of all processes of the cluster.

Every process of a cluster starts inside its control group and its descendants cannot leave it, so the group's member list is
complete even after a crash. Both versions are supported: version 2 (stock Debian 12) and version 1 (one tree per controller).
"""

import os
import signal
import time
from pathlib import Path

from .processes import Process, start_time

ROOT = Path("/sys/fs/cgroup")


def unified(root=ROOT):
    """Return whether the machine has version 2 only."""
    return (root / "cgroup.controllers").exists()


def hierarchies(root=ROOT):
    """Return the root folder of each tree."""
    if unified(root):
        return [root]
    return sorted(folder for folder in root.iterdir() if (folder / "cgroup.procs").exists() and not folder.is_symlink())


def folders(group, root=ROOT):
    """Return the existing folders of the group, at most one per tree."""
    return [top / group for top in hierarchies(root) if (top / group).is_dir()]


def create(group, root=ROOT):
    """Create the group in every tree, with a child ``system`` for the cluster's daemons. The kubelet puts pods beside that."""
    for top in hierarchies(root):
        folder = top / group
        if unified(root):
            _delegate(top)
        folder.mkdir(exist_ok=True)
        if unified(root):
            _delegate(folder)
        if top.name == "cpuset":
            # A new version 1 cpuset is empty and accepts no process until its processors are set.
            for name in ("cpuset.cpus", "cpuset.mems"):
                if not (folder / name).read_text().strip():
                    (folder / name).write_text((top / name).read_text())
        # Eight times the default weight, because all pods together compete with builds on the host for the processors.
        for name, value in (("cpu.shares", "8192"), ("cpu.weight", "800")):
            if (folder / name).exists():
                (folder / name).write_text(value)
    for top in _daemon_trees(root):
        (top / group / "system").mkdir(exist_ok=True)


def _delegate(folder):
    """Enable all controllers for the children of a folder; version 2 does not do so by default."""
    for controller in (folder / "cgroup.controllers").read_text().split():
        try:
            (folder / "cgroup.subtree_control").write_text(f"+{controller}")
        except OSError:
            pass  # For example a controller that the folder's own processes preclude. The kubelet reports one that it needs.


def _daemon_trees(root):
    """Return the tree that daemons join: on version 1 only ``pids``, so that no processor weight applies to them."""
    return [root] if unified(root) else [root / "pids"]


def join(group, root=ROOT):
    """Return a function that moves the calling process into the group's ``system``, for a new child before exec."""
    targets = [str(top / group / "system" / "cgroup.procs") for top in _daemon_trees(root)]

    def enter():
        for target in targets:
            with open(target, "w", encoding="ascii") as file:
                file.write("0")

    return enter


def members(group, root=ROOT):
    """Return all processes in the group and below it."""
    pids = set()
    for folder in folders(group, root):
        for parent, _, files in os.walk(folder):
            if "cgroup.procs" in files:
                try:
                    pids.update(int(line) for line in Path(parent, "cgroup.procs").read_text().split())
                except (FileNotFoundError, OSError):
                    continue
    found = (Process(pid, start_time(pid)) for pid in pids if pid)
    return [process for process in found if process.start is not None]


def kill_all(group, timeout=30.0, root=ROOT):
    """Kill all processes of the group until none is left, and return those that are alive after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        alive = members(group, root)
        if not alive or time.monotonic() > deadline:
            return alive
        for process in alive:
            process.kill(signal.SIGKILL)
        time.sleep(0.02)


def remove(group, timeout=10.0, root=ROOT):
    """Remove the group in every tree, and return the folders that could not be removed within ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        stuck = []
        for folder in folders(group, root):
            for parent, _, _ in os.walk(folder, topdown=False):
                try:
                    os.rmdir(parent)
                except FileNotFoundError:
                    pass
                except OSError:
                    stuck.append(parent)
        if not stuck or time.monotonic() > deadline:
            return stuck
        time.sleep(0.05)


def all_groups(prefix, root=ROOT):
    """Return the names of the groups that begin with ``prefix`` and a dash."""
    return sorted({folder.name for top in hierarchies(root) for folder in top.glob(f"{prefix}-*")})
