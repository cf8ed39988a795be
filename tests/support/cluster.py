"""The Kubernetes that tests run on: the cluster of KUBECONFIG, or a local one that is started for the tests."""

import os
import subprocess
import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from support.kubectl import environment_of

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "cluster"))

from localkube import session  # noqa: E402
from localkube.console import say  # noqa: E402
from localkube.settings import Cluster  # noqa: E402

#: Parent of the state directories of local clusters, which are named after the clusters.
LOCAL = Path("/var/lib/dask-operator")


#: Context manager in which output is shown immediately. tests/conftest.py replaces it with pytest's own.
uncaptured = nullcontext


def tell(line):
    """Print a line immediately, even while pytest captures output."""
    with uncaptured():
        say(line)


@contextmanager
def kubernetes(name, cidr, node):
    """Provide the environment for kubectl.

    If KUBECONFIG is set, that cluster is used and left running. Otherwise a local cluster is started, with or without a
    node, and stopped at the end. If another process uses a cluster of the same name (another checkout, for example), this
    one waits for it.
    """
    if os.environ.get("KUBECONFIG"):
        yield dict(os.environ)
        return
    with session.held(name, " ".join(sys.argv), tell), local(name, cidr, node) as environment:
        yield environment


@contextmanager
def local(name, cidr, node):
    """Start a local cluster, provide the environment for kubectl, and stop the cluster at the end."""
    cluster = [sys.executable, "tests/cluster"]
    parameters = ["--name", name, "--range", cidr]
    try:
        started = subprocess.run([*cluster, "up", *parameters, *([] if node else ["--no-node"])], cwd=ROOT, check=False,
                                 text=True, stderr=subprocess.PIPE)
        if started.returncode:
            pytest.exit(f"the local Kubernetes did not start:\n{started.stderr[-3000:]}", returncode=1)
        shell = subprocess.run(
            ["bash", "-c", f'eval "$({sys.executable} tests/cluster kubeconfig --name {name})"; '
                           'printf "%s\\n" "$KUBECONFIG" "$PATH"'],
            cwd=ROOT, check=True, text=True, capture_output=True)
        yield environment_of(*shell.stdout.split("\n")[:2])
    finally:
        subprocess.run([*cluster, "down", "--name", name], cwd=ROOT, check=False)


def host_address(cidr):
    """Return the address at which the API server reaches this machine: that of the local cluster with the range ``cidr``.

    If KUBECONFIG is set, the variable WEBHOOK_HOST must name it.
    """
    if os.environ.get("KUBECONFIG"):
        return os.environ["WEBHOOK_HOST"]
    return str(Cluster.create(cidr=cidr).host_address)


def local_name(environment):
    """Return the name of the local cluster that the environment's KUBECONFIG belongs to, or None if it is not a local one."""
    folder = Path(environment["KUBECONFIG"]).resolve().parent
    return folder.name if folder.parent == LOCAL else None


def define_resources(admin):
    """Install the CRDs of the Dask resources, without a release of the chart."""
    admin("apply", "--server-side", "--force-conflicts", "--filename", ROOT / "crds")
    admin("wait", "--for=condition=Established", "--timeout=120s", "--filename", ROOT / "crds")
