"""Scaling of real workers: a worker is removed only after its results have moved, and the number of workers follows the load."""

import threading
import time

import pytest
from support.dask import WORKERS, client_of, names_of, workers
from support.manifests import autoscaler, changed, cluster, group
from support.waiting import stays, until

#: Maximum number of seconds until the desired state is reached, on a busy machine.
LONG = 300


def in_group(kubectl, name):
    """Names of a group's worker pods that are not being deleted."""
    pods = kubectl.list("pods", f"{WORKERS},dask.org/workergroup-name={name}")
    return [pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]]


def uids(kubectl, name):
    """UIDs of a group's worker pods. Names do not identify a pod, because a replacement reuses the name."""
    return {pod["metadata"]["uid"] for pod in kubectl.list("pods", f"{WORKERS},dask.org/workergroup-name={name}")}


def fast_starting(manifest):
    """Changes a manifest so that its workers start faster: no nanny, no dashboard, one thread."""
    path = "spec.worker.spec.containers.0.args"
    return changed(manifest, path, ["dask-worker", "--name", "$(DASK_WORKER_NAME)", "--no-nanny", "--no-dashboard",
                                    "--nthreads", "1"])


def recomputed(client):
    """Number of recomputations of tasks whose result was lost, from the scheduler's transition log."""
    def story(dask_scheduler):
        transitions = [(line[0], line[1], line[2]) for line in dask_scheduler.transition_log
                 if str(line[0]).startswith("compute")]
        finished = [key for key, start, end in transitions if start == "processing" and end == "memory"]
        return len(finished) - len(set(finished))

    return client.run_on_scheduler(story)


def test_a_scale_down_from_ten_workers_to_two_loses_no_result(kubectl, operator):
    kubectl.apply(fast_starting(cluster("c", 10)), fast_starting(group("others", "c", 2)))
    with client_of(kubectl, "c", 12) as client:
        others = in_group(kubectl, "others")
        # Workers of the other group are always busy, and have no results that could make the scheduler prefer them.
        busy = client.map(lambda number: time.sleep(LONG), range(2), workers=others, pure=False)
        group_workers = in_group(kubectl, "c-default")
        futures = client.map(lambda number: (number, bytes(1000)), range(1000), pure=False, workers=group_workers,
                             key=[f"compute-{number}" for number in range(1000)])
        assert [number for number, _ in client.gather(futures)] == list(range(1000))

        kubectl("scale", "dsk/c", "--replicas=2")
        workers(kubectl, "c-default", 2, timeout=LONG)
        stays(lambda: len(in_group(kubectl, "c-default")) == 2, "two workers", 3)
        assert in_group(kubectl, "others") == others, "workers of another group were replaced"
        until(lambda: len(names_of(client)) == 4, "four workers at the scheduler", LONG)
        assert [number for number, _ in client.gather(futures)] == list(range(1000))
        assert recomputed(client) == 0
        assert all(future.status == "pending" for future in busy)
        for future in busy:
            future.cancel()


def test_a_drain_continues_after_the_operator_was_killed(kubectl, operator):
    kubectl.apply(fast_starting(cluster("c", 8)))
    with client_of(kubectl, "c", 8) as client:
        futures = client.map(lambda number: (number, bytes(100_000)), range(400), pure=False,
                             key=[f"compute-{number}" for number in range(400)])
        client.gather(futures)
        kill = operator.aim()
        kubectl("scale", "dsk/c", "--replicas=2")
        time.sleep(0.3)
        kill()
        assert len(in_group(kubectl, "c-default")) > 2, "the kill came after the drain, not during it"
        operator.start()
        # The second kill hits an arbitrary point. The next container starts 10 s later.
        operator.aim()()
        operator.start()
        workers(kubectl, "c-default", 2, timeout=LONG)
        stays(lambda: len(in_group(kubectl, "c-default")) == 2, "two workers", 3)
        assert [number for number, _ in client.gather(futures)] == list(range(400))
        assert recomputed(client) == 0


def test_a_scale_down_is_blocked_while_the_scheduler_does_not_answer(kubectl, operator):
    kubectl.apply(fast_starting(cluster("c", 2)))
    with client_of(kubectl, "c", 2):
        pass
    # The scheduler process is paused: its port accepts connections, but it does not answer.
    kubectl("exec", "c-scheduler", "--", "python3", "-c", FREEZE)
    kubectl("scale", "dsk/c", "--replicas=1")

    def is_blocked():
        conditions = kubectl.get("daskworkergroup", "c-default")["status"]["conditions"]
        reasons = [condition["reason"] for condition in conditions if condition["type"] == "ScaleDownBlocked"]
        assert reasons == ["SchedulerUnreachable"], reasons
        return True

    until(is_blocked, "the condition to report that the scheduler does not answer", pause=0.5)
    assert len(in_group(kubectl, "c-default")) == 2
    kubectl("exec", "c-scheduler", "--", "python3", "-c", FREEZE.replace("SIGSTOP", "SIGCONT"))
    workers(kubectl, "c-default", 1, timeout=LONG)


