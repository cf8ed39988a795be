"""The network and mount namespace of a cluster, and the routes to it from the host.

One process, the *keeper*, keeps a network and a mount namespace open; all other processes enter them. There is no named
namespace and no mount on the host, so when the last process has ended the kernel removes the namespaces with all
interfaces, rules and mounts in them.
"""

import ipaddress
import select
import subprocess
from pathlib import Path

from . import cgroups, machine
from .console import Failure
from .processes import Process, start_time
from .settings import ROUTE_PROTOCOL, UNREACHABLE_METRIC

#: Shell script of the keeper, inside the new namespaces. `unshare` has made the mounts private. Making them shared within the
#: namespace lets the container runtime see volumes that the kubelet mounts, and still no mount propagates to the host.
#: A tmpfs hides the host's /run, so that sockets, runc's state and network namespaces of pods are the cluster's own. A bind mount
#: does the same for /var/log. The kubelet requires certain kernel parameters of the whole machine (memory overcommit, panic) and
#: would set them. Bind-mounted files show it the values that it requires, so it changes nothing.
KEEPER = """
set -e
mount --make-rshared /
mount -t tmpfs -o mode=755 tmpfs /run
mount --bind "$1/var-log" /var/log
mkdir -p /var/lib/cni
mount --bind "$1/var-lib-cni" /var/lib/cni
for parameter in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \\
        kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    file="/run/parameters/${parameter%=*}"
    mkdir -p "${file%/*}"
    echo "${parameter#*=}" > "$file"
    mount --bind "$file" "/proc/sys/${parameter%=*}"
done
for name in $2; do mount -t tmpfs -o mode=700 tmpfs "$1/$name"; done
ip link set lo up
echo 1 > /proc/sys/net/ipv4/ip_forward
for family in all default; do echo 1 > /proc/sys/net/ipv6/conf/$family/disable_ipv6 || true; done
echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables || true
echo ready
exec sleep infinity > /dev/null 2>&1
"""

#: Folders that are in memory (tmpfs) if enough is available. Unpacking an image is then limited by memory speed only, and deleting
#: it takes no time: on a disk, removing the ten thousand files of one image takes up to 20 s.
IN_MEMORY = ("etcd", "containerd")
#: Available memory in bytes from which on :data:`IN_MEMORY` applies.
ENOUGH_MEMORY = 6 << 30


def start_keeper(cluster, timeout=10.0):
    """Create the namespaces, and return the keeper."""
    for folder in ("var-log", "var-lib-cni", *IN_MEMORY):
        cluster.path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    in_memory = IN_MEMORY if available_memory() >= ENOUGH_MEMORY else ()
    argv = ["unshare", "--net", "--mount", "--propagation", "private", "/bin/sh", "-c", KEEPER, "keeper", str(cluster.folder), " ".join(in_memory)]
    child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/",
                             start_new_session=True, preexec_fn=cgroups.join(cluster.cgroup))
    with child.stdout as output:
        received = ""
        while "ready\n" not in received:
            line = output.readline() if select.select([output], [], [], timeout)[0] else b""
            if not line:
                child.kill()
                child.wait()
                raise Failure(f"cannot create the cluster's namespaces: {received.strip() or 'no output'}")
            received += line.decode(errors="replace")
    return Process(child.pid, start_time(child.pid))


def available_memory():
    """Return the available memory in bytes."""
    line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable:"))
    return int(line.split()[1]) << 10


def entering(keeper, argv):
    """Return a command line that runs ``argv`` inside the namespaces by exec, so that the process id stays the same."""
    return ["nsenter", f"--net=/proc/{keeper.pid}/ns/net", f"--mount=/proc/{keeper.pid}/ns/mnt", "--", *(str(part) for part in argv)]


def _ip(*arguments, check=True):
    return machine.run(["ip", *arguments], check=check)


def conflicts(cluster):
    """Return the machine's routes that overlap the cluster's range, except the cluster's own."""
    found = []
    for line in _ip("-4", "route", "show", "table", "main").stdout.splitlines():
        target = destination(line)
        if target == "default" or _own_route(cluster, line.split(), target):
            continue
        if overlaps(cluster.range, target):
            found.append(line.strip())
    return found


def destination(route):
    """Return the destination of a route in the format of ``ip route``: a network, an address, or ``default``."""
    words = route.split()
    return words[1] if words[0] in ("unreachable", "blackhole", "prohibit", "throw") else words[0]


def overlaps(network, target):
    """Return whether a route's destination and a network have an address in common."""
    return type(network)(target, strict=False).overlaps(network)


def _own_route(cluster, words, target):
    in_range = type(cluster.range)(target, strict=False).subnet_of(cluster.range)
    return in_range and (cluster.link in words or (words[0] == "unreachable" and str(ROUTE_PROTOCOL) in words))


def guard(cluster):
    """Add an ``unreachable`` route, so that no packet for the range leaves the machine while the cluster's link does not exist.

    This precedes all other steps of the start.
    """
    _ip("route", "replace", "unreachable", str(cluster.range), "metric", str(UNREACHABLE_METRIC), "proto", str(ROUTE_PROTOCOL))


def connect(cluster, keeper):
    """Create a veth pair between host and namespace, and the routes on both sides."""
    _ip("link", "delete", cluster.link, check=False)
    _ip("link", "add", cluster.link, "type", "veth", "peer", "name", "eth0", "netns", str(keeper.pid))
    _ip("address", "add", f"{cluster.host_address}/30", "dev", cluster.link)
    _ip("link", "set", cluster.link, "up")

    def inside(*arguments):
        machine.run(["nsenter", f"--net=/proc/{keeper.pid}/ns/net", "ip", *arguments])

    inside("address", "add", f"{cluster.node_address}/30", "dev", "eth0")
    inside("link", "set", "eth0", "up")
    # With a default route, a pull from a registry on the internet would hang for minutes.
    inside("route", "add", "unreachable", "default")
    # A program in the namespace (not in a pod) that connects to a Service needs a route before kube-proxy rewrites the address.
    inside("route", "add", str(cluster.services), "dev", "lo", "src", str(cluster.node_address))
    _ip("route", "replace", str(cluster.range), "via", str(cluster.node_address), "dev", cluster.link, "proto", str(ROUTE_PROTOCOL))


def disconnect(cluster):
    """Remove the link and, with it, the route through it."""
    _ip("link", "delete", cluster.link, check=False)


def unguard(unused):
    """Remove the ``unreachable`` route of each range for which ``unused(network)`` is true."""
    for route in routes():
        if route.startswith("unreachable ") and unused(ipaddress.IPv4Network(destination(route))):
            _ip("route", "delete", "unreachable", destination(route), "metric", str(UNREACHABLE_METRIC), check=False)


def links(prefix):
    """Return the names of the host's interfaces that begin with ``prefix``."""
    names = (line.split(":")[1].strip().split("@")[0] for line in _ip("-o", "link", "show").stdout.splitlines())
    return [name for name in names if name.startswith(prefix)]


def routes():
    """Return all routes with the protocol number :data:`ROUTE_PROTOCOL`."""
    return [line.strip() for line in _ip("-4", "route", "show", "proto", str(ROUTE_PROTOCOL)).stdout.splitlines() if line.strip()]
