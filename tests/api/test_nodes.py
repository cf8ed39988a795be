"""Nodes that end, with fake ones: nothing runs on them, but all that Kubernetes does about them is the real thing."""

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
    """The names of two fake nodes, for the cluster that the suite started."""
    if os.environ.get("KUBECONFIG"):
        pytest.skip("a cluster that was there before gets no fake nodes")
    command = [sys.executable, "tests/cluster", "fake-nodes", "--name", "api-tests", "--range", "198.19.0.0/19"]
    subprocess.run([*command, "2"], cwd=ROOT, check=True)
    yield admin.names("nodes")
    subprocess.run([*command, "0"], cwd=ROOT, check=True)


def places(kubectl):
    """Node and UID of each worker that runs."""
    pods = [pod for pod in kubectl.list("pods", WORKERS) if pod["status"]["phase"] == "Running"]
    return [(pod["spec"]["nodeName"], pod["metadata"]["uid"]) for pod in pods]


def test_workers_of_a_node_that_is_gone_are_replaced(admin, operator, nodes, kubectl):
    kubectl.apply(cluster("c", 6))
    until(lambda: len(places(kubectl)) == 6, "six workers", pause=0.5)
    before = places(kubectl)
    gone = before[0][0]
    admin("delete", "node", gone, "--wait=false")

    def elsewhere():
        now = places(kubectl)
        return len(now) == 6 and gone not in dict(now)

    # Kubernetes itself waits 40 s before it takes the pods for lost.
    until(elsewhere, "six workers elsewhere", 150, 1)
    kept = {uid for node, uid in before if node != gone}
    assert kept <= {uid for _, uid in places(kubectl)}, "who ran elsewhere was touched"
    stays(lambda: len(kubectl.names("pods", WORKERS)) == 6, "six workers", 5)
    scheduler = kubectl.get("pod", "c-scheduler")
    assert scheduler["spec"]["nodeName"] != gone and scheduler["status"]["phase"] == "Running"
    # While there is a node that lets them go.
    kubectl("delete", "dsk", "c")
    until(lambda: not kubectl.names("pods"), "all pods to be gone", pause=0.5)
