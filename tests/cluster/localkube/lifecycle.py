"""Up, down and what is left: the order in which a cluster comes and goes."""

import contextlib
import shutil
import time
from pathlib import Path

from . import binaries, cgroups, controlplane, inventory, machine, network, node, pki
from .console import Failure, say, seconds, step
from .kube import Api
from .processes import Process, Records, launch, tail, wait_until
from .settings import LINK_PREFIX, PREFIX

#: Program to Debian package.
PROGRAMS = {"openssl": "openssl", "ip": "iproute2", "nsenter": "util-linux", "unshare": "util-linux"}

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


class Running:
    """A cluster on this machine: its processes, and how to start one more."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.records = Records(cluster.path("run", "pids"))

    @property
    def keeper(self):
        """The process that holds the namespaces, or ``None`` when it is not alive."""
        found = self.records.read("keeper")
        return found if found and found.alive else None

    def components(self):
        """Recorded components with their processes, without the keeper."""
        return [(name, process) for name, process in self.records.all() if name != "keeper"]

    def alive(self, name):
        """Whether a component runs."""
        process = self.records.read(name)
        return bool(process and process.alive)

    def spawn(self, component):
        """Start a component inside the namespaces and remember it."""
        argv = network.entering(self.keeper, component.argv)
        process = launch(argv, self.cluster.log(component.name), cgroups.join(self.cluster.cgroup), component.env)
        self.records.write(component.name, process)
        return process

    def await_ready(self, component):
        """Wait until a started component says that it is ready; otherwise name it with the end of its log."""
        process = self.records.read(component.name)
        if wait_until(component.ready, component.timeout, process):
            return
        reason = f"is not ready after {seconds(component.timeout)}" if process.alive else "has ended"
        log = self.cluster.log(component.name)
        raise Failure(f"{component.name} {reason}; the end of {log}:\n{tail(log)}")

    def ensure(self, *components):
        """Start those components that do not run, all at once, then wait for each."""
        started = [component for component in components if not self.alive(component.name)]
        if started:
            with step(f"start {', '.join(component.name for component in started)}"):
                for component in started:
                    self.spawn(component)
                for component in started:
                    self.await_ready(component)
        return started

    @property
    def complete(self):
        """Which size of cluster came up completely once: ``None``, "control-plane" or "node"."""
        with contextlib.suppress(FileNotFoundError):
            return self.cluster.path("run", "complete").read_text()
        return None

    @complete.setter
    def complete(self, size):
        self.cluster.path("run", "complete").write_text(size)


def up(cluster, with_node=True):
    """Bring a cluster up, or repair it, or find that there is nothing to do."""
    started = time.monotonic()
    machine.require_root()
    inventory.check_apart(cluster)
    with inventory.locked(cluster.name):
        running = _existing(cluster, with_node)
        with_node = with_node or running.complete == "node"
        if running.keeper and _healthy(running, with_node):
            say(f"cluster {cluster.name} is up already")
            return running
        machine.need(PROGRAMS)
        pki.require_openssl()
        programs = binaries.ensure(binaries.SETS["node" if with_node else "control-plane"])
        stored = node.prepare() if with_node else {}
        if not running.keeper:
            _lay_ground(cluster, running)
        _link_programs(cluster, programs)
        running.ensure(controlplane.etcd(cluster, programs["etcd"]))
        early = node.early_components(cluster, programs, stored) if with_node else []
        api_server = controlplane.api_server(cluster, programs["kube-apiserver"])
        running.ensure(api_server, *early)
        late = [controlplane.controller_manager(cluster, programs["kube-controller-manager"]),
                controlplane.scheduler(cluster, programs["kube-scheduler"])]
        if with_node:
            node.grant(Api(cluster))
            late += node.late_components(cluster, programs)
        running.ensure(*late)
        with step("wait for the default service account" + (" and the node" if with_node else "")):
            _await_usable(running, with_node)
        running.complete = "node" if with_node else "control-plane"
    say(f"cluster {cluster.name} is up ({seconds(time.monotonic() - started)}): {cluster.server}")
    return running


def _existing(cluster, with_node):
    """Look at what is there of this cluster; remove it unless it can be repaired."""
    known = inventory.known(cluster.name)
    running = Running(cluster)
    if known and known != cluster:
        raise Failure(f"cluster {cluster.name} exists in {known.folder} with range {known.range}: take it down first, or choose another --name")
    whole = running.keeper and running.complete
    if not whole and (known or cluster.folder.exists()):
        with step("remove what an unfinished or broken start left"):
            remove(cluster)
    if whole:
        dead = [name for name, process in running.components() if not process.alive]
        for name in dead:
            say(f"  ! {name} is not running; the end of its log:\n{tail(cluster.log(name))}")
        if with_node and running.complete != "node":
            say("  this cluster is a control plane only: adding its node")
    return running


def _healthy(running, with_node):
    expected = "node" if with_node else "control-plane"
    if running.complete != expected and not (running.complete == "node" and not with_node):
        return False
    if not all(process.alive for _, process in running.components()):
        return False
    return Api(running.cluster, timeout=3).ready()


def _lay_ground(cluster, running):
    """Everything before the first component: note, control group, guard route, namespaces, link, certificates."""
    with step("network namespace, routes, certificates"):
        overlapping = network.conflicts(cluster)
        if overlapping:
            raise Failure(f"the range {cluster.range} is in use on this machine ({overlapping[0]}): choose another with --range")
        inventory.remember(cluster)
        cluster.path("run", "pids").mkdir(parents=True)
        machine.load_modules()
        network.guard(cluster)
        cgroups.create(cluster.cgroup)
        keeper = network.start_keeper(cluster)
        running.records.write("keeper", keeper)
        network.connect(cluster, keeper)
        pki.create(cluster)


def _link_programs(cluster, programs):
    """A folder for a person's PATH: programs of this cluster's versions."""
    folder = cluster.path("bin")
    folder.mkdir(exist_ok=True)
    everything = {**{name: binaries.locate(name) for name in binaries.PROGRAMS}, **programs}
    for name, path in everything.items():
        if binaries.PROGRAMS[name].module == "cni":
            continue  # one of them is called `bridge`, like a program of iproute2
        link = folder / name
        if path.exists() and not link.is_symlink():
            link.symlink_to(path)


def _await_usable(running, with_node):
    """Pods can be created (they need the service account) and, with a node, started."""
    api = Api(running.cluster)

    def usable():
        try:
            api.get("/api/v1/namespaces/default/serviceaccounts/default")
            return not with_node or node_ready(api, running.cluster)
        except Exception:  # pylint: disable=broad-except  # not there yet, or the connection was cut: asked again
            return False

    if not wait_until(usable, 60, every=0.1):
        component = "kubelet" if with_node else "kube-controller-manager"
        raise Failure(f"the cluster does not become usable; the end of {component}'s log:\n{tail(running.cluster.log(component))}")


def node_ready(api, cluster):
    """Whether the node says that it takes pods."""
    conditions = api.get(f"/api/v1/nodes/{cluster.node_name}")["status"].get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def down(cluster):
    """Remove everything of a cluster. Works whatever state it is in, also when there is nothing."""
    machine.require_root()
    with inventory.locked(cluster.name):
        cluster = inventory.known(cluster.name) or cluster
        started = time.monotonic()
        remove(cluster)
        left = leftovers([cluster.name])
        if left:
            raise Failure(f"cluster {cluster.name} is not gone entirely:\n" + "\n".join(f"    {line}" for line in left))
    say(f"cluster {cluster.name} is down ({seconds(time.monotonic() - started)})")


def remove(cluster):
    """The teardown itself. Its order matters: what would start processes again is ended first, the guard route goes last."""
    records = Records(cluster.path("run", "pids"))
    recorded = [process for _, process in reversed(records.all())]
    for process in recorded:
        process.kill()
    # Pods and their shims are children of the recorded processes; the control group is the kernel's own record of them.
    stuck = cgroups.kill_all(cluster.cgroup)
    if stuck:
        raise Failure(f"processes of cluster {cluster.name} do not end: {', '.join(str(process.pid) for process in stuck)}")
    for process in recorded:
        process.wait(10)
    # With its last process the namespaces, all mounts, pod networks and the link are gone.
    _remove_folder(cluster.folder)
    cgroups.remove(cluster.cgroup)
    network.disconnect(cluster)
    for folder in (cluster.folder.parent, Path("/var/lib/cni")):
        if folder != Path("/var/lib"):
            with contextlib.suppress(OSError):
                folder.rmdir()  # only when empty, so only when nobody else uses it
    inventory.forget(cluster)


def mounts_below(folder):
    """Mount points of the host inside a folder, innermost first."""
    points = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4].encode().decode("unicode_escape")
        if Path(point) == folder or folder in Path(point).parents:
            points.append(point)
    return sorted(points, key=len, reverse=True)


def _remove_folder(folder):
    if not folder.exists():
        return
    if not (folder / "run").exists() and any(folder.iterdir()):
        raise Failure(f"{folder} is not the folder of a cluster; it is left alone")
    for point in mounts_below(folder):
        machine.run(["umount", "--lazy", point])
    shutil.rmtree(folder)


def leftovers(names=None):
    """What is left of clusters on this machine: of those named, or of any. Caches do not count."""
    found = []
    clusters = {cluster.name: cluster for cluster in inventory.all_known()}
    groups = cgroups.all_groups(PREFIX)
    links = network.links(LINK_PREFIX)
    if names is None:
        names = sorted({*clusters, *(group.removeprefix(f"{PREFIX}-") for group in groups), *(link.removeprefix(LINK_PREFIX) for link in links)})
        found += [f"route: {route}" for route in network.routes()]
    for name in names:
        group = f"{PREFIX}-{name}"
        found += [f"process {process.pid} of cluster {name}: {command(process)}" for process in cgroups.members(group)]
        found += [f"control group: {folder}" for folder in cgroups.folders(group)]
        found += [f"network interface: {link}" for link in links if link == LINK_PREFIX + name]
        cluster = clusters.get(name)
        if cluster:
            found.append(f"cluster {name} in {cluster.folder}, range {cluster.range}")
            found += [f"mount: {point}" for point in mounts_below(cluster.folder)]
            if cluster.folder.exists():
                found.append(f"folder: {cluster.folder}")
    return found


def command(process: Process):
    """A process's command line, for a person."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:160].strip()
    return "(ended)"
