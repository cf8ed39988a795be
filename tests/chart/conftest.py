"""Fixtures for tests of the chart: of its rendered objects, on an API server without a node, and (marked ``e2e``) in real pods."""

import os

import pytest
from support.cluster import kubernetes as any_kubernetes
from support.kubectl import Kubectl
from support.release import put_image

CLUSTER = "chart-e2e"


def skip_on_existing_cluster():
    """Skips the test if KUBECONFIG names a cluster that the suite did not start."""
    if os.environ.get("KUBECONFIG"):
        pytest.skip("this test changes the CRDs of the Dask resources, or needs an image of the local registry: unset KUBECONFIG to run it")


@pytest.fixture(scope="session")
def api_server():
    """kubectl on an API server without a node. The namespaces that the test values name exist."""
    skip_on_existing_cluster()
    with any_kubernetes("chart-api", "198.19.96.0/20", node=False) as environment:
        kubectl = Kubectl(environment)
        for name in ("operators", "my-namespace", "team-a", "team-b", "monitoring"):
            kubectl("create", "namespace", name)
        yield kubectl


@pytest.fixture(scope="session")
def kubernetes():
    """Environment for kubectl, on a cluster that has a node and the operator's image in its registry."""
    skip_on_existing_cluster()
    with any_kubernetes(CLUSTER, "198.19.112.0/20", node=True) as environment:
        put_image(CLUSTER)
        yield environment


@pytest.fixture(scope="session")
def admin(kubernetes):
    """kubectl on the cluster with a node. The CRDs are installed by the chart."""
    return Kubectl(kubernetes)
