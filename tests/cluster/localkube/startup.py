"""The verb ``up``: the start of a cluster in order, and the repair of an existing one."""

import json
import time

from . import (
    cgroups,
    controlplane,
    fakenodes,
    inventory,
    machine,
    network,
    node,
    pki,
    programs,
    teardown,
)
from .console import Failure, say, seconds, step
from .kube import Api
from .processes import tail, wait_until
from .running import KEEPER, Running
from .settings import MARKER

#: Debian package of each required program.
PROGRAMS = {"openssl": "openssl", "ip": "iproute2", "nsenter": "util-linux", "unshare": "util-linux", "tar": "tar"}


def up(cluster, with_node=True):
    """Start a cluster, or repair it. Does nothing if it is healthy."""
    started = time.monotonic()
    machine.require_root()
    teardown.check_folder(cluster)
    with inventory.locked(cluster.name):
        inventory.check_apart(cluster)
        running = _existing(cluster, with_node)
        with_node = with_node or running.size == "node"
        if _healthy(running, with_node):
            say(f"cluster {cluster.name} is up already: {cluster.server}")
            return
        machine.need(PROGRAMS)
        pki.require_openssl()
        made = programs.ensure(programs.SETS["all" if with_node else "control-plane"])
        images = node.prepare() if with_node else {}
        if not running.keeper:
            _prepare_host(cluster, running)
        # For the user's PATH: programs of this cluster's versions.
        programs.link(made, cluster.path("bin"))
        _start(running, made, with_node, images)
        with step("wait until pods can be created" + (" and the node is ready" if with_node else "")):
            _await_usable(running, with_node)
        running.size = "node" if with_node else "control-plane"
    say(f"cluster {cluster.name} is up ({seconds(time.monotonic() - started)}): {cluster.server}")


def _start(running, made, with_node, images):
    """Start each component as early as possible. ``made`` are the paths of the programs."""
    cluster = running.cluster
    running.ensure(controlplane.etcd(cluster, made["etcd"]))
    early = node.early_components(cluster, made, images) if with_node else []
    running.ensure(controlplane.api_server(cluster, made["kube-apiserver"]), *early)
    late = [controlplane.controller_manager(cluster, made["kube-controller-manager"]),
            controlplane.scheduler(cluster, made["kube-scheduler"])]
    if with_node:
        api = Api(cluster)
        node.inflate_capacity(cluster, api)
        node.grant(api)
        late += node.late_components(cluster, made)
    if running.records.read(fakenodes.NAME):
        late.append(fakenodes.component(cluster))
    running.ensure(*late)


def _existing(cluster, with_node):
    """Return the cluster's existing state. Removes everything of the cluster if it can't be repaired."""
    known = inventory.known(cluster.name)
    running = Running(cluster)
    if known and known != cluster:
        rates = "default" if known.default_rates else "higher"
        raise Failure(f"cluster {cluster.name} exists in {known.folder} with range {known.range} and {rates} request rates: take it down first, or choose another --name")
    repairable = running.keeper and running.size
    if not repairable and teardown.exists(cluster):
        with step("remove what an incomplete start left"):
            teardown.remove(cluster)
    if repairable:
        for name, process in running.components():
            if not process.alive:
                say(f"  ! {name} is not running; the end of its log:\n{tail(cluster.log(name))}")
        if with_node and running.size != "node":
            if running.records.read(fakenodes.NAME):
                raise Failure(f"cluster {cluster.name} has fake nodes, and a real node would receive their pods: take it down first, or choose another --name")
            say("  this cluster is a control plane only: adding its node")
    return running


def _healthy(running, with_node):
    if not running.keeper or running.size != ("node" if with_node else "control-plane"):
        return False
    if not all(process.alive for _, process in running.components()):
        return False
    return Api(running.cluster, timeout=3).ready()


def _prepare_host(cluster, running):
    """Create everything before the first component: record, control group, guard route, namespaces, link, certificates."""
    with step("network namespace, routes, certificates"):
        overlapping = network.conflicts(cluster)
        if overlapping:
            raise Failure(f"the range {cluster.range} is in use on this machine ({overlapping[0]}): choose another with --range")
        inventory.remember(cluster)
        cluster.folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        cluster.path(MARKER).write_text(json.dumps(cluster.describe()))
        running.records.folder.mkdir(parents=True)
        machine.load_modules()
        network.guard(cluster)
        try:
            cgroups.create(cluster.cgroup)
        except OSError as error:
            raise Failure(f"cannot create control groups on this machine ({error}); the local Kubernetes needs write access to them") from None
        keeper = network.start_keeper(cluster)
        running.records.write(KEEPER, keeper)
        network.connect(cluster, keeper)
        pki.create(cluster)


def _await_usable(running, with_node):
    """Wait until pods can be created (which needs the service account) and, with a node, started."""
    api = Api(running.cluster)

    def usable():
        try:
            api.get("/api/v1/namespaces/default/serviceaccounts/default")
            return not with_node or node.ready(api, running.cluster)
        except Exception:  # pylint: disable=broad-except  # not there yet, or the connection was closed: it is polled again
            return False

    if not wait_until(usable, 60, every=0.1):
        component = "kubelet" if with_node else "kube-controller-manager"
        log = running.cluster.log(component)
        raise Failure(f"the cluster did not become usable; the end of {log}:\n{tail(log)}")