#: Pauses all processes of a pod whose command line contains `dask`, except itself.
FREEZE = """
import os, signal
for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
    line = open(f"/proc/{pid}/cmdline").read()
    if pid != os.getpid() and "dask" in line and "tini" not in line:
        os.kill(pid, signal.SIGSTOP)
"""


def test_an_autoscaler_scales_with_the_number_of_tasks(kubectl, operator):
    manifest = autoscaler("c", "c", minimum=1, maximum=4)
    manifest["spec"]["scaleDown"] = {"windowSeconds": 5, "step": 2, "periodSeconds": 2}
    kubectl.apply(fast_starting(cluster("c", 1)), manifest)
    with client_of(kubectl, "c", 1) as client:
        counts = []
        ended = threading.Event()

        def watch():
            while not ended.wait(1):
                counts.append(len(in_group(kubectl, "c-default")))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            futures = client.map(lambda number: time.sleep(1.5) or number, range(120), pure=False)
            until(lambda: len(names_of(client)) == 4, "four workers", LONG, 1)
            assert sum(client.gather(futures)) == sum(range(120))
            count_when_done = len(counts)
            del futures
            until(lambda: len(in_group(kubectl, "c-default")) == 1, "one worker", LONG, 1)
            stays(lambda: len(in_group(kubectl, "c-default")) == 1, "one worker", 8, 1)
        finally:
            ended.set()
            watcher.join()
        assert max(counts) == 4
        rises = [after > before for before, after in zip(counts[count_when_done:], counts[count_when_done + 1:], strict=False)]
        assert not any(rises), f"the number of workers rose while there was no work: {counts}"
    conditions = {condition["type"]: condition for condition in kubectl.get("daskautoscaler", "c")["status"]["conditions"]}
    assert conditions["ScalingActive"]["status"] == "True"


@pytest.mark.parametrize(("replicas", "minimum"), [(3, 2), (1, 1)])
def test_a_changed_image_is_rolled_out_worker_by_worker(kubectl, operator, replicas, minimum):
    """A single worker hands its results to its replacement before it leaves."""
    kubectl.apply(fast_starting(cluster("c", replicas)))
    with client_of(kubectl, "c", replicas) as client:
        before = uids(kubectl, "c-default")
        futures = client.map(lambda number: (number, bytes(1000)), range(100), pure=False,
                             key=[f"compute-{number}" for number in range(100)])
        client.gather(futures)
        worker_counts = []
        kubectl.patch("dsk", "c", [{"op": "add", "path": "/spec/worker/spec/containers/0/env",
                                    "value": [{"name": "RELEASE", "value": "2"}]}], type="json")

        def is_rolled_out():
            worker_counts.append(len(names_of(client)))
            now = uids(kubectl, "c-default")
            return len(now) == replicas and not before & now and len(names_of(client)) == replicas

        until(is_rolled_out, "new workers only", LONG, 0.5)
        assert min(worker_counts) >= minimum, f"too many workers were missing at the same time: {worker_counts}"
        assert set(client.run(lambda: __import__("os").environ["RELEASE"]).values()) == {"2"}
        assert [number for number, _ in client.gather(futures)] == list(range(100))
        assert recomputed(client) == 0


@pytest.mark.parametrize("policy", ["OnDelete", "Recreate"])
def test_the_update_policy_decides_when_the_scheduler_is_replaced(kubectl, operator, policy):
    kubectl.apply(fast_starting(changed(cluster("c", 1), "spec.schedulerUpdate", policy)))
    with client_of(kubectl, "c", 1):
        pass
    uid = kubectl.get("pod", "c-scheduler")["metadata"]["uid"]
    kubectl.patch("dsk", "c", [{"op": "add", "path": "/spec/scheduler/spec/containers/0/env",
                                "value": [{"name": "RELEASE", "value": "2"}]}], type="json")

    def is_new():
        pod = kubectl.get("pod", "c-scheduler")
        return bool(pod) and pod["metadata"]["uid"] != uid

    if policy == "OnDelete":
        kubectl("wait", "dsk/c", "--for=condition=SchedulerUpToDate=false", "--timeout=120s")
        stays(lambda: not is_new(), "the scheduler", 3)
        kubectl("delete", "pod", "c-scheduler", "--grace-period=1")
    until(is_new, "another scheduler", LONG, 0.5)
    with client_of(kubectl, "c", 1) as client:
        assert client.run_on_scheduler(lambda: __import__("os").environ["RELEASE"]) == "2"
