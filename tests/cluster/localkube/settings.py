"""Names, folders and addresses of one cluster: everything that follows from its name, folder and range.

Pure computation; nothing here touches the machine.
"""

import dataclasses
import ipaddress
import os
import re
from pathlib import Path

#: Prefix of everything that a cluster leaves on the host by name (cgroups); also the name of the cache folder.
PREFIX = "dask-operator"
#: Interface names have at most 15 characters, so the prefix of the host's end of the link is shorter.
LINK_PREFIX = "dkop-"
#: Tag of our routes in the kernel's table (``ip route show proto 118``), so that they can be told from all others.
ROUTE_PROTOCOL = 118
#: The ``unreachable`` route stands behind the real one: it answers when the link is gone.
UNREACHABLE_METRIC = 1000

DEFAULT_NAME = "dask"
#: 198.18.0.0/15 is set aside for benchmarks (RFC 2544): no real host has these addresses.
DEFAULT_RANGE = "198.18.0.0/17"
STATE_HOME = Path("/var/lib") / PREFIX
#: Locks of the whole machine. The files stay: another process may be waiting for one.
LOCKS = Path("/run/lock") / PREFIX
#: A file that marks a cluster's folder, and describes the cluster: only a folder that has it is ever deleted.
MARKER = "cluster.json"

API_PORT = 6443
REGISTRY_PORT = 5000


def cache_home():
    """The folder that survives ``down``: programs, images, compiled crates."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / PREFIX


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Where a cluster lives. Two clusters can run side by side when name, folder and range all differ."""

    name: str
    folder: Path
    range: ipaddress.IPv4Network

    @classmethod
    def create(cls, name=DEFAULT_NAME, folder=None, cidr=DEFAULT_RANGE):
        """Check the parameters a person gave; raises ``ValueError`` with a sentence."""
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", name):
            raise ValueError(f"the name {name!r} must have 1 to 10 lower-case letters, digits or inner dashes")
        folder = Path(folder).absolute() if folder else STATE_HOME / name
        # A Unix socket's path has at most 107 bytes; ours add "run/containerd.sock.ttrpc", the kubelet's a little more.
        if len(str(folder)) > 60:
            raise ValueError(f"the folder {folder} must be at most 60 characters long, for the Unix sockets in it")
        try:
            network = ipaddress.IPv4Network(cidr)
        except ValueError as error:
            raise ValueError(f"the range {cidr!r} is no IPv4 network: {error}") from None
        if not 8 <= network.prefixlen <= 22:
            raise ValueError(f"the range {network} must lie between /8 and /22")
        if not network.is_private:
            raise ValueError(f"the range {network} has public addresses; take one inside 198.18.0.0/15")
        return cls(name, folder, network)

    # The range is cut into halves: pods get the first, services the first half of the rest, and the link
    # between host and node is the last /30.

    @property
    def pods(self):
        """Addresses of pods."""
        return next(self.range.subnets(prefixlen_diff=1))

    @property
    def services(self):
        """Addresses of Services. At most a /12: the API server refuses more than 20 bits."""
        rest = list(self.range.subnets(prefixlen_diff=1))[1]
        network = next(rest.subnets(prefixlen_diff=1))
        return next(network.subnets(new_prefix=12)) if network.prefixlen < 12 else network

    @property
    def host_address(self):
        """The host's end of the link: where pods and the API server (webhooks!) reach programs on the host."""
        return self.range.broadcast_address - 2

    @property
    def node_address(self):
        """The node's end of the link: API server, name service and registry listen here."""
        return self.range.broadcast_address - 1

    @property
    def kubernetes_service(self):
        """The ``kubernetes`` Service: always the first address of the range."""
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
        """Name of the one real node."""
        return f"{self.name}-node"

    @property
    def link(self):
        """The host's network interface."""
        return LINK_PREFIX + self.name

    @property
    def cgroup(self):
        """The cluster's own control group, relative to each hierarchy."""
        return f"{PREFIX}-{self.name}"

    # Folders below the cluster's own.

    def path(self, *parts):
        """A path inside the cluster's folder."""
        return self.folder.joinpath(*parts)

    @property
    def kubeconfig(self):
        """The administrator's kubeconfig."""
        return self.path("admin.kubeconfig")

    def log(self, component):
        """A component's log."""
        return self.path("logs", f"{component}.log")

    def describe(self):
        """What is written to the list of clusters, and read back by :meth:`restore`."""
        return {"name": self.name, "folder": str(self.folder), "range": str(self.range)}

    @classmethod
    def restore(cls, description):
        """The cluster that :meth:`describe` described."""
        return cls.create(description["name"], description["folder"], description["range"])
