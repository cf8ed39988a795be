"""Deletion of nodes. The nodes are fake and run nothing, but the controllers of Kubernetes treat them as real ones."""

import os
import subprocess
import sys

import pytest
from support.cluster import ROOT
from support.dask import WORKERS
from support.manifests import cluster
from support.waiting import stays, until


@pytest.fixture
def nodes(admin):
    """Names of two fake nodes, which are added to the cluster that the suite started."""
    if os.environ.get("KUBECONFIG"):
        pytest.skip("fake nodes are only added to a cluster that the suite started: unset KUBECONFIG to run this")
    command = [sys.executable, "tests/cluster", "fake-nodes", "--name", "api-tests", "--range", "198.19.0.0/19"]
    subprocess.run([*command, "2"], cwd=ROOT, check=True)
    yield admin.names("nodes")
    subprocess.run([*command, "0"], cwd=ROOT, check=True)


def running_workers(kubectl):
    """Node and UID of each running worker."""
    pods = [pod for pod in kubectl.list("pods", WORKERS) if pod["status"]["phase"] == "Running"]
    return [(pod["spec"]["nodeName"], pod["metadata"]["uid"]) for pod in pods]


def test_workers_of_a_deleted_node_are_replaced(admin, operator, nodes, kubectl):
    kubectl.apply(cluster("c", 6))
    until(lambda: len(running_workers(kubectl)) == 6, "six workers", pause=0.5)
    before = running_workers(kubectl)
    deleted_node = before[0][0]
    admin("delete", "node", deleted_node, "--wait=false")

    def are_replaced():
        now = running_workers(kubectl)
        return len(now) == 6 and deleted_node not in dict(now)

    # Kubernetes waits 40 s before it considers the pods lost.
    until(are_replaced, "six workers on other nodes", 150, 1)
    other_workers = {uid for node, uid in before if node != deleted_node}
    assert other_workers <= {uid for _, uid in running_workers(kubectl)}, "a worker on another node was replaced"
    stays(lambda: len(kubectl.names("pods", WORKERS)) == 6, "six workers", 5)
    scheduler = kubectl.get("pod", "c-scheduler")
    assert scheduler["spec"]["nodeName"] != deleted_node and scheduler["status"]["phase"] == "Running"
    # The pods can only terminate while their node exists.
    kubectl("delete", "dsk", "c")
    until(lambda: not kubectl.names("pods"), "all pods to be deleted", pause=0.5)
