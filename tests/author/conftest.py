"""Fixtures for tests of the command-line tools for plugin authors."""

import os
from pathlib import Path

import pytest
from support import programs
from support.cluster import host_address
from support.cluster import kubernetes as any_kubernetes
from support.hook import hook as any_hook
from support.operator import BINARY

RANGE = "198.19.80.0/20"


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """Environment with `dask-operator` on the PATH and without credentials for a registry."""
    assert BINARY.exists(), f"{BINARY} is not there: `make build` makes the debug build, `make release` the release"
    commands = tmp_path_factory.mktemp("bin")
    (commands / "dask-operator").symlink_to(Path(BINARY).resolve())
    # Prerequisites of the page.
    for name in ("docker-registry", "kubectl"):
        (commands / name).symlink_to(programs.path(name))
    docker_config = tmp_path_factory.mktemp("docker")
    return {**os.environ, "PATH": f"{commands}:{os.environ['PATH']}", "DOCKER_CONFIG": str(docker_config)}


@pytest.fixture(scope="session")
def kubernetes():
    """Environment for kubectl, for the last steps of the page."""
    with any_kubernetes("author", RANGE, node=False) as environment:
        yield environment


@pytest.fixture
def cluster(admin, kubectl, environment, tmp_path_factory):
    """Environment of an author whose kubectl uses the test's namespace, in a cluster with the operator and its webhook."""
    kubeconfig = tmp_path_factory.mktemp("kubeconfig") / "config"
    kubeconfig.write_text(kubectl("config", "view", "--raw", "--flatten", "--minify"))
    with any_hook(admin, host_address(RANGE), tmp_path_factory.mktemp("operator"), "author") as hook:
        hook.ask_for(kubectl)
        author_kubectl = type(kubectl)({**environment, "KUBECONFIG": str(kubeconfig)})
        author_kubectl("config", "set-context", "--current", f"--namespace={kubectl.namespace}")
        yield author_kubectl.environment
