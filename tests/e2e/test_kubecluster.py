"""Tests with the newest KubeCluster from PyPI, unmodified."""

import os
import time

import pytest
from support.dask import WORKERS
from support.waiting import until

START = 300


@pytest.fixture
def kubeconfig(kubectl, monkeypatch):
    """Path of the kubeconfig, which KubeCluster finds through the environment as any client does."""
    monkeypatch.setenv("KUBECONFIG", kubectl.environment["KUBECONFIG"])
    monkeypatch.setenv("PATH", kubectl.environment["PATH"])
    return os.environ["KUBECONFIG"]


def test_kubecluster_creates_scales_and_deletes_a_cluster(kubectl, operator, kubeconfig):
    from dask_kubernetes.operator import KubeCluster
    from distributed import Client

    with KubeCluster(name="mine", namespace=kubectl.namespace, n_workers=2, resource_timeout=START,
                     env={"A": "B"}) as kube_cluster, Client(kube_cluster, timeout=120) as client:
        client.wait_for_workers(2, timeout=START)
        assert client.submit(lambda: __import__("os").environ["A"]).result(timeout=120) == "B"
        assert sum(client.gather(client.map(lambda number: number * 2, range(10)))) == 90

        kube_cluster.scale(3)
        client.wait_for_workers(3, timeout=START)
        assert len(kubectl.names("pods", f"{WORKERS},dask.org/workergroup-name=mine-default")) == 3

        kube_cluster.add_worker_group(name="more", n_workers=1)
        client.wait_for_workers(4, timeout=START)
        assert kubectl.names("daskworkergroups") == ["mine-default", "mine-more"]
        kube_cluster.delete_worker_group(name="more")
        until(lambda: kubectl.names("daskworkergroups") == ["mine-default"], "the group to be deleted", START, 0.5)
        assert any("scheduler" in name for name in kube_cluster.get_logs())

        with KubeCluster.from_name("mine", namespace=kubectl.namespace) as other:
            assert other.scheduler_address
    until(lambda: not kubectl.names("daskclusters,daskworkergroups,pods,services"), "all objects to be deleted", START, 0.5)


def test_adapt_scales_with_the_number_of_tasks(kubectl, operator, kubeconfig):
    from dask_kubernetes.operator import KubeCluster
    from distributed import Client

    with KubeCluster(name="adapts", namespace=kubectl.namespace, n_workers=0, resource_timeout=START) as kube_cluster:
        kube_cluster.adapt(minimum=1, maximum=3)
        spec = kubectl.get("daskautoscaler", "adapts")["spec"]
        assert spec == {"cluster": "adapts", "minimum": 1, "maximum": 3}
        with Client(kube_cluster, timeout=120) as client:
            futures = client.map(lambda number: time.sleep(1) or number, range(60), pure=False)
            until(lambda: len(kubectl.names("pods", WORKERS)) == 3, "three workers", START, 0.5)
            assert client.gather(futures) == list(range(60))
            del futures
            # An autoscaler of adapt() scales down after a minute. A shorter window makes the test faster.
            kubectl.patch("daskautoscaler", "adapts", {"spec": {"scaleDown": {"windowSeconds": 5}}})
            until(lambda: len(kubectl.names("pods", WORKERS)) == 1, "one worker", START, 0.5)
        kube_cluster.scale(1)
        assert not kubectl.names("daskautoscalers")
        until(lambda: len(kubectl.names("pods", WORKERS)) == 1, "a worker", START, 0.5)
    until(lambda: not kubectl.names("daskclusters,daskworkergroups,pods,services"), "all objects to be deleted", START, 0.5)
