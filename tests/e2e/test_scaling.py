"""Workers leave only when what they hold has left, and as many come and go as there is work for."""

import threading
import time

import pytest
from support.dask import WORKERS, client_of, names_of, workers
from support.manifests import autoscaler, changed, cluster, group
from support.waiting import stays, until

#: Seconds until all is as it shall be, on a busy machine.
LONG = 300


def in_group(kubectl, name):
    """The names of a group's worker pods that are not on their way out."""
    pods = kubectl.list("pods", f"{WORKERS},dask.org/workergroup-name={name}")
    return [pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]]


def uids(kubectl, name):
    """The same by their UIDs: a name is used again for who comes after."""
    return {pod["metadata"]["uid"] for pod in kubectl.list("pods", f"{WORKERS},dask.org/workergroup-name={name}")}


def slim(manifest):
    """Workers that start fast: no nanny, no dashboard, one thread."""
    path = "spec.worker.spec.containers.0.args"
    return changed(manifest, path, ["dask-worker", "--name", "$(DASK_WORKER_NAME)", "--no-nanny", "--no-dashboard",
                                    "--nthreads", "1"])


def recomputed(client):
    """Whether a result was lost and had to be computed again: its task went back from memory to waiting."""
    def story(dask_scheduler):
        moves = [(line[0], line[1], line[2]) for line in dask_scheduler.transition_log
                 if str(line[0]).startswith("compute")]
        finished = [key for key, start, end in moves if start == "processing" and end == "memory"]
        return len(finished) - len(set(finished))

    return client.run_on_scheduler(story)


def test_ten_workers_with_a_thousand_results_become_two(kubectl, operator):
    kubectl.apply(slim(cluster("c", 10)), slim(group("others", "c", 2)))
    with client_of(kubectl, "c", 12) as client:
        others = in_group(kubectl, "others")
        # The others are busy all the time, and hold nothing that could make them the better choice.
        busy = client.map(lambda number: time.sleep(LONG), range(2), workers=others, pure=False)
        group_workers = in_group(kubectl, "c-default")
        futures = client.map(lambda number: (number, bytes(1000)), range(1000), pure=False, workers=group_workers,
                             key=[f"compute-{number}" for number in range(1000)])
        assert [number for number, _ in client.gather(futures)] == list(range(1000))

        kubectl("scale", "dsk/c", "--replicas=2")
        workers(kubectl, "c-default", 2, timeout=LONG)
        stays(lambda: len(in_group(kubectl, "c-default")) == 2, "two workers", 3)
        assert in_group(kubectl, "others") == others, "another group's workers were touched"
        until(lambda: len(names_of(client)) == 4, "the scheduler to know four", LONG)
        assert [number for number, _ in client.gather(futures)] == list(range(1000))
        assert recomputed(client) == 0
        assert all(future.status == "pending" for future in busy)
        for future in busy:
            future.cancel()


def test_a_drain_that_is_interrupted_goes_on(kubectl, operator):
    kubectl.apply(slim(cluster("c", 8)))
    with client_of(kubectl, "c", 8) as client:
        futures = client.map(lambda number: (number, bytes(100_000)), range(400), pure=False,
                             key=[f"compute-{number}" for number in range(400)])
        client.gather(futures)
        kill = operator.aim()
        kubectl("scale", "dsk/c", "--replicas=2")
        time.sleep(0.3)
        kill()
        assert len(in_group(kubectl, "c-default")) > 2, "the kill came after the work, not in it"
        operator.start()
        # Wherever this one finds it; another container comes 10 s later.
        operator.aim()()
        operator.start()
        workers(kubectl, "c-default", 2, timeout=LONG)
        stays(lambda: len(in_group(kubectl, "c-default")) == 2, "two workers", 3)
        assert [number for number, _ in client.gather(futures)] == list(range(400))
        assert recomputed(client) == 0


