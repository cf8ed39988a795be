"""The Kubernetes that tests run on: the one of KUBECONFIG, or one that is started for them."""

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

#: Where tests/cluster keeps the local ones, by their names.
LOCAL = Path("/var/lib/dask-operator")


#: In this, lines are shown at once: pytest has its own, see tests/conftest.py.
aloud = nullcontext


def tell(line):
    """Say something that a person waits for."""
    with aloud():
        say(line)


@contextmanager
def kubernetes(name, cidr, node):
    """The environment for kubectl. Where KUBECONFIG names a cluster, that is used and left alone; else one is started,
    with or without a node, and stopped in the end. Who has one of the same name, as in another checkout, is waited for."""
    if os.environ.get("KUBECONFIG"):
        yield dict(os.environ)
        return
    with session.held(name, " ".join(sys.argv), tell), local(name, cidr, node) as environment:
        yield environment


@contextmanager
def local(name, cidr, node):
    """The environment for kubectl, on a cluster of this machine that is started, and stopped in the end."""
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


def local_name(environment):
    """The name of the cluster that an environment's kubeconfig is of, if it is one of tests/cluster; else None."""
    folder = Path(environment["KUBECONFIG"]).resolve().parent
    return folder.name if folder.parent == LOCAL else None


def define_resources(admin):
    """Have the Dask resources defined, without a release that does."""
    admin("apply", "--server-side", "--force-conflicts", "--filename", ROOT / "crds")
    admin("wait", "--for=condition=Established", "--timeout=120s", "--filename", ROOT / "crds")
