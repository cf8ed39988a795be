"""The namespace that holds a cluster, and the way into it from the host.

One process, the *keeper*, holds a network and a mount namespace open; everything else enters them. There is no named
namespace and no mount on the host, so when the last process is gone the kernel itself drops the namespaces with every
interface, rule and mount in them.
"""

import ipaddress
import select
import subprocess
from pathlib import Path

from . import cgroups, machine
from .console import Failure
from .processes import Process, start_time
from .settings import ROUTE_PROTOCOL, UNREACHABLE_METRIC

#: Runs inside the new namespaces. The mounts were made private by `unshare`; sharing them again among themselves lets a pod's
#: volumes, mounted by the kubelet, appear where the container runtime looks, and still nothing reaches the host.
#: /run is covered, so that sockets, runc's state and network namespaces of pods are the cluster's own; /var/log likewise.
#: The kubelet insists on some kernel parameters of the whole machine (memory overcommit, panic) and sets them itself. It sees files
#: that say what it wants, and so changes nothing.
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

#: Folders that live in memory when there is enough of it. Unpacking an image is then a matter of memory speed, and deleting it
#: is none of time: on a disk the ten thousand files of one image take up to 20 s to remove.
IN_MEMORY = ("etcd", "containerd")
ENOUGH_MEMORY = 6 << 30


def start_keeper(cluster, timeout=10.0):
    """Make the namespaces; returns the process that holds them."""
    for folder in ("var-log", "var-lib-cni", *IN_MEMORY):
        cluster.path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    in_memory = IN_MEMORY if available_memory() >= ENOUGH_MEMORY else ()
    argv = ["unshare", "--net", "--mount", "--propagation", "private", "/bin/sh", "-c", KEEPER, "keeper", str(cluster.folder), " ".join(in_memory)]
    child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/",
                             start_new_session=True, preexec_fn=cgroups.join(cluster.cgroup))
    with child.stdout as output:
        said = ""
        while "ready\n" not in said:
            line = output.readline() if select.select([output], [], [], timeout)[0] else b""
            if not line:
                child.kill()
                child.wait()
                raise Failure(f"cannot make the cluster's namespaces: {said.strip() or 'no answer'}")
            said += line.decode(errors="replace")
    return Process(child.pid, start_time(child.pid))


def available_memory():
    """Bytes of memory that programs could have now."""
    line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable:"))
    return int(line.split()[1]) << 10


def entering(keeper, argv):
    """The command line that runs ``argv`` inside the namespaces. The program takes the process over: its id stays the same."""
    return ["nsenter", f"--net=/proc/{keeper.pid}/ns/net", f"--mount=/proc/{keeper.pid}/ns/mnt", "--", *(str(part) for part in argv)]


def _ip(*arguments, check=True):
    return machine.run(["ip", *arguments], check=check)


def conflicts(cluster):
    """Routes of the machine that overlap the cluster's range, other than its own."""
    found = []
    for line in _ip("-4", "route", "show", "table", "main").stdout.splitlines():
        target = destination(line)
        if target == "default" or _own_route(cluster, line.split(), target):
            continue
        if overlaps(cluster.range, target):
            found.append(line.strip())
    return found


def destination(route):
    """The destination of a route as ``ip route`` prints it: a network, an address, or ``default``."""
    words = route.split()
    return words[1] if words[0] in ("unreachable", "blackhole", "prohibit", "throw") else words[0]


def overlaps(network, target):
    """Whether a route's destination and a network have an address in common."""
    return type(network)(target, strict=False).overlaps(network)


def _own_route(cluster, words, target):
    in_range = type(cluster.range)(target, strict=False).subnet_of(cluster.range)
    return in_range and (cluster.link in words or (words[0] == "unreachable" and str(ROUTE_PROTOCOL) in words))


def guard(cluster):
    """Before anything else: no packet for the range leaves the machine while there is no link to the cluster."""
    _ip("route", "replace", "unreachable", str(cluster.range), "metric", str(UNREACHABLE_METRIC), "proto", str(ROUTE_PROTOCOL))


def connect(cluster, keeper):
    """A veth pair between host and namespace, and the routes on both sides."""
    _ip("link", "delete", cluster.link, check=False)
    _ip("link", "add", cluster.link, "type", "veth", "peer", "name", "eth0", "netns", str(keeper.pid))
    _ip("address", "add", f"{cluster.host_address}/30", "dev", cluster.link)
    _ip("link", "set", cluster.link, "up")

    def inside(*arguments):
        machine.run(["nsenter", f"--net=/proc/{keeper.pid}/ns/net", "ip", *arguments])

    inside("address", "add", f"{cluster.node_address}/30", "dev", "eth0")
    inside("link", "set", "eth0", "up")
    # A pull from a registry on the internet would hang for minutes if the namespace had a default route.
    inside("route", "add", "unreachable", "default")
    # A program in the namespace (not a pod) that asks a Service needs a route before kube-proxy rewrites the address.
    inside("route", "add", str(cluster.services), "dev", "lo", "src", str(cluster.node_address))
    _ip("route", "replace", str(cluster.range), "via", str(cluster.node_address), "dev", cluster.link, "proto", str(ROUTE_PROTOCOL))


def disconnect(cluster):
    """Remove the link, and with it the route through it."""
    _ip("link", "delete", cluster.link, check=False)


def unguard(unused):
    """Remove the ``unreachable`` routes of those ranges that are ``unused``, a function of a network."""
    for route in routes():
        if route.startswith("unreachable ") and unused(ipaddress.IPv4Network(destination(route))):
            _ip("route", "delete", "unreachable", destination(route), "metric", str(UNREACHABLE_METRIC), check=False)


def links(prefix):
    """Host interfaces that begin with ``prefix``."""
    names = (line.split(":")[1].strip().split("@")[0] for line in _ip("-o", "link", "show").stdout.splitlines())
    return [name for name in names if name.startswith(prefix)]


def routes():
    """Every route that carries our tag."""
    return [line.strip() for line in _ip("-4", "route", "show", "proto", str(ROUTE_PROTOCOL)).stdout.splitlines() if line.strip()]
