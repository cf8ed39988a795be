"""Down: everything of a cluster goes, whatever state it is in; and what is left of any.

The kernel's own records count, control groups, links and routes: a cluster is found by them also when its note and its folder are lost.
"""

import contextlib
import os
import shutil
import time
from pathlib import Path

from . import cgroups, inventory, machine, network
from .console import Failure, say, seconds
from .processes import Process, start_time
from .running import Running
from .settings import LINK_PREFIX, MARKER, PREFIX, Cluster, cache_home

#: Mounted over inside the cluster; it must exist on the host for that.
CNI_FOLDER = Path("/var/lib/cni")
#: Programs that people run from our cache; all others there are daemons.
TOOLS = ("kubectl", "helm", "crane", "ctr", "go")


def down(cluster):
    """Remove everything of a cluster and check that it is gone. Not an error when there is nothing."""
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
            raise Failure(f"cluster {cluster.name} is not gone entirely:\n" + "\n".join(f"    {line}" for line in left))
    say(f"cluster {cluster.name} is down ({seconds(time.monotonic() - started)})")


def exists(cluster):
    """Whether anything of the cluster is there."""
    return bool(inventory.known(cluster.name) or cluster.path(MARKER).exists() or leftovers([cluster.name]))


def check_folder(cluster):
    """Refuse a folder that holds something else."""
    if cluster.folder.exists() and not cluster.path(MARKER).exists() and any(cluster.folder.iterdir()):
        raise Failure(f"{cluster.folder} holds other things than a cluster; it is left alone: choose another with --dir")


def remove(cluster):
    """The teardown itself. First what would start other processes goes, last the route that guards the range."""
    check_folder(cluster)
    recorded = [process for _, process in reversed(Running(cluster).records.all())]
    for process in recorded:
        process.kill()
    # Pods, their shims and whatever else was started from these: the control group is the kernel's own record of them.
    stuck = cgroups.kill_all(cluster.cgroup)
    if stuck:
        raise Failure(f"processes of cluster {cluster.name} do not end: " + ", ".join(f"{process.pid} ({command(process.pid)})" for process in stuck))
    for process in recorded:
        process.wait(10)
    # With its last process the namespaces are gone: pods' networks, all mounts, the link.
    _remove_folder(cluster.folder)
    cgroups.remove(cluster.cgroup)
    network.disconnect(cluster)
    with contextlib.suppress(OSError):
        CNI_FOLDER.rmdir()  # only when empty, so only when nobody else uses it
    inventory.forget(cluster)
    unguard()


def unguard():
    """Remove the routes of ranges that no noted cluster has. A cluster is noted before its range is guarded."""
    noted = [cluster.range for cluster in inventory.all_known()]
    network.unguard(lambda guarded: not any(guarded.overlaps(other) for other in noted))


def mounts_below(folder):
    """Mount points of the host inside a folder, innermost first."""
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
        # The marker goes last: a removal that is interrupted can be taken up again.
        for entry in folder.iterdir() if folder.exists() else ():
            if entry.name != MARKER:
                with contextlib.suppress(OSError):
                    shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        if not folder.exists() or [entry.name for entry in folder.iterdir()] in ([], [MARKER]):
            break
        time.sleep(0.05)  # a mount of the namespace that is just going away
    else:
        raise Failure(f"cannot remove {folder}: {', '.join(sorted(entry.name for entry in folder.iterdir()))} is left")
    (folder / MARKER).unlink(missing_ok=True)
    if folder.exists():
        folder.rmdir()


def present():
    """Every cluster of which anything is there. Of one without a note only the name is known; its range is the usual one."""
    clusters = {cluster.name: cluster for cluster in inventory.all_known()}
    names = {group.removeprefix(f"{PREFIX}-") for group in cgroups.all_groups(PREFIX)} | {link.removeprefix(LINK_PREFIX) for link in network.links(LINK_PREFIX)}
    for name in names - clusters.keys():
        with contextlib.suppress(ValueError):  # a group of another program, whose name none of ours could have
            clusters[name] = Cluster.create(name)
    return sorted(clusters.values(), key=lambda cluster: cluster.name)


def leftovers(names=None, but=()):
    """What is there of clusters on this machine, one line each: of those named, or of any ``but`` some. Caches do not count."""
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
    return found


def daemons():
    """Processes that run one of our long-running programs, wherever they are."""
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
    """A process's command line, for a person."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:160].strip()
    return "(ended)"
