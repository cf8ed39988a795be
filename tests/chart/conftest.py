"""Tests of the chart: its texts, on an API server without a node, and (marked ``e2e``) in real pods."""

import os

import pytest
from support.cluster import kubernetes as any_kubernetes
from support.kubectl import Kubectl
from support.release import put_image

CLUSTER = "chart-e2e"


def only_local():
    """Skip where tests run on somebody's cluster."""
    if os.environ.get("KUBECONFIG"):
        pytest.skip("this defines the Dask resources in ways of its own, or needs an image of the local registry: unset KUBECONFIG to run it")


@pytest.fixture(scope="session")
def api_server():
    """kubectl on an API server without a node, with the namespaces that values name."""
    only_local()
    with any_kubernetes("chart-api", "198.19.96.0/20", node=False) as environment:
        kubectl = Kubectl(environment)
        for name in ("operators", "my-namespace", "team-a", "team-b", "monitoring"):
            kubectl("create", "namespace", name)
        yield kubectl


@pytest.fixture(scope="session")
def kubernetes():
    """The environment for kubectl, on a cluster with a node whose registry has the operator's image."""
    only_local()
    with any_kubernetes(CLUSTER, "198.19.112.0/20", node=True) as environment:
        put_image(CLUSTER)
        yield environment


@pytest.fixture(scope="session")
def admin(kubernetes):
    """kubectl on that cluster. The Dask resources are defined by the chart, when it is installed."""
    return Kubectl(kubernetes)