def test_workers_stay_while_the_scheduler_does_not_answer(kubectl, operator):
    kubectl.apply(slim(cluster("c", 2)))
    with client_of(kubectl, "c", 2):
        pass
    # Its process stands still: it listens, and says nothing.
    kubectl("exec", "c-scheduler", "--", "python3", "-c", FREEZE)
    kubectl("scale", "dsk/c", "--replicas=1")

    def blocked():
        conditions = kubectl.get("daskworkergroup", "c-default")["status"]["conditions"]
        reasons = [condition["reason"] for condition in conditions if condition["type"] == "ScaleDownBlocked"]
        assert reasons == ["SchedulerUnreachable"], reasons
        return True

    until(blocked, "the condition to say that the scheduler does not answer", pause=0.5)
    assert len(in_group(kubectl, "c-default")) == 2
    kubectl("exec", "c-scheduler", "--", "python3", "-c", FREEZE.replace("SIGSTOP", "SIGCONT"))
    workers(kubectl, "c-default", 1, timeout=LONG)


#: Stops all processes of a pod whose command line has dask in it, but itself.
FREEZE = """
import os, signal
for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
    line = open(f"/proc/{pid}/cmdline").read()
    if pid != os.getpid() and "dask" in line and "tini" not in line:
        os.kill(pid, signal.SIGSTOP)
"""


def test_the_autoscaler_follows_the_work(kubectl, operator):
    manifest = autoscaler("c", "c", minimum=1, maximum=4)
    manifest["spec"]["scaleDown"] = {"windowSeconds": 5, "step": 2, "periodSeconds": 2}
    kubectl.apply(slim(cluster("c", 1)), manifest)
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
            up = len(counts)
            del futures
            until(lambda: len(in_group(kubectl, "c-default")) == 1, "one worker", LONG, 1)
            stays(lambda: len(in_group(kubectl, "c-default")) == 1, "one worker", 8, 1)
        finally:
            ended.set()
            watcher.join()
        assert max(counts) == 4
        rises = [after > before for before, after in zip(counts[up:], counts[up + 1:], strict=False)]
        assert not any(rises), f"it went up again while there was no work: {counts}"
    conditions = {condition["type"]: condition for condition in kubectl.get("daskautoscaler", "c")["status"]["conditions"]}
    assert conditions["ScalingActive"]["status"] == "True"


@pytest.mark.parametrize(("replicas", "left"), [(3, 2), (1, 1)])
def test_a_changed_image_is_rolled_out_worker_by_worker(kubectl, operator, replicas, left):
    """Where there is only one, the next one takes its results before it goes."""
    kubectl.apply(slim(cluster("c", replicas)))
    with client_of(kubectl, "c", replicas) as client:
        before = uids(kubectl, "c-default")
        futures = client.map(lambda number: (number, bytes(1000)), range(100), pure=False,
                             key=[f"compute-{number}" for number in range(100)])
        client.gather(futures)
        fewest = []
        kubectl.patch("dsk", "c", [{"op": "add", "path": "/spec/worker/spec/containers/0/env",
                                    "value": [{"name": "RELEASE", "value": "2"}]}], type="json")

        def rolled():
            fewest.append(len(names_of(client)))
            now = uids(kubectl, "c-default")
            return len(now) == replicas and not before & now and len(names_of(client)) == replicas

        until(rolled, "new workers only", LONG, 0.5)
        assert min(fewest) >= left, f"too many were missing at a time: {fewest}"
        assert set(client.run(lambda: __import__("os").environ["RELEASE"]).values()) == {"2"}
        assert [number for number, _ in client.gather(futures)] == list(range(100))
        assert recomputed(client) == 0


@pytest.mark.parametrize("policy", ["OnDelete", "Recreate"])
def test_the_scheduler_is_replaced_only_by_its_own_policy(kubectl, operator, policy):
    kubectl.apply(slim(changed(cluster("c", 1), "spec.schedulerUpdate", policy)))
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
