"""The Kubernetes that tests run on: the one of KUBECONFIG, or one that is started for them."""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.kubectl import environment_of

ROOT = Path(__file__).parents[2]
#: Where tests/cluster keeps the local ones, by their names.
LOCAL = Path("/var/lib/dask-operator")


@contextmanager
def kubernetes(name, cidr, node):
    """The environment for kubectl. Where KUBECONFIG names a cluster, that is used and left alone; else one is started,
    with or without a node, and stopped in the end."""
    if os.environ.get("KUBECONFIG"):
        yield dict(os.environ)
        return
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
