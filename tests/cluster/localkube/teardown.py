"""The verbs ``down`` and ``leftovers``: removal of a cluster in any state, and a list of all that is left of clusters.

Both rely on the kernel's records (control groups, links and routes), which identify a cluster even if its record and its folder
are lost.
"""

import contextlib
import os
import shutil
import time
from pathlib import Path

from . import cgroups, inventory, machine, network, scratch
from .console import Failure, say, seconds
from .processes import Process, start_time
from .running import Running
from .settings import LINK_PREFIX, MARKER, PREFIX, Cluster, cache_home

#: Mount point inside the cluster's mount namespace, which therefore must exist on the host.
CNI_FOLDER = Path("/var/lib/cni")
#: Programs in the cache that users run; all others there are daemons.
TOOLS = ("kubectl", "helm", "crane", "ctr", "go")


def down(cluster):
    """Remove everything of a cluster, and check that nothing is left. It is not an error if the cluster does not exist."""
    machine.require_root()
    with inventory.locked(cluster.name):
        cluster = inventory.known(cluster.name) or cluster
        if not exists(cluster):
            say(f"cluster {cluster.name} is not up")
            return
        started = time.monotonic()
        remove(cluster)
        left = leftovers([cluster.name])
        if left:
            raise Failure(f"cluster {cluster.name} is not removed completely:\n" + "\n".join(f"    {line}" for line in left))
    say(f"cluster {cluster.name} is down ({seconds(time.monotonic() - started)})")


def exists(cluster):
    """Return whether anything of the cluster exists."""
    return bool(inventory.known(cluster.name) or cluster.path(MARKER).exists() or leftovers([cluster.name]))


def check_folder(cluster):
    """Raise :class:`Failure` if the cluster's folder contains other data."""
    if cluster.folder.exists() and not cluster.path(MARKER).exists() and any(cluster.folder.iterdir()):
        raise Failure(f"{cluster.folder} contains other data than a cluster and is left alone: choose another with --dir")


def remove(cluster):
    """Remove everything of a cluster: first the processes that could start others, last the route that guards the range."""
    check_folder(cluster)
    recorded = [process for _, process in reversed(Running(cluster).records.all())]
    for process in recorded:
        process.kill()
    # The control group lists all other processes: pods, their shims and their descendants.
    stuck = cgroups.kill_all(cluster.cgroup)
    if stuck:
        raise Failure(f"processes of cluster {cluster.name} do not end: " + ", ".join(f"{process.pid} ({command(process.pid)})" for process in stuck))
    for process in recorded:
        process.wait(10)
    # The namespaces ended with their last process, and with them the pods' networks, all mounts and the link.
    _remove_folder(cluster.folder)
    cgroups.remove(cluster.cgroup)
    network.disconnect(cluster)
    with contextlib.suppress(OSError):
        CNI_FOLDER.rmdir()  # fails unless it is empty, that is, unless no other program uses it
    inventory.forget(cluster)
    unguard()


def unguard():
    """Remove the guard routes of ranges without a recorded cluster. A cluster is recorded before its range is guarded."""
    recorded = [cluster.range for cluster in inventory.all_known()]
    network.unguard(lambda guarded: not any(guarded.overlaps(other) for other in recorded))


def mounts_below(folder):
    """Return the host's mount points in a folder, innermost first."""
    points = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = Path(line.split()[4].encode().decode("unicode_escape"))
        if point == folder or folder in point.parents:
            points.append(point)
    return sorted(points, key=lambda point: len(point.parts), reverse=True)


def _remove_folder(folder):
    for point in mounts_below(folder):
        machine.run(["umount", "--lazy", point])
    for _ in range(100):
        # The marker is deleted last, so that an interrupted removal can be resumed.
        for entry in folder.iterdir() if folder.exists() else ():
            if entry.name != MARKER:
                with contextlib.suppress(OSError):
                    shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        if not folder.exists() or [entry.name for entry in folder.iterdir()] in ([], [MARKER]):
            break
        time.sleep(0.05)  # the kernel is still removing a mount of the namespace
    else:
        raise Failure(f"cannot remove {folder}: {', '.join(sorted(entry.name for entry in folder.iterdir()))} is left")
    (folder / MARKER).unlink(missing_ok=True)
    if folder.exists():
        folder.rmdir()


def present():
    """Return every cluster of which anything exists. One without a record is assumed to have the default folder and range."""
    clusters = {cluster.name: cluster for cluster in inventory.all_known()}
    names = {group.removeprefix(f"{PREFIX}-") for group in cgroups.all_groups(PREFIX)} | {link.removeprefix(LINK_PREFIX) for link in network.links(LINK_PREFIX)}
    for name in names - clusters.keys():
        with contextlib.suppress(ValueError):  # a group of another program: a cluster can't have its name
            clusters[name] = Cluster.create(name)
    return sorted(clusters.values(), key=lambda cluster: cluster.name)


def leftovers(names=None, but=()):
    """Return a line for everything that is left of the clusters ``names``, or of all clusters except ``but``. Caches do not count."""
    found = []
    clusters = {cluster.name: cluster for cluster in inventory.all_known()}
    links = network.links(LINK_PREFIX)
    everything = names is None
    if everything:
        names = [cluster.name for cluster in present() if cluster.name not in but]
    inside = {process.pid for name in but for process in cgroups.members(f"{PREFIX}-{name}")}
    for name in names:
        group = f"{PREFIX}-{name}"
        members = cgroups.members(group)
        inside.update(process.pid for process in members)
        found += [f"process {process.pid} of cluster {name}: {command(process.pid)}" for process in members]
        found += [f"control group: {folder}" for folder in cgroups.folders(group)]
        found += [f"network interface: {link}" for link in links if link == LINK_PREFIX + name]
        cluster = clusters.get(name)
        if cluster:
            found.append(f"cluster {name} in {cluster.folder}, range {cluster.range}")
            found += [f"mount: {point}" for point in mounts_below(cluster.folder)]
            found += [f"folder: {cluster.folder}"] if cluster.folder.exists() else []
    if everything:
        used = [clusters[name].range for name in but if name in clusters]
        found += [f"route: {route}" for route in network.routes() if not any(network.overlaps(cidr, network.destination(route)) for cidr in used)]
        found += [f"process {process.pid} outside any cluster: {command(process.pid)}" for process in daemons() if process.pid not in inside]
        found += [f"temporary folder: {path}" for path in scratch.abandoned()]
    return found


def daemons():
    """Yield all processes on the machine that run one of the cached daemons."""
    folders = (f"{cache_home() / 'bin'}/", f"{cache_home() / 'debian'}/")
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            program = os.readlink(entry / "exe").removesuffix(" (deleted)")
            start = start_time(int(entry.name))
            if start and program.startswith(folders) and Path(program).name not in TOOLS:
                yield Process(int(entry.name), start)


def command(pid):
    """Return a process's command line for display, or ``(ended)``."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:160].strip()
    return "(ended)"
