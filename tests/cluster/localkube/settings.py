"""Names, folders and addresses of a cluster, derived from its name, folder and range.

Pure: nothing here does I/O.
"""

import dataclasses
import ipaddress
import os
import re
from pathlib import Path

#: Prefix of the names of control groups on the host, and the name of the state, lock and cache folders.
PREFIX = "dask-operator"
#: Prefix of the name of the host's end of the link. It is shorter because interface names have at most 15 characters.
LINK_PREFIX = "dkop-"
#: Protocol number that identifies this program's routes in the kernel's table (``ip route show proto 118``).
ROUTE_PROTOCOL = 118
#: Metric of the ``unreachable`` route. It is higher than that of the real route, so that it applies only without the link.
UNREACHABLE_METRIC = 1000

DEFAULT_NAME = "dask"
#: Default address range. 198.18.0.0/15 is reserved for benchmarks (RFC 2544): no real host has these addresses.
DEFAULT_RANGE = "198.18.0.0/17"
STATE_HOME = Path("/var/lib") / PREFIX
#: Folder of machine-wide locks. The files are never deleted, because another process may be waiting for one.
LOCKS = Path("/run/lock") / PREFIX
#: File that marks a cluster's folder and describes the cluster. Only a folder with this file is ever deleted.
MARKER = "cluster.json"

API_PORT = 6443
REGISTRY_PORT = 5000


def cache_home():
    """Return the cache folder, which ``down`` does not delete: programs, images, compiled crates."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / PREFIX


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Name, folder and address range of a cluster. Two clusters can run at the same time if all three differ.

    With ``default_rates``, the controller manager and the scheduler have the request rates that are their defaults.
    """

    name: str
    folder: Path
    range: ipaddress.IPv4Network
    default_rates: bool = False

    @classmethod
    def create(cls, name=DEFAULT_NAME, folder=None, cidr=DEFAULT_RANGE, default_rates=False):
        """Return a cluster with checked parameters. Raises ``ValueError`` with a message for the user if one is invalid."""
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", name):
            raise ValueError(f"the name {name!r} must have 1 to 10 lower-case letters, digits or inner dashes")
        folder = Path(folder).absolute() if folder else STATE_HOME / name
        # The path of a Unix socket has at most 107 bytes. containerd adds "run/containerd.sock.ttrpc", the kubelet a little more.
        if len(str(folder)) > 60:
            raise ValueError(f"the folder {folder} must be at most 60 characters long, for the Unix sockets in it")
        try:
            network = ipaddress.IPv4Network(cidr)
        except ValueError as error:
            raise ValueError(f"the range {cidr!r} is not an IPv4 network: {error}") from None
        if not 8 <= network.prefixlen <= 22:
            raise ValueError(f"the range {network} must be between /8 and /22")
        if not network.is_private:
            raise ValueError(f"the range {network} has public addresses; choose one inside 198.18.0.0/15")
        return cls(name, folder, network, default_rates)

    # Pods have the first half of the range, Services the third quarter, and the link between host and node the last /30.

    @property
    def pods(self):
        """Address range of pods."""
        return next(self.range.subnets(prefixlen_diff=1))

    @property
    def services(self):
        """Address range of Services. At most a /12: the API server refuses more than 20 bits."""
        rest = list(self.range.subnets(prefixlen_diff=1))[1]
        network = next(rest.subnets(prefixlen_diff=1))
        return next(network.subnets(new_prefix=12)) if network.prefixlen < 12 else network

    @property
    def host_address(self):
        """The host's address on the link, at which pods and the API server (webhooks) reach programs on the host."""
        return self.range.broadcast_address - 2

    @property
    def node_address(self):
        """The node's address on the link, at which the API server, DNS and the registry listen."""
        return self.range.broadcast_address - 1

    @property
    def kubernetes_service(self):
        """Address of the ``kubernetes`` Service, which is always the first of the range."""
        return self.services.network_address + 1

    @property
    def server(self):
        """URL of the API server."""
        return f"https://{self.node_address}:{API_PORT}"

    @property
    def registry(self):
        """Host and port of the image registry (plain HTTP)."""
        return f"{self.node_address}:{REGISTRY_PORT}"

    @property
    def node_name(self):
        """Name of the real node."""
        return f"{self.name}-node"

    @property
    def link(self):
        """Name of the host's network interface."""
        return LINK_PREFIX + self.name

    @property
    def cgroup(self):
        """The cluster's control group, relative to each hierarchy."""
        return f"{PREFIX}-{self.name}"

    # Paths in the cluster's folder.

    def path(self, *parts):
        """Return a path inside the cluster's folder."""
        return self.folder.joinpath(*parts)

    @property
    def kubeconfig(self):
        """Path of the administrator's kubeconfig."""
        return self.path("admin.kubeconfig")

    def log(self, component):
        """Return the path of a component's log."""
        return self.path("logs", f"{component}.log")

    def describe(self):
        """Return the description for the list of clusters, from which :meth:`restore` creates the cluster."""
        return {"name": self.name, "folder": str(self.folder), "range": str(self.range), "default_rates": self.default_rates}

    @classmethod
    def restore(cls, description):
        """Return the cluster of a description by :meth:`describe`."""
        # A cluster that an earlier version started has no entry for its rates.
        return cls.create(description["name"], description["folder"], description["range"], description.get("default_rates", False))
