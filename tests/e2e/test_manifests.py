"""Dask's documented manifests, applied unchanged: workers join and compute, and a deletion leaves no objects behind."""

import pytest
from support.cluster import ROOT
from support.dask import START, WORKERS, answer, client_of, names_of, workers
from support.manifests import cluster, group, job
from support.waiting import until


def computes(client):
    """Returns whether a computation over all workers gives the expected result."""
    squares = client.map(lambda number: number * number, range(100), pure=False)
    return client.submit(sum, squares).result(timeout=120) == 328350


def example(name):
    """Path of an example manifest."""
    return ROOT / "examples" / f"{name}.yaml"


def test_the_documented_cluster_computes_and_scales(kubectl, operator):
    kubectl("apply", "--filename", example("cluster"))
    with client_of(kubectl, "simple", 2) as client:
        assert names_of(client) == kubectl.names("pods", WORKERS)
        assert computes(client)
        kubectl("wait", "dsk/simple", "--for=condition=WorkersReady", f"--timeout={START}s", timeout=START + 10)
        assert kubectl.get("dsk", "simple")["status"]["phase"] == "Running"

        kubectl("apply", "--filename", example("worker-group"))
        client.wait_for_workers(4, timeout=START)
        kubectl("scale", "dsk/simple", "--replicas=3")
        client.wait_for_workers(5, timeout=START)
        kubectl("scale", "daskworkergroup/simple-highmem", "--replicas=3")
        client.wait_for_workers(6, timeout=START)
        assert len(workers(kubectl, "simple-default", 3)) == 3
        assert names_of(client) == kubectl.names("pods", WORKERS)
        assert computes(client)
        future = client.submit(lambda: "big", resources={"MEMORY": 20e9})
        assert future.result(timeout=120) == "big"
        kubectl("apply", "--filename", example("autoscaler"))
        del future

    kubectl("delete", "--filename", example("cluster"), timeout=START)
    until(lambda: not kubectl.names("daskclusters,daskworkergroups,daskautoscalers,pods,services,deployments"),
          "all objects to be deleted", START, 0.5)


def test_the_documented_job_succeeds(kubectl, operator):
    kubectl("apply", "--filename", example("job"))
    kubectl("wait", "djb/simple-job", "--for=jsonpath={.status.jobStatus}=Successful", f"--timeout={START * 2}s",
            timeout=START * 2 + 10)
    assert answer(kubectl("logs", "simple-job-runner")) == "45"
    until(lambda: kubectl.names("daskclusters,daskworkergroups,pods,services") == ["simple-job-runner"],
          "only the runner to remain", START, 0.5)
    status = kubectl.get("djb", "simple-job")["status"]
    assert sorted(status) == ["clusterName", "endTime", "jobRunnerPodName", "jobStatus", "startTime"]
    kubectl("delete", "--filename", example("job"))
    until(lambda: not kubectl.names("pods"), "the runner to be deleted", START, 0.5)


def test_a_failing_job_leaves_only_its_runner(kubectl, operator):
    kubectl.apply(job("fails", "raise SystemExit(3)"))
    kubectl("wait", "djb/fails", "--for=jsonpath={.status.jobStatus}=Failed", f"--timeout={START}s", timeout=START + 10)
    until(lambda: kubectl.names("daskclusters,daskworkergroups,pods,services") == ["fails-runner"],
          "only the runner to remain", START, 0.5)


def test_a_deleted_worker_and_a_deleted_scheduler_are_replaced(kubectl, operator):
    kubectl.apply(cluster("c", 2))
    with client_of(kubectl, "c", 2) as client:
        deleted = kubectl.names("pods", WORKERS)[0]
        kubectl("delete", "pod", deleted, "--grace-period=1")
        until(lambda: len(now := names_of(client)) == 2 and deleted not in now, "another worker to join", START, 0.5)
        assert computes(client)
    old_uid = kubectl.get("pod", "c-scheduler")["metadata"]["uid"]
    kubectl("delete", "pod", "c-scheduler", "--grace-period=1")
    until(lambda: (kubectl.get("pod", "c-scheduler") or {"metadata": {"uid": old_uid}})["metadata"]["uid"] != old_uid,
          "another scheduler", START, 0.5)
    with client_of(kubectl, "c", 2) as client:
        assert computes(client)


@pytest.mark.parametrize("name", ["minimal", "spot-workers"])
def test_other_examples_get_workers(kubectl, operator, name):
    output = kubectl("apply", "--filename", example(name))
    name_of_cluster = next(line for line in output.splitlines() if line.startswith("daskcluster")).split("/")[1].split()[0]
    until(lambda: (kubectl.get("dsk", name_of_cluster) or {}).get("status", {}).get("phase") == "Running", "Running", START, 0.5)
    until(lambda: kubectl.names("pods", WORKERS), "workers", START, 0.5)


def test_a_scheduler_without_args_listens_on_both_address_families(kubectl, operator):
    """Pods of an IPv6-only cluster have no other address."""
    kubectl("apply", "--filename", example("minimal"))
    kubectl("wait", "dsk/minimal", "--for=condition=Available", f"--timeout={START}s", timeout=START + 10)
    for address in ("127.0.0.1", "::1"):
        code = f"import socket; socket.create_connection(('{address}', 8786), timeout=30)"
        kubectl("exec", "minimal-scheduler", "--", "python", "-c", code)


def test_a_group_with_zero_replicas_can_be_scaled_up(kubectl, operator):
    kubectl.apply(cluster("c", 1), group("more", "c", 0))
    with client_of(kubectl, "c", 1) as client:
        assert not kubectl.names("pods", "dask.org/workergroup-name=more")
        kubectl("scale", "daskworkergroup/more", "--replicas=1")
        client.wait_for_workers(2, timeout=START)
